//! Job results as files, as Flink names them: `<job id>_DIRTY.json` until the
//! job's clean-up is done, then `<job id>.json`. What is there before a result,
//! `<job id>_COMMITTING.json`, goes with the clean-up.

use super::blocking;
use super::commitments::{self, COMMITTING};
use super::folder::{Folder, Found, RESULTS};
use super::leader::LeaderFile;
use crate::{Commitments, Error, JobResultEntry, JobResultStore, ResultState};
use async_trait::async_trait;
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::JobId;
use heddle_model::job_status::JobStatus;
use heddle_model::task::Commitment;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tracing::{error, warn};

const KIND: &str = "job result";
const DIRTY: &str = "_DIRTY.json";
const CLEAN: &str = ".json";

/// Most clean results that are kept, to refuse a second submission and to
/// answer after a restart; the oldest go first. One takes a KiB or so.
const MAX_CLEAN_RESULTS: usize = 10_000;
/// They are looked through for old ones only this often.
const PRUNE_EVERY: usize = 100;

pub struct FileJobResultStore {
    folder: Arc<Folder>,
    leader: Arc<LeaderFile>,
    /// Results cleaned since they were last pruned.
    cleaned: std::sync::atomic::AtomicUsize,
}

impl FileJobResultStore {
    pub(super) fn new(folder: Arc<Folder>, leader: Arc<LeaderFile>) -> Self {
        Self { folder, leader, cleaned: std::sync::atomic::AtomicUsize::new(0) }
    }
}

fn dirty(job_id: JobId) -> String {
    format!("{RESULTS}/{job_id}{DIRTY}")
}

fn clean(job_id: JobId) -> String {
    format!("{RESULTS}/{job_id}{CLEAN}")
}

fn state(folder: &Folder, job_id: JobId) -> Result<ResultState, Error> {
    Ok(if folder.exists(&dirty(job_id))? {
        ResultState::Dirty
    } else if folder.exists(&clean(job_id))? {
        ResultState::Clean
    } else if folder.exists(&commitments::file(job_id))? {
        ResultState::Committing
    } else {
        ResultState::Absent
    })
}

fn ids(folder: &Folder, ending: &str) -> Result<Vec<JobId>, Error> {
    let names = folder.names(RESULTS)?;
    Ok(names.iter().filter_map(|name| name.strip_suffix(ending)?.parse().ok()).collect())
}

#[async_trait]
impl JobResultStore for FileJobResultStore {
    async fn create_committing(&self, commitment: Commitment) -> Result<(), Error> {
        let (folder, leader) = (self.folder.clone(), self.leader.clone());
        blocking(move || {
            let from = state(&folder, commitment.job_id)?;
            commitments::create(&folder, &leader, from, commitment)
        })
        .await
    }

    async fn create_dirty(&self, entry: JobResultEntry) -> Result<(), Error> {
        let (folder, leader) = (self.folder.clone(), self.leader.clone());
        blocking(move || {
            let job_id = entry.job_id;
            match state(&folder, job_id)? {
                ResultState::Absent | ResultState::Committing => {
                    folder.write(&dirty(job_id), KIND, &entry, || leader.check())
                }
                from => match folder.read::<JobResultEntry>(&dirty(job_id), KIND)? {
                    Found::Good(there) if there == entry => Ok(()),
                    _ => Err(Error::Transition { what: "the result", job_id, from, to: ResultState::Dirty }),
                },
            }
        })
        .await
    }

    async fn mark_clean(&self, job_id: JobId) -> Result<(), Error> {
        let (folder, leader) = (self.folder.clone(), self.leader.clone());
        blocking(move || match state(&folder, job_id)? {
            ResultState::Dirty => {
                leader.check()?;
                // Needs no space: it works on a full disk.
                folder.remove(&commitments::file(job_id))?;
                folder.rename(&dirty(job_id), &clean(job_id))
            }
            ResultState::Clean => Ok(()),
            from @ (ResultState::Absent | ResultState::Committing) => {
                Err(Error::Transition { what: "the result", job_id, from, to: ResultState::Clean })
            }
        })
        .await?;
        if self.cleaned.fetch_add(1, std::sync::atomic::Ordering::Relaxed).is_multiple_of(PRUNE_EVERY) {
            let folder = self.folder.clone();
            if let Err(error) = blocking(move || prune(&folder)).await {
                warn!(%error, "old job results could not be removed");
            }
        }
        Ok(())
    }

