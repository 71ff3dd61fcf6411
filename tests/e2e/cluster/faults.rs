//! Processes that are killed, stalled and replaced while a job runs. Its output
//! is exact after each.

use crate::harness::Cluster;
use rustix::process::Signal;
use std::time::Duration;

/// A job has begun when a TaskExecutor has computed for so long.
const BEGUN: Duration = Duration::from_millis(400);

#[test]
fn a_task_executor_is_killed_and_the_job_goes_on_at_another() {
    let cluster = Cluster::new(&[]);
    let mut job_manager = cluster.job_manager(&[]);
    let first = cluster.task_executor(&[]);
    let output = cluster.path("totals");
    cluster.submit_totals(&output);
    first.computes(BEGUN);
    let _second = cluster.task_executor(&[]);
    assert_eq!(cluster.statuses(), ["RUNNING"]);
    first.kill();
    job_manager.says("task executor is gone");
    cluster.totals_are_exact(&output);
}

#[test]
fn the_job_manager_is_killed_and_its_successor_recovers_the_job() {
    let cluster = Cluster::highly_available(&[]);
    let job_manager = cluster.job_manager(&[]);
    let mut task_executor = cluster.task_executor(&[]);
    let output = cluster.path("totals");
    cluster.submit_totals(&output);
    task_executor.computes(BEGUN);
    assert_eq!(cluster.statuses(), ["RUNNING"]);
    job_manager.kill();
    let mut successor = cluster.job_manager(&[]);
    successor.says("recovering a job");
    task_executor.says_times("registered at the resource manager", 2);
    cluster.totals_are_exact(&output);
    // What has ended stays known to the next one.
    successor.says("cleaned up");
    successor.kill();
    let _third = cluster.job_manager(&[]);
    cluster.totals_are_exact(&output);
}

#[test]
fn a_second_job_manager_stands_by_and_takes_over() {
    let cluster = Cluster::highly_available(&[]);
    let leader = cluster.job_manager(&["-Djobmanager.rpc.port=0"]);
    let mut task_executor = cluster.task_executor(&[]);
    let mut standby = cluster.job_manager(&[]);
    assert!(!standby.log().contains("leadership granted"), "{}", standby.log());
    leader.kill();
    standby.says("leadership granted");
    task_executor.says_times("registered at the resource manager", 2);
    cluster.run_word_count();
}

#[test]
fn a_task_executor_that_stalls_is_replaced_and_comes_back() {
    let cluster = Cluster::new(&[]);
    let mut job_manager = cluster.job_manager(&[]);
    let mut first = cluster.task_executor(&[]);
    let output = cluster.path("totals");
    cluster.submit_totals(&output);
    first.computes(BEGUN);
    let _second = cluster.task_executor(&[]);
    assert_eq!(cluster.statuses(), ["RUNNING"]);
    first.signal(Signal::STOP);
    job_manager.says("task executor is gone");
    first.signal(Signal::CONT);
    first.says_times("registered at the resource manager", 2);
    cluster.totals_are_exact(&output);
}
