//! Blobs near the tasks that need them: each is fetched once, whoever asks, and
//! stays while a job needs it, or while there is room.
//!
//! Knows where blobs come from only as a [`BlobServerGateway`].

use crate::folder::Folder;
use crate::stock::Stock;
use crate::transfer::{self, blocking};
use crate::{DEFAULT_MAX_BLOB_SIZE, Error};
use bytes::Bytes;
use heddle_model::config::{Configuration, options as o};
use heddle_model::id::{BlobKey, JobId};
use heddle_rpc::{BlobContent, BlobServerGateway};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tracing::{debug, warn};

/// Bytes of blobs that a cache holds by default.
const DEFAULT_MAX_SIZE: u64 = 2 * 1024 * 1024 * 1024;

/// How often a blob whose file was damaged or removed between its verification
/// and its use is fetched anew for one who asks.
const TRIES: u32 = 3;

#[derive(Clone, Debug)]
pub struct CacheOptions {
    /// The folder of this cache alone; created if absent.
    pub root: PathBuf,
    /// Largest blob, in bytes.
    pub max_blob_size: u64,
    /// All blobs together, in bytes.
    pub max_size: u64,
}

impl CacheOptions {
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), max_blob_size: DEFAULT_MAX_BLOB_SIZE, max_size: DEFAULT_MAX_SIZE }
    }

    pub fn from_configuration(root: impl Into<PathBuf>, configuration: &Configuration) -> Self {
        Self {
            root: root.into(),
            max_blob_size: configuration.get(&o::BLOB_MAX_SIZE).0,
            max_size: configuration.get(&o::BLOB_CACHE_SIZE).0,
        }
    }
}

/// Cheap to clone; all clones are one cache.
#[derive(Clone)]
pub struct BlobCache {
    folder: Arc<Folder>,
    source: Arc<Mutex<Arc<dyn BlobServerGateway>>>,
    stock: Arc<Mutex<Stock>>,
}

impl BlobCache {
    /// Opens the folder and empties it: what an earlier process left there
    /// nobody would release. Blocking, and quick.
    pub fn open(options: CacheOptions, source: Arc<dyn BlobServerGateway>) -> Result<Self, Error> {
        let folder = Folder::open(&options.root, options.max_blob_size, false)?;
        for key in folder.keys()? {
            folder.remove(key)?;
        }
        Ok(Self {
            folder: Arc::new(folder),
            source: Arc::new(Mutex::new(source)),
            stock: Arc::new(Mutex::new(Stock::new(options.max_size))),
        })
    }

    /// Fetches from there from now on: another JobManager leads.
    pub fn set_source(&self, source: Arc<dyn BlobServerGateway>) {
        *self.source.lock().unwrap_or_else(PoisonError::into_inner) = source;
    }

    /// The blob as a local file whose content has been verified. It stays there
    /// until `job` is [released](Self::release).
    ///
    /// All who ask at once wait for one fetch. A file that turns out to be
    /// damaged, or gone, is fetched anew.
    pub async fn get(&self, job: JobId, key: BlobKey) -> Result<PathBuf, Error> {
        for _ in 0..TRIES {
            let there = self.stock().asked(job, key);
            there.get_or_try_init(|| self.make_there(key)).await?;
            let folder = Arc::clone(&self.folder);
            let length = blocking(move || folder.length(key)).await;
            let mut stock = self.stock();
            if !stock.is_needed_by(job, key) {
                return Err(Error::NotRetained { key, job });
            }
            if length.is_some() && length == stock.size(key) {
                return Ok(self.folder.path(key));
            }
            // Not what was verified.
            stock.doubt(key, &there);
        }
        Err(Error::Unknown { key })
    }

    /// As [`get`](Self::get), with the content, verified once more.
    pub async fn get_bytes(&self, job: JobId, key: BlobKey) -> Result<Bytes, Error> {
        let mut tries = 0;
        loop {
            tries += 1;
            self.get(job, key).await?;
            let there = self.stock().asked(job, key);
            let folder = Arc::clone(&self.folder);
            match blocking(move || folder.read(key).map(Bytes::from)).await {
                Err(Error::Corrupted { .. } | Error::Unknown { .. }) if tries < TRIES => {
                    self.stock().doubt(key, &there);
                }
                result => return result,
            }
        }
    }

