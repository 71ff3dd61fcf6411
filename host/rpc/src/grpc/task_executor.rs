//! A TaskExecutor's gateway over a connection: both ends.

use super::peer::{Remote, Via};
use super::proto::task_executor_client::TaskExecutorClient;
use super::proto::task_executor_server::TaskExecutor;
use super::proto::{
    CancelTasksRequest, DisconnectFromJobRequest, Empty, FreeSlotRequest, JobHeartbeatRequest,
    ResourceManagerHeartbeatRequest, SubmitTasksRequest, Task, TaskExecutorSlotRequest,
};
use super::server::Answers;
use super::wire;
use crate::{Address, RequestSlot, Result, TaskExecutorGateway};
use async_trait::async_trait;
use bytes::Bytes;
use heddle_model::failure::Failure;
use heddle_model::id::{AllocationId, ExecutionAttemptId, JobId, JobMasterId, ResourceManagerId, VertexId};
use heddle_model::job_graph::JobVertex;
use heddle_model::task::{JobInformation, TaskDeploymentDescriptor};
use std::collections::HashMap;
use std::sync::Arc;
use tonic::{Request, Response, Status};

pub(crate) struct RemoteTaskExecutor {
    remote: Remote,
    client: TaskExecutorClient<Via>,
}

impl RemoteTaskExecutor {
    pub(crate) fn new(remote: Remote) -> Self {
        let most = remote.peer.limits.max_message_size;
        let client = TaskExecutorClient::new(remote.peer.via.clone());
        let client = client.max_decoding_message_size(most).max_encoding_message_size(most);
        Self { remote, client }
    }
}

#[async_trait]
impl TaskExecutorGateway for RemoteTaskExecutor {
    async fn request_slot(&self, token: ResourceManagerId, request: RequestSlot) -> Result<()> {
        let request = TaskExecutorSlotRequest {
            endpoint: self.remote.endpoint(),
            token: wire::id(token.0),
            slot: Some(request.slot_id.into()),
            job_id: wire::id(request.job_id.0),
            allocation_id: wire::id(request.allocation_id.0),
            profile: Some(request.profile.into()),
            job_master: request.job_master.0,
            job_master_id: wire::id(request.job_master_id.0),
        };
        self.remote.call("request_slot", self.client.clone().request_slot(request)).await.map(drop)
    }

    async fn free_slot(&self, token: JobMasterId, allocation_id: AllocationId, cause: Failure) -> Result<()> {
        let request = FreeSlotRequest {
            endpoint: self.remote.endpoint(),
            token: wire::id(token.0),
            allocation_id: wire::id(allocation_id.0),
            cause: Some(cause.into()),
        };
        self.remote.call("free_slot", self.client.clone().free_slot(request)).await.map(drop)
    }

    async fn submit_tasks(
        &self,
        token: JobMasterId,
        job: Arc<JobInformation>,
        tasks: Vec<TaskDeploymentDescriptor>,
    ) -> Result<()> {
        let (vertices, tasks) = pack(&tasks)?;
        let request = SubmitTasksRequest {
            endpoint: self.remote.endpoint(),
            token: wire::id(token.0),
            job: wire::encode(&*job)?,
            vertices,
            tasks,
        };
        let request = self.remote.sized("submit_tasks", request)?;
        self.remote.call("submit_tasks", self.client.clone().submit_tasks(request)).await.map(drop)
    }

    async fn cancel_tasks(&self, token: JobMasterId, attempts: Vec<ExecutionAttemptId>) -> Result<()> {
        let request = CancelTasksRequest {
            endpoint: self.remote.endpoint(),
            token: wire::id(token.0),
            attempts: attempts.into_iter().map(Into::into).collect(),
        };
        self.remote.call("cancel_tasks", self.client.clone().cancel_tasks(request)).await.map(drop)
    }

    async fn disconnect_job_master(&self, token: JobMasterId, job_id: JobId, cause: Failure) -> Result<()> {
        let request = DisconnectFromJobRequest {
            endpoint: self.remote.endpoint(),
            token: wire::id(token.0),
            job_id: wire::id(job_id.0),
            cause: Some(cause.into()),
        };
        let mut client = self.client.clone();
        self.remote.call("disconnect_job_master", client.disconnect_job_master(request)).await.map(drop)
    }

    async fn heartbeat_from_job_master(&self, token: JobMasterId, job_id: JobId) -> Result<()> {
        let request = JobHeartbeatRequest {
            endpoint: self.remote.endpoint(),
            token: wire::id(token.0),
            job_id: wire::id(job_id.0),
        };
        let mut client = self.client.clone();
        let call = client.heartbeat_from_job_master(request);
        self.remote.call("heartbeat_from_job_master", call).await.map(drop)
    }

    async fn heartbeat_from_resource_manager(&self, token: ResourceManagerId) -> Result<()> {
        let request =
            ResourceManagerHeartbeatRequest { endpoint: self.remote.endpoint(), token: wire::id(token.0) };
        let mut client = self.client.clone();
        let call = client.heartbeat_from_resource_manager(request);
        self.remote.call("heartbeat_from_resource_manager", call).await.map(drop)
    }
}

#[async_trait]
impl TaskExecutor for Answers {
    async fn request_slot(
        &self,
        request: Request<TaskExecutorSlotRequest>,
    ) -> Result<Response<Empty>, Status> {
        let r = request.into_inner();
        let gateway = self.task_executor(&r.endpoint)?;
        self.done(async {
            let request = RequestSlot {
                slot_id: wire::present(r.slot, "a slot")?.into(),
                job_id: job_id(&r.job_id)?,
                allocation_id: AllocationId(wire::bits(&r.allocation_id, "an allocation id")?),
                profile: wire::present(r.profile, "a profile")?.into(),
                job_master: Address(r.job_master),
                job_master_id: job_master_token(&r.job_master_id)?,
            };
            gateway.request_slot(resource_manager_token(&r.token)?, request).await
        })
        .await
    }

