//! A process of its own on loopback, and a gateway of every kind that writes
//! down what it is asked.

use crate::samples;
use async_trait::async_trait;
use heddle_model::config::Configuration;
use heddle_model::config::value::{ConfigValue, PortRange};
use heddle_model::failure::Failure;
use heddle_model::id::{
    AllocationId, BlobKey, ExecutionAttemptId, InstanceId, JobId, JobMasterId, ResourceId, ResourceManagerId,
    SlotId,
};
use heddle_model::job_graph::JobGraph;
use heddle_model::task::{
    DataAddress, InputSplit, JobInformation, TaskDeploymentDescriptor, TaskExecutionState,
};
use heddle_rpc::grpc::{GrpcClient, GrpcRpcService, Identity, Limits, Options, Role};
use heddle_rpc::{
    Address, BlobContent, BlobServerGateway, ClusterOverview, DispatcherGateway, Error, JobDetails,
    JobMasterGateway, JobMasterRegistration, JobOverview, JobResult, RequestSlot, ResourceManagerGateway,
    ResourceOverview, Result, SlotOffer, SlotReport, SlotRequest, TaskExecutorGateway, TaskExecutorHeartbeat,
    TaskExecutorRegistration,
};
use std::fmt::Debug;
use std::ops::Deref;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Long enough that nothing of a passing test waits for it.
pub const LONG: Duration = Duration::from_secs(30);

pub fn limits() -> Limits {
    Limits { ask_timeout: LONG, ..Limits::from_configuration(&Configuration::new()) }
}

pub fn options(role: Role) -> Options {
    Options {
        limits: limits(),
        bind_host: "127.0.0.1".into(),
        ports: PortRange::parse("0").unwrap(),
        advertised_host: "127.0.0.1".into(),
        ..Options::job_manager(&Configuration::new(), None)
    }
    .with_role(role)
}

pub trait WithRole {
    fn with_role(self, role: Role) -> Self;
}

impl WithRole for Options {
    fn with_role(self, role: Role) -> Self {
        Self { identity: Identity::new(role, Some("cluster-1".into())), ..self }
    }
}

/// A process that listens; it ends when dropped.
pub struct Process {
    pub rpc: GrpcRpcService,
    pub shutdown: CancellationToken,
    tasks: JoinSet<()>,
}

impl Process {
    pub async fn start(options: Options) -> Self {
        let (rpc, server) = GrpcRpcService::bind(options).await.unwrap();
        let shutdown = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(server.run(shutdown.clone()));
        Self { rpc, shutdown, tasks }
    }