    /// The job needs none of its blobs any more. What nobody needs stays while
    /// there is room.
    pub async fn release(&self, job: JobId) -> Result<(), Error> {
        self.stock().released(job);
        Ok(())
    }

    /// Bytes of all blobs in the folder.
    pub fn size(&self) -> u64 {
        self.stock().used()
    }

    /// Verifies the file that is there, or fetches it.
    async fn make_there(&self, key: BlobKey) -> Result<(), Error> {
        if self.stock().size(key).is_some() {
            let folder = Arc::clone(&self.folder);
            match blocking(move || folder.verify(key)).await {
                Ok(()) => return Ok(()),
                Err(error @ (Error::Corrupted { .. } | Error::Unknown { .. })) => {
                    warn!(%key, %error, "a cached blob is damaged, fetching it again");
                    self.give_way(move |stock| {
                        stock.lost(key);
                        Ok(vec![key])
                    })
                    .await?;
                }
                Err(error) => return Err(error),
            }
        }
        self.fetch(key).await
    }

    /// A transfer that damaged the content is tried once more; so is one that
    /// found the disk full, after all that nobody needs is gone.
    async fn fetch(&self, key: BlobKey) -> Result<(), Error> {
        let error = match self.fetch_once(key).await {
            Err(error) => error,
            Ok(()) => return Ok(()),
        };
        if error.is_corrupted() {
            warn!(%key, %error, "a blob arrived corrupted, fetching it again");
        } else if let Error::DiskFull { .. } = error {
            let removed = self.give_way(|stock| Ok(stock.evict_all())).await?;
            if removed == 0 {
                return Err(error);
            }
            warn!(%key, %error, removed, "unneeded blobs removed to make room");
        } else {
            return Err(error);
        }
        self.fetch_once(key).await
    }

    async fn fetch_once(&self, key: BlobKey) -> Result<(), Error> {
        let source = Arc::clone(&self.source.lock().unwrap_or_else(PoisonError::into_inner));
        let content = source.get_blob(key).await;
        let content = content.map_err(|error| Error::Fetch { key, source: transfer::failure(error) })?;
        let size = content.size();
        if size > self.folder.limit() {
            return Err(Error::TooLarge { size, limit: self.folder.limit() });
        }
        self.give_way(move |stock| stock.reserve(size)).await?;
        let room = Room { stock: Arc::clone(&self.stock), size };
        // Nothing but the key that was asked for is believed.
        let content = BlobContent::stream(key, size, content.into_stream());
        let prepared = transfer::receive(&self.folder, content).await?;
        let stock = Arc::clone(&self.stock);
        blocking(move || {
            // Under the lock: if all who asked have been released meanwhile,
            // nobody would release the file.
            let mut stock = lock(&stock);
            if stock.is_needed(key) {
                prepared.publish()?;
                room.filled(&mut stock, key);
            }
            drop(stock);
            Ok(())
        })
        .await?;
        debug!(%key, size, "blob fetched");
        Ok(())
    }

    /// Removes the files of what gives way, and tells how many. Under the lock,
    /// so that none is removed that has come back meanwhile.
    async fn give_way(
        &self,
        change: impl FnOnce(&mut Stock) -> Result<Vec<BlobKey>, Error> + Send + 'static,
    ) -> Result<usize, Error> {
        let cache = self.clone();
        blocking(move || {
            let mut stock = cache.stock();
            let keys = change(&mut stock)?;
            for key in &keys {
                if let Err(error) = cache.folder.remove(*key) {
                    // The next start removes it.
                    warn!(%key, %error, "the file of a blob stays");
                }
            }
            Ok(keys.len())
        })
        .await
    }

    fn stock(&self) -> MutexGuard<'_, Stock> {
        lock(&self.stock)
    }
}

fn lock(stock: &Mutex<Stock>) -> MutexGuard<'_, Stock> {
    // A panic between two map operations leaves at most an entry too many.
    stock.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Room that was reserved for a blob on its way; given back unless it is
/// filled.
struct Room {
    stock: Arc<Mutex<Stock>>,
    size: u64,
}

impl Room {
    fn filled(mut self, stock: &mut Stock, key: BlobKey) {
        stock.filled(key, std::mem::take(&mut self.size));
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // Filled, it is empty; `filled` holds the lock.
        if self.size > 0 {
            lock(&self.stock).give_back(self.size);
        }
    }
}
