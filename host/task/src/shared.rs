//! What all TaskExecutors of a process share, and the runner that they start
//! their tasks with.

use crate::subtask;
use heddle_blob::BlobCache;
use heddle_connectors::Console;
use heddle_exchange::PartitionManager;
use heddle_filesystem::FileSystems;
use heddle_model::id::JobId;
use heddle_model::memory::ResourceProfile;
use heddle_state::ManagedMemory;
use heddle_task_executor::{JobUsers, TaskContext, TaskOutcome, TaskRunner};
use heddle_wasm::{Grants, MemoryBudget, Runtime};
use std::future::Future;
use std::sync::Arc;
use tracing::warn;

#[derive(Clone)]
pub struct Shared {
    pub wasm: Runtime,
    /// The most that a job may be granted here, whatever its client says.
    pub grants: Grants,
    pub partitions: PartitionManager,
    /// The fixed pool of worker threads that runs all subtasks.
    pub workers: tokio::runtime::Handle,
    pub blobs: Arc<BlobCache>,
    pub jobs: JobUsers,
    pub console: Arc<dyn Console>,
    /// Where inputs and outputs are.
    pub files: FileSystems,
}

/// What the tasks of a slot share.
#[derive(Clone)]
pub struct SlotMemory {
    pub(crate) task_memory: Arc<MemoryBudget>,
    pub(crate) managed_memory: Arc<ManagedMemory>,
}

impl TaskRunner for Shared {
    type Slot = SlotMemory;

    fn slot(&self, profile: ResourceProfile) -> SlotMemory {
        SlotMemory {
            task_memory: Arc::new(MemoryBudget::new(profile.task_memory)),
            managed_memory: ManagedMemory::new(profile.managed_memory),
        }
    }

    fn run(&self, slot: SlotMemory, context: TaskContext) -> impl Future<Output = TaskOutcome> + use<> {
        subtask::run(self.clone(), slot, context)
    }

    fn workers(&self) -> &tokio::runtime::Handle {
        &self.workers
    }

    fn jobs(&self) -> &JobUsers {
        &self.jobs
    }

    fn release_job(&self, job_id: JobId) -> impl Future<Output = ()> + use<> {
        self.partitions.release_job(job_id);
        let blobs = Arc::clone(&self.blobs);
        async move {
            if let Err(error) = blobs.release(job_id).await {
                warn!(%error, %job_id, "the job's blobs stay in the cache");
            }
        }
    }
}
