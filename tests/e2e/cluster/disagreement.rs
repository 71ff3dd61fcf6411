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
