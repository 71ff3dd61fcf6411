//! Numbers of one subtask, written by its mailbox once a batch and read by the
//! service when it reports.

use crate::activity::Clock;
use heddle_model::task::TaskMetrics;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

/// Most accumulators that one job may keep: names come from the guest.
const ACCUMULATORS_MAX: usize = 1_000;

#[derive(Default)]
struct TaskCells {
    records_in: AtomicU64,
    records_out: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    first_sink_record_at_ms: AtomicU64,
    accumulators: Mutex<BTreeMap<String, i64>>,
}

/// Cheap to clone; one a subtask.
#[derive(Clone)]
pub struct Metrics {
    cells: Arc<TaskCells>,
    pub clock: Clock,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self { cells: Arc::default(), clock: Clock::start() }
    }

    pub fn add_in(&self, records: u32, bytes: usize) {
        self.cells.records_in.fetch_add(u64::from(records), Relaxed);
        self.cells.bytes_in.fetch_add(bytes as u64, Relaxed);
    }

    pub fn add_out(&self, records: u32, bytes: usize) {
        self.cells.records_out.fetch_add(u64::from(records), Relaxed);
        self.cells.bytes_out.fetch_add(bytes as u64, Relaxed);
    }

    /// Notes when the first record reached a sink; later calls change nothing.
    pub fn sink_reached(&self) {
        if self.cells.first_sink_record_at_ms.load(Relaxed) == 0 {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            self.cells.first_sink_record_at_ms.store(now.as_millis() as u64, Relaxed);
        }
    }

    /// Adds to accumulators. False: there would be too many of them.
    #[must_use]
    pub fn accumulate(&self, values: Vec<(String, i64)>) -> bool {
        let mut accumulators = self.cells.accumulators.lock().expect("no holder panics");
        for (name, value) in values {
            if accumulators.len() >= ACCUMULATORS_MAX && !accumulators.contains_key(&name) {
                return false;
            }
            let sum = accumulators.entry(name).or_default();
            *sum = sum.saturating_add(value);
        }
        true
    }

    pub fn accumulators(&self) -> BTreeMap<String, i64> {
        self.cells.accumulators.lock().expect("no holder panics").clone()
    }

    pub fn snapshot(&self) -> TaskMetrics {
        let cells = &self.cells;
        let times = self.clock.times();
        let first = cells.first_sink_record_at_ms.load(Relaxed);
        TaskMetrics {
            records_in: cells.records_in.load(Relaxed),
            records_out: cells.records_out.load(Relaxed),
            bytes_in: cells.bytes_in.load(Relaxed),
            bytes_out: cells.bytes_out.load(Relaxed),
            busy_ms: times.busy.as_millis() as u64,
            back_pressured_ms: times.back_pressured.as_millis() as u64,
            idle_ms: times.idle.as_millis() as u64,
            first_sink_record_at_ms: (first != 0).then_some(first),
        }
    }
}
