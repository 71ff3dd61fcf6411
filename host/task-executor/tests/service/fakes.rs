//! A TaskExecutor among peers that a test plays: a resource manager and a job
//! master that keep a log of what they are told and answer as they are bid.

use async_trait::async_trait;
use heddle_blob::{BlobCache, BlobServer, CacheOptions, ServerOptions};
use heddle_connectors::Console;
use heddle_exchange::{PartitionManager, ResultPartition};
use heddle_filesystem::FileSystems;
use heddle_model::element::ElementType;
use heddle_model::failure::Failure;
use heddle_model::id::{
    AllocationId, BlobKey, DatasetId, ExecutionAttemptId, InstanceId, JobId, JobMasterId, OperatorId,
    ResourceId, ResourceManagerId, ResultPartitionId, SlotId, VertexId,
};
use heddle_model::job_graph::{ChainedOperator, Distribution, ExecutionConfig, JobEdge, JobVertex};
use heddle_model::memory::{ResourceProfile, WorkerResourceSpec};
use heddle_model::plan::{ConnectorSpec, Partitioner, Program};
use heddle_model::stream_graph::OperatorKind;
use heddle_model::task::{
    DataAddress, InputChannelDescriptor, InputGateDescriptor, InputSplit, JobInformation,
    TaskDeploymentDescriptor, TaskExecutionState,
};
use heddle_rpc::{
    Address, EmbeddedRpcService, Error, JobDetails, JobMasterGateway, JobMasterRegistration, RequestSlot,
    ResourceManagerGateway, Result, RpcService, SlotOffer, SlotReport, SlotRequest, TaskExecutorGateway,
    TaskExecutorHeartbeat, TaskExecutorRegistration,
};
use heddle_task::Shared;
use heddle_task_executor::{Error as Ended, Handle, JobUsers, Options, ResourceManagerLeader, Service};
use heddle_wasm::{CompilerCommand, Runtime};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub const RM_TOKEN: ResourceManagerId = ResourceManagerId::from_bits(22);
/// Of the resource manager that takes over.
pub const NEXT_RM_TOKEN: ResourceManagerId = ResourceManagerId::from_bits(23);
pub const TOKEN: JobMasterId = JobMasterId::from_bits(11);
pub const STALE: JobMasterId = JobMasterId::from_bits(10);
pub const JOB: JobId = JobId::from_bits(7);
pub const PROFILE: ResourceProfile =
    ResourceProfile { task_memory: 1 << 20, managed_memory: 1 << 20, network_memory: 1 << 20 };
pub const SLOT_TIMEOUT: Duration = Duration::from_secs(10);
pub const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(50);
const HEARTBEAT: Duration = Duration::from_secs(10);

pub fn job_master_address() -> Address {
    Address("embedded:jobmaster".into())
}

pub fn resource_manager_address() -> Address {
    Address("embedded:resourcemanager".into())
}

