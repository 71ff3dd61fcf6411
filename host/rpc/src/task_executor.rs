//! What the resource manager and job masters ask a TaskExecutor.

use crate::{Address, Result};
use async_trait::async_trait;
use heddle_model::failure::Failure;
use heddle_model::id::{AllocationId, ExecutionAttemptId, JobId, JobMasterId, ResourceManagerId, SlotId};
use heddle_model::memory::ResourceProfile;
use heddle_model::task::{JobInformation, TaskDeploymentDescriptor};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The resource manager gives a slot to a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RequestSlot {
    pub slot_id: SlotId,
    pub job_id: JobId,
    pub allocation_id: AllocationId,
    pub profile: ResourceProfile,
    /// To whom the slot is to be offered.
    pub job_master: Address,
    pub job_master_id: JobMasterId,
}

#[async_trait]
pub trait TaskExecutorGateway: Send + Sync {
    async fn request_slot(&self, token: ResourceManagerId, request: RequestSlot) -> Result<()>;
    /// The job gives a slot back. One that is free already is not an error.
    async fn free_slot(&self, token: JobMasterId, allocation_id: AllocationId, cause: Failure) -> Result<()>;
    /// Accepts a group of tasks of one job; each one's further fate is told by
    /// `update_task_execution_state`.
    async fn submit_tasks(
        &self,
        token: JobMasterId,
        job: Arc<JobInformation>,
        tasks: Vec<TaskDeploymentDescriptor>,
    ) -> Result<()>;
    async fn cancel_tasks(&self, token: JobMasterId, attempts: Vec<ExecutionAttemptId>) -> Result<()>;
    /// The job ended or its master lost its leadership: everything of it is
    /// freed.
    async fn disconnect_job_master(&self, token: JobMasterId, job_id: JobId, cause: Failure) -> Result<()>;
    async fn heartbeat_from_job_master(&self, token: JobMasterId, job_id: JobId) -> Result<()>;
    async fn heartbeat_from_resource_manager(&self, token: ResourceManagerId) -> Result<()>;
}
