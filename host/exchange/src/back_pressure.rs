//! How long the producers of a partition wait for credit: counters that the
//! task reads while it runs. Nothing here knows channels.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long the sends of a partition have waited for room. A cheap handle.
#[derive(Clone, Debug)]
pub struct BackPressure(Arc<BlockedTime>);

#[derive(Debug)]
struct BlockedTime {
    origin: Instant,
    /// Waits that ended, nanoseconds.
    past: AtomicU64,
    /// When the wait that goes on began, nanoseconds since `origin`.
    since: AtomicU64,
    waiting: AtomicU32,
}

impl Default for BackPressure {
    fn default() -> Self {
        Self(Arc::new(BlockedTime {
            origin: Instant::now(),
            past: AtomicU64::new(0),
            since: AtomicU64::new(0),
            waiting: AtomicU32::new(0),
        }))
    }
}

impl BackPressure {
    /// Whether a send waits right now.
    pub fn is_waiting(&self) -> bool {
        self.0.waiting.load(Ordering::Relaxed) > 0
    }

    /// The time that sends have waited, the wait that goes on included.
    /// Waits at the same time count once.
    pub fn total(&self) -> Duration {
        let mut nanos = self.0.past.load(Ordering::Relaxed);
        if self.is_waiting() {
            nanos += self.0.now().saturating_sub(self.0.since.load(Ordering::Relaxed));
        }
        Duration::from_nanos(nanos)
    }

    pub(crate) fn begin(&self) {
        if self.0.waiting.fetch_add(1, Ordering::Relaxed) == 0 {
            self.0.since.store(self.0.now(), Ordering::Relaxed);
        }
    }

    pub(crate) fn end(&self) {
        if self.0.waiting.fetch_sub(1, Ordering::Relaxed) == 1 {
            let waited = self.0.now().saturating_sub(self.0.since.load(Ordering::Relaxed));
            self.0.past.fetch_add(waited, Ordering::Relaxed);
        }
    }
}

impl BlockedTime {
    fn now(&self) -> u64 {
        self.origin.elapsed().as_nanos() as u64
    }
}
