//! What the blob cache promises: one fetch however many ask, verification,
//! life with the jobs.

use async_trait::async_trait;
use bytes::Bytes;
use expect_test::expect;
use futures_util::StreamExt;
use heddle_blob::{BlobCache, BlobServer, CacheOptions, Error, ServerOptions};
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::{BlobKey, JobId};
use heddle_rpc::{BlobContent, BlobServerGateway};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::Semaphore;

const JOB: JobId = JobId(1);
const OTHER: JobId = JobId(2);

/// Gives `content` for every key, one fetch for each permit of `gate`, and
/// fails the first `failures` of them.
struct Source {
    content: &'static [u8],
    gate: Semaphore,
    failures: u32,
    fetches: AtomicU32,
}

impl Source {
    fn new(content: &'static [u8]) -> Arc<Self> {
        Self::failing(content, 0)
    }

    fn failing(content: &'static [u8], failures: u32) -> Arc<Self> {
        Arc::new(Self { content, gate: Semaphore::new(100), failures, fetches: AtomicU32::new(0) })
    }

    fn fetches(&self) -> u32 {
        self.fetches.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl BlobServerGateway for Source {
    async fn get_blob(&self, _key: BlobKey) -> heddle_rpc::Result<BlobContent> {
        let number = self.fetches.fetch_add(1, Ordering::SeqCst);
        self.gate.acquire().await.unwrap().forget();
        if number < self.failures {
            return Err(Failure::new(ErrorCode::Blob, "the server is away").into());
        }
        Ok(Bytes::from_static(self.content).into())
    }
}

fn cache(root: &Path, source: Arc<Source>) -> BlobCache {
    BlobCache::open(CacheOptions::new(root), source).unwrap()
}

#[tokio::test]
async fn a_hundred_that_ask_at_once_cause_one_fetch() {
    let root = tempfile::tempdir().unwrap();
    let source = Source::new(b"component");
    source.gate.forget_permits(100);
    let cache = cache(root.path(), source.clone());
    let key = BlobKey::of(b"component");
    let mut tasks = tokio::task::JoinSet::new();
    for job in 0..100_u128 {
        let cache = cache.clone();
        tasks.spawn(async move { std::fs::read(cache.get(JobId(job % 2), key).await.unwrap()).unwrap() });
    }
    source.gate.add_permits(1);
    while let Some(content) = tasks.join_next().await {
        assert_eq!(content.unwrap(), b"component");
    }
    assert_eq!(source.fetches(), 1);
}

#[tokio::test]
async fn a_failed_fetch_is_tried_again_by_the_next_who_asks() {
    let root = tempfile::tempdir().unwrap();
    let source = Source::failing(b"component", 1);
    let cache = cache(root.path(), source.clone());
    let key = BlobKey::of(b"component");
    let error = cache.get(JOB, key).await.unwrap_err();
    assert_eq!(Failure::from(error).message, format!("fetching blob {key} failed: the server is away"));
    cache.get(JOB, key).await.unwrap();
    assert_eq!(source.fetches(), 2);
}

#[tokio::test]
async fn content_that_is_not_the_named_one_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let cache = cache(root.path(), Source::new(b"another component"));
    let error = cache.get(JOB, BlobKey::of(b"component")).await.unwrap_err();
    assert!(matches!(error, Error::Corrupted { .. }), "{error}");
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
}

/// Gives the content that a key names, of those it knows.
struct Shelf {
    contents: BTreeMap<BlobKey, Bytes>,
    fetches: Mutex<Vec<BlobKey>>,
}

impl Shelf {
    /// Of blobs of that many bytes each.
    fn new(sizes: &[usize]) -> (Arc<Self>, Vec<BlobKey>) {
        let contents = sizes.iter().enumerate().map(|(number, size)| {
            let content = Bytes::from(vec![number as u8; *size]);
            (BlobKey::of(&content), content)
        });
        let contents: Vec<_> = contents.collect();
        let keys = contents.iter().map(|(key, _)| *key).collect();
        let shelf = Self { contents: contents.into_iter().collect(), fetches: Mutex::default() };
        (Arc::new(shelf), keys)
    }

