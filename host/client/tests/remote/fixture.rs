//! Real roles behind a gRPC server that can be slammed shut, and a client.

use heddle_client::{ClusterClient, Connection, EmbeddedCluster, Job, JobRequest, RunningJob, Sandbox};
use heddle_connectors::Console;
use heddle_model::config::value::PortRange;
use heddle_model::config::{Configuration, Origin};
use heddle_model::failure::Failure;
use heddle_model::id::{DispatcherId, ResourceManagerId};
use heddle_rpc::RpcService;
use heddle_rpc::grpc::{GrpcRpcService, Leaders, Options};
use heddle_wasm::{CompilerCommand, Grants, Runtime};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_secs(60);

pub struct NoConsole;

impl Console for NoConsole {
    fn write(&self, _: &str) -> std::io::Result<()> {
        Ok(())
    }
}

/// Writes down what it hears.
#[derive(Default)]
pub struct Heard(pub Mutex<Vec<&'static str>>);

impl Connection for Heard {
    fn lost(&self, _: &str, _: Duration) {
        self.0.lock().unwrap().push("lost");
    }
    fn found(&self, _: &str) {
        self.0.lock().unwrap().push("found");
    }
}

/// A file of what `dist` made.
pub fn dist(file: &str) -> PathBuf {
    let folder = std::env::var_os("HEDDLE_DIST")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/dist"), PathBuf::from);
    let path = folder.join(file);
    assert!(path.is_file(), "{} is not there: run `cargo xtask dist` first", path.display());
    path
}

pub fn configured(folder: &Path, pairs: &[(&str, &str)]) -> Configuration {
    let mut configuration = Configuration::new();
    let mut set = |key: &str, value: &str| configuration.set(key, value, Origin::DynamicProperty).unwrap();
    set("io.tmp.dirs", folder.to_str().unwrap());
    pairs.iter().for_each(|(key, value)| set(key, value));
    configuration
}

fn sandbox(folder: &Path) -> Sandbox {
    let compiler =
        CompilerCommand { program: dist("bin/heddle"), arguments: vec!["compile-component".to_owned()] };
    let runtime = Runtime::new(heddle_wasm::Options::new(folder.join("compiled"), compiler)).unwrap();
    Sandbox { runtime, grants: Grants::default() }
}

/// A server in front of a cluster's dispatcher, under a leader session.
pub struct Door {
    pub rpc: GrpcRpcService,
    shutdown: CancellationToken,
    tasks: JoinSet<()>,
}

impl Door {
    pub async fn open(cluster: &EmbeddedCluster, port: u16, session: u128) -> Self {
        let options = Options {
            bind_host: "127.0.0.1".into(),
            advertised_host: "127.0.0.1".into(),
            ports: PortRange::from(port),
            ..Options::job_manager(&Configuration::new(), Some("test".into()))
        };
        let (rpc, server) = GrpcRpcService::bind(options).await.unwrap();
        let dispatcher = rpc.address("dispatcher");
        rpc.serve_dispatcher(dispatcher.clone(), cluster.dispatcher());
        rpc.publish_leaders(Leaders {
            dispatcher: Some((dispatcher, DispatcherId(session))),
            resource_manager: Some((rpc.address("resourcemanager"), ResourceManagerId(session))),
            blob_server: None,
        });
        let shutdown = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(server.run(shutdown.clone()));
        Self { rpc, shutdown, tasks }
    }

    pub fn port(&self) -> u16 {
        self.rpc.local_address().port()
    }

    /// Breaks all connections at once.
    pub async fn slam(mut self) -> u16 {
        let port = self.port();
        self.tasks.shutdown().await;
        port
    }

    /// Ends in order.
    pub async fn close(mut self) {
        self.shutdown.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

/// A cluster with a door, and a client.
pub struct Fixture {
    pub folder: TempDir,
    pub sandbox: Sandbox,
    pub cluster: EmbeddedCluster,
    pub door: Door,
    pub heard: Arc<Heard>,
    pub client: ClusterClient,
}

impl Fixture {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    pub async fn start_with(options: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let sandbox = sandbox(folder.path());
        let configuration = configured(folder.path(), options);
        let cluster = EmbeddedCluster::start(&configuration, &sandbox, Arc::new(NoConsole)).unwrap();
        let door = Door::open(&cluster, 0, 1).await;
        let heard = Arc::<Heard>::default();
        let client = client(folder.path(), door.port(), &[], Arc::clone(&heard) as _);
        Self { folder, sandbox, cluster, door, heard, client }
    }

    pub async fn prepare(&self, component: &str, arguments: &[&str]) -> Job {
        self.prepare_with(component, arguments, &[]).await
    }

    pub async fn prepare_with(&self, component: &str, arguments: &[&str], options: &[(&str, &str)]) -> Job {
        let request = JobRequest {
            component: dist(component),
            arguments: arguments.iter().map(|text| (*text).to_owned()).collect(),
        };
        Job::prepare(&request, &configured(self.folder.path(), options), &self.sandbox).await.unwrap()
    }

    pub async fn submit_endless(&self) -> RunningJob {
        let job = self.prepare("test-guests/faulty.wasm", &["endless"]).await;
        self.client.submit(job).await.unwrap()
    }

    pub fn heard(&self) -> Vec<&'static str> {
        self.heard.0.lock().unwrap().clone()
    }
}

pub fn client(
    folder: &Path,
    port: u16,
    pairs: &[(&str, &str)],
    connection: Arc<dyn Connection>,
) -> ClusterClient {
    let port = port.to_string();
    let address = [("jobmanager.rpc.address", "127.0.0.1"), ("jobmanager.rpc.port", port.as_str())];
    ClusterClient::remote(&configured(folder, &[&address[..], pairs].concat()), connection).unwrap()
}

pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.unwrap_or_else(|_| panic!("waited in vain: {what}"))
}

pub async fn running(job: &RunningJob) {
    soon("the job runs", async {
        loop {
            let details = job.details().await.unwrap();
            if details.vertices.iter().any(|vertex| vertex.metrics.records_out > 0) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

pub fn failure<T>(result: Result<T, Failure>) -> Failure {
    match result {
        Err(failure) => failure,
        Ok(_) => panic!("a failure was expected"),
    }
}
