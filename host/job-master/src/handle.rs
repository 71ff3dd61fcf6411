//! The Handle of a job master and the messages behind it.

use async_trait::async_trait;
use heddle_model::failure::Failure;
use heddle_model::id::{AllocationId, ExecutionAttemptId, JobMasterId, ResourceId};
use heddle_model::task::{DataAddress, InputSplit, TaskExecutionState};
use heddle_rpc::{Address, Error, JobDetails, JobMasterGateway, Result, SlotOffer, TaskExecutorHeartbeat};
use std::sync::{Arc, OnceLock};
use tokio::sync::{mpsc, oneshot};

/// Messages that may wait for the service; a sender waits beyond that.
pub(crate) const MESSAGES_MAX: usize = 1024;

pub(crate) type Reply<T> = oneshot::Sender<Result<T>>;

pub(crate) enum Message {
    RegisterTaskExecutor(ResourceId, Address, Option<DataAddress>, Reply<()>),
    DisconnectTaskExecutor(ResourceId, Failure, Reply<()>),
    OfferSlots(ResourceId, Vec<SlotOffer>, Reply<Vec<AllocationId>>),
    FailSlot(ResourceId, AllocationId, Failure, Reply<()>),
    UpdateTaskExecutionState(Box<TaskExecutionState>, Reply<()>),
    RequestNextInputSplit(ExecutionAttemptId, Reply<Option<InputSplit>>),
    Heartbeat(ResourceId, TaskExecutorHeartbeat, Reply<()>),
    ResourceManagerHeartbeat(Reply<()>),
    AllocationFailure(AllocationId, Failure, Reply<()>),
    RequestJob(Reply<JobDetails>),
    Cancel(Reply<()>),
}

/// Talks to a running job master; once it has ended, still tells the job's last
/// details.
#[derive(Clone)]
pub struct Handle {
    address: Address,
    token: JobMasterId,
    messages: mpsc::Sender<Message>,
    last: Arc<OnceLock<JobDetails>>,
}

/// The service's end of a handle.
pub(crate) struct Mailbox {
    pub messages: mpsc::Receiver<Message>,
    /// Set once, when the job has ended.
    pub last: Arc<OnceLock<JobDetails>>,
}

impl Handle {
    pub(crate) fn new(address: Address, token: JobMasterId) -> (Self, Mailbox) {
        let (sender, messages) = mpsc::channel(MESSAGES_MAX);
        let last = Arc::new(OnceLock::new());
        (Self { address, token, messages: sender, last: Arc::clone(&last) }, Mailbox { messages, last })
    }

    /// Refuses what is meant for another session before it takes a place in the
    /// mailbox.
    async fn call<T>(&self, token: JobMasterId, message: impl FnOnce(Reply<T>) -> Message) -> Result<T> {
        if token != self.token {
            return Err(Error::Fenced { expected: self.token.to_string(), got: token.to_string() });
        }
        let unreachable = || Error::Unreachable { address: self.address.clone() };
        let (reply, answer) = oneshot::channel();
        self.messages.send(message(reply)).await.map_err(|_| unreachable())?;
        answer.await.map_err(|_| unreachable())?
    }
}

#[async_trait]
impl JobMasterGateway for Handle {
    async fn register_task_executor(
        &self,
        token: JobMasterId,
        resource_id: ResourceId,
        address: Address,
        data_address: Option<DataAddress>,
    ) -> Result<()> {
        self.call(token, |reply| Message::RegisterTaskExecutor(resource_id, address, data_address, reply))
            .await
    }

    async fn disconnect_task_executor(
        &self,
        token: JobMasterId,
        resource_id: ResourceId,
        reason: Failure,
    ) -> Result<()> {
        self.call(token, |reply| Message::DisconnectTaskExecutor(resource_id, reason, reply)).await
    }

    async fn offer_slots(
        &self,
        token: JobMasterId,
        resource_id: ResourceId,
        offers: Vec<SlotOffer>,
    ) -> Result<Vec<AllocationId>> {
        self.call(token, |reply| Message::OfferSlots(resource_id, offers, reply)).await
    }

    async fn fail_slot(
        &self,
        token: JobMasterId,
        resource_id: ResourceId,
        allocation_id: AllocationId,
        cause: Failure,
    ) -> Result<()> {
        self.call(token, |reply| Message::FailSlot(resource_id, allocation_id, cause, reply)).await
    }

    async fn update_task_execution_state(&self, token: JobMasterId, state: TaskExecutionState) -> Result<()> {
        self.call(token, |reply| Message::UpdateTaskExecutionState(Box::new(state), reply)).await
    }

    async fn request_next_input_split(
        &self,
        token: JobMasterId,
        attempt: ExecutionAttemptId,
    ) -> Result<Option<InputSplit>> {
        self.call(token, |reply| Message::RequestNextInputSplit(attempt, reply)).await
    }

    async fn heartbeat_from_task_executor(
        &self,
        token: JobMasterId,
        resource_id: ResourceId,
        payload: TaskExecutorHeartbeat,
    ) -> Result<()> {
        self.call(token, |reply| Message::Heartbeat(resource_id, payload, reply)).await
    }

    async fn heartbeat_from_resource_manager(&self, token: JobMasterId) -> Result<()> {
        self.call(token, Message::ResourceManagerHeartbeat).await
    }

    async fn notify_allocation_failure(
        &self,
        token: JobMasterId,
        allocation_id: AllocationId,
        cause: Failure,
    ) -> Result<()> {
        self.call(token, |reply| Message::AllocationFailure(allocation_id, cause, reply)).await
    }

    async fn request_job(&self, token: JobMasterId) -> Result<JobDetails> {
        match self.call(token, Message::RequestJob).await {
            Err(Error::Unreachable { address }) => {
                self.last.get().cloned().ok_or(Error::Unreachable { address })
            }
            answer => answer,
        }
    }

    async fn cancel(&self, token: JobMasterId) -> Result<()> {
        match self.call(token, Message::Cancel).await {
            // The job has ended: there is nothing to cancel.
            Err(Error::Unreachable { .. }) if self.last.get().is_some() => Ok(()),
            answer => answer,
        }
    }
}
