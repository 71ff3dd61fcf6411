//! What happens on the way between processes: a partition between two
//! TaskExecutors, content that changes.

use crate::harness::{Cluster, Process, free_port};
use crate::proxy::{HOST, Of, Parting, Proxy};
use heddle_tests::{Run, count_words, counts, example, published_lines, wait_until};

/// Bytes to the other TaskExecutor before the two are parted: the job is amid
/// its work.
const PASSED: usize = 1 << 20;

/// A TaskExecutor of one slot, and the wires to it.
struct Behind {
    _task_executor: Process,
    data: Proxy,
    _rpc: Proxy,
}

fn task_executor_behind_proxies(cluster: &Cluster) -> Behind {
    let (data, rpc) = (free_port(), free_port());
    let proxies = (Proxy::before(data), Proxy::before(rpc));
    let task_executor = cluster.task_executor(&[
        &format!("-Dtaskmanager.host={HOST}"),
        &format!("-Dtaskmanager.data.port={data}"),
        &format!("-Dtaskmanager.rpc.port={rpc}"),
    ]);
    Behind { _task_executor: task_executor, data: proxies.0, _rpc: proxies.1 }
}

/// Runs a job on two TaskExecutors, parts them, and mends it once the job has
/// failed for it.
#[track_caller]
fn a_job_outlives(parting: Parting, causes: &[&str]) {
    let cluster = Cluster::new(&[("heartbeat.timeout", "2 s"), ("taskmanager.numberOfTaskSlots", "1")]);
    let mut job_manager = cluster.job_manager(&[]);
    let ends = [task_executor_behind_proxies(&cluster), task_executor_behind_proxies(&cluster)];
    ends[0].data.part_after(PASSED, parting);
    let output = cluster.path("totals");
    cluster.submit_totals(&output);
    wait_until("data has passed", || ends[0].data.parted());
    ends[1].data.part(parting);
    job_manager.says("tasks start again after a failure");
    let told = causes.iter().any(|cause| job_manager.log().contains(&format!("was lost: {cause}")));
    assert!(told, "{}", job_manager.log());
    ends.iter().for_each(|end| end.data.mend());
    cluster.totals_are_exact(&output);
    // The JobManager saw both of them all the time.
    assert!(!job_manager.log().contains("task executor is gone"), "{}", job_manager.log());
}

#[test]
fn connections_between_two_task_executors_break_and_the_job_goes_on() {
    a_job_outlives(Parting::Cut, &["the other end closed it", "Connection reset", "Broken pipe"]);
}

#[test]
fn two_task_executors_hear_nothing_of_each_other_and_the_job_goes_on() {
    a_job_outlives(Parting::Hold, &["the other end was silent for 2s", "the other end does not read"]);
}

/// A JobManager behind a proxy that every other process takes for it.
fn behind_a_proxy(further: &[(&str, &str)]) -> (Cluster, Process, Proxy) {
    let cluster = Cluster::new(&[&[("jobmanager.rpc.address", HOST)], further].concat());
    let proxy = Proxy::before(cluster.port);
    let job_manager = cluster.job_manager(&[]);
    (cluster, job_manager, proxy)
}

fn word_count(cluster: &Cluster, text: &str) -> Run {
    let input = cluster.path("words.txt");
    std::fs::write(&input, text).expect("an input");
    let run = cluster.heddle(&["run", "-q", "-t", "remote"]).arg(example("word-count"));
    run.arg("--input").arg(&input).arg("--output").arg(cluster.path("counts")).run()
}

#[test]
fn a_component_that_is_damaged_on_its_way_is_sent_and_fetched_again() {
    let (cluster, job_manager, proxy) = behind_a_proxy(&[]);
    let task_executor = cluster.task_executor_apart(&[]);
    let component = std::fs::read(example("word-count")).expect("a component");
    proxy.damage(Of::Client, 1, &component);
    proxy.damage(Of::Server, 1, &component);
    let text = "to be or not to be\n".repeat(100);
    word_count(&cluster, &text).expect_success();
    assert_eq!((proxy.to_damage(Of::Client), proxy.to_damage(Of::Server)), (0, 0), "{}", job_manager.log());
    assert_eq!(counts(&published_lines(&cluster.path("counts"))), count_words(text.as_bytes()));
    let log = task_executor.log();
    assert!(log.contains("a blob arrived corrupted, fetching it again"), "{log}");
}

#[test]
fn a_component_that_is_damaged_whenever_it_is_sent_is_refused() {
    let (cluster, _job_manager, proxy) = behind_a_proxy(&[]);
    let component = std::fs::read(example("word-count")).expect("a component");
    proxy.damage(Of::Client, u32::MAX, &component);
    word_count(&cluster, "to be\n").expect_error("H3202", &["corrupted", "checksum"]);
    proxy.damage(Of::Client, 0, &component);
    let _task_executor = cluster.task_executor(&[]);
    word_count(&cluster, "to be\n").expect_success();
    assert_eq!(cluster.statuses(), ["FINISHED"], "the refused one has left nothing");
}