    fn fetches(&self) -> usize {
        self.fetches.lock().unwrap().len()
    }
}

#[async_trait]
impl BlobServerGateway for Shelf {
    async fn get_blob(&self, key: BlobKey) -> heddle_rpc::Result<BlobContent> {
        self.fetches.lock().unwrap().push(key);
        Ok(self.contents[&key].clone().into())
    }
}

fn bounded(root: &Path, source: Arc<Shelf>, max_size: u64) -> BlobCache {
    BlobCache::open(CacheOptions { max_size, ..CacheOptions::new(root) }, source).unwrap()
}

#[tokio::test]
async fn a_blob_that_a_job_needs_stays_and_others_while_there_is_room() {
    let root = tempfile::tempdir().unwrap();
    let (shelf, keys) = Shelf::new(&[40, 40, 40, 80]);
    let cache = bounded(root.path(), shelf.clone(), 120);
    let mut paths = Vec::new();
    for (job, key) in keys[..3].iter().enumerate() {
        paths.push(cache.get(JobId(job as u128), *key).await.unwrap());
    }
    assert_eq!(cache.size(), 120);
    // All are needed: there is no room for another.
    let error = cache.get(JobId(9), keys[3]).await.unwrap_err();
    expect![[r#"a blob of 80 bytes does not fit into the cache beside the 120 bytes that running jobs need: the limit is 120; raise blob.cache.size"#]]
        .assert_eq(&error.to_string());
    // Those that nobody needs any more are still there,
    cache.release(JobId(1)).await.unwrap();
    cache.release(JobId(0)).await.unwrap();
    assert!(paths.iter().all(|path| path.exists()));
    assert_eq!(cache.get(JobId(7), keys[0]).await.unwrap(), paths[0]);
    assert_eq!(shelf.fetches(), 4);
    cache.release(JobId(7)).await.unwrap();
    // and give way, the longest unused first.
    assert!(cache.get(JobId(9), keys[3]).await.is_ok());
    assert_eq!(paths.iter().map(|path| path.exists()).collect::<Vec<_>>(), [false, false, true]);
    assert_eq!(cache.size(), 120);
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 2);
}

#[tokio::test]
async fn the_longest_unused_gives_way_first() {
    let root = tempfile::tempdir().unwrap();
    let (shelf, keys) = Shelf::new(&[40, 40, 40, 40]);
    let cache = bounded(root.path(), shelf, 120);
    let mut paths = Vec::new();
    for key in &keys[..3] {
        paths.push(cache.get(JOB, *key).await.unwrap());
    }
    cache.get(OTHER, keys[0]).await.unwrap();
    cache.release(JOB).await.unwrap();
    cache.release(OTHER).await.unwrap();
    cache.get(JOB, keys[3]).await.unwrap();
    assert_eq!(paths.iter().map(|path| path.exists()).collect::<Vec<_>>(), [true, false, true]);
}

#[tokio::test]
async fn a_blob_of_two_jobs_stays_when_one_is_released() {
    let root = tempfile::tempdir().unwrap();
    let (shelf, keys) = Shelf::new(&[100, 100]);
    let cache = bounded(root.path(), shelf, 100);
    let path = cache.get(JOB, keys[0]).await.unwrap();
    cache.get(OTHER, keys[0]).await.unwrap();
    cache.release(JOB).await.unwrap();
    assert!(matches!(cache.get(JOB, keys[1]).await, Err(Error::CacheFull { .. })));
    assert!(path.exists());
    cache.release(OTHER).await.unwrap();
    assert!(cache.get(JOB, keys[1]).await.is_ok());
    assert!(!path.exists());
}

#[tokio::test]
async fn a_file_that_is_damaged_or_gone_is_fetched_again() {
    let root = tempfile::tempdir().unwrap();
    let (shelf, keys) = Shelf::new(&[1_000]);
    let cache = bounded(root.path(), shelf.clone(), 10_000);
    let key = keys[0];
    let path = cache.get(JOB, key).await.unwrap();
    let right = std::fs::read(&path).unwrap();

    // A flipped bit, which only the checksum shows, to a job that comes later.
    let mut damaged = right.clone();
    damaged[500] ^= 1;
    std::fs::write(&path, &damaged).unwrap();
    assert_eq!(std::fs::read(cache.get(OTHER, key).await.unwrap()).unwrap(), right);
    assert_eq!(shelf.fetches(), 2);
    // The same, to one that reads the content.
    std::fs::write(&path, &damaged).unwrap();
    assert_eq!(cache.get_bytes(JOB, key).await.unwrap(), right);
    assert_eq!(shelf.fetches(), 3);
    // A file that is too short, or gone, to any who asks.
    std::fs::write(&path, &right[..10]).unwrap();
    assert_eq!(std::fs::read(cache.get(JOB, key).await.unwrap()).unwrap(), right);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(std::fs::read(cache.get(JOB, key).await.unwrap()).unwrap(), right);
    assert_eq!(shelf.fetches(), 5);
    assert_eq!(cache.size(), 1_000);
    // Nothing is fetched while all is well.
    cache.get(JOB, key).await.unwrap();
    cache.get(JobId(3), key).await.unwrap();
    assert_eq!(shelf.fetches(), 5);
}

/// Damages the first transfers.
struct Noisy {
    damaged: AtomicU32,
    fetches: AtomicU32,
}

#[async_trait]
impl BlobServerGateway for Noisy {
    async fn get_blob(&self, key: BlobKey) -> heddle_rpc::Result<BlobContent> {
        self.fetches.fetch_add(1, Ordering::SeqCst);
        let one_less = |left: u32| left.checked_sub(1);
        let damaged = self.damaged.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok();
        let content: &[u8] = if damaged { b"componenT" } else { b"component" };
        Ok(BlobContent::stream(
            key,
            content.len() as u64,
            BlobContent::of(Bytes::from_static(content)).into_stream(),
        ))
    }
}

#[tokio::test]
async fn a_damaged_transfer_is_tried_once_more() {
    for (damaged, succeeds, fetches) in [(1, true, 2), (2, false, 2)] {
        let root = tempfile::tempdir().unwrap();
        let noisy = Arc::new(Noisy { damaged: damaged.into(), fetches: AtomicU32::new(0) });
        let cache = BlobCache::open(CacheOptions::new(root.path()), noisy.clone()).unwrap();
        let result = cache.get(JOB, BlobKey::of(b"component")).await;
        assert_eq!(result.is_ok(), succeeds);
        assert_eq!(noisy.fetches.load(Ordering::SeqCst), fetches);
        if let Err(error) = result {
            assert_eq!(Failure::from(error).code, ErrorCode::BlobCorrupted);
            assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
            assert_eq!(cache.size(), 0);
        }
    }
}

/// Announces less than it sends, more than it sends, or nothing but air.
struct Liar(u64, Vec<&'static [u8]>);

#[async_trait]
impl BlobServerGateway for Liar {
    async fn get_blob(&self, key: BlobKey) -> heddle_rpc::Result<BlobContent> {
        let chunks = self.1.clone().into_iter().map(|chunk| Ok(Bytes::from_static(chunk)));
        Ok(BlobContent::stream(key, self.0, futures_util::stream::iter(chunks).boxed()))
    }
}

#[tokio::test]
async fn a_source_that_lies_about_a_length_is_refused() {
    for (size, chunks, succeeds) in [
        (9, vec![&b"comp"[..], b"onent"], true),
        (3, vec![b"comp", b"onent"], false),
        (9, vec![b"comp", b"onent", b"component"], false),
        (9, vec![b"comp"], false),
        (9, vec![b"comp", b"", b"onent"], false),
        (u64::MAX, vec![b"component"], false),
    ] {
        let root = tempfile::tempdir().unwrap();
        let cache = BlobCache::open(CacheOptions::new(root.path()), Arc::new(Liar(size, chunks))).unwrap();
        assert_eq!(cache.get(JOB, BlobKey::of(b"component")).await.is_ok(), succeeds, "{size}");
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), usize::from(succeeds));
        assert_eq!(cache.size(), if succeeds { 9 } else { 0 });
    }
}

#[tokio::test]
async fn a_new_source_is_asked_once_the_former_is_gone() {
    let root = tempfile::tempdir().unwrap();
    let cache = cache(root.path(), Source::failing(b"component", u32::MAX));
    let key = BlobKey::of(b"component");
    assert!(cache.get(JOB, key).await.is_err());
    cache.set_source(Source::new(b"component"));
    assert!(cache.get(JOB, key).await.is_ok());
}

/// A disk of that many bytes, as long as the guard lives. None where this user
/// may not mount one.
fn small_disk(bytes: u64) -> Option<SmallDisk> {
    let folder = tempfile::tempdir().unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"])
        .arg(folder.path())
        .output();
    mounted.is_ok_and(|output| output.status.success()).then(|| SmallDisk(folder))
}

struct SmallDisk(tempfile::TempDir);

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0.path()).output();
    }
}

