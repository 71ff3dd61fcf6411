//! What job masters and TaskExecutors ask the resource manager.

use crate::{Address, Result};
use async_trait::async_trait;
use heddle_model::id::{AllocationId, InstanceId, JobId, JobMasterId, ResourceId, ResourceManagerId, SlotId};
use heddle_model::memory::{ResourceProfile, WorkerResourceSpec};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobMasterRegistration {
    pub job_id: JobId,
    pub job_master_id: JobMasterId,
    pub address: Address,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskExecutorRegistration {
    pub resource_id: ResourceId,
    pub address: Address,
    pub spec: WorkerResourceSpec,
    /// How long it waits for a heartbeat.
    pub heartbeat_timeout_ms: u64,
}

/// One slot as its TaskExecutor sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotStatus {
    pub slot_id: SlotId,
    pub profile: ResourceProfile,
    /// Who holds it, if anybody.
    pub allocation: Option<(AllocationId, JobId)>,
}

/// All slots of a TaskExecutor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotReport {
    pub slots: Vec<SlotStatus>,
}

/// A job master wants a slot; the TaskExecutor that gets it offers it to
/// `job_master`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SlotRequest {
    pub job_id: JobId,
    pub allocation_id: AllocationId,
    pub profile: ResourceProfile,
    pub job_master: Address,
}

/// A TaskExecutor as the resource manager knows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskExecutorOverview {
    pub resource_id: ResourceId,
    pub address: Address,
    /// None before its first report.
    pub slots: u32,
    pub free_slots: u32,
    /// Since it was last heard of.
    pub silent_ms: u64,
}

/// What there is to run jobs on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ResourceOverview {
    /// In the order of their names.
    pub task_executors: Vec<TaskExecutorOverview>,
    /// Workers that were asked for and have not registered.
    pub coming_workers: u32,
    /// Slots that jobs want and do not have.
    pub waiting_requests: u32,
    /// Messages that were refused because their token is of an ended session.
    pub stale_messages: u64,
}

/// `token` is the leader session that the sender believes in.
#[async_trait]
pub trait ResourceManagerGateway: Send + Sync {
    async fn register_job_master(
        &self,
        token: ResourceManagerId,
        registration: JobMasterRegistration,
    ) -> Result<()>;
    async fn disconnect_job_master(&self, token: ResourceManagerId, job_id: JobId) -> Result<()>;
    async fn request_slot(
        &self,
        token: ResourceManagerId,
        job_master_id: JobMasterId,
        request: SlotRequest,
    ) -> Result<()>;
    async fn cancel_slot_request(
        &self,
        token: ResourceManagerId,
        job_master_id: JobMasterId,
        allocation_id: AllocationId,
    ) -> Result<()>;
    async fn register_task_executor(
        &self,
        token: ResourceManagerId,
        registration: TaskExecutorRegistration,
    ) -> Result<InstanceId>;
    /// Right after registration, and with each heartbeat.
    async fn send_slot_report(
        &self,
        token: ResourceManagerId,
        instance: InstanceId,
        report: SlotReport,
    ) -> Result<()>;
    /// A slot is free again.
    async fn notify_slot_available(
        &self,
        token: ResourceManagerId,
        instance: InstanceId,
        slot_id: SlotId,
        allocation_id: AllocationId,
    ) -> Result<()>;
    async fn disconnect_task_executor(
        &self,
        token: ResourceManagerId,
        instance: InstanceId,
        reason: String,
    ) -> Result<()>;
    async fn request_overview(&self, token: ResourceManagerId) -> Result<ResourceOverview>;
}
