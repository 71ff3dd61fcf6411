//! High availability on files: leader election, job graphs and job results in
//! a folder that outlives the process, `high-availability.type: filesystem`.
//!
//! The folder of a cluster is `<storageDir>/<cluster-id>`:
//!
//! ```text
//! leader.lock                   held (flock) by the process that leads, if the lock decides
//! leader.json                   epoch, session and address of the leader
//! job-graphs/<job id>.json      jobs that have not ended
//! job-results/<job id>_COMMITTING.json     what jobs that finished are to publish
//! job-results/<job id>_DIRTY.json, <job id>.json     jobs that have ended
//! blobs/<job id>/<key>          components of jobs that have not ended
//! corrupted/                    files that could not be read, set aside
//! ```
//!
//! Nothing here knows what a dispatcher does with it, or how a peer is called.

mod blobs;
mod commitments;
mod document;
mod election;
mod folder;
mod graphs;
mod leader;
mod results;
mod retrieval;

pub use blobs::FileBlobStore;
pub use election::FileElection;
pub use graphs::FileJobGraphStore;
pub use leader::LeaderInformation;
pub use results::FileJobResultStore;
pub use retrieval::FileLeaderRetrieval;

use crate::{Error, Services};
use folder::Folder;
use heddle_filesystem::{FileSystem, Local};
use leader::LeaderFile;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Who leads of those that want to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Election {
    /// The one with the lock; the others stand by. For a folder of this
    /// machine, or mounted into it: other file systems have no locks.
    Lock,
    /// The one that came last, at once. For processes that somebody else starts
    /// one after the other, such as YARN an application's attempts.
    LastComer,
}

#[derive(Clone, Debug)]
pub struct FileOptions {
    pub files: Arc<dyn FileSystem>,
    pub election: Election,
    /// `high-availability.storageDir`; created if absent.
    pub storage: PathBuf,
    /// `high-availability.cluster-id`: clusters of different ids do not see
    /// each other in the same folder.
    pub cluster_id: String,
    /// How often a contender tries for the lock, and a leader looks whether it
    /// still leads.
    pub poll_interval: Duration,
}

impl FileOptions {
    pub fn new(storage: impl Into<PathBuf>, cluster_id: impl Into<String>) -> Self {
        Self {
            files: Arc::new(Local),
            election: Election::Lock,
            storage: storage.into(),
            cluster_id: cluster_id.into(),
            poll_interval: Duration::from_millis(200),
        }
    }

    /// The folder of this cluster alone.
    ///
    /// # Errors
    /// A cluster id that is not a plain path below the storage folder.
    pub fn folder(&self) -> Result<PathBuf, Error> {
        let id = self.cluster_id.trim_matches('/');
        let plain = |part: &str| {
            !part.is_empty()
                && !part.starts_with('.')
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        };
        if id.split('/').all(plain) {
            return Ok(self.storage.join(id));
        }
        let reason = format!(
            "cluster id `{}` cannot be the name of a folder; use letters, digits, `.`, `_` and `-`",
            self.cluster_id
        );
        Err(Error::Storage { operation: "opening the high-availability folder", reason })
    }
}

/// The services of one process over the folder of its cluster.
///
/// Opening creates folders and takes part in nothing yet: files are only
/// written by who leads.
///
/// # Errors
/// The folder cannot be created or opened; the error names it.
pub async fn open(options: &FileOptions) -> Result<Services, Error> {
    let (files, root) = (options.files.clone(), options.folder()?);
    let folder = Arc::new(blocking(move || Folder::open(files, &root)).await?);
    let leader = Arc::new(LeaderFile::new(folder.clone()));
    Ok(Services {
        job_graphs: Arc::new(FileJobGraphStore::new(folder.clone(), leader.clone())),
        job_results: Arc::new(FileJobResultStore::new(folder.clone(), leader.clone())),
        blobs: Arc::new(FileBlobStore::new(folder.clone(), leader.clone())),
        dispatcher_election: Box::new(FileElection::new(
            folder,
            leader,
            options.poll_interval,
            options.election,
        )),
    })
}

/// Where who looks for the leader finds it.
///
/// # Errors
/// As [`open`].
pub fn retrieval(options: &FileOptions) -> Result<FileLeaderRetrieval, Error> {
    Ok(FileLeaderRetrieval::new(options.files.clone(), options.folder()?, options.poll_interval))
}

/// Removes all that is stored of a cluster that will not come back.
///
/// # Errors
/// The folder cannot be removed; the error names it.
pub async fn remove(options: &FileOptions) -> Result<(), Error> {
    let (files, folder) = (options.files.clone(), options.folder()?);
    blocking(move || match files.remove_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(storage("removing the high-availability folder", &folder, &error))
        }
        _ => Ok(()),
    })
    .await
}

/// Runs file access off the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down: nobody waits for an answer.
            Err(_) => std::future::pending().await,
        },
    }
}

/// A failed operation on a file, with the file and what helps.
fn storage(operation: &'static str, path: &Path, error: &std::io::Error) -> Error {
    let hint = match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            "; nothing was lost, free some space there"
        }
        std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
            "; the user of this process must be able to write there"
        }
        _ => "",
    };
    Error::Storage { operation, reason: format!("{}: {error}{hint}", path.display()) }
}