#[tokio::test]
async fn a_full_disk_is_told_after_all_that_nobody_needs_is_gone() {
    let Some(disk) = small_disk(256 * 1024) else {
        eprintln!("not shown: this user may not mount a small disk");
        return;
    };
    let (shelf, keys) = Shelf::new(&[100_000, 100_001, 100_002, 300_000]);
    let cache = bounded(&disk.0.path().join("cache"), shelf, u64::MAX);
    cache.get(JobId(0), keys[0]).await.unwrap();
    let second = cache.get(JobId(1), keys[1]).await.unwrap();
    // Both are needed.
    let error = Failure::from(cache.get(JobId(2), keys[2]).await.unwrap_err());
    let message = error.message.replace(&disk.0.path().to_string_lossy().into_owned(), "DISK");
    expect!["the disk of the blob folder DISK/cache is full; make room, or set blob.storage.directory or io.tmp.dirs to another disk: No space left on device (os error 28)"]
        .assert_eq(&message);
    assert_eq!(error.code, ErrorCode::Blob);
    assert_eq!(cache.size(), 200_001);
    cache.release(JobId(1)).await.unwrap();
    assert!(cache.get(JobId(2), keys[2]).await.is_ok());
    assert!(!second.exists());
    assert!(cache.get(JobId(3), keys[3]).await.is_err());
    // What is there is still of use.
    assert!(cache.get(JobId(3), keys[2]).await.is_ok());
}

