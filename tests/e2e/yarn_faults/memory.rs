//! What a job may take stays below what its container has, which YARN's nodes
//! look after.

use crate::world::Yarn;
use heddle_tests::{guest, peak_resident_of};
use std::time::Duration;

const CONTAINER: u64 = 512 << 20;

#[test]
fn a_job_that_takes_all_it_may_stays_below_its_container() {
    let Some(yarn) = Yarn::real() else { return };
    let mut peak = 0;
    let run = yarn.heddle(&["run", "-t", "yarn-per-job", "-p", "1"]).args([
        "-Djobmanager.memory.process.size=256m",
        "-Dtaskmanager.memory.process.size=512m",
        "-Dtaskmanager.numberOfTaskSlots=1",
        "-Dtaskmanager.memory.managed.size=16m",
        "-Drestart-strategy.type=fixed-delay",
        "-Drestart-strategy.fixed-delay.attempts=3",
        "-Drestart-strategy.fixed-delay.delay=200 ms",
    ]);
    let run = run.arg(guest("hostile")).arg("memory-bomb").run_while(|child| {
        // Until the command ends, whatever its job comes to.
        let stat = format!("/proc/{}/stat", child.id());
        while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
            for container in yarn.containers("taskexecutor") {
                peak = peak.max(peak_resident_of(container.pid));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    // Not its node, but its own budget ended it.
    let run = run.expect_error("H3503", &["error[H2004]", "taskmanager.memory.task.size"]);
    assert!(!run.stderr.contains("its node killed it"), "{}", run.stderr);
    assert!(peak > CONTAINER / 3, "it has not taken what it may: {peak} bytes");
    assert!(peak < CONTAINER, "{peak} bytes in a container of {CONTAINER}");
}
