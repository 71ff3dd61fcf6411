//! The embedded cluster without a job: it starts, answers, and leaves nothing
//! behind. Jobs are run by the tests of the command line.

use heddle_client::{EmbeddedCluster, Sandbox};
use heddle_connectors::Console;
use heddle_model::config::{Configuration, Origin};
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::{BlobKey, JobId};
use heddle_model::job_graph::JobGraph;
use std::path::Path;
use std::sync::Arc;

struct NoConsole;

impl Console for NoConsole {
    fn write(&self, _: &str) -> std::io::Result<()> {
        Ok(())
    }
}

fn configured(folder: &Path, pairs: &[(&str, &str)]) -> Configuration {
    let mut configuration = Configuration::new();
    let mut set = |key: &str, value: &str| configuration.set(key, value, Origin::DynamicProperty).unwrap();
    set("io.tmp.dirs", &folder.display().to_string());
    set("taskmanager.wasm.cache-dir", &folder.join("compiled").display().to_string());
    set("taskmanager.wasm.max-instances", "16");
    pairs.iter().for_each(|(key, value)| set(key, value));
    configuration
}

fn start(configuration: &Configuration) -> Result<EmbeddedCluster, Failure> {
    EmbeddedCluster::start(configuration, &Sandbox::open(configuration)?, Arc::new(NoConsole))
}

fn failure(error: heddle_rpc::Error) -> Failure {
    match error {
        heddle_rpc::Error::Failure(failure) => failure,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn it_starts_answers_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let configuration = configured(folder.path(), &[]);
    for _ in 0..2 {
        let cluster = start(&configuration).unwrap();
        let dispatcher = cluster.dispatcher();
        assert_eq!(dispatcher.list_jobs().await.unwrap(), []);

        let unknown = failure(dispatcher.request_job(JobId(7)).await.unwrap_err());
        assert_eq!(unknown.code, ErrorCode::NoSuchJob);

        let key = dispatcher.put_blob(bytes::Bytes::from_static(b"a component").into()).await.unwrap();
        assert_eq!(key, BlobKey::of(b"a component"));
        let empty = JobGraph {
            job_id: JobId(8),
            name: "empty".into(),
            component: key,
            program: Default::default(),
            execution: Default::default(),
            vertices: Vec::new(),
        };
        let refused = failure(dispatcher.submit_job(empty).await.unwrap_err());
        assert_eq!(refused.code, ErrorCode::PlanInvalid);

        cluster.shut_down().await;
        let left: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["compiled"]);
        assert!(dispatcher.list_jobs().await.is_err(), "it still answers");
    }
}

#[tokio::test]
async fn dropped_without_a_shutdown_it_ends_too() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = start(&configured(folder.path(), &[])).unwrap();
    let dispatcher = cluster.dispatcher();
    dispatcher.list_jobs().await.unwrap();
    drop(cluster);
    assert!(dispatcher.list_jobs().await.is_err(), "it still answers");
}

#[tokio::test]
async fn what_cannot_work_is_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    for (key, value) in [
        ("io.tmp.dirs", "/nowhere/at/all"),
        ("taskmanager.memory.process.size", "100m"),
        ("taskmanager.wasm.grants", "everything"),
    ] {
        let refused = match start(&configured(folder.path(), &[(key, value)])) {
            Err(failure) => failure,
            Ok(_) => panic!("{key}={value} was taken"),
        };
        assert_eq!(refused.code, ErrorCode::ConfigurationInvalid, "{refused}");
        assert!(refused.message.contains(key), "{refused}");
    }
}
