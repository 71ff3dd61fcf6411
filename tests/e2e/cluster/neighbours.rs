//! Jobs of two tenants on one TaskExecutor, one of them hostile: the other one
//! neither waits for it nor is wrong.

use crate::harness::Cluster;
use heddle_tests::{guest, peak_resident_of, wait_until};
use std::time::Duration;

/// Slots of the good job and of the hostile one: each has a subtask for every
/// worker of a machine with two cores.
const SLOTS: &str = "4";

/// How long a call of a guest may take. Longer than a good job waits for
/// anything: it never ends because a loop beside it was ended.
const CALL_TIMEOUT: &str = "60 min";

/// Of text, four megabytes. If a worker went back to the loop after each step
/// of the good job, they would take minutes; fairly shared, twice as long as
/// alone.
const LINES: usize = 100_000;

/// Submits the hostile guest; gives the job's id.
fn attack(cluster: &Cluster, name: &str) -> String {
    let run = cluster.heddle(&["run", "-m", &cluster.remote(), "-d", "-p", "2"]);
    let run = run.args(["-D", "restart-strategy.fixed-delay.attempts=3"]).arg(guest("hostile")).arg(name);
    run.run().expect_success().stdout.trim().to_owned()
}

fn count(cluster: &Cluster, status: &str) -> usize {
    cluster.statuses().iter().filter(|found| *found == status).count()
}

#[test]
fn a_job_goes_on_and_is_right_beside_an_endless_loop_and_a_memory_bomb() {
    let cluster = Cluster::new(&[
        ("taskmanager.numberOfTaskSlots", SLOTS),
        ("taskmanager.memory.task.size", "256mb"),
        ("taskmanager.wasm.call-timeout", CALL_TIMEOUT),
    ]);
    let _job_manager = cluster.job_manager(&[]);
    let task_executor = cluster.task_executor(&[]);
    let alone = cluster.run_word_count_of(LINES);
    let looping = attack(&cluster, "endless-loop");
    wait_until("the loop runs", || count(&cluster, "RUNNING") == 1);
    task_executor.computes(Duration::from_secs(1));
    for _ in 0..3 {
        cluster.run_word_count();
        assert_eq!(count(&cluster, "RUNNING"), 1, "the loop still runs");
    }
    let beside = cluster.run_word_count_of(LINES);
    assert!(beside < 10 * alone + Duration::from_secs(3), "{beside:?} beside the loop, {alone:?} alone");
    cluster.cancel(&looping).expect_success();
    wait_until("the loop is cancelled", || count(&cluster, "CANCELED") == 1);

    attack(&cluster, "memory-bomb");
    while count(&cluster, "FAILED") == 0 {
        cluster.run_word_count();
    }
    // After it, too.
    cluster.run_word_count();
    let peak = peak_resident_of(task_executor.id());
    assert!(peak < 700 << 20, "{} MiB resident", peak >> 20);
    let log = task_executor.log();
    assert!(log.contains("H2004") && !log.contains("panicked"), "{log}");
}
