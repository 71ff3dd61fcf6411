//! Keeps blobs for as long as a job needs them.
//!
//! A blob lives while a job retains it. Between its upload and the submission
//! of its job nobody does: an upload holds it until it is retained or too old.
//! What the last job left stays for the next one with the same component, while
//! there is room for it.
//! What a job needs and is missing or damaged here comes back from the copy of
//! the high-availability storage, if there is one.

use crate::folder::{Folder, Prepared, Writer};
use crate::transfer::{self, blocking};
use crate::{DEFAULT_MAX_BLOB_SIZE, Error};
use async_trait::async_trait;
use bytes::Bytes;
use heddle_ha::BlobStore;
use heddle_model::config::{Configuration, options as o};
use heddle_model::failure::Failure;
use heddle_model::id::{BlobKey, JobId};
use heddle_rpc::{BlobContent, BlobServerGateway};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tracing::{info, warn};

#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// The folder; created if absent.
    pub root: PathBuf,
    /// Largest blob, in bytes.
    pub max_blob_size: u64,
    /// Blobs that are kept although no job needs them, in bytes.
    pub max_unneeded: u64,
    /// Whether a stored blob must outlive a crash of the machine; not needed
    /// when the folder ends with the process.
    pub durable: bool,
}

impl ServerOptions {
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), max_blob_size: DEFAULT_MAX_BLOB_SIZE, max_unneeded: 0, durable: true }
    }

    pub fn from_configuration(root: impl Into<PathBuf>, configuration: &Configuration) -> Self {
        Self {
            max_blob_size: configuration.get(&o::BLOB_MAX_SIZE).0,
            max_unneeded: configuration.get(&o::BLOB_CACHE_SIZE).0,
            ..Self::new(root)
        }
    }
}

/// Who needs a blob.
#[derive(Debug, Default)]
struct Usage {
    jobs: BTreeSet<JobId>,
    /// Uploads that no job has taken over yet, oldest first.
    uploads: Vec<Instant>,
    /// Nobody needs it any more, and it is there all the same.
    left: Option<Left>,
}

#[derive(Clone, Copy, Debug)]
struct Left {
    since: Instant,
    /// Of the file, in bytes.
    size: u64,
}

impl Usage {
    fn is_needed(&self) -> bool {
        !self.jobs.is_empty() || !self.uploads.is_empty()
    }
}

/// Cheap to clone; all clones are one server.
#[derive(Clone)]
pub struct BlobServer {
    folder: Arc<Folder>,
    max_unneeded: u64,
    usage: Arc<Mutex<BTreeMap<BlobKey, Usage>>>,
    copies: Arc<OnceLock<Arc<dyn BlobStore>>>,
}

impl BlobServer {
    /// Opens the folder. Blobs that are already there are kept until they are
    /// retained or swept. Blocking, and quick.
    pub fn open(options: ServerOptions) -> Result<Self, Error> {
        let folder = Folder::open(&options.root, options.max_blob_size, options.durable)?;
        let now = Instant::now();
        let usage = folder
            .keys()?
            .into_iter()
            .map(|key| (key, Usage { uploads: vec![now], ..Usage::default() }))
            .collect();
        Ok(Self {
            folder: Arc::new(folder),
            max_unneeded: options.max_unneeded,
            usage: Arc::new(Mutex::new(usage)),
            copies: Arc::default(),
        })
    }

    /// Where copies of what jobs need are found from now on, for all clones.
    /// Only the first call counts.
    pub fn use_copies(&self, copies: Arc<dyn BlobStore>) {
        let _ = self.copies.set(copies);
    }

    /// Stores a blob; durable when it returns. It stays until
    /// [`retain`](Self::retain) hands it to a job, and as long as that job.
    pub async fn put(&self, content: Bytes) -> Result<BlobKey, Error> {
        self.put_from(std::io::Cursor::new(content)).await
    }

    /// As [`put`](Self::put), for content that need not be in memory. The
    /// reader is read on a blocking thread.
    pub async fn put_from(&self, content: impl std::io::Read + Send + 'static) -> Result<BlobKey, Error> {
        let folder = Arc::clone(&self.folder);
        let prepared = blocking(move || {
            let mut writer = Writer::create(&folder)?;
            writer.copy(content)?;
            writer.finish()
        });
        self.store(prepared.await?).await
    }

