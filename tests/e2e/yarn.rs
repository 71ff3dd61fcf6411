//! Clusters on a real YARN, through the command line: `HEDDLE_TEST_YARN` names
//! the folder of its configuration. `cargo xtask test` starts the servers;
//! `cargo xtask servers up yarn` does so by hand.

use heddle_tests::{Heddle, count_words, counts, example, guest, published_lines, wait_until};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

/// The folder for `HADOOP_CONF_DIR`; none, loudly, if there are no servers.
fn conf() -> Option<OsString> {
    let conf = std::env::var_os("HEDDLE_TEST_YARN");
    if conf.is_none() {
        eprintln!("SKIPPED: HEDDLE_TEST_YARN names no real YARN; `cargo xtask servers up yarn` starts one");
    }
    conf
}

fn write_text(folder: &Path) -> BTreeMap<String, u64> {
    let text = "the loom and the thread\nthe heddle lifts the thread\n".repeat(1000);
    std::fs::create_dir_all(folder).expect("a folder");
    std::fs::write(folder.join("text.txt"), &text).expect("a file");
    count_words(text.as_bytes())
}

fn word_count(folder: &Path, run: Heddle) -> Heddle {
    run.args(["-Dtaskmanager.memory.process.size=512m", "-Dexecution.runtime-mode=BATCH"])
        .arg(example("word-count"))
        .arg("--input")
        .arg(folder.join("text"))
        .arg("--output")
        .arg(folder.join("counts"))
}

#[test]
fn an_application_counts_words_and_ends_with_its_job() {
    let Some(conf) = conf() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let expected = write_text(&folder.path().join("text"));
    let run = Heddle::new().env("HADOOP_CONF_DIR", &conf).args(["run", "-v", "-t", "yarn-application"]);
    let run = word_count(folder.path(), run).run().expect_success();
    assert!(run.stdout.starts_with("application_"), "{}", run.stdout);
    for step in 1..=9 {
        assert!(run.stderr.contains(&format!("{step}/9 ")), "step {step}:\n{}", run.stderr);
    }
    assert_eq!(counts(&published_lines(&folder.path().join("counts"))), expected);
}

#[test]
fn a_per_job_cluster_runs_the_shipped_graph_and_ends_with_it() {
    let Some(conf) = conf() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let expected = write_text(&folder.path().join("text"));
    let run = || Heddle::new().env("HADOOP_CONF_DIR", &conf).args(["run", "-t", "yarn-per-job"]);
    let attached = word_count(folder.path(), run()).run().expect_success();
    assert!(attached.stdout.starts_with("application_"), "{}", attached.stdout);
    assert_eq!(counts(&published_lines(&folder.path().join("counts"))), expected);
    std::fs::remove_dir_all(folder.path().join("counts")).expect("the counts go");
    word_count(folder.path(), run().arg("-d")).run().expect_success();
    let output = folder.path().join("counts");
    wait_until("a detached job has its output", || {
        let mut names = std::fs::read_dir(&output).into_iter().flatten().flatten();
        let is_whole =
            output.is_dir() && names.all(|name| !name.file_name().as_encoded_bytes().starts_with(b"."));
        is_whole && counts(&published_lines(&output)) == expected
    });
    // What is wrong with the job shows before anything is submitted.
    let wrong = run().arg(example("word-count")).run().expect_error("H1101", &[]);
    assert!(!wrong.stderr.contains("Submitted"), "{}", wrong.stderr);
}

#[test]
fn lines_that_nobody_will_read_are_told() {
    let Some(conf) = conf() else { return };
    let run = |target: &str| {
        let run = Heddle::new().env("HADOOP_CONF_DIR", &conf).args(["run", "-t", target]);
        let run = run.arg("-Dtaskmanager.memory.process.size=512m").arg(guest("faulty"));
        run.arg("main-iterates-a-map").run().expect_success().stderr
    };
    // The client has made the graph; elsewhere the JobManager tells it.
    let (before, _) = split_at_submission(&run("yarn-per-job"));
    assert!(before.contains("`collect` sinks are dropped (sums)"), "{before}");
    let (_, after) = split_at_submission(&run("yarn-application"));
    assert!(after.contains("`collect` sinks are dropped (sums)"), "{after}");
}

fn split_at_submission(stderr: &str) -> (String, String) {
    let (before, after) = stderr.split_once("Submitted application_").expect("it was submitted");
    (before.to_owned(), after.to_owned())
}

#[test]
fn a_session_runs_jobs_until_it_is_stopped() {
    let Some(conf) = conf() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let expected = write_text(&folder.path().join("text"));
    let session = Heddle::new()
        .env("HADOOP_CONF_DIR", &conf)
        .args(["yarn-session", "-d", "-jm", "256m", "-tm", "512m", "-s", "1", "-nm", "loom"])
        .run()
        .expect_success();
    let id = format!("-Dyarn.application.id={}", session.stdout.trim());
    let run = Heddle::new().env("HADOOP_CONF_DIR", &conf).args(["run", "-t", "yarn-session", &id]);
    word_count(folder.path(), run).run().expect_success();
    assert_eq!(counts(&published_lines(&folder.path().join("counts"))), expected);
    let list = Heddle::new().env("HADOOP_CONF_DIR", &conf).args(["list", "-a", &id]).run().expect_success();
    assert!(list.stdout.contains("FINISHED"), "{}", list.stdout);
    let said = folder.path().join("said");
    std::fs::write(&said, "stop\n").expect("a file");
    let stop = Heddle::new().env("HADOOP_CONF_DIR", &conf).input(&said);
    stop.args(["yarn-session", "-id", session.stdout.trim()]).run().expect_success();
    Heddle::new()
        .env("HADOOP_CONF_DIR", &conf)
        .args(["list", &id])
        .run()
        .expect_error("H3503", &["has ended", "FINISHED"]);
}

#[test]
fn what_cannot_run_is_told_with_the_numbers_or_the_names() {
    let Some(conf) = conf() else { return };
    let run = |options: &[&str]| {
        let run = Heddle::new().env("HADOOP_CONF_DIR", &conf).args(["run", "-t", "yarn-application"]);
        run.args(options).arg(example("word-count")).run()
    };
    run(&["-Dtaskmanager.memory.process.size=1t"]).expect_error(
        "H3503",
        &["a TaskExecutor needs 1048576 MiB", "no more than 8192 MiB", "taskmanager.memory.process.size"],
    );
    let failed = run(&["-Dyarn.application.queue=other"]).expect_error("H3503", &["other"]);
    assert!(failed.stderr.contains("YARN has no queue `other`"), "{}", failed.stderr);
    // The job's own error: it wants arguments.
    run(&["-Dtaskmanager.memory.process.size=512m"]).expect_error("H3503", &["APP_FAILED", "error[H1101]"]);
    let nowhere = Heddle::new().env("HADOOP_CONF_DIR", "/nowhere");
    nowhere
        .args(["run", "-t", "yarn-application"])
        .arg(example("word-count"))
        .run()
        .expect_error("H3501", &["yarn-site.xml", "/nowhere"]);
}
