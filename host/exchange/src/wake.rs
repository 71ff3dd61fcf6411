//! Lets other workers run the task at the other end of a channel.
//!
//! Tokio keeps the task that a worker woke last for that worker, and no other
//! can take it, while the worker goes on with the end that it runs: the two
//! ends would take turns on one worker while others sleep. A task that does
//! nothing takes the place and sends the other one to where all can take it.
//! That costs the system a wake-up, so it is done where the other end has work
//! for long.

use std::task::Waker;
use tokio::runtime::Handle;

/// Wakes a producer, which is told only when its channel is half empty: the
/// consumer has the other half to do.
pub(crate) fn wake_producer(waker: Waker) {
    waker.wake();
    let_others_run_it();
}

/// A channel holds so many batches, one more than before: when it gets half
/// full, its consumer should not wait for the producer's worker.
pub(crate) fn queued(batches: usize, capacity: usize) {
    if batches == capacity.div_ceil(2) {
        let_others_run_it();
    }
}

fn let_others_run_it() {
    if let Ok(runtime) = Handle::try_current() {
        drop(runtime.spawn(std::future::ready(())));
    }
}
