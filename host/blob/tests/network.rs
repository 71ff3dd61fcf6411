//! Blobs over real connections: one fetch for all who ask, damage and breaks on
//! the way, limits.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use heddle_blob::{BlobCache, BlobServer, CacheOptions, Error, ServerOptions};
use heddle_model::config::Configuration;
use heddle_model::config::value::{ConfigValue, PortRange};
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::{BlobKey, JobId};
use heddle_model::job_graph::JobGraph;
use heddle_rpc::grpc::{GrpcClient, GrpcRpcService, Identity, Limits, Options, Role};
use heddle_rpc::{Address, BlobContent, DispatcherGateway, JobDetails, JobOverview, JobResult, RpcService};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const JOB: JobId = JobId(1);

/// Every byte of the contents here: easy to find on its way.
const FILLER: u8 = 0x5a;

fn content(size: usize) -> Bytes {
    Bytes::from(vec![FILLER; size])
}

/// Of the dispatcher's messages, those that carry blobs.
struct Uploads(BlobServer);

#[async_trait]
impl DispatcherGateway for Uploads {
    async fn put_blob(&self, content: BlobContent) -> heddle_rpc::Result<BlobKey> {
        self.0.put_content(content).await.map_err(|error| Failure::from(error).into())
    }
    async fn submit_job(&self, _: JobGraph) -> heddle_rpc::Result<JobId> {
        unreachable!("only blobs travel here")
    }
    async fn list_jobs(&self) -> heddle_rpc::Result<Vec<JobOverview>> {
        Ok(Vec::new())
    }
    async fn request_job(&self, _: JobId) -> heddle_rpc::Result<JobDetails> {
        unreachable!("only blobs travel here")
    }
    async fn request_job_result(&self, _: JobId) -> heddle_rpc::Result<JobResult> {
        unreachable!("only blobs travel here")
    }
    async fn shut_down_cluster(&self) -> heddle_rpc::Result<()> {
        unreachable!("nobody asks for it")
    }
    async fn cancel_job(&self, _: JobId) -> heddle_rpc::Result<()> {
        unreachable!("only blobs travel here")
    }
    async fn request_cluster_overview(&self) -> heddle_rpc::Result<heddle_rpc::ClusterOverview> {
        unreachable!("only blobs travel here")
    }
}

fn limits() -> Limits {
    Limits {
        ask_timeout: Duration::from_secs(30),
        max_message_size: 1 << 20,
        ..Limits::from_configuration(&Configuration::new())
    }
}

/// A JobManager as far as blobs go, and a TaskExecutor's cache.
struct Cluster {
    rpc: GrpcRpcService,
    blobs: BlobServer,
    client: GrpcClient,
    folder: TempDir,
    _server: JoinSet<()>,
}

impl Cluster {
    async fn start() -> Self {
        Self::with(limits(), 1 << 30).await
    }

    async fn with(limits: Limits, max_blob_size: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = ServerOptions { max_blob_size, ..ServerOptions::new(folder.path().join("blobs")) };
        let blobs = BlobServer::open(options).unwrap();
        let options = Options {
            limits: limits.clone(),
            bind_host: "127.0.0.1".into(),
            ports: PortRange::parse("0").unwrap(),
            advertised_host: "127.0.0.1".into(),
            ..Options::job_manager(&Configuration::new(), None)
        };
        let (rpc, server) = GrpcRpcService::bind(options).await.unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(server.run(CancellationToken::new()));
        rpc.serve_blob_server(rpc.address("blobserver"), Arc::new(blobs.clone()));
        rpc.serve_dispatcher(rpc.address("dispatcher"), Arc::new(Uploads(blobs.clone())));
        let client = GrpcClient::new(&Identity::new(Role::TaskExecutor, None), limits).unwrap();
        Self { rpc, blobs, client, folder, _server: tasks }
    }

    /// A cache that fetches through `at`.
    fn cache(&self, at: SocketAddr) -> BlobCache {
        let source = self.client.blob_server(&Address(format!("heddle://{at}/blobserver"))).unwrap();
        BlobCache::open(CacheOptions::new(self.folder.path().join("cache")), source).unwrap()
    }

    fn dispatcher(&self, at: SocketAddr) -> Arc<dyn DispatcherGateway> {
        self.client.dispatcher(&Address(format!("heddle://{at}/dispatcher"))).unwrap()
    }

    fn files(&self, folder: &str) -> usize {
        std::fs::read_dir(self.folder.path().join(folder)).unwrap().count()
    }
}