#[tokio::test]
async fn a_job_that_is_released_while_its_blob_is_fetched_gets_no_path() {
    let root = tempfile::tempdir().unwrap();
    let source = Source::new(b"component");
    source.gate.forget_permits(100);
    let cache = cache(root.path(), source.clone());
    let key = BlobKey::of(b"component");
    let asking = tokio::spawn({
        let cache = cache.clone();
        async move { cache.get(JOB, key).await }
    });
    while source.fetches() == 0 {
        tokio::task::yield_now().await;
    }
    cache.release(JOB).await.unwrap();
    source.gate.add_permits(1);
    assert!(matches!(asking.await.unwrap(), Err(Error::NotRetained { .. })));
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn what_an_earlier_process_left_is_removed() {
    let root = tempfile::tempdir().unwrap();
    let key = BlobKey::of(b"component");
    cache(root.path(), Source::new(b"component")).get(JOB, key).await.unwrap();
    cache(root.path(), Source::new(b"component"));
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_server_in_the_same_process_is_a_source() {
    let (stored, cached) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = BlobServer::open(ServerOptions::new(stored.path())).unwrap();
    let key = server.put(Bytes::from_static(b"component")).await.unwrap();
    let cache = BlobCache::open(CacheOptions::new(cached.path()), Arc::new(server)).unwrap();
    assert_eq!(cache.get_bytes(JOB, key).await.unwrap(), "component");
    let unknown = cache.get(JOB, BlobKey::of(b"unknown")).await.unwrap_err();
    assert!(Failure::from(unknown).message.contains("upload it again"));
}
