//! A fast source before a slow consumer, in a real process: what waits is
//! bounded, so memory stays flat however many records come by.

use heddle_tests::{Heddle, guest, resident_of};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Records of the job. A fast source that nobody holds back is done with them
/// at once; the consumer takes some seconds.
const RECORDS: usize = 3_000_000;

/// Resident memory may still grow by this much once the job runs evenly.
const GROWTH_MAX: u64 = 2 << 20;

#[test]
fn millions_of_records_before_a_slow_consumer_keep_memory_flat() {
    let ended = Arc::new(AtomicBool::new(false));
    let mut sampler = None;
    let run = Heddle::new()
        .args(["run", "-q", "-p", "2"])
        .arg(guest("faulty"))
        .args(["slow-sink", "--steps", "5000", "--records", &RECORDS.to_string()])
        .run_while(|child| {
            let (pid, ended) = (child.id(), Arc::clone(&ended));
            sampler = Some(std::thread::spawn(move || {
                let mut samples = Vec::new();
                while !ended.load(Ordering::Relaxed) {
                    samples.extend(Some(resident_of(pid)).filter(|resident| *resident > 0));
                    std::thread::sleep(Duration::from_millis(10));
                }
                samples
            }));
        })
        .expect_success();
    ended.store(true, Ordering::Relaxed);
    let samples = sampler.expect("it was started").join().expect("samples");
    // All records came by between the first sample and the last: the middle of
    // the run against its last third.
    let third = samples.len() / 3;
    let most = |samples: &[u64]| samples.iter().copied().max().unwrap_or(0);
    let (middle, last) = (most(&samples[third..2 * third]), most(&samples[2 * third..]));
    assert!(third > 30, "too short to tell: {} samples in {:?}", samples.len(), run.elapsed);
    assert!(last <= middle + GROWTH_MAX, "{} KiB, then {} KiB", middle >> 10, last >> 10);
    assert!(last < 300 << 20, "{} MiB resident", last >> 20);
}