/// Lines of what happened, in order.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn lines(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().expect("no fake panics")
    }

    fn push(&self, line: impl Into<String>) {
        self.lines().push(line.into());
    }

    /// The lines so far; they are gone then.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.lines())
    }

    pub fn count(&self, part: &str) -> usize {
        self.lines().iter().filter(|line| line.contains(part)).count()
    }

    /// Waits for a line; time that is paused passes meanwhile.
    #[track_caller]
    pub fn until(&self, part: &str) -> impl Future<Output = ()> {
        let (log, part) = (self.clone(), part.to_owned());
        async move {
            for _ in 0..10_000 {
                if log.count(&part) > 0 {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            panic!("`{part}` does not come: {:#?}", log.take());
        }
    }
}

// ---- the resource manager -----------------------------------------------------

#[derive(Default)]
pub struct ResourceManager {
    pub log: Log,
    /// Answers to the next registrations.
    pub refusals: Mutex<VecDeque<Error>>,
    instances: AtomicU64,
    reports: Mutex<Vec<SlotReport>>,
    /// Registrations that it does not know any more.
    pub forgotten: Mutex<Vec<InstanceId>>,
    /// Sends no heartbeats.
    pub silent: AtomicBool,
}

#[async_trait]
impl ResourceManagerGateway for ResourceManager {
    async fn register_job_master(&self, _: ResourceManagerId, _: JobMasterRegistration) -> Result<()> {
        unreachable!("only job masters do")
    }

    async fn disconnect_job_master(&self, _: ResourceManagerId, _: JobId) -> Result<()> {
        unreachable!("only job masters do")
    }

    async fn request_slot(&self, _: ResourceManagerId, _: JobMasterId, _: SlotRequest) -> Result<()> {
        unreachable!("only job masters do")
    }

    async fn cancel_slot_request(&self, _: ResourceManagerId, _: JobMasterId, _: AllocationId) -> Result<()> {
        unreachable!("only job masters do")
    }

    async fn register_task_executor(
        &self,
        token: ResourceManagerId,
        _: TaskExecutorRegistration,
    ) -> Result<InstanceId> {
        assert!(token == RM_TOKEN || token == NEXT_RM_TOKEN);
        if let Some(refusal) = self.refusals.lock().expect("no fake panics").pop_front() {
            self.log.push("registration refused");
            return Err(refusal);
        }
        let instance = self.instances.fetch_add(1, Ordering::SeqCst) + 1;
        self.log.push(format!("registered as {instance}"));
        Ok(InstanceId::from_bits(u128::from(instance)))
    }

    async fn send_slot_report(
        &self,
        _: ResourceManagerId,
        instance: InstanceId,
        report: SlotReport,
    ) -> Result<()> {
        if self.forgotten.lock().expect("no fake panics").contains(&instance) {
            return Err(Error::Fenced { expected: "another".into(), got: instance.to_string() });
        }
        self.reports.lock().expect("no fake panics").push(report);
        Ok(())
    }

    async fn notify_slot_available(
        &self,
        _: ResourceManagerId,
        _: InstanceId,
        slot: SlotId,
        allocation: AllocationId,
    ) -> Result<()> {
        self.log.push(format!("slot {} is free of {}", slot.slot_number, allocation.0));
        Ok(())
    }

    async fn disconnect_task_executor(
        &self,
        _: ResourceManagerId,
        _: InstanceId,
        reason: String,
    ) -> Result<()> {
        self.log.push(format!("disconnected: {reason}"));
        Ok(())
    }

    async fn request_overview(&self, _: ResourceManagerId) -> Result<heddle_rpc::ResourceOverview> {
        unreachable!("only the dispatcher does")
    }
}

// ---- the job master -----------------------------------------------------------

/// What the job master makes of an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offers {
    Accept,
    Reject,
    /// Those with an even id.
    AcceptEven,
    /// Accepts, so much later.
    AcceptAfter(Duration),
    /// It is not there.
    Fail,
}

pub struct JobMaster {
    pub log: Log,
    pub offers: Mutex<Offers>,
    pub silent: AtomicBool,
    /// Takes no state updates for now.
    pub deaf: AtomicBool,
    reports: Mutex<Vec<TaskExecutorHeartbeat>>,
}

impl JobMaster {
    fn fenced(token: JobMasterId) -> Result<()> {
        if token == TOKEN {
            return Ok(());
        }
        Err(Error::Fenced { expected: TOKEN.to_string(), got: token.to_string() })
    }

    pub fn answer_offers(&self, how: Offers) {
        *self.offers.lock().expect("no fake panics") = how;
    }

    /// The subtasks that the latest heartbeat named.
    pub fn reported(&self) -> Vec<u32> {
        let reports = self.reports.lock().expect("no fake panics");
        let latest = reports.last().map(|report| report.tasks.iter().map(|(attempt, ..)| attempt.subtask));
        latest.into_iter().flatten().collect()
    }
}