    async fn free_slot(&self, request: Request<FreeSlotRequest>) -> Result<Response<Empty>, Status> {
        let r = request.into_inner();
        let gateway = self.task_executor(&r.endpoint)?;
        self.done(async {
            let token = job_master_token(&r.token)?;
            let allocation = AllocationId(wire::bits(&r.allocation_id, "an allocation id")?);
            gateway.free_slot(token, allocation, wire::present(r.cause, "a cause")?.into()).await
        })
        .await
    }

    async fn submit_tasks(&self, request: Request<SubmitTasksRequest>) -> Result<Response<Empty>, Status> {
        let r = request.into_inner();
        let gateway = self.task_executor(&r.endpoint)?;
        self.done(async {
            let job = Arc::new(wire::decode(&r.job, "the information on a job")?);
            let tasks = unpack(&r.vertices, r.tasks)?;
            gateway.submit_tasks(job_master_token(&r.token)?, job, tasks).await
        })
        .await
    }

    async fn cancel_tasks(&self, request: Request<CancelTasksRequest>) -> Result<Response<Empty>, Status> {
        let r = request.into_inner();
        let gateway = self.task_executor(&r.endpoint)?;
        self.done(async {
            let attempts = r.attempts.into_iter().map(TryInto::try_into).collect::<Result<_>>()?;
            gateway.cancel_tasks(job_master_token(&r.token)?, attempts).await
        })
        .await
    }

    async fn disconnect_job_master(
        &self,
        request: Request<DisconnectFromJobRequest>,
    ) -> Result<Response<Empty>, Status> {
        let r = request.into_inner();
        let gateway = self.task_executor(&r.endpoint)?;
        self.done(async {
            let cause = wire::present(r.cause, "a cause")?.into();
            gateway.disconnect_job_master(job_master_token(&r.token)?, job_id(&r.job_id)?, cause).await
        })
        .await
    }

    async fn heartbeat_from_job_master(
        &self,
        request: Request<JobHeartbeatRequest>,
    ) -> Result<Response<Empty>, Status> {
        let r = request.into_inner();
        let gateway = self.task_executor(&r.endpoint)?;
        self.done(async {
            gateway.heartbeat_from_job_master(job_master_token(&r.token)?, job_id(&r.job_id)?).await
        })
        .await
    }

    async fn heartbeat_from_resource_manager(
        &self,
        request: Request<ResourceManagerHeartbeatRequest>,
    ) -> Result<Response<Empty>, Status> {
        let r = request.into_inner();
        let gateway = self.task_executor(&r.endpoint)?;
        self.done(async { gateway.heartbeat_from_resource_manager(resource_manager_token(&r.token)?).await })
            .await
    }
}

/// Each vertex once, and the tasks that point to them.
pub(crate) fn pack(tasks: &[TaskDeploymentDescriptor]) -> Result<(Vec<Bytes>, Vec<Task>)> {
    let mut vertices = Vec::new();
    let mut positions = HashMap::<VertexId, (u32, &Arc<JobVertex>)>::new();
    let mut packed = Vec::with_capacity(tasks.len());
    for task in tasks {
        let vertex = match positions.get(&task.vertex.id) {
            Some((position, known)) if Arc::ptr_eq(known, &task.vertex) || **known == task.vertex => {
                *position
            }
            _ => {
                let position = vertices.len() as u32;
                vertices.push(wire::encode(&*task.vertex)?);
                positions.insert(task.vertex.id, (position, &task.vertex));
                position
            }
        };
        packed.push(Task {
            attempt: Some(task.attempt.into()),
            allocation_id: wire::id(task.allocation_id.0),
            vertex,
            inputs: wire::encode(&task.inputs)?,
            outputs: wire::encode(&task.outputs)?,
        });
    }
    Ok((vertices, packed))
}

pub(crate) fn unpack(vertices: &[Bytes], tasks: Vec<Task>) -> Result<Vec<TaskDeploymentDescriptor>> {
    let vertices = vertices.iter().map(|vertex| wire::decode(vertex, "a vertex").map(Arc::new));
    let vertices = vertices.collect::<Result<Vec<Arc<JobVertex>>>>()?;
    let task = |task: Task| {
        let vertex = vertices.get(task.vertex as usize).cloned();
        Ok(TaskDeploymentDescriptor {
            attempt: wire::present(task.attempt, "an attempt")?.try_into()?,
            allocation_id: AllocationId(wire::bits(&task.allocation_id, "an allocation id")?),
            vertex: wire::present(vertex, "a task's vertex")?,
            inputs: wire::decode(&task.inputs, "a task's inputs")?,
            outputs: wire::decode(&task.outputs, "a task's outputs")?,
        })
    };
    tasks.into_iter().map(task).collect()
}

fn job_id(bytes: &Bytes) -> Result<JobId> {
    Ok(JobId(wire::bits(bytes, "a job id")?))
}

fn job_master_token(bytes: &Bytes) -> Result<JobMasterId> {
    Ok(JobMasterId(wire::bits(bytes, "a job master's token")?))
}

fn resource_manager_token(bytes: &Bytes) -> Result<ResourceManagerId> {
    Ok(ResourceManagerId(wire::bits(bytes, "a resource manager's token")?))
}
