//! The resource manager's gateway over a connection: both ends.

use super::peer::{Remote, Via};
use super::proto::resource_manager_client::ResourceManagerClient;
use super::proto::resource_manager_server::ResourceManager;
use super::proto::{
    self, CancelSlotRequestRequest, DisconnectInstanceRequest, DisconnectJobMasterRequest, Empty,
    RegisterJobMasterRequest, RegisterTaskExecutorReply, RegisterTaskExecutorRequest, ResourceOverviewReply,
    ResourceOverviewRequest, SlotAvailableRequest, SlotReportRequest,
};
use super::server::Answers;
use super::wire;
use crate::{
    Address, JobMasterRegistration, ResourceManagerGateway, ResourceOverview, Result, SlotReport,
    SlotRequest, TaskExecutorRegistration,
};
use async_trait::async_trait;
use bytes::Bytes;
use heddle_model::id::{AllocationId, InstanceId, JobId, JobMasterId, ResourceId, ResourceManagerId, SlotId};
use heddle_model::memory::WorkerResourceSpec;
use tonic::{Request, Response, Status};

pub(crate) struct RemoteResourceManager {
    remote: Remote,
    client: ResourceManagerClient<Via>,
}

impl RemoteResourceManager {
    pub(crate) fn new(remote: Remote) -> Self {
        let most = remote.peer.limits.max_message_size;
        let client = ResourceManagerClient::new(remote.peer.via.clone());
        let client = client.max_decoding_message_size(most).max_encoding_message_size(most);
        Self { remote, client }
    }
}

#[async_trait]
impl ResourceManagerGateway for RemoteResourceManager {
    async fn register_job_master(
        &self,
        token: ResourceManagerId,
        registration: JobMasterRegistration,
    ) -> Result<()> {
        let request = RegisterJobMasterRequest {
            endpoint: self.remote.endpoint(),
            token: wire::id(token.0),
            job_id: wire::id(registration.job_id.0),
            job_master_id: wire::id(registration.job_master_id.0),
            address: registration.address.0,
        };
        let mut client = self.client.clone();
        self.remote.call("register_job_master", client.register_job_master(request)).await.map(drop)
    }

    async fn disconnect_job_master(&self, token: ResourceManagerId, job_id: JobId) -> Result<()> {
        let request = DisconnectJobMasterRequest {
            endpoint: self.remote.endpoint(),
            token: wire::id(token.0),
            job_id: wire::id(job_id.0),
        };
        let mut client = self.client.clone();
        self.remote.call("disconnect_job_master", client.disconnect_job_master(request)).await.map(drop)
    }

    async fn request_slot(
        &self,
        token: ResourceManagerId,
        job_master_id: JobMasterId,
        request: SlotRequest,
    ) -> Result<()> {
        let request = proto::SlotRequest {
            endpoint: self.remote.endpoint(),
            token: wire::id(token.0),
            job_master_id: wire::id(job_master_id.0),
            job_id: wire::id(request.job_id.0),
            allocation_id: wire::id(request.allocation_id.0),
            profile: Some(request.profile.into()),
            job_master: request.job_master.0,
        };
        self.remote.call("request_slot", self.client.clone().request_slot(request)).await.map(drop)
    }

    async fn cancel_slot_request(
        &self,
        token: ResourceManagerId,
        job_master_id: JobMasterId,
        allocation_id: AllocationId,
    ) -> Result<()> {
        let request = CancelSlotRequestRequest {
            endpoint: self.remote.endpoint(),
            token: wire::id(token.0),
            job_master_id: wire::id(job_master_id.0),
            allocation_id: wire::id(allocation_id.0),
        };
        let mut client = self.client.clone();
        self.remote.call("cancel_slot_request", client.cancel_slot_request(request)).await.map(drop)
    }