#[async_trait]
impl JobMasterGateway for JobMaster {
    async fn register_task_executor(
        &self,
        token: JobMasterId,
        _: ResourceId,
        _: Address,
        _: Option<DataAddress>,
    ) -> Result<()> {
        Self::fenced(token)?;
        self.log.push("worker registered");
        Ok(())
    }

    async fn disconnect_task_executor(
        &self,
        token: JobMasterId,
        _: ResourceId,
        reason: Failure,
    ) -> Result<()> {
        Self::fenced(token)?;
        self.log.push(format!("worker disconnected: {reason}"));
        Ok(())
    }

    async fn offer_slots(
        &self,
        token: JobMasterId,
        _: ResourceId,
        offers: Vec<SlotOffer>,
    ) -> Result<Vec<AllocationId>> {
        Self::fenced(token)?;
        let ids: Vec<_> = offers.iter().map(|offer| offer.allocation_id).collect();
        self.log.push(format!("offered {:?}", ids.iter().map(|id| id.0).collect::<Vec<_>>()));
        let how = *self.offers.lock().expect("no fake panics");
        match how {
            Offers::Accept => Ok(ids),
            Offers::Reject => Ok(Vec::new()),
            Offers::AcceptEven => Ok(ids.into_iter().filter(|id| id.0 % 2 == 0).collect()),
            Offers::AcceptAfter(time) => {
                tokio::time::sleep(time).await;
                Ok(ids)
            }
            Offers::Fail => Err(Error::Unreachable { address: job_master_address() }),
        }
    }

    async fn fail_slot(&self, _: JobMasterId, _: ResourceId, _: AllocationId, _: Failure) -> Result<()> {
        Ok(())
    }

    async fn update_task_execution_state(&self, token: JobMasterId, state: TaskExecutionState) -> Result<()> {
        Self::fenced(token)?;
        if self.deaf.load(Ordering::SeqCst) {
            return Err(Error::Unreachable { address: job_master_address() });
        }
        let why = state.failure.map_or(String::new(), |failure| format!(": {failure}"));
        let outputs = state.committables.len();
        let outputs = if outputs > 0 { format!(" with {outputs} outputs") } else { String::new() };
        self.log.push(format!("task {} {}{outputs}{why}", state.attempt.subtask, state.state));
        Ok(())
    }

    async fn request_next_input_split(
        &self,
        _: JobMasterId,
        _: ExecutionAttemptId,
    ) -> Result<Option<InputSplit>> {
        Ok(None)
    }

    async fn heartbeat_from_task_executor(
        &self,
        token: JobMasterId,
        _: ResourceId,
        payload: TaskExecutorHeartbeat,
    ) -> Result<()> {
        Self::fenced(token)?;
        self.reports.lock().expect("no fake panics").push(payload);
        Ok(())
    }

    async fn heartbeat_from_resource_manager(&self, _: JobMasterId) -> Result<()> {
        Ok(())
    }

    async fn notify_allocation_failure(&self, _: JobMasterId, _: AllocationId, _: Failure) -> Result<()> {
        Ok(())
    }

    async fn request_job(&self, _: JobMasterId) -> Result<JobDetails> {
        unreachable!("only clients do")
    }

    async fn cancel(&self, _: JobMasterId) -> Result<()> {
        unreachable!("only clients do")
    }
}

// ---- all together -------------------------------------------------------------

struct Nowhere;

impl Console for Nowhere {
    fn write(&self, _: &str) -> std::io::Result<()> {
        Ok(())
    }
}

/// What the TaskExecutors of one process share.
pub struct Process {
    pub shared: Shared,
    pub rpc: Arc<EmbeddedRpcService>,
    pub resource_manager: Arc<ResourceManager>,
    pub job_master: Arc<JobMaster>,
    /// Who leads, as the TaskExecutors are told.
    pub leader: watch::Sender<Option<ResourceManagerLeader>>,
    _folder: tempfile::TempDir,
}