/// What a link does with a piece of a content that passes.
#[derive(Clone, Copy, PartialEq)]
enum Harm {
    Damage,
    Cut,
}

/// Forwards to another address, and harms the first `times` long runs of filler
/// that pass, in either direction.
struct Link {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Link {
    async fn start(target: SocketAddr, harm: Harm, times: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let left = Arc::new(AtomicUsize::new(times));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                let far = TcpStream::connect(target).await.unwrap();
                let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                let left = Arc::clone(&left);
                connections.spawn(async move {
                    // The end of either direction ends both.
                    tokio::select! {
                        () = forward(near_in, far_out, harm, &left) => {}
                        () = forward(far_in, near_out, harm, &left) => {}
                    }
                });
            }
        });
        Self { address, _tasks: tasks }
    }
}

async fn forward(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    harm: Harm,
    left: &AtomicUsize,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let piece = &mut buffer[..length];
        let run = piece.windows(1_000).position(|run| run.iter().all(|byte| *byte == FILLER));
        let one_less = |left: usize| left.checked_sub(1);
        if let Some(start) = run
            && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok()
        {
            match harm {
                Harm::Damage => piece[start + 500] ^= 1,
                Harm::Cut => return,
            }
        }
        if to.write_all(piece).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn a_blob_travels_there_and_is_fetched_once_for_all_who_ask() {
    let cluster = Cluster::start().await;
    let at = cluster.rpc.local_address();
    // Longer than any message may be, and than what may be under way.
    let content = content(20_000_001);
    let key = cluster.dispatcher(at).put_blob(content.clone().into()).await.unwrap();
    assert_eq!(key, BlobKey::of(&content));
    assert_eq!(cluster.blobs.get(key).await.unwrap(), content);
    let before = cluster.rpc.metrics().calls_received.get();
    let cache = cluster.cache(at);
    let mut subtasks = JoinSet::new();
    for _ in 0..100 {
        let cache = cache.clone();
        subtasks.spawn(async move { cache.get(JOB, key).await.unwrap() });
    }
    while let Some(path) = subtasks.join_next().await {
        assert_eq!(std::fs::metadata(path.unwrap()).unwrap().len(), 20_000_001);
    }
    assert_eq!(cluster.rpc.metrics().calls_received.get(), before + 1);
    assert_eq!(cache.get_bytes(JOB, key).await.unwrap(), content);
}

#[tokio::test]
async fn the_smallest_blobs_travel_too() {
    let cluster = Cluster::start().await;
    let at = cluster.rpc.local_address();
    let cache = cluster.cache(at);
    for size in [0, 1] {
        let key = cluster.dispatcher(at).put_blob(content(size).into()).await.unwrap();
        assert_eq!(cache.get_bytes(JOB, key).await.unwrap(), content(size));
    }
}

#[tokio::test]
async fn a_fetch_that_is_damaged_on_the_way_is_repeated_once() {
    for (times, succeeds) in [(1, true), (usize::MAX, false)] {
        let cluster = Cluster::start().await;
        let key = cluster.blobs.put(content(1_000_000)).await.unwrap();
        let link = Link::start(cluster.rpc.local_address(), Harm::Damage, times).await;
        let cache = cluster.cache(link.address);
        match cache.get_bytes(JOB, key).await {
            Ok(got) => assert!(succeeds && got == content(1_000_000)),
            Err(error) => {
                assert!(!succeeds);
                assert_eq!(Failure::from(error).code, ErrorCode::BlobCorrupted);
                assert_eq!(cluster.files("cache"), 0);
            }
        }
    }
}

#[tokio::test]
async fn an_upload_that_is_damaged_on_the_way_is_repeated_once() {
    for (times, succeeds) in [(1, true), (usize::MAX, false)] {
        let cluster = Cluster::start().await;
        let link = Link::start(cluster.rpc.local_address(), Harm::Damage, times).await;
        let put = cluster.dispatcher(link.address).put_blob(content(1_000_000).into()).await;
        if succeeds {
            assert_eq!(put, Ok(BlobKey::of(&content(1_000_000))));
            assert_eq!(cluster.blobs.get(put.unwrap()).await.unwrap(), content(1_000_000));
        } else {
            let Err(heddle_rpc::Error::Failure(failure)) = put else { panic!("{put:?}") };
            assert_eq!(failure.code, ErrorCode::BlobCorrupted);
            assert_eq!(cluster.files("blobs"), 0);
        }
    }
}

#[tokio::test]
async fn a_connection_that_breaks_leaves_nothing_half_done() {
    let cluster = Cluster::start().await;
    let key = cluster.blobs.put(content(1_000_000)).await.unwrap();
    cluster.blobs.retain(JOB, key).await.unwrap();
    let link = Link::start(cluster.rpc.local_address(), Harm::Cut, 2).await;
    let cache = cluster.cache(link.address);
    let error = cache.get(JOB, key).await.unwrap_err();
    assert!(matches!(error, Error::Fetch { .. }), "{error}");
    assert_eq!((cluster.files("cache"), cache.size()), (0, 0));

    let upload = cluster.dispatcher(link.address).put_blob(content(2_000_000).into()).await;
    assert!(matches!(upload, Err(heddle_rpc::Error::Unreachable { .. })), "{upload:?}");
    while cluster.files("blobs") > 1 {
        tokio::task::yield_now().await;
    }
    // Unharmed it goes.
    assert!(cache.get(JOB, key).await.is_ok());
    assert!(cluster.dispatcher(link.address).put_blob(content(2_000_000).into()).await.is_ok());
}

#[tokio::test]
async fn a_blob_above_the_limit_is_refused_before_it_has_come() {
    let cluster = Cluster::with(limits(), 100_000).await;
    let dispatcher = cluster.dispatcher(cluster.rpc.local_address());
    for size in [100_001, 50_000_000] {
        let refused = dispatcher.put_blob(content(size).into()).await;
        let Err(heddle_rpc::Error::Failure(failure)) = refused else { panic!("{refused:?}") };
        assert_eq!(failure.code, ErrorCode::Blob);
        assert_eq!(
            failure.message,
            format!(
                "a blob of {size} bytes is above the limit of 100000 bytes; raise blob.max-size or ship less"
            )
        );
    }
    assert_eq!(cluster.files("blobs"), 0);
    assert!(dispatcher.put_blob(content(100_000).into()).await.is_ok());
}

#[tokio::test]
async fn a_sender_that_stops_half_way_is_given_up() {
    let short = Limits { ask_timeout: Duration::from_millis(100), ..limits() };
    let cluster = Cluster::with(short, 1 << 30).await;
    let dispatcher = cluster.dispatcher(cluster.rpc.local_address());
    let half = futures_util::stream::iter([Ok(content(1_000))]).chain(futures_util::stream::pending());
    let stalled = BlobContent::stream(BlobKey::of(&content(2_000)), 2_000, half.boxed());
    let Err(heddle_rpc::Error::Failure(failure)) = dispatcher.put_blob(stalled).await else { panic!() };
    // Whichever end notices first.
    assert!([ErrorCode::NoAnswer, ErrorCode::Blob].contains(&failure.code), "{failure}");
    while cluster.files("blobs") > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_sender_whose_content_breaks_off_stores_nothing() {
    let cluster = Cluster::start().await;
    let dispatcher = cluster.dispatcher(cluster.rpc.local_address());
    let lost = Failure::new(ErrorCode::ConnectorIo, "the disk of the client broke");
    let half = futures_util::stream::iter([Ok(content(1_000)), Err(lost.into()), Ok(content(1_000))]);
    let broken = BlobContent::stream(BlobKey::of(&content(2_000)), 2_000, half.boxed());
    assert!(dispatcher.put_blob(broken).await.is_err());
    assert_eq!(cluster.files("blobs"), 0);
}

#[tokio::test]
async fn what_the_server_does_not_have_or_has_damaged_is_told() {
    let cluster = Cluster::start().await;
    let cache = cluster.cache(cluster.rpc.local_address());
    let unknown = Failure::from(cache.get(JOB, BlobKey::of(b"unknown")).await.unwrap_err());
    assert_eq!(unknown.code, ErrorCode::Blob);
    assert!(unknown.message.contains("is not stored here (any more); upload it again"), "{unknown}");

    let key = cluster.blobs.put(content(1_000_000)).await.unwrap();
    let file = cluster.folder.path().join("blobs").join(key.to_string());
    let mut damaged = content(1_000_000).to_vec();
    damaged[7] = 0;
    std::fs::write(file, damaged).unwrap();
    let failure = Failure::from(cache.get(JOB, key).await.unwrap_err());
    assert_eq!(failure.code, ErrorCode::BlobCorrupted);
    assert!(failure.message.contains("is corrupted"), "{failure}");
    assert_eq!(cluster.files("cache"), 0);
}
