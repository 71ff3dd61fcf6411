//! What the blob server promises: content addresses, verification, limits,
//! life with the jobs.

use async_trait::async_trait;
use bytes::Bytes;
use heddle_blob::{BlobServer, Error, ServerOptions};
use heddle_ha::BlobStore;
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::{BlobKey, JobId};
use heddle_rpc::BlobServerGateway;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

const JOB: JobId = JobId(1);
const OTHER: JobId = JobId(2);

fn server(root: &Path) -> BlobServer {
    BlobServer::open(ServerOptions::new(root)).unwrap()
}

fn files(root: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        std::fs::read_dir(root).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn the_same_content_is_stored_once_under_its_checksum() {
    let root = tempfile::tempdir().unwrap();
    let server = server(root.path());
    let content = Bytes::from(vec![7; 1_000_000]);
    let key = server.put(content.clone()).await.unwrap();
    assert_eq!(key, BlobKey::of(&content));
    assert_eq!(server.put_from(std::io::Cursor::new(content.clone())).await.unwrap(), key);
    assert_eq!(files(root.path()), [key.to_string()]);
    assert_eq!(server.get(key).await.unwrap(), content);
    assert_eq!(std::fs::read(server.get_path(key).await.unwrap()).unwrap(), content);
}

#[tokio::test]
async fn a_corrupted_blob_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let server = server(root.path());
    let key = server.put(Bytes::from_static(b"component")).await.unwrap();
    std::fs::write(root.path().join(key.to_string()), b"componenT").unwrap();
    assert!(matches!(server.get(key).await, Err(Error::Corrupted { .. })));
    let error = server.get_path(key).await.unwrap_err();
    let failure = Failure::from(error);
    assert_eq!(failure.code, ErrorCode::BlobCorrupted);
    assert!(failure.message.contains("is corrupted"), "{failure}");

    // A new upload of the right content mends it.
    server.put(Bytes::from_static(b"component")).await.unwrap();
    assert_eq!(server.get(key).await.unwrap(), "component");
}

/// The copies of the high-availability storage, of one job.
struct Copies(TempDir);

#[async_trait]
impl BlobStore for Copies {
    async fn put(&self, _: JobId, key: BlobKey, file: &Path) -> Result<(), heddle_ha::Error> {
        std::fs::copy(file, self.0.path().join(key.to_string())).unwrap();
        Ok(())
    }
    async fn get(&self, job_id: JobId, key: BlobKey) -> Result<Option<PathBuf>, heddle_ha::Error> {
        let file = self.0.path().join(key.to_string());
        Ok((job_id == JOB && file.exists()).then_some(file))
    }
    async fn remove(&self, _: JobId) -> Result<(), heddle_ha::Error> {
        Ok(())
    }
}

#[tokio::test]
async fn what_a_job_needs_comes_back_from_its_copy() {
    let (root, copies) = (tempfile::tempdir().unwrap(), Arc::new(Copies(tempfile::tempdir().unwrap())));
    let server = server(root.path());
    server.use_copies(copies.clone());
    let key = server.put(Bytes::from_static(b"component")).await.unwrap();
    let file = root.path().join(key.to_string());
    copies.put(JOB, key, &file).await.unwrap();
    std::fs::write(&file, b"damaged").unwrap();
    assert!(matches!(server.get(key).await, Err(Error::Corrupted { .. })), "no job needs it");

    server.retain(JOB, key).await.unwrap();
    assert_eq!(server.get(key).await.unwrap(), "component");
    std::fs::write(&file, b"damaged").unwrap();
    assert_eq!(std::fs::read(server.get_path(key).await.unwrap()).unwrap(), b"component");
    std::fs::remove_file(&file).unwrap();
    let mut sent = server.get_blob(key).await.unwrap();
    assert_eq!(sent.next().await.unwrap().unwrap(), "component");

    // A server that starts anew gets it when the job is recovered.
    server.release(JOB).await.unwrap();
    server.sweep(Duration::ZERO).await.unwrap();
    assert!(!server.contains(key));
    assert!(matches!(server.retain(OTHER, key).await, Err(Error::Unknown { .. })), "not that job's");
    server.retain(JOB, key).await.unwrap();
    assert_eq!(server.get(key).await.unwrap(), "component");

    // A damaged copy is of no use.
    std::fs::write(copies.0.path().join(key.to_string()), b"damaged too").unwrap();
    std::fs::write(&file, b"damaged").unwrap();
    assert!(matches!(server.get(key).await, Err(Error::Corrupted { .. })));
}