impl Process {
    /// With both peers served.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let compiler = CompilerCommand { program: "none".into(), arguments: Vec::new() };
        let mut options = heddle_wasm::Options::new(folder.path().join("components"), compiler);
        options.max_instances = 1;
        let blobs = BlobServer::open(ServerOptions::new(folder.path().join("blobs"))).expect("a blob server");
        let cache = CacheOptions::new(folder.path().join("cache"));
        let shared = Shared {
            wasm: Runtime::new(options).expect("a sandbox"),
            grants: Default::default(),
            partitions: PartitionManager::new(16 << 20),
            workers: tokio::runtime::Handle::current(),
            blobs: Arc::new(BlobCache::open(cache, Arc::new(blobs)).expect("a cache")),
            jobs: JobUsers::default(),
            console: Arc::new(Nowhere),
            files: FileSystems::new(Default::default()),
        };
        let process = Self {
            shared,
            rpc: Arc::new(EmbeddedRpcService::new()),
            resource_manager: Arc::default(),
            job_master: Arc::new(JobMaster {
                log: Log::default(),
                offers: Mutex::new(Offers::Accept),
                silent: AtomicBool::new(false),
                deaf: AtomicBool::new(false),
                reports: Mutex::default(),
            }),
            leader: watch::Sender::new(Some((resource_manager_address(), RM_TOKEN))),
            _folder: folder,
        };
        process.rpc.serve_resource_manager(resource_manager_address(), process.resource_manager.clone());
        process.serve_job_master();
        process
    }

    pub fn serve_job_master(&self) {
        self.rpc.serve_job_master(job_master_address(), self.job_master.clone());
    }

    pub fn stop_job_master(&self) {
        self.rpc.stop_serving(&job_master_address());
    }

    pub fn stop_resource_manager(&self) {
        self.rpc.stop_serving(&resource_manager_address());
    }

    /// Starts a TaskExecutor with two slots, which its peers keep alive.
    pub fn start(&self, name: &str) -> Worker {
        let options = Options {
            resource_id: ResourceId(name.into()),
            address: Address(format!("embedded:{name}")),
            data_address: None,
            spec: WorkerResourceSpec { slots: 2, slot: PROFILE },
            resource_manager: self.leader.subscribe(),
            slot_timeout: SLOT_TIMEOUT,
            registration_timeout: Duration::from_secs(300),
            heartbeat_timeout: HEARTBEAT_TIMEOUT,
            metrics_interval: Duration::from_secs(1),
        };
        let resource_id = options.resource_id.clone();
        let (service, handle) = Service::new(options, self.shared.clone(), self.rpc.clone());
        let shutdown = CancellationToken::new();
        let ended = tokio::spawn(service.run(shutdown.clone()));
        let (resource_manager, job_master) = (self.resource_manager.clone(), self.job_master.clone());
        let called = handle.clone();
        let heart = tokio::spawn(async move {
            loop {
                if !resource_manager.silent.load(Ordering::SeqCst) {
                    let _ = called.heartbeat_from_resource_manager(RM_TOKEN).await;
                }
                if !job_master.silent.load(Ordering::SeqCst) {
                    let _ = called.heartbeat_from_job_master(TOKEN, JOB).await;
                }
                tokio::time::sleep(HEARTBEAT).await;
            }
        });
        let resource_manager = self.resource_manager.clone();
        Worker { resource_id, handle, shutdown, ended, heart, resource_manager }
    }

    /// The output of a subtask that the test plays; `sink_task` reads it.
    pub fn producer(&self, subtask: u32) -> ResultPartition {
        self.shared.partitions.register(partition(subtask), 1, 4, 1024).expect("there is memory")
    }
}

/// A TaskExecutor that runs.
pub struct Worker {
    pub resource_id: ResourceId,
    pub handle: Handle,
    pub shutdown: CancellationToken,
    ended: JoinHandle<std::result::Result<(), Ended>>,
    heart: JoinHandle<()>,
    resource_manager: Arc<ResourceManager>,
}

