//! The memory model: what a TaskExecutor process may use, and for what.
//!
//! Flink's model with two parts replaced: the guests' linear memory takes the
//! place of the task heap, compiled code that of the metaspace. Every part is
//! a budget that something enforces.

use serde::{Deserialize, Serialize};

/// What one slot offers, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ResourceProfile {
    /// Linear memory and tables of all instances in the slot.
    pub task_memory: u64,
    /// State of all keyed operators in the slot.
    pub managed_memory: u64,
    /// Batches in the channels of the slot.
    pub network_memory: u64,
}

/// What a worker must offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WorkerResourceSpec {
    pub slots: u32,
    pub slot: ResourceProfile,
}

/// The parts of a TaskExecutor process, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskExecutorProcessSpec {
    pub total_process: u64,
    /// The engine itself.
    pub framework: u64,
    /// Linear memory and tables of guests.
    pub task: u64,
    /// Keyed state.
    pub managed: u64,
    /// Batches in channels.
    pub network: u64,
    /// Compiled code of components.
    pub code: u64,
    /// Stacks, allocator slack, the kernel's share.
    pub overhead: u64,
    pub slots: u32,
}

impl TaskExecutorProcessSpec {
    /// What each of its slots offers.
    pub fn slot_profile(&self) -> ResourceProfile {
        let slots = u64::from(self.slots.max(1));
        ResourceProfile {
            task_memory: self.task / slots,
            managed_memory: self.managed / slots,
            network_memory: self.network / slots,
        }
    }

    pub fn worker_resource_spec(&self) -> WorkerResourceSpec {
        WorkerResourceSpec { slots: self.slots, slot: self.slot_profile() }
    }
}