    async fn state(&self, job_id: JobId) -> Result<ResultState, Error> {
        let folder = self.folder.clone();
        blocking(move || state(&folder, job_id)).await
    }

    async fn committing(&self) -> Result<Commitments, Error> {
        let folder = self.folder.clone();
        blocking(move || {
            let mut jobs = Vec::new();
            for job_id in ids(&folder, COMMITTING)? {
                if state(&folder, job_id)? == ResultState::Committing {
                    jobs.push(job_id);
                }
            }
            commitments::read(&folder, &jobs)
        })
        .await
    }

    async fn dirty(&self) -> Result<Vec<JobResultEntry>, Error> {
        let (folder, leader) = (self.folder.clone(), self.leader.clone());
        blocking(move || {
            let mut entries = Vec::new();
            for job_id in ids(&folder, DIRTY)? {
                let reason = match folder.read::<JobResultEntry>(&dirty(job_id), KIND)? {
                    Found::Nothing => continue,
                    Found::Good(entry) if entry.job_id == job_id => {
                        entries.push(entry);
                        continue;
                    }
                    Found::Good(entry) => format!("it holds job {}", entry.job_id),
                    Found::Corrupted(reason) => reason,
                };
                entries.push(replace_corrupted(&folder, &leader, job_id, &reason)?);
            }
            Ok(entries)
        })
        .await
    }

    async fn clean(&self, most: usize) -> Result<Vec<JobResultEntry>, Error> {
        let folder = self.folder.clone();
        blocking(move || {
            let mut entries = Vec::new();
            for (_, job_id) in newest_first(&folder)?.into_iter().take(most) {
                match folder.read::<JobResultEntry>(&clean(job_id), KIND)? {
                    Found::Good(entry) => entries.push(entry),
                    Found::Nothing => {}
                    // That it is there is what counts; it refuses a second run.
                    Found::Corrupted(reason) => {
                        warn!(job = %job_id, reason, "the result of an ended job cannot be read");
                    }
                }
            }
            Ok(entries)
        })
        .await
    }
}

/// The job has ended, whatever its file says: it must not run again. What was
/// in the file is set aside, and the result says so.
fn replace_corrupted(
    folder: &Folder,
    leader: &LeaderFile,
    job_id: JobId,
    reason: &str,
) -> Result<JobResultEntry, Error> {
    let name = dirty(job_id);
    let place = folder.copy_aside(&name)?;
    let path = folder.path(&name);
    error!(
        job = %job_id, file = %path.display(), reason, set_aside = %place.display(),
        "the result of a job cannot be read; it was set aside"
    );
    let message = format!(
        "job {job_id} has ended, and how is not known: {} cannot be read: {reason}; it was copied to {}",
        path.display(),
        place.display()
    );
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let entry = JobResultEntry {
        job_id,
        job_name: "(unknown)".into(),
        status: JobStatus::Failed,
        failure: Some(Failure::new(ErrorCode::HighAvailability, message)),
        start_time_ms: now.as_millis() as u64,
        runtime_ms: 0,
        accumulators: BTreeMap::new(),
        collected: BTreeMap::new(),
    };
    folder.write(&name, KIND, &entry, || leader.check())?;
    Ok(entry)
}

fn newest_first(folder: &Folder) -> Result<Vec<(SystemTime, JobId)>, Error> {
    let mut results: Vec<(SystemTime, JobId)> = folder
        .changes(RESULTS)?
        .into_iter()
        .filter_map(|(name, changed)| Some((changed, name.strip_suffix(CLEAN)?.parse().ok()?)))
        .collect();
    results.sort_unstable_by(|a, b| b.cmp(a));
    Ok(results)
}

fn prune(folder: &Folder) -> Result<(), Error> {
    for (_, job_id) in newest_first(folder)?.into_iter().skip(MAX_CLEAN_RESULTS) {
        folder.remove(&clean(job_id))?;
    }
    Ok(())
}
