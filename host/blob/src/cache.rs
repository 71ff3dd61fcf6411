//! Blobs near the tasks that need them: each is fetched once, whoever asks.
//!
//! Knows where blobs come from only as a [`BlobServerGateway`].

use crate::folder::Folder;
use crate::transfer::{self, blocking};
use crate::{DEFAULT_MAX_BLOB_SIZE, Error};
use bytes::Bytes;
use heddle_model::id::{BlobKey, JobId};
use heddle_rpc::{BlobContent, BlobServerGateway};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::OnceCell;
use tracing::warn;

#[derive(Clone, Debug)]
pub struct CacheOptions {
    /// The folder of this cache alone; created if absent.
    pub root: PathBuf,
    /// Largest blob, in bytes.
    pub max_blob_size: u64,
}

impl CacheOptions {
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), max_blob_size: DEFAULT_MAX_BLOB_SIZE }
    }
}

#[derive(Debug, Default)]
struct Entry {
    /// Set once the file is there. All who ask at once wait for one fetch; if
    /// it fails the next in line tries again.
    fetched: Arc<OnceCell<()>>,
    /// Jobs that asked and have not released.
    jobs: BTreeSet<JobId>,
}

/// Cheap to clone; all clones are one cache.
#[derive(Clone)]
pub struct BlobCache {
    folder: Arc<Folder>,
    source: Arc<dyn BlobServerGateway>,
    entries: Arc<Mutex<BTreeMap<BlobKey, Entry>>>,
}

impl BlobCache {
    /// Opens the folder and empties it: what an earlier process left there
    /// nobody would release. Blocking, and quick.
    pub fn open(options: CacheOptions, source: Arc<dyn BlobServerGateway>) -> Result<Self, Error> {
        let folder = Folder::open(&options.root, options.max_blob_size, false)?;
        for key in folder.keys()? {
            folder.remove(key)?;
        }
        Ok(Self { folder: Arc::new(folder), source, entries: Arc::default() })
    }

    /// The blob as a local file whose content has been verified. It stays there
    /// until `job` is [released](Self::release).
    pub async fn get(&self, job: JobId, key: BlobKey) -> Result<PathBuf, Error> {
        let fetched = {
            let mut entries = self.entries();
            let entry = entries.entry(key).or_default();
            entry.jobs.insert(job);
            entry.fetched.clone()
        };
        fetched.get_or_try_init(|| self.fetch(key)).await?;
        if self.entries().get(&key).is_some_and(|entry| entry.jobs.contains(&job)) {
            Ok(self.folder.path(key))
        } else {
            Err(Error::NotRetained { key, job })
        }
    }

    /// As [`get`](Self::get), with the content, verified once more.
    pub async fn get_bytes(&self, job: JobId, key: BlobKey) -> Result<Bytes, Error> {
        self.get(job, key).await?;
        let folder = self.folder.clone();
        blocking(move || folder.read(key).map(Bytes::from)).await
    }

    /// The job needs none of its blobs any more; what nobody needs is removed.
    pub async fn release(&self, job: JobId) -> Result<(), Error> {
        let cache = self.clone();
        blocking(move || {
            let mut entries = cache.entries();
            let mut outcome = Ok(());
            entries.retain(|key, entry| {
                entry.jobs.remove(&job);
                if !entry.jobs.is_empty() {
                    return true;
                }
                if let Err(e) = cache.folder.remove(*key) {
                    outcome = Err(e);
                }
                false
            });
            outcome
        })
        .await
    }

    /// A transfer that damaged the content is tried once more.
    async fn fetch(&self, key: BlobKey) -> Result<(), Error> {
        match self.fetch_once(key).await {
            Err(error) if error.is_corrupted() => {
                warn!(%key, %error, "a blob arrived corrupted, fetching it again");
                self.fetch_once(key).await
            }
            result => result,
        }
    }

    async fn fetch_once(&self, key: BlobKey) -> Result<(), Error> {
        let content = self.source.get_blob(key).await;
        let content = content.map_err(|error| Error::Fetch { key, source: transfer::failure(error) })?;
        // Nothing but the key that was asked for is believed.
        let content = BlobContent::stream(key, content.size(), content.into_stream());
        let prepared = transfer::receive(&self.folder, content).await?;
        let cache = self.clone();
        blocking(move || {
            // Under the lock: if all who asked have been released meanwhile,
            // nobody would remove the file.
            let entries = cache.entries();
            if entries.get(&key).is_some_and(|entry| !entry.jobs.is_empty()) {
                prepared.publish()?;
            }
            drop(entries);
            Ok(())
        })
        .await
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<BlobKey, Entry>> {
        // A panic between two map operations leaves at most an entry too many.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