    /// As [`put`](Self::put), for content that arrives piece by piece; it must
    /// have the key that it comes with.
    pub async fn put_content(&self, content: BlobContent) -> Result<BlobKey, Error> {
        let received = transfer::receive(&self.folder, content).await;
        if let Err(Error::DiskFull { .. }) = &received {
            // The next attempt finds more room.
            self.remove_unneeded(|_, usage| usage.left = None).await?;
        }
        self.store(received?).await
    }

    async fn store(&self, prepared: Prepared) -> Result<BlobKey, Error> {
        let server = self.clone();
        blocking(move || {
            let key = prepared.key();
            // Published and noted under one lock, so that a release of the same
            // content cannot remove it in between.
            let mut usage = server.usage();
            prepared.publish()?;
            let entry = usage.entry(key).or_default();
            entry.uploads.push(Instant::now());
            entry.left = None;
            Ok(key)
        })
        .await
    }

    /// The content, verified.
    pub async fn get(&self, key: BlobKey) -> Result<Bytes, Error> {
        let folder = self.folder.clone();
        let read = move || folder.read(key).map(Bytes::from);
        match blocking(read.clone()).await {
            Err(error) if self.restore(key, &error).await => blocking(read).await,
            result => result,
        }
    }

    /// The local file, verified. It stays there as long as the blob is retained.
    pub async fn get_path(&self, key: BlobKey) -> Result<PathBuf, Error> {
        let folder = self.folder.clone();
        match blocking(move || folder.verify(key)).await {
            Err(error) if !self.restore(key, &error).await => Err(error),
            _ => Ok(self.folder.path(key)),
        }
    }

    /// Whether what made `error` could be mended from a copy.
    async fn restore(&self, key: BlobKey, error: &Error) -> bool {
        if !matches!(error, Error::Unknown { .. } | Error::Corrupted { .. }) {
            return false;
        }
        let jobs = self.usage().get(&key).map(|usage| usage.jobs.clone()).unwrap_or_default();
        for job in jobs {
            if self.restore_for(job, key).await {
                return true;
            }
        }
        false
    }

    async fn restore_for(&self, job: JobId, key: BlobKey) -> bool {
        let Some(copies) = self.copies.get() else { return false };
        let copy = match copies.get(job, key).await {
            Ok(Some(copy)) => copy,
            Ok(None) => return false,
            Err(error) => {
                warn!(%job, %key, %error, "the copy of a blob cannot be had");
                return false;
            }
        };
        let folder = Arc::clone(&self.folder);
        let from = copy.clone();
        let restored = blocking(move || {
            let file = std::fs::File::open(&from).map_err(|error| error.to_string())?;
            let mut writer = Writer::create(&folder).map_err(|error| Failure::from(error).message)?;
            writer.copy(file).map_err(|error| Failure::from(error).message)?;
            let prepared = writer.finish().map_err(|error| Failure::from(error).message)?;
            match prepared.key() {
                actual if actual != key => Err(format!("its checksum is {actual}")),
                _ => prepared.publish().map_err(|error| Failure::from(error).message),
            }
        });
        match restored.await {
            Ok(()) => {
                info!(%job, %key, "a blob is restored from its copy");
                true
            }
            Err(reason) => {
                warn!(%job, %key, copy = %copy.display(), reason, "the copy of a blob is of no use");
                false
            }
        }
    }

    pub fn contains(&self, key: BlobKey) -> bool {
        self.folder.contains(key)
    }

