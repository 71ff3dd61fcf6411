//! Processes of one cluster whose configurations do not fit together.

use crate::harness::Cluster;
use heddle_tests::guest;

#[test]
fn a_task_executor_with_smaller_slots_is_refused_with_both_values_and_ends() {
    let cluster = Cluster::new(&[]);
    let job_manager = cluster.job_manager(&[]);
    let small = cluster.task_executor_to_be(&["-Dtaskmanager.memory.process.size=900m"]);
    let (status, log) = small.ended();
    assert!(!status.success(), "{log}");
    for words in ["of task memory where", "are needed", "taskmanager.memory.*"] {
        assert!(log.contains(words), "`{words}` expected in:\n{log}");
        assert!(job_manager.log().contains(words), "`{words}` expected in:\n{}", job_manager.log());
    }
    let _larger = cluster.task_executor(&["-Dtaskmanager.memory.process.size=3g"]);
    cluster.run_word_count();
}

#[test]
fn a_task_executor_that_would_not_wait_for_heartbeats_is_refused_with_both_values_and_ends() {
    let cluster = Cluster::new(&[]);
    let job_manager = cluster.job_manager(&["-Dheartbeat.interval=10s", "-Dheartbeat.timeout=50s"]);
    let hasty = cluster.task_executor_to_be(&["-Dheartbeat.interval=1s", "-Dheartbeat.timeout=5s"]);
    let (status, log) = hasty.ended();
    assert!(!status.success(), "{log}");
    for words in ["waits 5s for a heartbeat", "sends one every 10s", "set heartbeat.* alike"] {
        assert!(log.contains(words), "`{words}` expected in:\n{log}");
        assert!(job_manager.log().contains(words), "`{words}` expected in:\n{}", job_manager.log());
    }
    let _patient = cluster.task_executor(&["-Dheartbeat.interval=1s", "-Dheartbeat.timeout=11s"]);
    cluster.run_word_count();
}

#[test]
fn a_client_cannot_grant_its_job_more_than_the_task_executors_do() {
    let cluster = Cluster::new(&[("restart-strategy.type", "none")]);
    let _job_manager = cluster.job_manager(&[]);
    let _task_executor = cluster.task_executor(&["-Dtaskmanager.wasm.grants=clocks"]);
    let run = |grants: &str| {
        let grants = format!("-Dtaskmanager.wasm.grants={grants}");
        cluster.heddle(&["run", "-q", "-t", "remote", &grants]).arg(guest("faulty")).run()
    };
    run("clocks").expect_success();
    run("").expect_success();
    run("clocks;random").expect_error("H1003", &["`clocks;random`", "`clocks`", "taskmanager.wasm.grants"]);
}

#[test]
fn a_component_longer_than_a_process_takes_is_told_with_that_limit() {
    let cluster = Cluster::new(&[("restart-strategy.type", "none")]);
    let job_manager = cluster.job_manager(&["-Dblob.max-size=64kb"]);
    let size = std::fs::metadata(guest("faulty")).expect("the guest").len().to_string();
    let run = || cluster.heddle(&["run", "-q", "-t", "remote"]).arg(guest("faulty")).run();
    // The JobManager's limit is lower than the client's,
    run().expect_error("H3201", &["65536", &size, "blob.max-size"]);
    assert_eq!(cluster.statuses(), [""; 0]);
    job_manager.kill();
    // a TaskExecutor's is lower than the JobManager's,
    let _job_manager = cluster.job_manager(&[]);
    let small = cluster.task_executor_apart(&["-Dblob.max-size=64kb"]);
    run().expect_error("H3201", &["65536", &size, "blob.max-size"]);
    small.kill();
    // and its cache is too small for a single one.
    let small = cluster.task_executor_apart(&["-Dblob.cache.size=64kb"]);
    run().expect_error("H3201", &["65536", &size, "blob.cache.size"]);
    small.kill();
    let _task_executor = cluster.task_executor(&[]);
    run().expect_success();
}
