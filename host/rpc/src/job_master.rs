//! What TaskExecutors, the resource manager and the dispatcher ask a job master.

use crate::dispatcher::JobDetails;
use crate::{Address, Result};
use async_trait::async_trait;
use heddle_model::failure::Failure;
use heddle_model::id::{AllocationId, ExecutionAttemptId, JobMasterId, ResourceId};
use heddle_model::memory::ResourceProfile;
use heddle_model::task::{DataAddress, InputSplit, TaskExecutionState, TaskMetrics};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A slot that a TaskExecutor allocated for the job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SlotOffer {
    pub allocation_id: AllocationId,
    pub slot_number: u32,
    pub profile: ResourceProfile,
}

/// What a TaskExecutor tells with each heartbeat.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskExecutorHeartbeat {
    pub tasks: Vec<(ExecutionAttemptId, TaskMetrics, BTreeMap<String, i64>)>,
    /// The slots that it believes to be the job's: those that were accepted.
    pub slots: Vec<AllocationId>,
}

/// `token` is the job master's leader session that the sender believes in.
#[async_trait]
pub trait JobMasterGateway: Send + Sync {
    /// The TaskExecutor wants to offer slots. Without a data address its result
    /// partitions are read within its own process only.
    async fn register_task_executor(
        &self,
        token: JobMasterId,
        resource_id: ResourceId,
        address: Address,
        data_address: Option<DataAddress>,
    ) -> Result<()>;
    async fn disconnect_task_executor(
        &self,
        token: JobMasterId,
        resource_id: ResourceId,
        reason: Failure,
    ) -> Result<()>;
    /// Gives the accepted ones; the others are to be freed.
    async fn offer_slots(
        &self,
        token: JobMasterId,
        resource_id: ResourceId,
        offers: Vec<SlotOffer>,
    ) -> Result<Vec<AllocationId>>;
    /// A slot is gone.
    async fn fail_slot(
        &self,
        token: JobMasterId,
        resource_id: ResourceId,
        allocation_id: AllocationId,
        cause: Failure,
    ) -> Result<()>;
    async fn update_task_execution_state(&self, token: JobMasterId, state: TaskExecutionState) -> Result<()>;
    /// The next piece of input for a source subtask; none at the end.
    async fn request_next_input_split(
        &self,
        token: JobMasterId,
        attempt: ExecutionAttemptId,
    ) -> Result<Option<InputSplit>>;
    async fn heartbeat_from_task_executor(
        &self,
        token: JobMasterId,
        resource_id: ResourceId,
        payload: TaskExecutorHeartbeat,
    ) -> Result<()>;
    /// The resource manager is alive; an error, or no answer, tells it that the
    /// job master is not.
    async fn heartbeat_from_resource_manager(&self, token: JobMasterId) -> Result<()>;
    /// A requested slot will not come.
    async fn notify_allocation_failure(
        &self,
        token: JobMasterId,
        allocation_id: AllocationId,
        cause: Failure,
    ) -> Result<()>;
    async fn request_job(&self, token: JobMasterId) -> Result<JobDetails>;
    async fn cancel(&self, token: JobMasterId) -> Result<()>;
}
