//! The Handle of a TaskExecutor and the messages behind it.

use async_trait::async_trait;
use heddle_model::failure::Failure;
use heddle_model::id::{AllocationId, ExecutionAttemptId, JobId, JobMasterId, ResourceManagerId};
use heddle_model::task::{JobInformation, TaskDeploymentDescriptor};
use heddle_rpc::{Address, Error, RequestSlot, Result, TaskExecutorGateway};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// Messages that may wait for the service; a sender waits beyond that.
pub(crate) const MESSAGES_MAX: usize = 256;

pub(crate) enum Request {
    Slot(ResourceManagerId, RequestSlot),
    FreeSlot(JobMasterId, AllocationId, Failure),
    SubmitTasks(JobMasterId, Arc<JobInformation>, Vec<TaskDeploymentDescriptor>),
    CancelTasks(JobMasterId, Vec<ExecutionAttemptId>),
    DisconnectJobMaster(JobMasterId, JobId, Failure),
    HeartbeatFromJobMaster(JobMasterId, JobId),
    HeartbeatFromResourceManager(ResourceManagerId),
}

pub(crate) struct Message {
    pub request: Request,
    pub reply: oneshot::Sender<Result<()>>,
}

/// Talks to a running TaskExecutor.
#[derive(Clone)]
pub struct Handle {
    address: Address,
    messages: mpsc::Sender<Message>,
}

impl Handle {
    pub(crate) fn new(address: Address) -> (Self, mpsc::Receiver<Message>) {
        let (messages, receiver) = mpsc::channel(MESSAGES_MAX);
        (Self { address, messages }, receiver)
    }

    async fn call(&self, request: Request) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        let unreachable = || Error::Unreachable { address: self.address.clone() };
        self.messages.send(Message { request, reply }).await.map_err(|_| unreachable())?;
        answer.await.map_err(|_| unreachable())?
    }
}

#[async_trait]
impl TaskExecutorGateway for Handle {
    async fn request_slot(&self, token: ResourceManagerId, request: RequestSlot) -> Result<()> {
        self.call(Request::Slot(token, request)).await
    }

    async fn free_slot(&self, token: JobMasterId, allocation_id: AllocationId, cause: Failure) -> Result<()> {
        self.call(Request::FreeSlot(token, allocation_id, cause)).await
    }

    async fn submit_tasks(
        &self,
        token: JobMasterId,
        job: Arc<JobInformation>,
        tasks: Vec<TaskDeploymentDescriptor>,
    ) -> Result<()> {
        self.call(Request::SubmitTasks(token, job, tasks)).await
    }

    async fn cancel_tasks(&self, token: JobMasterId, attempts: Vec<ExecutionAttemptId>) -> Result<()> {
        self.call(Request::CancelTasks(token, attempts)).await
    }

    async fn disconnect_job_master(&self, token: JobMasterId, job_id: JobId, cause: Failure) -> Result<()> {
        self.call(Request::DisconnectJobMaster(token, job_id, cause)).await
    }

    async fn heartbeat_from_job_master(&self, token: JobMasterId, job_id: JobId) -> Result<()> {
        self.call(Request::HeartbeatFromJobMaster(token, job_id)).await
    }

    async fn heartbeat_from_resource_manager(&self, token: ResourceManagerId) -> Result<()> {
        self.call(Request::HeartbeatFromResourceManager(token)).await
    }
}
