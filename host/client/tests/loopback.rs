//! A whole job on TaskExecutors that exchange over TCP, with the program and
//! the component that `cargo xtask dist` made.

use heddle_client::{EmbeddedCluster, Exchange, Job, JobRequest, Networks, Sandbox};
use heddle_connectors::Console;
use heddle_model::config::{Configuration, Origin};
use heddle_model::job_status::JobStatus;
use heddle_wasm::{CompilerCommand, Grants, Options, Runtime};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(120);

struct NoConsole;

impl Console for NoConsole {
    fn write(&self, _: &str) -> std::io::Result<()> {
        Ok(())
    }
}

/// A file of what `dist` made.
fn dist(file: &str) -> PathBuf {
    let folder = std::env::var_os("HEDDLE_DIST")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/dist"), PathBuf::from);
    let path = folder.join(file);
    assert!(path.is_file(), "{} is not there: run `cargo xtask dist` first", path.display());
    path
}

/// Words of known counts: word `i` of `words` stands `i + 1` times a file.
fn write_text(folder: &Path, files: u64, words: u64) -> BTreeMap<String, u64> {
    std::fs::create_dir_all(folder).unwrap();
    for file in 0..files {
        let mut text = String::new();
        for round in 0..words {
            for word in round..words {
                text.push_str(&format!("word{word}{}", if word % 10 == 9 { "\n" } else { " " }));
            }
        }
        std::fs::write(folder.join(format!("{file}.txt")), text).unwrap();
    }
    (0..words).map(|word| (format!("word{word}"), files * (word + 1))).collect()
}

fn counts(folder: &Path) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        for line in std::fs::read_to_string(entry.unwrap().path()).unwrap().lines() {
            let (word, count) = line.rsplit_once(',').unwrap();
            assert_eq!(counts.insert(word.to_owned(), count.parse().unwrap()), None, "{word} stands twice");
        }
    }
    counts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_over_several_task_executors_counts_exactly_and_its_times_add_up() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("text"), folder.path().join("counts"));
    let expected = write_text(&input, 6, 700);

    let mut configuration = Configuration::new();
    for (key, value) in [
        ("io.tmp.dirs", folder.path().to_str().unwrap()),
        ("execution.runtime-mode", "BATCH"),
        ("parallelism.default", "3"),
        ("taskmanager.memory.segment-size", "1kb"),
    ] {
        configuration.set(key, value, Origin::DynamicProperty).unwrap();
    }
    let compiler =
        CompilerCommand { program: dist("bin/heddle"), arguments: vec!["compile-component".to_owned()] };
    let runtime = Runtime::new(Options::new(folder.path().join("compiled"), compiler)).unwrap();
    let sandbox = Sandbox { runtime, grants: Grants::default() };
    let networks = Networks::default();
    let cluster = EmbeddedCluster::start_with(
        &configuration,
        &sandbox,
        Arc::new(NoConsole),
        Exchange::Loopback(networks.clone()),
    )
    .unwrap();

    let arguments = ["--input", input.to_str().unwrap(), "--output", output.to_str().unwrap()];
    let request = JobRequest {
        component: dist("examples/word-count.wasm"),
        arguments: arguments.map(str::to_owned).to_vec(),
    };
    let job = Job::prepare(&request, &configuration, &sandbox).await.unwrap();
    let dispatcher = cluster.dispatcher();
    dispatcher.put_blob(job.component.clone().into()).await.unwrap();
    let job_id = dispatcher.submit_job(job.graph.clone()).await.unwrap();
    let result = tokio::time::timeout(SOON, dispatcher.request_job_result(job_id)).await.unwrap().unwrap();
    assert_eq!(result.status, JobStatus::Finished, "{:?}", result.failure);
    assert_eq!(counts(&output), expected);

    let counts = networks.counts();
    assert_eq!(counts.len(), 3, "one slot a TaskExecutor");
    for of_one in &counts {
        assert_eq!((of_one.accepted, of_one.opened), (2, 2), "each reads from both others");
        assert_eq!((of_one.broke_protocol, of_one.turned_away), (0, 0));
    }
    for vertex in dispatcher.request_job(job_id).await.unwrap().vertices {
        for subtask in vertex.subtasks {
            let metrics = subtask.metrics;
            assert!(subtask.task_executor.is_some());
            let sum = metrics.busy_ms + metrics.back_pressured_ms + metrics.idle_ms;
            assert!(sum > 0 && sum <= result.runtime_ms + 3, "{metrics:?} within {} ms", result.runtime_ms);
        }
    }
    cluster.shut_down().await;
}