    /// The job needs the blob from now on. Repeating it changes nothing. What
    /// was not uploaded for it is verified before it is used: if that is damaged
    /// it is unknown, and an upload mends it for all.
    pub async fn retain(&self, job: JobId, key: BlobKey) -> Result<(), Error> {
        let mut is_there = self.folder.contains(key);
        let is_held = is_there && self.hold_for(job, key);
        if is_held {
            let folder = Arc::clone(&self.folder);
            if let Err(error) = blocking(move || folder.verify(key)).await {
                warn!(%key, %error, "a blob that is there is of no use");
                is_there = false;
            }
        }
        if !is_there && !self.restore_for(job, key).await {
            if is_held {
                self.let_go(key).await?;
            }
            return Err(Error::Unknown { key });
        }
        let server = self.clone();
        blocking(move || {
            let mut usage = server.usage();
            if !server.folder.contains(key) {
                return Err(Error::Unknown { key });
            }
            let entry = usage.entry(key).or_default();
            if entry.jobs.insert(job) && !entry.uploads.is_empty() {
                entry.uploads.remove(0);
            }
            entry.left = None;
            Ok(())
        })
        .await
    }

    /// Has a blob stay as an upload does until it is verified; false if it was
    /// just uploaded, or is the job's already.
    fn hold_for(&self, job: JobId, key: BlobKey) -> bool {
        let mut usage = self.usage();
        let entry = usage.entry(key).or_default();
        if entry.jobs.contains(&job) || !entry.uploads.is_empty() {
            return false;
        }
        entry.uploads.push(Instant::now());
        true
    }

    /// The end of a hold; the blob goes if nobody else needs it.
    async fn let_go(&self, key: BlobKey) -> Result<(), Error> {
        self.remove_unneeded(move |this, usage| {
            if *this == key {
                usage.uploads.pop();
                usage.left = None;
            }
        })
        .await
    }

    /// The job needs none of its blobs any more; what nobody needs is removed,
    /// or stays while there is room. Repeating it succeeds.
    pub async fn release(&self, job: JobId) -> Result<(), Error> {
        let (folder, now) = (Arc::clone(&self.folder), Instant::now());
        self.remove_unneeded(move |key, usage| {
            if usage.jobs.remove(&job) && !usage.is_needed() {
                usage.left = folder.length(*key).map(|size| Left { since: now, size });
            }
        })
        .await
    }

    /// Forgets uploads of this age that no job has taken over, and what jobs
    /// left so long ago.
    pub async fn sweep(&self, age: Duration) -> Result<(), Error> {
        let now = Instant::now();
        self.remove_unneeded(move |_, usage| {
            usage.uploads.retain(|at| now.duration_since(*at) < age);
            usage.left.take_if(|left| now.duration_since(left.since) >= age);
        })
        .await
    }

    async fn remove_unneeded(
        &self,
        mut change: impl FnMut(&BlobKey, &mut Usage) + Send + 'static,
    ) -> Result<(), Error> {
        let server = self.clone();
        blocking(move || {
            let mut usage = server.usage();
            usage.iter_mut().for_each(|(key, usage)| change(key, usage));
            give_way(&mut usage, server.max_unneeded);
            let mut outcome = Ok(());
            usage.retain(|key, entry| {
                if entry.is_needed() || entry.left.is_some() {
                    return true;
                }
                match server.folder.remove(*key) {
                    Ok(()) => false,
                    Err(e) => {
                        outcome = Err(e);
                        true
                    }
                }
            });
            outcome
        })
        .await
    }

    fn usage(&self) -> MutexGuard<'_, BTreeMap<BlobKey, Usage>> {
        // A panic between two map operations leaves at most an entry too many.
        self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What jobs left gives way to what they left later.
fn give_way(usage: &mut BTreeMap<BlobKey, Usage>, most: u64) {
    let mut left: Vec<(Left, BlobKey)> =
        usage.iter().filter_map(|(key, usage)| Some((usage.left?, *key))).collect();
    left.sort_unstable_by_key(|(left, _)| std::cmp::Reverse(left.since));
    let mut kept = 0;
    for (Left { size, .. }, key) in left {
        // Where nothing is to stay an empty one does not either.
        let with_it = kept + size.max(1);
        if with_it <= most {
            kept = with_it;
        } else if let Some(usage) = usage.get_mut(&key) {
            usage.left = None;
        }
    }
}

#[async_trait]
impl BlobServerGateway for BlobServer {
    async fn get_blob(&self, key: BlobKey) -> heddle_rpc::Result<BlobContent> {
        self.get_path(key).await.map_err(Failure::from)?;
        Ok(transfer::send(&self.folder, key).await.map_err(Failure::from)?)
    }
}
