//! Limits and time-outs of the slot manager, with Flink's defaults.

use heddle_model::memory::WorkerResourceSpec;
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct Options {
    /// What every worker that is started brings.
    pub worker: WorkerResourceSpec,
    /// `slotmanager.number-of-slots.max`: registered and coming slots.
    pub max_slots: Option<u32>,
    /// Most workers, registered and coming. 0: none can be started here, slots
    /// come from workers that somebody else starts.
    pub max_workers: Option<u32>,
    /// `resourcemanager.taskmanager-timeout`: a worker of which no slot is used
    /// for this long is released.
    pub idle_timeout: Duration,
    /// `slot.request.timeout`: how long a request waits before its job is told
    /// that there are not enough resources.
    pub request_timeout: Duration,
    /// How long slots that the same job holds may still be on their way back
    /// before a request above the limit is refused.
    pub limit_grace: Duration,
    /// `resourcemanager.taskmanager-registration.timeout`: from the start of a
    /// worker to its registration.
    pub worker_start_timeout: Duration,
    /// `resourcemanager.start-worker.max-failure-rate`, a minute: above it,
    /// starting pauses after each failure.
    pub max_start_failures_per_minute: u32,
    /// `resourcemanager.start-worker.retry-interval`: how long it pauses.
    pub start_retry_pause: Duration,
}

impl Options {
    pub fn new(worker: WorkerResourceSpec) -> Self {
        Self {
            worker,
            max_slots: None,
            max_workers: None,
            idle_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(300),
            limit_grace: Duration::from_secs(2),
            worker_start_timeout: Duration::from_secs(300),
            max_start_failures_per_minute: 10,
            start_retry_pause: Duration::from_secs(3),
        }
    }
}
