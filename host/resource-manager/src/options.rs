//! What a resource manager is given, with Flink's defaults.

use heddle_model::id::ResourceManagerId;
use heddle_model::memory::WorkerResourceSpec;
use heddle_rpc::Address;
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct Options {
    /// The leader session: messages with another token are refused.
    pub token: ResourceManagerId,
    /// Where it listens.
    pub address: Address,
    /// What every worker that is started brings.
    pub worker: WorkerResourceSpec,
    /// `resourcemanager.taskmanager-timeout`.
    pub idle_timeout: Duration,
    /// `heartbeat.interval`.
    pub heartbeat_interval: Duration,
    /// `heartbeat.timeout`: a peer not heard of for this long is lost.
    pub heartbeat_timeout: Duration,
    /// Most workers; 0: somebody else starts them.
    pub max_workers: Option<u32>,
    /// `slotmanager.number-of-slots.max`.
    pub max_slots: Option<u32>,
    /// `slot.request.timeout`.
    pub slot_request_timeout: Duration,
    /// `resourcemanager.taskmanager-registration.timeout`.
    pub worker_start_timeout: Duration,
    /// `resourcemanager.start-worker.max-failure-rate`, a minute.
    pub max_start_failures_per_minute: u32,
    /// `resourcemanager.start-worker.retry-interval`.
    pub start_retry_pause: Duration,
    /// How long a call to a peer may take.
    pub rpc_timeout: Duration,
}

impl Options {
    pub fn new(token: ResourceManagerId, address: Address, worker: WorkerResourceSpec) -> Self {
        let slots = heddle_slot_manager::Options::new(worker);
        Self {
            token,
            address,
            worker,
            idle_timeout: slots.idle_timeout,
            heartbeat_interval: Duration::from_secs(10),
            heartbeat_timeout: Duration::from_secs(50),
            max_workers: slots.max_workers,
            max_slots: slots.max_slots,
            slot_request_timeout: slots.request_timeout,
            worker_start_timeout: slots.worker_start_timeout,
            max_start_failures_per_minute: slots.max_start_failures_per_minute,
            start_retry_pause: slots.start_retry_pause,
            rpc_timeout: Duration::from_secs(10),
        }
    }

    pub(crate) fn slot_manager(&self) -> heddle_slot_manager::Options {
        heddle_slot_manager::Options {
            max_slots: self.max_slots,
            max_workers: self.max_workers,
            idle_timeout: self.idle_timeout,
            // A little before the job master gives up by itself: this one can
            // say why there is no slot.
            request_timeout: self.slot_request_timeout.mul_f64(0.95),
            worker_start_timeout: self.worker_start_timeout,
            max_start_failures_per_minute: self.max_start_failures_per_minute,
            start_retry_pause: self.start_retry_pause,
            ..heddle_slot_manager::Options::new(self.worker)
        }
    }
}