impl Worker {
    pub async fn request(&self, slot_number: u32, allocation: u128) -> Result<()> {
        let request = RequestSlot {
            slot_id: SlotId { resource_id: self.resource_id.clone(), slot_number },
            job_id: JOB,
            allocation_id: AllocationId(allocation),
            profile: PROFILE,
            job_master: job_master_address(),
            job_master_id: TOKEN,
        };
        self.handle.request_slot(RM_TOKEN, request).await
    }

    pub async fn submit(&self, token: JobMasterId, tasks: Vec<TaskDeploymentDescriptor>) -> Result<()> {
        let job = JobInformation {
            job_id: JOB,
            job_name: "job".into(),
            component: BlobKey([0; 32]),
            program: Program::default(),
            execution: ExecutionConfig::default(),
        };
        self.handle.submit_tasks(token, Arc::new(job), tasks).await
    }

    /// The slot table as the resource manager gets to know it: the allocation
    /// of each slot.
    pub async fn slots(&self) -> Vec<Option<u128>> {
        self.slots_at(RM_TOKEN).await.expect("the worker answers")
    }

    /// As it reports them to the resource manager of this session, unless it
    /// belongs to another.
    pub async fn slots_at(&self, token: ResourceManagerId) -> Option<Vec<Option<u128>>> {
        let reports = || self.resource_manager.reports.lock().expect("no fake panics");
        reports().clear();
        self.handle.heartbeat_from_resource_manager(token).await.ok()?;
        loop {
            let latest = reports().last().cloned();
            if let Some(report) = latest {
                let allocation = |slot: &heddle_rpc::SlotStatus| slot.allocation.map(|(id, _)| id.0);
                return Some(report.slots.iter().map(allocation).collect());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Stops it, or waits until it ends by itself.
    pub async fn ended(self, stop: bool) -> std::result::Result<(), Ended> {
        if stop {
            self.shutdown.cancel();
        }
        let ended = tokio::time::timeout(Duration::from_secs(3600), self.ended).await;
        self.heart.abort();
        ended.expect("it ends").expect("it does not panic")
    }
}

fn partition(subtask: u32) -> ResultPartitionId {
    let producer = ExecutionAttemptId { job_id: JOB, vertex_id: VertexId::from_bits(1), subtask, attempt: 0 };
    ResultPartitionId { dataset_id: DatasetId::from_bits(1), producer }
}

pub fn attempt(subtask: u32) -> ExecutionAttemptId {
    ExecutionAttemptId { job_id: JOB, vertex_id: VertexId::from_bits(2), subtask, attempt: 0 }
}

/// A subtask that collects what `Process::producer` of the same number sends.
/// Without that it waits.
pub fn sink_task(subtask: u32, allocation: u128) -> TaskDeploymentDescriptor {
    let vertex = JobVertex {
        id: VertexId::from_bits(2),
        name: "Sink".into(),
        parallelism: 2,
        max_parallelism: 128,
        slot_sharing_group: "default".into(),
        operators: vec![ChainedOperator {
            id: OperatorId::from_bits(2),
            transformation: 2,
            name: "Sink".into(),
            kind: OperatorKind::ConnectorSink(ConnectorSpec { name: "collect".into(), options: Vec::new() }),
            keyed: false,
        }],
        chain_edges: Vec::new(),
        inputs: vec![JobEdge {
            dataset: DatasetId::from_bits(1),
            producer: VertexId::from_bits(1),
            distribution: Distribution::Pointwise,
            partitioner: Partitioner::Forward,
            operator: 2,
            port: 0,
            element: ElementType::text(),
        }],
        outputs: Vec::new(),
    };
    let channel = InputChannelDescriptor {
        partition: partition(subtask),
        subpartition: 0,
        producer: ResourceId("elsewhere".into()),
    };
    TaskDeploymentDescriptor {
        attempt: attempt(subtask),
        allocation_id: AllocationId(allocation),
        vertex: Arc::new(vertex),
        inputs: vec![InputGateDescriptor { channels: vec![channel], data_addresses: BTreeMap::new() }],
        outputs: Vec::new(),
    }
}
