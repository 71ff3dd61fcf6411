//! What the blob cache promises: one fetch however many ask, verification,
//! life with the jobs.

use async_trait::async_trait;
use bytes::Bytes;
use heddle_blob::{BlobCache, BlobServer, CacheOptions, Error, ServerOptions};
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::{BlobKey, JobId};
use heddle_rpc::{BlobContent, BlobServerGateway};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
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

#[tokio::test]
async fn a_blob_stays_until_the_last_job_is_released() {
    let root = tempfile::tempdir().unwrap();
    let source = Source::new(b"component");
    let cache = cache(root.path(), source.clone());
    let key = BlobKey::of(b"component");
    let path = cache.get(JOB, key).await.unwrap();
    assert_eq!(cache.get_bytes(OTHER, key).await.unwrap(), "component");
    cache.release(JOB).await.unwrap();
    assert!(path.exists());
    cache.release(OTHER).await.unwrap();
    assert!(!path.exists());
    cache.get(JOB, key).await.unwrap();
    assert_eq!(source.fetches(), 2);
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
