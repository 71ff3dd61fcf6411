//! A fast source before a slow consumer, in a real process: what waits is
//! bounded, so memory stays flat.

use heddle_tests::{Heddle, guest, resident_of, signal, wait_until};
use std::time::{Duration, Instant};

/// Resident memory may still grow by this much once the job runs evenly.
const GROWTH_MAX: u64 = 8 << 20;

#[test]
fn an_endless_source_before_a_slow_sink_keeps_memory_flat() {
    let (mut early, mut late) = (0, 0);
    let run = Heddle::new().args(["run", "-q", "-p", "2"]).arg(guest("faulty")).arg("slow-sink").run_while(
        |child| {
            let began = Instant::now();
            wait_until("five seconds of work", || {
                let resident = resident_of(child.id());
                match began.elapsed().as_secs() {
                    0 => {}
                    1..3 => early = early.max(resident),
                    _ => late = late.max(resident),
                }
                began.elapsed() > Duration::from_secs(5)
            });
            signal(child.id(), rustix::process::Signal::INT);
        },
    );
    assert_eq!(run.code(), 130, "{}", run.stderr);
    assert!(early > 0 && late <= early + GROWTH_MAX, "{} MiB, then {} MiB", early >> 20, late >> 20);
    assert!(late < 300 << 20, "{} MiB resident", late >> 20);
}
