//! The job master's gateway over a connection: both ends.

use super::peer::{Remote, Via};
use super::proto::job_master_client::JobMasterClient;
use super::proto::job_master_server::JobMaster;
use super::proto::{
    self, AllocationFailureRequest, DisconnectTaskExecutorRequest, Empty, FailSlotRequest, InputSplitReply,
    InputSplitRequest, JobMasterRequest, OfferSlotsReply, OfferSlotsRequest, RegisterAtJobMasterRequest,
    TaskExecutionStateRequest, TaskExecutorHeartbeatRequest,
};
use super::server::Answers;
use super::wire;
use crate::{Address, JobDetails, JobMasterGateway, Result, SlotOffer, TaskExecutorHeartbeat};
use async_trait::async_trait;
use bytes::Bytes;
use heddle_model::failure::Failure;
use heddle_model::id::{AllocationId, ExecutionAttemptId, JobMasterId, ResourceId};
use heddle_model::task::{DataAddress, InputSplit, TaskExecutionState};
use tonic::{Request, Response, Status};

pub(crate) struct RemoteJobMaster {
    remote: Remote,
    client: JobMasterClient<Via>,
}

impl RemoteJobMaster {
    pub(crate) fn new(remote: Remote) -> Self {
        let most = remote.peer.limits.max_message_size;
        let client = JobMasterClient::new(remote.peer.via.clone());
        let client = client.max_decoding_message_size(most).max_encoding_message_size(most);
        Self { remote, client }
    }

    fn request(&self, token: JobMasterId) -> JobMasterRequest {
        JobMasterRequest { endpoint: self.remote.endpoint(), token: wire::id(token.0) }
    }
}

#[async_trait]
impl JobMasterGateway for RemoteJobMaster {
    async fn register_task_executor(
        &self,
        token: JobMasterId,
        resource_id: ResourceId,
        address: Address,
        data_address: Option<DataAddress>,
    ) -> Result<()> {
        let request = RegisterAtJobMasterRequest {
            endpoint: self.remote.endpoint(),
            token: wire::id(token.0),
            resource_id: resource_id.0,
            address: address.0,
            data_address: data_address.map(|address| address.0),
        };
        let mut client = self.client.clone();
        self.remote.call("register_task_executor", client.register_task_executor(request)).await.map(drop)
    }

    async fn disconnect_task_executor(
        &self,
        token: JobMasterId,
        resource_id: ResourceId,
        reason: Failure,
    ) -> Result<()> {
        let request = DisconnectTaskExecutorRequest {
            endpoint: self.remote.endpoint(),
            token: wire::id(token.0),
            resource_id: resource_id.0,
            reason: Some(reason.into()),
        };
        let mut client = self.client.clone();
        self.remote.call("disconnect_task_executor", client.disconnect_task_executor(request)).await.map(drop)
    }

    async fn offer_slots(
        &self,
        token: JobMasterId,
        resource_id: ResourceId,
        offers: Vec<SlotOffer>,
    ) -> Result<Vec<AllocationId>> {
        let offers = offers.into_iter().map(|offer| proto::SlotOffer {
            allocation_id: wire::id(offer.allocation_id.0),
            slot_number: offer.slot_number,
            profile: Some(offer.profile.into()),
        });
        let request = OfferSlotsRequest {
            endpoint: self.remote.endpoint(),
            token: wire::id(token.0),
            resource_id: resource_id.0,
            offers: offers.collect(),
        };
        let reply = self.remote.call("offer_slots", self.client.clone().offer_slots(request)).await?;
        reply.accepted.iter().map(allocation_id).collect()
    }

    async fn fail_slot(
        &self,
        token: JobMasterId,
        resource_id: ResourceId,
        allocation_id: AllocationId,
        cause: Failure,
    ) -> Result<()> {
        let request = FailSlotRequest {
            endpoint: self.remote.endpoint(),
            token: wire::id(token.0),
            resource_id: resource_id.0,
            allocation_id: wire::id(allocation_id.0),
            cause: Some(cause.into()),
        };
        self.remote.call("fail_slot", self.client.clone().fail_slot(request)).await.map(drop)
    }

