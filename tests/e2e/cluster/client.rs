//! Commands that talk to a cluster of real processes: run, list, info, cancel,
//! and what they say when something is not there.

use crate::harness::Cluster;
use heddle_tests::{Heddle, Run, count_words, counts, example, guest, published_lines, signal, wait_until};
use std::path::Path;
use std::time::Duration;

/// Of a job that lasts some seconds.
const RECORDS: u64 = 30_000_000;
const KEYS: u64 = 50;

/// Of a job without an end.
const STREAMING: &str = "-Dexecution.runtime-mode=STREAMING";

fn address(cluster: &Cluster) -> String {
    format!("127.0.0.1:{}", cluster.port)
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// A text of which every word is counted independently.
fn write_text(folder: &Path, lines: usize) -> Vec<u8> {
    std::fs::create_dir_all(folder).expect("a folder");
    let mut text = String::new();
    for line in 0..lines {
        text.push_str(&format!("alpha beta{} gamma{} delta\n", line % 7, line % 11));
    }
    std::fs::write(folder.join("text.txt"), &text).expect("a file");
    text.into_bytes()
}

/// Starts an endless job, detached; gives its id.
fn run_endless(cluster: &Cluster) -> String {
    let run = cluster
        .heddle(&["run", "-t", "remote", "-d"])
        .arg(STREAMING)
        .arg(guest("faulty"))
        .arg("endless")
        .run();
    let run = run.expect_success();
    run.stdout.trim().to_owned()
}

fn info(cluster: &Cluster, id: &str) -> serde_json::Value {
    let run = cluster.heddle(&["info", id, "--json"]).run().expect_success();
    serde_json::from_str(&run.stdout).expect("JSON")
}

fn wait_for_status(cluster: &Cluster, id: &str, status: &str) {
    wait_until(&format!("job {id} is {status}"), || info(cluster, id)["status"] == status);
}

#[test]
fn an_attached_run_counts_exactly_and_a_detached_one_can_be_followed_and_stopped() {
    let cluster = Cluster::new(&[]);
    let _job_manager = cluster.job_manager(&[]);
    let _task_executors = [cluster.task_executor(&[]), cluster.task_executor(&[])];
    let (input, output) = (cluster.path("text"), cluster.path("counts"));
    let text = write_text(&input, 5_000);
    let address = address(&cluster);
    let run = cluster
        .heddle(&["run", "-m", &address, "-p", "2", "-Dexecution.runtime-mode=BATCH"])
        .arg(example("word-count"))
        .args(["--input", path(&input), "--output", path(&output)])
        .run()
        .expect_success();
    assert_eq!(counts(&published_lines(&output)), count_words(&text));
    assert!(run.stderr.contains("FINISHED after"), "{}", run.stderr);

    let detached = cluster
        .heddle(&["run", "-m", &address, "-d"])
        .arg(STREAMING)
        .arg(guest("faulty"))
        .arg("endless")
        .run();
    let detached = detached.expect_success();
    let id = detached.stdout.trim().to_owned();
    assert_eq!(id.len(), 32, "only the id is printed: {}", detached.stdout);
    for command in ["info", "cancel"] {
        assert!(
            detached.stderr.contains(&format!("heddle {command} -m {address} {id}")),
            "{}",
            detached.stderr
        );
    }
    wait_until("the job works", || info(&cluster, &id)["vertices"][0]["metrics"]["records_out"] != 0);
    let shown = cluster.heddle(&["info", &id, "-m", &address]).run().expect_success();
    for word in ["RUNNING for", "1/1  RUNNING", "attempt 1", "/s; ", "% busy"] {
        assert!(shown.stdout.contains(word), "`{word}` expected in:\n{}", shown.stdout);
    }
    let listed = cluster.heddle(&["list", "-r"]).run().expect_success();
    assert!(
        listed.stdout.contains(&id) && listed.stdout.contains("TaskExecutors: 2, slots: 4, free: 3"),
        "{}",
        listed.stdout
    );
    let cancelled = cluster.heddle(&["cancel", &id]).run().expect_success();
    assert!(cancelled.stdout.starts_with(&format!("Cancelled job {id} after ")), "{}", cancelled.stdout);
    assert_eq!(info(&cluster, &id)["status"], "CANCELED");
    let listed = cluster.heddle(&["list"]).run().expect_success();
    assert!(listed.stdout.starts_with("No jobs; "), "{}", listed.stdout);
    let all = cluster.heddle(&["list", "-a"]).run().expect_success();
    assert!(all.stdout.contains("FINISHED") && all.stdout.contains("CANCELED"), "{}", all.stdout);
}

#[test]
fn ctrl_c_cancels_an_attached_run() {
    let cluster = Cluster::new(&[]);
    let _processes = (cluster.job_manager(&[]), cluster.task_executor(&[]));
    let run = cluster
        .heddle(&["run", "-t", "remote"])
        .arg(STREAMING)
        .arg(guest("faulty"))
        .arg("endless")
        .run_while(|child| {
            wait_until("the job is there", || {
                let listed = cluster.heddle(&["list", "-r", "--json"]).run().expect_success();
                listed.stdout.contains("RUNNING")
            });
            signal(child.id(), rustix::process::Signal::INT);
        });
    assert_eq!(run.code(), 130, "{}", run.stderr);
    let jobs = cluster.heddle(&["list", "-a", "--json"]).run().expect_success();
    let jobs: serde_json::Value = serde_json::from_str(&jobs.stdout).expect("JSON");
    assert_eq!((jobs.as_array().map(Vec::len), &jobs[0]["status"]), (Some(1), &"CANCELED".into()));
}

#[test]
fn ids_that_are_none_and_jobs_that_are_unknown_are_told() {
    let cluster = Cluster::new(&[]);
    let _processes = (cluster.job_manager(&[]), cluster.task_executor(&[]));
    let id = run_endless(&cluster);
    let mistyped = format!("{}{}", &id[..31], if id.ends_with('0') { '1' } else { '0' });
    for command in ["cancel", "info"] {
        cluster.heddle(&[command, &mistyped]).run().expect_error("H3102", &[&mistyped, &id]);
    }
    cluster
        .heddle(&["cancel", "word-count"])
        .run()
        .expect_error("H3102", &["`word-count`", "32 hexadecimal"]);
    let address = address(&cluster);
    cluster.heddle(&["info", "-m", &address, "x"]).run().expect_error("H3102", &["`x`", "32 hexadecimal"]);
    cluster.heddle(&["cancel", &id]).run().expect_success();
    cluster.heddle(&["cancel", &id]).run().expect_success();
}

#[test]
fn a_job_manager_that_is_not_there_is_told_with_its_address_and_the_time() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let ask = |arguments: &[&str]| {
        Heddle::new().args(arguments).args(["-m", &address, "-Drpc.ask.timeout=1s"]).run()
    };
    // One that takes connections and never speaks.
    let silent: Run = ask(&["list"]);
    assert!(silent.elapsed < Duration::from_secs(30), "{:?}", silent.elapsed);
    silent.expect_error("H3307", &[&address, "jobmanager.rpc.address"]);
    drop(listener);
    ask(&["list"]).expect_error("H3307", &[&address, "refused", "tries in"]);
    ask(&["cancel", "00000000000000000000000000000001"]).expect_error("H3307", &[&address]);
    Heddle::new()
        .args(["run", "-q", "-m", &address, "-Drpc.ask.timeout=1s"])
        .arg(guest("faulty"))
        .run()
        .expect_error("H3307", &[&address]);
    Heddle::new().args(["list", "-m", "a:port"]).run().expect_error("H1201", &["`a:port`", "HOST:PORT"]);
}