    /// Ends as a process does that is told to.
    pub async fn stop(mut self) {
        self.shutdown.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

impl Deref for Process {
    type Target = GrpcRpcService;
    fn deref(&self) -> &GrpcRpcService {
        &self.rpc
    }
}

pub fn client() -> GrpcClient {
    client_with(limits())
}

pub fn client_with(limits: Limits) -> GrpcClient {
    GrpcClient::new(&Identity::new(Role::Client, None), limits).unwrap()
}

/// Writes down what it is asked, and answers with a sample or an error.
#[derive(Default)]
pub struct Recorder {
    calls: Mutex<Vec<String>>,
    /// What every call fails with.
    pub error: Mutex<Option<Error>>,
    /// Calls that are not answered at all.
    pub silent: bool,
}

impl Recorder {
    pub fn failing(error: Error) -> Arc<Self> {
        Arc::new(Self { error: Mutex::new(Some(error)), ..Self::default() })
    }

    pub fn silent() -> Arc<Self> {
        Arc::new(Self { silent: true, ..Self::default() })
    }

    pub fn calls(&self) -> Vec<String> {
        self.calls.lock().unwrap().clone()
    }

    async fn call<T>(&self, name: &str, arguments: impl Debug, answer: T) -> Result<T> {
        self.calls.lock().unwrap().push(format!("{name} {arguments:?}"));
        if self.silent {
            std::future::pending::<()>().await;
        }
        let error = self.error.lock().unwrap().clone();
        error.map_or(Ok(answer), Err)
    }
}

#[async_trait]
impl DispatcherGateway for Recorder {
    async fn put_blob(&self, mut content: BlobContent) -> Result<BlobKey> {
        let mut bytes = Vec::new();
        while let Some(chunk) = content.next().await {
            bytes.extend_from_slice(&chunk?);
        }
        let key = BlobKey::of(&bytes);
        self.call("put_blob", (content.key(), content.size(), bytes.len()), key).await
    }
    async fn submit_job(&self, job: JobGraph) -> Result<JobId> {
        self.call("submit_job", &job, job.job_id).await
    }
    async fn list_jobs(&self) -> Result<Vec<JobOverview>> {
        self.call("list_jobs", (), vec![samples::job_overview(), samples::job_overview()]).await
    }
    async fn request_job(&self, job_id: JobId) -> Result<JobDetails> {
        self.call("request_job", job_id, samples::job_details()).await
    }
    async fn request_job_result(&self, job_id: JobId) -> Result<JobResult> {
        self.call("request_job_result", job_id, samples::job_result()).await
    }
    async fn shut_down_cluster(&self) -> Result<()> {
        self.call("shut_down_cluster", (), ()).await
    }
    async fn cancel_job(&self, job_id: JobId) -> Result<()> {
        self.call("cancel_job", job_id, ()).await
    }
    async fn request_cluster_overview(&self) -> Result<ClusterOverview> {
        self.call("request_cluster_overview", (), samples::cluster_overview()).await
    }
}

#[async_trait]
impl ResourceManagerGateway for Recorder {
    async fn register_job_master(&self, t: ResourceManagerId, r: JobMasterRegistration) -> Result<()> {
        self.call("register_job_master", (t, r), ()).await
    }
    async fn disconnect_job_master(&self, t: ResourceManagerId, job_id: JobId) -> Result<()> {
        self.call("disconnect_job_master", (t, job_id), ()).await
    }
    async fn request_slot(&self, t: ResourceManagerId, j: JobMasterId, r: SlotRequest) -> Result<()> {
        self.call("request_slot", (t, j, r), ()).await
    }
    async fn cancel_slot_request(&self, t: ResourceManagerId, j: JobMasterId, a: AllocationId) -> Result<()> {
        self.call("cancel_slot_request", (t, j, a), ()).await
    }
    async fn register_task_executor(
        &self,
        t: ResourceManagerId,
        r: TaskExecutorRegistration,
    ) -> Result<InstanceId> {
        self.call("register_task_executor", (t, r), InstanceId(77)).await
    }
    async fn send_slot_report(&self, t: ResourceManagerId, i: InstanceId, r: SlotReport) -> Result<()> {
        self.call("send_slot_report", (t, i, r), ()).await
    }
    async fn notify_slot_available(
        &self,
        t: ResourceManagerId,
        i: InstanceId,
        s: SlotId,
        a: AllocationId,
    ) -> Result<()> {
        self.call("notify_slot_available", (t, i, s, a), ()).await
    }
    async fn disconnect_task_executor(&self, t: ResourceManagerId, i: InstanceId, r: String) -> Result<()> {
        self.call("disconnect_task_executor", (t, i, r), ()).await
    }
    async fn request_overview(&self, t: ResourceManagerId) -> Result<ResourceOverview> {
        self.call("request_overview", t, samples::resource_overview()).await
    }
}

#[async_trait]
impl JobMasterGateway for Recorder {
    async fn register_task_executor(
        &self,
        t: JobMasterId,
        r: ResourceId,
        a: Address,
        d: Option<DataAddress>,
    ) -> Result<()> {
        self.call("register_task_executor", (t, r, a, d), ()).await
    }
    async fn disconnect_task_executor(&self, t: JobMasterId, r: ResourceId, f: Failure) -> Result<()> {
        self.call("disconnect_task_executor", (t, r, f), ()).await
    }
    async fn offer_slots(
        &self,
        t: JobMasterId,
        r: ResourceId,
        o: Vec<SlotOffer>,
    ) -> Result<Vec<AllocationId>> {
        let accepted = o.iter().map(|offer| offer.allocation_id).collect();
        self.call("offer_slots", (t, r, o), accepted).await
    }
    async fn fail_slot(&self, t: JobMasterId, r: ResourceId, a: AllocationId, f: Failure) -> Result<()> {
        self.call("fail_slot", (t, r, a, f), ()).await
    }
    async fn update_task_execution_state(&self, t: JobMasterId, s: TaskExecutionState) -> Result<()> {
        self.call("update_task_execution_state", (t, s), ()).await
    }
    async fn request_next_input_split(
        &self,
        t: JobMasterId,
        a: ExecutionAttemptId,
    ) -> Result<Option<InputSplit>> {
        let split = (a.subtask > 0).then(|| InputSplit { index: a.subtask, content: vec![0, 1, 255] });
        self.call("request_next_input_split", (t, a), split).await
    }
    async fn heartbeat_from_task_executor(
        &self,
        t: JobMasterId,
        r: ResourceId,
        p: TaskExecutorHeartbeat,
    ) -> Result<()> {
        self.call("heartbeat_from_task_executor", (t, r, p), ()).await
    }
    async fn heartbeat_from_resource_manager(&self, t: JobMasterId) -> Result<()> {
        self.call("heartbeat_from_resource_manager", t, ()).await
    }
    async fn notify_allocation_failure(&self, t: JobMasterId, a: AllocationId, f: Failure) -> Result<()> {
        self.call("notify_allocation_failure", (t, a, f), ()).await
    }
    async fn request_job(&self, t: JobMasterId) -> Result<JobDetails> {
        self.call("request_job", t, samples::job_details()).await
    }
    async fn cancel(&self, t: JobMasterId) -> Result<()> {
        self.call("cancel", t, ()).await
    }
}

#[async_trait]
impl TaskExecutorGateway for Recorder {
    async fn request_slot(&self, t: ResourceManagerId, r: RequestSlot) -> Result<()> {
        self.call("request_slot", (t, r), ()).await
    }
    async fn free_slot(&self, t: JobMasterId, a: AllocationId, f: Failure) -> Result<()> {
        self.call("free_slot", (t, a, f), ()).await
    }
    async fn submit_tasks(
        &self,
        t: JobMasterId,
        j: Arc<JobInformation>,
        tasks: Vec<TaskDeploymentDescriptor>,
    ) -> Result<()> {
        // Which tasks share their vertex must come through as well.
        let first = |task: &TaskDeploymentDescriptor| {
            tasks.iter().position(|other| Arc::ptr_eq(&other.vertex, &task.vertex))
        };
        let shared: Vec<_> = tasks.iter().map(first).collect();
        self.call("submit_tasks", (t, j, shared, tasks), ()).await
    }
    async fn cancel_tasks(&self, t: JobMasterId, a: Vec<ExecutionAttemptId>) -> Result<()> {
        self.call("cancel_tasks", (t, a), ()).await
    }
    async fn disconnect_job_master(&self, t: JobMasterId, j: JobId, f: Failure) -> Result<()> {
        self.call("disconnect_job_master", (t, j, f), ()).await
    }
    async fn heartbeat_from_job_master(&self, t: JobMasterId, j: JobId) -> Result<()> {
        self.call("heartbeat_from_job_master", (t, j), ()).await
    }
    async fn heartbeat_from_resource_manager(&self, t: ResourceManagerId) -> Result<()> {
        self.call("heartbeat_from_resource_manager", t, ()).await
    }
}

#[async_trait]
impl BlobServerGateway for Recorder {
    async fn get_blob(&self, key: BlobKey) -> Result<BlobContent> {
        self.call("get_blob", key, bytes::Bytes::from(vec![7; 1_000_000]).into()).await
    }
}