    async fn update_task_execution_state(&self, token: JobMasterId, state: TaskExecutionState) -> Result<()> {
        let request = TaskExecutionStateRequest {
            endpoint: self.remote.endpoint(),
            token: wire::id(token.0),
            state: wire::encode(&state)?,
        };
        let request = self.remote.sized("update_task_execution_state", request)?;
        let mut client = self.client.clone();
        let call = client.update_task_execution_state(request);
        self.remote.call("update_task_execution_state", call).await.map(drop)
    }

    async fn request_next_input_split(
        &self,
        token: JobMasterId,
        attempt: ExecutionAttemptId,
    ) -> Result<Option<InputSplit>> {
        let request = InputSplitRequest {
            endpoint: self.remote.endpoint(),
            token: wire::id(token.0),
            attempt: Some(attempt.into()),
        };
        let mut client = self.client.clone();
        let call = client.request_next_input_split(request);
        let reply = self.remote.call("request_next_input_split", call).await?;
        Ok(reply.split.map(|split| InputSplit { index: split.index, content: split.content.into() }))
    }

    async fn heartbeat_from_task_executor(
        &self,
        token: JobMasterId,
        resource_id: ResourceId,
        payload: TaskExecutorHeartbeat,
    ) -> Result<()> {
        let request = TaskExecutorHeartbeatRequest {
            endpoint: self.remote.endpoint(),
            token: wire::id(token.0),
            resource_id: resource_id.0,
            payload: wire::encode(&payload)?,
        };
        let request = self.remote.sized("heartbeat_from_task_executor", request)?;
        let mut client = self.client.clone();
        let call = client.heartbeat_from_task_executor(request);
        self.remote.call("heartbeat_from_task_executor", call).await.map(drop)
    }

    async fn heartbeat_from_resource_manager(&self, token: JobMasterId) -> Result<()> {
        let request = self.request(token);
        let mut client = self.client.clone();
        let call = client.heartbeat_from_resource_manager(request);
        self.remote.call("heartbeat_from_resource_manager", call).await.map(drop)
    }

    async fn notify_allocation_failure(
        &self,
        token: JobMasterId,
        allocation_id: AllocationId,
        cause: Failure,
    ) -> Result<()> {
        let request = AllocationFailureRequest {
            endpoint: self.remote.endpoint(),
            token: wire::id(token.0),
            allocation_id: wire::id(allocation_id.0),
            cause: Some(cause.into()),
        };
        let mut client = self.client.clone();
        let call = client.notify_allocation_failure(request);
        self.remote.call("notify_allocation_failure", call).await.map(drop)
    }

    async fn request_job(&self, token: JobMasterId) -> Result<JobDetails> {
        let request = self.request(token);
        let reply = self.remote.call("request_job", self.client.clone().request_job(request)).await?;
        wire::decode(&reply.details, "the details of a job")
    }

    async fn cancel(&self, token: JobMasterId) -> Result<()> {
        let request = self.request(token);
        self.remote.call("cancel", self.client.clone().cancel(request)).await.map(drop)
    }
}

#[async_trait]
impl JobMaster for Answers {
    async fn register_task_executor(
        &self,
        request: Request<RegisterAtJobMasterRequest>,
    ) -> Result<Response<Empty>, Status> {
        let r = request.into_inner();
        let gateway = self.job_master(&r.endpoint)?;
        self.done(async {
            let (resource_id, address) = (ResourceId(r.resource_id), Address(r.address));
            let data_address = r.data_address.map(DataAddress);
            gateway.register_task_executor(token(&r.token)?, resource_id, address, data_address).await
        })
        .await
    }

    async fn disconnect_task_executor(
        &self,
        request: Request<DisconnectTaskExecutorRequest>,
    ) -> Result<Response<Empty>, Status> {
        let r = request.into_inner();
        let gateway = self.job_master(&r.endpoint)?;
        self.done(async {
            let reason = wire::present(r.reason, "a reason")?.into();
            gateway.disconnect_task_executor(token(&r.token)?, ResourceId(r.resource_id), reason).await
        })
        .await
    }

    async fn offer_slots(
        &self,
        request: Request<OfferSlotsRequest>,
    ) -> Result<Response<OfferSlotsReply>, Status> {
        let r = request.into_inner();
        let gateway = self.job_master(&r.endpoint)?;
        let accepted = async {
            let offers = r.offers.into_iter().map(|offer| {
                Ok(SlotOffer {
                    allocation_id: allocation_id(&offer.allocation_id)?,
                    slot_number: offer.slot_number,
                    profile: wire::present(offer.profile, "a profile")?.into(),
                })
            });
            let offers = offers.collect::<Result<Vec<_>>>()?;
            gateway.offer_slots(token(&r.token)?, ResourceId(r.resource_id), offers).await
        };
        let reply = |accepted: Vec<AllocationId>| {
            Ok(OfferSlotsReply { accepted: accepted.into_iter().map(|id| wire::id(id.0)).collect() })
        };
        self.answer(accepted, reply).await
    }