#[test]
fn lines_that_nobody_waits_for_are_dropped_and_that_is_told() {
    let cluster = Cluster::new(&[]);
    let _processes = (cluster.job_manager(&[]), cluster.task_executor(&[]));
    let job = ["main-iterates-a-map"];
    let attached =
        cluster.heddle(&["run", "-t", "remote", "-q"]).arg(guest("faulty")).args(job).run().expect_success();
    assert_eq!(attached.stdout.lines().count(), 101);
    let detached =
        cluster.heddle(&["run", "-t", "remote", "-d"]).arg(guest("faulty")).args(job).run().expect_success();
    assert!(detached.stderr.contains("`collect` sinks are dropped (sums)"), "{}", detached.stderr);
    wait_for_status(&cluster, detached.stdout.trim(), "FINISHED");
    // Where there is no cluster that goes on.
    let local = Heddle::new().args(["run", "-d"]).arg(guest("faulty")).run();
    local.expect_error("H1201", &["-d", "-m HOST:PORT"]);
}

#[test]
fn a_component_that_is_too_long_for_the_cluster_is_refused_with_the_limit() {
    let cluster = Cluster::new(&[("blob.max-size", "64kb")]);
    let _job_manager = cluster.job_manager(&[]);
    let size = std::fs::metadata(guest("faulty")).expect("the guest").len();
    assert!(size > 64 << 10);
    let run = cluster.heddle(&["run", "-q", "-t", "remote"]).arg(guest("faulty")).run();
    run.expect_error("H3201", &["65536", &size.to_string(), "blob.max-size"]);
    assert!(cluster.heddle(&["list", "-a"]).run().expect_success().stdout.starts_with("No jobs."));
}

#[test]
fn an_attached_run_goes_on_after_its_job_manager_was_killed_and_came_back() {
    let cluster = Cluster::highly_available(&[]);
    let job_manager = cluster.job_manager(&[]);
    let _task_executor = cluster.task_executor(&[]);
    let output = cluster.path("totals");
    let mut back = None;
    let run = cluster
        .heddle(&["run", "-t", "remote", "-p", "2"])
        .arg(example("running-total"))
        .args(["--keys", &KEYS.to_string(), "--records", &RECORDS.to_string(), "--output", path(&output)])
        .run_while(|_| {
            wait_until("the job runs", || cluster.statuses() == ["RUNNING"]);
            job_manager.kill();
            back = Some(cluster.job_manager(&[]));
        })
        .expect_success();
    assert!(run.stderr.contains("the connection to the JobManager is lost"), "{}", run.stderr);
    assert!(run.stderr.contains("connected again"), "{}", run.stderr);
    assert_eq!(published_lines(&output).len() as u64, KEYS, "each key once");
}