    async fn register_task_executor(
        &self,
        token: ResourceManagerId,
        registration: TaskExecutorRegistration,
    ) -> Result<InstanceId> {
        let request = RegisterTaskExecutorRequest {
            endpoint: self.remote.endpoint(),
            token: wire::id(token.0),
            resource_id: registration.resource_id.0,
            address: registration.address.0,
            slots: registration.spec.slots,
            slot: Some(registration.spec.slot.into()),
            heartbeat_timeout_ms: registration.heartbeat_timeout_ms,
        };
        let mut client = self.client.clone();
        let reply =
            self.remote.call("register_task_executor", client.register_task_executor(request)).await?;
        instance_id(&reply.instance_id)
    }

    async fn send_slot_report(
        &self,
        token: ResourceManagerId,
        instance: InstanceId,
        report: SlotReport,
    ) -> Result<()> {
        let request = SlotReportRequest {
            endpoint: self.remote.endpoint(),
            token: wire::id(token.0),
            instance_id: wire::id(instance.0),
            report: wire::encode(&report)?,
        };
        let request = self.remote.sized("send_slot_report", request)?;
        self.remote.call("send_slot_report", self.client.clone().send_slot_report(request)).await.map(drop)
    }

    async fn notify_slot_available(
        &self,
        token: ResourceManagerId,
        instance: InstanceId,
        slot_id: SlotId,
        allocation_id: AllocationId,
    ) -> Result<()> {
        let request = SlotAvailableRequest {
            endpoint: self.remote.endpoint(),
            token: wire::id(token.0),
            instance_id: wire::id(instance.0),
            slot: Some(slot_id.into()),
            allocation_id: wire::id(allocation_id.0),
        };
        let mut client = self.client.clone();
        self.remote.call("notify_slot_available", client.notify_slot_available(request)).await.map(drop)
    }

    async fn disconnect_task_executor(
        &self,
        token: ResourceManagerId,
        instance: InstanceId,
        reason: String,
    ) -> Result<()> {
        let request = DisconnectInstanceRequest {
            endpoint: self.remote.endpoint(),
            token: wire::id(token.0),
            instance_id: wire::id(instance.0),
            reason,
        };
        let mut client = self.client.clone();
        self.remote.call("disconnect_task_executor", client.disconnect_task_executor(request)).await.map(drop)
    }

    async fn request_overview(&self, token: ResourceManagerId) -> Result<ResourceOverview> {
        let request = ResourceOverviewRequest { endpoint: self.remote.endpoint(), token: wire::id(token.0) };
        let mut client = self.client.clone();
        let reply = self.remote.call("request_overview", client.request_overview(request)).await?;
        wire::decode(&reply.overview, "the overview of resources")
    }
}

#[async_trait]
impl ResourceManager for Answers {
    async fn register_job_master(
        &self,
        request: Request<RegisterJobMasterRequest>,
    ) -> Result<Response<Empty>, Status> {
        let r = request.into_inner();
        let gateway = self.resource_manager(&r.endpoint)?;
        self.done(async {
            let registration = JobMasterRegistration {
                job_id: JobId(wire::bits(&r.job_id, "a job id")?),
                job_master_id: job_master_id(&r.job_master_id)?,
                address: Address(r.address),
            };
            gateway.register_job_master(token(&r.token)?, registration).await
        })
        .await
    }

    async fn disconnect_job_master(
        &self,
        request: Request<DisconnectJobMasterRequest>,
    ) -> Result<Response<Empty>, Status> {
        let r = request.into_inner();
        let gateway = self.resource_manager(&r.endpoint)?;
        self.done(async {
            let job_id = JobId(wire::bits(&r.job_id, "a job id")?);
            gateway.disconnect_job_master(token(&r.token)?, job_id).await
        })
        .await
    }

    async fn request_slot(&self, request: Request<proto::SlotRequest>) -> Result<Response<Empty>, Status> {
        let r = request.into_inner();
        let gateway = self.resource_manager(&r.endpoint)?;
        self.done(async {
            let request = SlotRequest {
                job_id: JobId(wire::bits(&r.job_id, "a job id")?),
                allocation_id: allocation_id(&r.allocation_id)?,
                profile: wire::present(r.profile, "a profile")?.into(),
                job_master: Address(r.job_master),
            };
            gateway.request_slot(token(&r.token)?, job_master_id(&r.job_master_id)?, request).await
        })
        .await
    }

