//! A folder in which processes come and go.

use heddle_ha::files::{self, FileOptions};
use heddle_ha::{Error, JobResultEntry, Leadership, Services};
use heddle_model::id::{BlobKey, JobId};
use heddle_model::job_graph::{ExecutionConfig, JobGraph};
use heddle_model::job_status::JobStatus;
use heddle_model::plan::Program;
use heddle_model::task::{Commitment, Committable};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

pub struct Storage(TempDir);

impl Storage {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn options(&self) -> FileOptions {
        FileOptions { poll_interval: Duration::from_millis(2), ..FileOptions::new(self.0.path(), "/default") }
    }

    pub fn folder(&self) -> PathBuf {
        self.options().folder().unwrap()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// The services of a process that takes no part in the election yet.
    pub async fn open(&self) -> Services {
        files::open(&self.options()).await.unwrap()
    }

    /// A process that leads, and its session.
    pub async fn lead(&self) -> (Services, u128) {
        let mut services = self.open().await;
        let session = granted(&mut services).await;
        (services, session)
    }

    pub fn names(&self, part: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.file(part)).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

pub async fn granted(services: &mut Services) -> u128 {
    let next = tokio::time::timeout(Duration::from_secs(30), services.dispatcher_election.next());
    match next.await.expect("leadership changes") {
        Leadership::Granted { session } => session,
        Leadership::Revoked => panic!("revoked"),
    }
}

pub fn graph(bits: u128) -> JobGraph {
    JobGraph {
        job_id: JobId(bits),
        name: format!("job {bits}"),
        component: BlobKey::of(b"component"),
        program: Program::default(),
        execution: ExecutionConfig::default(),
        vertices: Vec::new(),
    }
}

pub fn entry(bits: u128) -> JobResultEntry {
    JobResultEntry {
        job_id: JobId(bits),
        job_name: "job".into(),
        status: JobStatus::Finished,
        failure: None,
        start_time_ms: 1,
        runtime_ms: 2,
        accumulators: BTreeMap::from([("words".to_owned(), -3)]),
        collected: BTreeMap::from([("sink".to_owned(), vec!["a line".to_owned()])]),
    }
}

pub fn commitment(bits: u128) -> Commitment {
    Commitment {
        job_id: JobId(bits),
        start_time_ms: 1,
        first_sink_record_at_ms: Some(2),
        accumulators: BTreeMap::from([("words".to_owned(), -3)]),
        committables: vec![
            Committable { sink: 4, content: br#"{"lines":["a"]}"#.to_vec() },
            Committable { sink: 5, content: vec![0xff, 0] },
        ],
    }
}

/// The message of a storage failure; it names this file.
#[track_caller]
pub fn storage_failure<T: std::fmt::Debug>(outcome: Result<T, Error>, file: &Path) -> String {
    match outcome {
        Err(Error::Storage { reason, .. }) => {
            assert!(reason.contains(&file.display().to_string()), "{reason}");
            reason
        }
        other => panic!("{other:?}"),
    }
}