    async fn fail_slot(&self, request: Request<FailSlotRequest>) -> Result<Response<Empty>, Status> {
        let r = request.into_inner();
        let gateway = self.job_master(&r.endpoint)?;
        self.done(async {
            let allocation = allocation_id(&r.allocation_id)?;
            let cause = wire::present(r.cause, "a cause")?.into();
            gateway.fail_slot(token(&r.token)?, ResourceId(r.resource_id), allocation, cause).await
        })
        .await
    }

    async fn update_task_execution_state(
        &self,
        request: Request<TaskExecutionStateRequest>,
    ) -> Result<Response<Empty>, Status> {
        let r = request.into_inner();
        let gateway = self.job_master(&r.endpoint)?;
        self.done(async {
            let state = wire::decode(&r.state, "a task's state")?;
            gateway.update_task_execution_state(token(&r.token)?, state).await
        })
        .await
    }

    async fn request_next_input_split(
        &self,
        request: Request<InputSplitRequest>,
    ) -> Result<Response<InputSplitReply>, Status> {
        let r = request.into_inner();
        let gateway = self.job_master(&r.endpoint)?;
        let split = async {
            let attempt = wire::present(r.attempt, "an attempt")?.try_into()?;
            gateway.request_next_input_split(token(&r.token)?, attempt).await
        };
        let reply = |split: Option<InputSplit>| {
            let split = split.map(|s| proto::InputSplit { index: s.index, content: s.content.into() });
            Ok(InputSplitReply { split })
        };
        self.answer(split, reply).await
    }

    async fn heartbeat_from_task_executor(
        &self,
        request: Request<TaskExecutorHeartbeatRequest>,
    ) -> Result<Response<Empty>, Status> {
        let r = request.into_inner();
        let gateway = self.job_master(&r.endpoint)?;
        self.done(async {
            let payload = wire::decode(&r.payload, "a heartbeat")?;
            gateway.heartbeat_from_task_executor(token(&r.token)?, ResourceId(r.resource_id), payload).await
        })
        .await
    }

    async fn heartbeat_from_resource_manager(
        &self,
        request: Request<JobMasterRequest>,
    ) -> Result<Response<Empty>, Status> {
        let r = request.into_inner();
        let gateway = self.job_master(&r.endpoint)?;
        self.done(async { gateway.heartbeat_from_resource_manager(token(&r.token)?).await }).await
    }

    async fn notify_allocation_failure(
        &self,
        request: Request<AllocationFailureRequest>,
    ) -> Result<Response<Empty>, Status> {
        let r = request.into_inner();
        let gateway = self.job_master(&r.endpoint)?;
        self.done(async {
            let allocation = allocation_id(&r.allocation_id)?;
            let cause = wire::present(r.cause, "a cause")?.into();
            gateway.notify_allocation_failure(token(&r.token)?, allocation, cause).await
        })
        .await
    }

    async fn request_job(
        &self,
        request: Request<JobMasterRequest>,
    ) -> Result<Response<proto::JobDetails>, Status> {
        let r = request.into_inner();
        let gateway = self.job_master(&r.endpoint)?;
        let details = async { gateway.request_job(token(&r.token)?).await };
        self.answer(details, |details| Ok(proto::JobDetails { details: wire::encode(&details)? })).await
    }

    async fn cancel(&self, request: Request<JobMasterRequest>) -> Result<Response<Empty>, Status> {
        let r = request.into_inner();
        let gateway = self.job_master(&r.endpoint)?;
        self.done(async { gateway.cancel(token(&r.token)?).await }).await
    }
}

fn token(bytes: &Bytes) -> Result<JobMasterId> {
    Ok(JobMasterId(wire::bits(bytes, "a token")?))
}

fn allocation_id(bytes: &Bytes) -> Result<AllocationId> {
    Ok(AllocationId(wire::bits(bytes, "an allocation id")?))
}
