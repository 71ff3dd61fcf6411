//! What the resource manager is told, and the handle that tells it.

use async_trait::async_trait;
use heddle_model::id::{AllocationId, InstanceId, JobId, JobMasterId, ResourceManagerId, SlotId};
use heddle_rpc::{
    Address, Error, JobMasterRegistration, ResourceManagerGateway, ResourceOverview, Result, SlotReport,
    SlotRequest, TaskExecutorRegistration,
};
use heddle_slot_manager::Overview;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{mpsc, oneshot};

/// Messages that may wait for the resource manager: a burst of requests of a
/// few large jobs. A sender beyond that waits.
pub(crate) const MAX_WAITING_MESSAGES: usize = 1024;

/// A message with its fencing token and where the answer goes.
pub(crate) struct Command {
    pub(crate) token: ResourceManagerId,
    pub(crate) call: Call,
}

pub(crate) type Reply<T> = oneshot::Sender<Result<T>>;

pub(crate) enum Call {
    RegisterJobMaster(JobMasterRegistration, Reply<()>),
    DisconnectJobMaster(JobId, Reply<()>),
    RequestSlot(JobMasterId, SlotRequest, Reply<()>),
    CancelSlotRequest(JobMasterId, AllocationId, Reply<()>),
    RegisterTaskExecutor(TaskExecutorRegistration, Reply<InstanceId>),
    SendSlotReport(InstanceId, SlotReport, Reply<()>),
    NotifySlotAvailable(InstanceId, SlotId, AllocationId, Reply<()>),
    DisconnectTaskExecutor(InstanceId, String, Reply<()>),
    Overview(Reply<Overview>),
    ResourceOverview(Reply<ResourceOverview>),
}

/// How others talk to a resource manager in the same process.
#[derive(Clone)]
pub struct Handle {
    pub(crate) address: Address,
    pub(crate) token: ResourceManagerId,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) fenced: Arc<AtomicU64>,
}

impl Handle {
    /// Messages that were refused because they carry another token.
    pub fn fenced_messages(&self) -> u64 {
        self.fenced.load(Ordering::Relaxed)
    }

    /// Workers, slots and requests in numbers.
    pub async fn overview(&self) -> Result<Overview> {
        self.call(self.token, Call::Overview).await
    }

    async fn call<T>(&self, token: ResourceManagerId, call: impl FnOnce(Reply<T>) -> Call) -> Result<T> {
        let unreachable = || Error::Unreachable { address: self.address.clone() };
        let (reply, answer) = oneshot::channel();
        let command = Command { token, call: call(reply) };
        self.commands.send(command).await.map_err(|_| unreachable())?;
        answer.await.map_err(|_| unreachable())?
    }
}

#[async_trait]
impl ResourceManagerGateway for Handle {
    async fn register_job_master(
        &self,
        token: ResourceManagerId,
        registration: JobMasterRegistration,
    ) -> Result<()> {
        self.call(token, |reply| Call::RegisterJobMaster(registration, reply)).await
    }

    async fn disconnect_job_master(&self, token: ResourceManagerId, job_id: JobId) -> Result<()> {
        self.call(token, |reply| Call::DisconnectJobMaster(job_id, reply)).await
    }

    async fn request_slot(
        &self,
        token: ResourceManagerId,
        job_master_id: JobMasterId,
        request: SlotRequest,
    ) -> Result<()> {
        self.call(token, |reply| Call::RequestSlot(job_master_id, request, reply)).await
    }

    async fn cancel_slot_request(
        &self,
        token: ResourceManagerId,
        job_master_id: JobMasterId,
        allocation_id: AllocationId,
    ) -> Result<()> {
        self.call(token, |reply| Call::CancelSlotRequest(job_master_id, allocation_id, reply)).await
    }

    async fn register_task_executor(
        &self,
        token: ResourceManagerId,
        registration: TaskExecutorRegistration,
    ) -> Result<InstanceId> {
        self.call(token, |reply| Call::RegisterTaskExecutor(registration, reply)).await
    }

    async fn send_slot_report(
        &self,
        token: ResourceManagerId,
        instance: InstanceId,
        report: SlotReport,
    ) -> Result<()> {
        self.call(token, |reply| Call::SendSlotReport(instance, report, reply)).await
    }

    async fn notify_slot_available(
        &self,
        token: ResourceManagerId,
        instance: InstanceId,
        slot_id: SlotId,
        allocation_id: AllocationId,
    ) -> Result<()> {
        self.call(token, |reply| Call::NotifySlotAvailable(instance, slot_id, allocation_id, reply)).await
    }

    async fn disconnect_task_executor(
        &self,
        token: ResourceManagerId,
        instance: InstanceId,
        reason: String,
    ) -> Result<()> {
        self.call(token, |reply| Call::DisconnectTaskExecutor(instance, reason, reply)).await
    }

    async fn request_overview(&self, token: ResourceManagerId) -> Result<ResourceOverview> {
        self.call(token, Call::ResourceOverview).await
    }
}