#[tokio::test]
async fn a_blob_above_the_limit_leaves_nothing_behind() {
    let root = tempfile::tempdir().unwrap();
    let options = ServerOptions { max_blob_size: 10, ..ServerOptions::new(root.path()) };
    let server = BlobServer::open(options).unwrap();
    server.put(Bytes::from_static(b"0123456789")).await.unwrap();
    let error = server.put(Bytes::from_static(b"0123456789a")).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "a blob of 11 bytes is above the limit of 10 bytes; raise blob.max-size or ship less"
    );
    assert_eq!(files(root.path()).len(), 1);
}

#[tokio::test]
async fn a_reader_that_fails_leaves_nothing_behind() {
    struct Broken;
    impl std::io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("the line was cut"))
        }
    }
    let root = tempfile::tempdir().unwrap();
    let error = server(root.path()).put_from(Broken).await.unwrap_err();
    assert!(Failure::from(error).message.ends_with("failed: the line was cut"));
    assert_eq!(files(root.path()), [""; 0]);
}

#[tokio::test]
async fn an_unknown_blob_says_so() {
    let root = tempfile::tempdir().unwrap();
    let server = server(root.path());
    let key = BlobKey::of(b"never stored");
    assert!(matches!(server.get(key).await, Err(Error::Unknown { .. })));
    assert!(matches!(server.get_path(key).await, Err(Error::Unknown { .. })));
    assert!(matches!(server.retain(JOB, key).await, Err(Error::Unknown { .. })));
}

#[tokio::test]
async fn a_blob_lives_as_long_as_the_last_job_that_retains_it() {
    let root = tempfile::tempdir().unwrap();
    let server = server(root.path());
    let key = server.put(Bytes::from_static(b"a")).await.unwrap();
    server.retain(JOB, key).await.unwrap();
    server.retain(JOB, key).await.unwrap();
    server.retain(OTHER, key).await.unwrap();
    server.release(JOB).await.unwrap();
    server.release(JOB).await.unwrap();
    assert!(server.contains(key));
    server.release(OTHER).await.unwrap();
    assert!(!server.contains(key));
    assert_eq!(files(root.path()), [""; 0]);
}