    async fn cancel_slot_request(
        &self,
        request: Request<CancelSlotRequestRequest>,
    ) -> Result<Response<Empty>, Status> {
        let r = request.into_inner();
        let gateway = self.resource_manager(&r.endpoint)?;
        self.done(async {
            let (sender, allocation) = (job_master_id(&r.job_master_id)?, allocation_id(&r.allocation_id)?);
            gateway.cancel_slot_request(token(&r.token)?, sender, allocation).await
        })
        .await
    }

    async fn register_task_executor(
        &self,
        request: Request<RegisterTaskExecutorRequest>,
    ) -> Result<Response<RegisterTaskExecutorReply>, Status> {
        let r = request.into_inner();
        let gateway = self.resource_manager(&r.endpoint)?;
        let registered = async {
            let slot = wire::present(r.slot, "a profile")?.into();
            let registration = TaskExecutorRegistration {
                resource_id: ResourceId(r.resource_id),
                address: Address(r.address),
                spec: WorkerResourceSpec { slots: r.slots, slot },
                heartbeat_timeout_ms: r.heartbeat_timeout_ms,
            };
            gateway.register_task_executor(token(&r.token)?, registration).await
        };
        self.answer(registered, |id| Ok(RegisterTaskExecutorReply { instance_id: wire::id(id.0) })).await
    }

    async fn send_slot_report(&self, request: Request<SlotReportRequest>) -> Result<Response<Empty>, Status> {
        let r = request.into_inner();
        let gateway = self.resource_manager(&r.endpoint)?;
        self.done(async {
            let report = wire::decode(&r.report, "a slot report")?;
            gateway.send_slot_report(token(&r.token)?, instance_id(&r.instance_id)?, report).await
        })
        .await
    }

    async fn notify_slot_available(
        &self,
        request: Request<SlotAvailableRequest>,
    ) -> Result<Response<Empty>, Status> {
        let r = request.into_inner();
        let gateway = self.resource_manager(&r.endpoint)?;
        self.done(async {
            let instance = instance_id(&r.instance_id)?;
            let slot = wire::present(r.slot, "a slot")?.into();
            let allocation = allocation_id(&r.allocation_id)?;
            gateway.notify_slot_available(token(&r.token)?, instance, slot, allocation).await
        })
        .await
    }

    async fn disconnect_task_executor(
        &self,
        request: Request<DisconnectInstanceRequest>,
    ) -> Result<Response<Empty>, Status> {
        let r = request.into_inner();
        let gateway = self.resource_manager(&r.endpoint)?;
        self.done(async {
            let instance = instance_id(&r.instance_id)?;
            gateway.disconnect_task_executor(token(&r.token)?, instance, r.reason).await
        })
        .await
    }

    async fn request_overview(
        &self,
        request: Request<ResourceOverviewRequest>,
    ) -> Result<Response<ResourceOverviewReply>, Status> {
        let r = request.into_inner();
        let gateway = self.resource_manager(&r.endpoint)?;
        let overview = async { gateway.request_overview(token(&r.token)?).await };
        self.answer(overview, |overview| Ok(ResourceOverviewReply { overview: wire::encode(&overview)? }))
            .await
    }
}

fn token(bytes: &Bytes) -> Result<ResourceManagerId> {
    Ok(ResourceManagerId(wire::bits(bytes, "a token")?))
}

fn job_master_id(bytes: &Bytes) -> Result<JobMasterId> {
    Ok(JobMasterId(wire::bits(bytes, "a job master's id")?))
}

fn allocation_id(bytes: &Bytes) -> Result<AllocationId> {
    Ok(AllocationId(wire::bits(bytes, "an allocation id")?))
}

fn instance_id(bytes: &Bytes) -> Result<InstanceId> {
    Ok(InstanceId(wire::bits(bytes, "an instance id")?))
}
