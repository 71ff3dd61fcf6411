//! Files of jobs that ended: the store's own, which goes with the process, and
//! the archive, which stays for a history server.
//!
//! Files appear whole. What cannot be written costs a log line, never a job.

use crate::finished::{FinishedJob, Kept};
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::JobId;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tracing::{info, warn};

#[derive(Clone, Debug, Default)]
pub(crate) struct Archive {
    /// Holds what does not fit into memory; none: nothing does.
    pub(crate) store: Option<PathBuf>,
    /// `jobmanager.archive.fs.dir`.
    pub(crate) archive: Option<PathBuf>,
}

impl Archive {
    /// Writes the job to the store, and to the archive unless it is there.
    pub(crate) async fn keep(&self, job: FinishedJob, to_archive: bool) -> Kept {
        let this = self.clone();
        let job = Arc::new(job);
        let content = Arc::clone(&job);
        let written = tokio::task::spawn_blocking(move || this.write(&content, to_archive)).await;
        let (size, on_disk) = written.unwrap_or_default();
        Kept { job, size, on_disk }
    }

    /// Gives the length of the text form, and whether it is in the store.
    fn write(&self, job: &FinishedJob, to_archive: bool) -> (u64, bool) {
        let job_id = job.result.job_id;
        let text = match serde_json::to_vec_pretty(job) {
            Ok(text) => text,
            Err(error) => {
                warn!(job = %job_id, %error, "a finished job could not be encoded");
                return (0, false);
            }
        };
        if let Some(folder) = self.archive.as_deref().filter(|_| to_archive) {
            let file = folder.join(job_id.to_string());
            if !file.exists() {
                match write_whole(&file, &text) {
                    Ok(()) => info!(job = %job_id, file = %file.display(), "job archived"),
                    Err(error) => {
                        warn!(job = %job_id, file = %file.display(), %error, "a job could not be archived");
                    }
                }
            }
        }
        let on_disk = self.store_file(job_id).is_some_and(|file| match write_whole(&file, &text) {
            Ok(()) => true,
            Err(error) => {
                warn!(job = %job_id, file = %file.display(), %error, "a finished job stays in memory only");
                false
            }
        });
        (text.len() as u64, on_disk)
    }

    fn store_file(&self, job_id: JobId) -> Option<PathBuf> {
        self.store.as_ref().map(|folder| folder.join(format!("{job_id}.json")))
    }

    /// Reads a job that [`keep`](Self::keep) wrote to the store.
    pub(crate) async fn read(&self, job_id: JobId) -> Result<FinishedJob, Failure> {
        let failed = |file: &Path, reason: String| {
            let message = format!("finished job {job_id} cannot be read from {}: {reason}", file.display());
            Failure::new(ErrorCode::NoSuchJob, message)
        };
        let file = self.store_file(job_id).unwrap_or_default();
        let text = tokio::fs::read(&file).await.map_err(|error| failed(&file, error.to_string()))?;
        serde_json::from_slice(&text).map_err(|error| failed(&file, error.to_string()))
    }

    /// Removes jobs from the store; the archive stays.
    pub(crate) async fn remove(&self, jobs: Vec<JobId>) {
        for file in jobs.into_iter().filter_map(|job_id| self.store_file(job_id)) {
            if let Err(error) = tokio::fs::remove_file(&file).await
                && error.kind() != std::io::ErrorKind::NotFound
            {
                warn!(file = %file.display(), %error, "the file of a finished job stays");
            }
        }
    }
}

fn write_whole(file: &Path, text: &[u8]) -> std::io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let temporary = file.with_extension(format!("{}.tmp", std::process::id()));
    let written = std::fs::File::create(&temporary)
        .and_then(|mut out| out.write_all(text).and_then(|()| out.sync_all()))
        .and_then(|()| std::fs::rename(&temporary, file));
    if written.is_err() {
        // Best effort.
        let _ = std::fs::remove_file(&temporary);
    }
    written
}