#[tokio::test]
async fn an_upload_outlives_the_end_of_another_job_with_the_same_component() {
    let root = tempfile::tempdir().unwrap();
    let server = server(root.path());
    let key = server.put(Bytes::from_static(b"a")).await.unwrap();
    server.retain(JOB, key).await.unwrap();
    server.put(Bytes::from_static(b"a")).await.unwrap();
    server.release(JOB).await.unwrap();
    server.retain(OTHER, key).await.unwrap();
    server.release(OTHER).await.unwrap();
    assert!(!server.contains(key));
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_no_job_takes_over_is_swept() {
    let root = tempfile::tempdir().unwrap();
    let server = server(root.path());
    let abandoned = server.put(Bytes::from_static(b"a")).await.unwrap();
    let taken = server.put(Bytes::from_static(b"b")).await.unwrap();
    server.retain(JOB, taken).await.unwrap();
    tokio::time::advance(Duration::from_secs(60)).await;
    server.sweep(Duration::from_secs(3600)).await.unwrap();
    assert!(server.contains(abandoned));
    tokio::time::advance(Duration::from_secs(3600)).await;
    server.sweep(Duration::from_secs(3600)).await.unwrap();
    assert!(!server.contains(abandoned));
    assert!(server.contains(taken));
}

#[tokio::test]
async fn after_a_crash_whole_blobs_are_there_and_half_ones_are_gone() {
    let root = tempfile::tempdir().unwrap();
    let key = server(root.path()).put(Bytes::from_static(b"a")).await.unwrap();
    std::fs::write(root.path().join("1.2.tmp"), b"half").unwrap();
    let again = server(root.path());
    assert_eq!(files(root.path()), [key.to_string()]);
    again.retain(JOB, key).await.unwrap();
    again.release(JOB).await.unwrap();
    assert_eq!(files(root.path()), [""; 0]);
}

#[tokio::test]
async fn many_at_once_agree() {
    let root = tempfile::tempdir().unwrap();
    let server = server(root.path());
    let mut tasks = tokio::task::JoinSet::new();
    for job in 0..50_u128 {
        let server = server.clone();
        tasks.spawn(async move {
            let key = server.put(Bytes::from_static(b"shared")).await.unwrap();
            server.retain(JobId(job), key).await.unwrap();
            assert_eq!(server.get(key).await.unwrap(), "shared");
            server.release(JobId(job)).await.unwrap();
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    assert_eq!(files(root.path()), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn what_the_last_job_left_stays_while_there_is_room() {
    let root = tempfile::tempdir().unwrap();
    let server =
        BlobServer::open(ServerOptions { max_unneeded: 10, ..ServerOptions::new(root.path()) }).unwrap();
    let mut keys = Vec::new();
    for content in ["first", "other", "third", "larger than all"] {
        let key = server.put(Bytes::from_static(content.as_bytes())).await.unwrap();
        server.retain(JOB, key).await.unwrap();
        server.release(JOB).await.unwrap();
        keys.push(key);
        tokio::time::advance(Duration::from_secs(60)).await;
    }
    let there = |server: &BlobServer| keys.iter().map(|key| server.contains(*key)).collect::<Vec<_>>();
    assert_eq!(there(&server), [false, true, true, false], "the oldest gave way, and what is too large");

    // The next job needs no upload, and what it needs counts no more.
    server.retain(OTHER, keys[1]).await.unwrap();
    server.put(Bytes::from_static(b"first")).await.unwrap();
    server.retain(JOB, keys[0]).await.unwrap();
    server.release(JOB).await.unwrap();
    assert_eq!(there(&server), [true, true, true, false]);
    tokio::time::advance(Duration::from_secs(60)).await;
    server.release(OTHER).await.unwrap();
    assert_eq!(there(&server), [true, true, false, false]);

    tokio::time::advance(Duration::from_secs(60)).await;
    server.sweep(Duration::from_secs(60)).await.unwrap();
    assert_eq!(files(root.path()), [""; 0], "nothing stays for ever");
}

#[tokio::test]
async fn what_a_job_left_damaged_is_not_used() {
    let root = tempfile::tempdir().unwrap();
    let server =
        BlobServer::open(ServerOptions { max_unneeded: 10, ..ServerOptions::new(root.path()) }).unwrap();
    let key = server.put(Bytes::from_static(b"component")).await.unwrap();
    server.retain(JOB, key).await.unwrap();
    server.release(JOB).await.unwrap();
    std::fs::write(root.path().join(key.to_string()), b"componenT").unwrap();
    let refused = server.retain(OTHER, key).await;
    assert!(matches!(refused, Err(Error::Unknown { .. })), "{refused:?}");
    assert_eq!(files(root.path()), [""; 0]);

    server.put(Bytes::from_static(b"component")).await.unwrap();
    server.retain(OTHER, key).await.unwrap();
    assert_eq!(server.get(key).await.unwrap(), "component");
}

#[tokio::test]
async fn what_another_job_runs_with_is_verified_before_a_second_one_has_it() {
    let root = tempfile::tempdir().unwrap();
    let server = server(root.path());
    let key = server.put(Bytes::from_static(b"component")).await.unwrap();
    server.retain(JOB, key).await.unwrap();
    std::fs::write(root.path().join(key.to_string()), b"componenT").unwrap();
    let refused = server.retain(OTHER, key).await;
    assert!(matches!(refused, Err(Error::Unknown { .. })), "{refused:?}");

    // The second one's upload mends it for both, and each holds it.
    server.put(Bytes::from_static(b"component")).await.unwrap();
    server.retain(OTHER, key).await.unwrap();
    assert_eq!(server.get(key).await.unwrap(), "component");
    server.release(OTHER).await.unwrap();
    assert!(server.contains(key));
    server.release(JOB).await.unwrap();
    assert_eq!(files(root.path()), [""; 0]);
}
