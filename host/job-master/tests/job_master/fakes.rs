//! A cluster that only pretends: workers whose tasks do what a test says, a
//! resource manager that hands out their slots, connectors that keep a log.

use async_trait::async_trait;
use heddle_connectors::Published;
use heddle_job_master::{Commitments, Handle, Options, Outputs, Service};
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::{
    AllocationId, ExecutionAttemptId, InstanceId, JobId, JobMasterId, ResourceId, ResourceManagerId, SlotId,
};
use heddle_model::job_graph::JobGraph;
use heddle_model::job_status::{ExecutionState, JobStatus};
use heddle_model::memory::ResourceProfile;
use heddle_model::plan::ConnectorSpec;
use heddle_model::task::{
    Commitment, Committable, InputSplit, JobInformation, TaskDeploymentDescriptor, TaskExecutionState,
    TaskMetrics,
};
use heddle_rpc::{
    Address, EmbeddedRpcService, Error, JobDetails, JobMasterGateway, JobMasterRegistration, JobResult,
    RequestSlot, ResourceManagerGateway, Result, RpcService, SlotOffer, SlotReport, SlotRequest,
    TaskExecutorGateway, TaskExecutorHeartbeat, TaskExecutorRegistration,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub const TOKEN: JobMasterId = JobMasterId::from_bits(11);
pub const RM_TOKEN: ResourceManagerId = ResourceManagerId::from_bits(22);
pub const PROFILE: ResourceProfile = ResourceProfile { task_memory: 1, managed_memory: 1, network_memory: 1 };

pub fn job_master_address() -> Address {
    Address("embedded:jobmaster".into())
}

pub fn resource_manager_address() -> Address {
    Address("embedded:resourcemanager".into())
}

/// What a task does once it runs.
#[derive(Clone, Debug)]
pub enum Behaviour {
    /// Takes all splits it gets, then finishes.
    Finish,
    Fail(Failure),
    /// Runs until it is cancelled.
    Run,
    /// Runs until its slot is freed.
    IgnoreCancel,
}

pub type Script = Box<dyn Fn(&TaskDeploymentDescriptor) -> Behaviour + Send + Sync>;

/// Lines of what happened, in order.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub fn push(&self, line: impl Into<String>) {
        self.0.lock().expect("no test panics while it logs").push(line.into());
    }

    pub fn lines(&self) -> Vec<String> {
        self.0.lock().expect("no test panics while it logs").clone()
    }

    pub fn count(&self, part: &str) -> usize {
        self.lines().iter().filter(|line| line.contains(part)).count()
    }
}

// ---- workers ------------------------------------------------------------------

struct Task {
    allocation_id: AllocationId,
    /// Ends it.
    cancel: CancellationToken,
    ignores_cancel: bool,
}

#[derive(Default)]
struct WorkerState {
    slots: BTreeMap<AllocationId, u32>,
    tasks: BTreeMap<ExecutionAttemptId, Task>,
    job_master: Option<(Address, JobMasterId)>,
    registered: bool,
    next_slot: u32,
}

pub struct Worker {
    me: Weak<Worker>,
    pub id: ResourceId,
    rpc: Arc<EmbeddedRpcService>,
    script: Arc<Script>,
    log: Log,
    state: Mutex<WorkerState>,
    /// One registration at a time.
    offering: tokio::sync::Mutex<()>,
    /// Takes no calls and makes none.
    frozen: Mutex<bool>,
}

impl Worker {
    fn new(number: usize, rpc: Arc<EmbeddedRpcService>, script: Arc<Script>, log: Log) -> Arc<Self> {
        let worker = Arc::new_cyclic(|me| Self {
            me: me.clone(),
            id: ResourceId(format!("te-{number}")),
            rpc,
            script,
            log,
            state: Mutex::default(),
            offering: tokio::sync::Mutex::default(),
            frozen: Mutex::new(false),
        });
        worker.rpc.serve_task_executor(worker.address(), worker.clone());
        worker
    }

    fn address(&self) -> Address {
        Address(format!("embedded:{}", self.id))
    }

    fn state(&self) -> std::sync::MutexGuard<'_, WorkerState> {
        self.state.lock().expect("no fake panics")
    }

    /// From now on silent, but reachable.
    pub fn freeze(&self) {
        *self.frozen.lock().expect("no fake panics") = true;
    }

    /// The process is gone.
    pub fn kill(&self) {
        self.freeze();
        self.rpc.stop_serving(&self.address());
        for task in std::mem::take(&mut self.state().tasks).into_values() {
            task.cancel.cancel();
        }
    }

    /// Loses its tasks without a word.
    pub fn forget_tasks(&self) {
        self.state().tasks.clear();
    }

    pub fn running(&self) -> usize {
        self.state().tasks.len()
    }

    async fn check_frozen(&self) {
        if *self.frozen.lock().expect("no fake panics") {
            std::future::pending::<()>().await;
        }
    }

    fn job_master(&self) -> Option<(Arc<dyn JobMasterGateway>, JobMasterId)> {
        let (address, token) = self.state().job_master.clone()?;
        Some((self.rpc.job_master(&address).ok()?, token))
    }

    async fn tell(&self, task: &TaskDeploymentDescriptor, state: ExecutionState, failure: Option<Failure>) {
        self.check_frozen().await;
        let attempt = task.attempt;
        let sink = task.vertex.connector_sinks().next().map(|(operator, _)| operator.transformation);
        let sink = sink.filter(|_| state == ExecutionState::Finished);
        let content = format!("{}#{}", attempt.subtask, attempt.attempt).into_bytes();
        let update = TaskExecutionState {
            attempt,
            state,
            failure,
            metrics: TaskMetrics {
                records_out: 5,
                first_sink_record_at_ms: Some(u64::MAX / 2),
                ..TaskMetrics::default()
            },
            accumulators: BTreeMap::from([("lines".to_owned(), 1)]),
            committables: sink.map(|sink| Committable { sink, content }).into_iter().collect(),
        };
        if let Some((gateway, token)) = self.job_master() {
            let _ = gateway.update_task_execution_state(token, update).await;
        }
    }

    async fn run_task(self: Arc<Self>, task: TaskDeploymentDescriptor, cancel: CancellationToken) {
        let attempt = task.attempt;
        self.tell(&task, ExecutionState::Initializing, None).await;
        self.tell(&task, ExecutionState::Running, None).await;
        let (state, failure) = match (self.script)(&task) {
            Behaviour::Finish => {
                if task.vertex.connector_source().is_some() {
                    self.read_splits(attempt).await;
                }
                (ExecutionState::Finished, None)
            }
            Behaviour::Fail(failure) => (ExecutionState::Failed, Some(failure)),
            Behaviour::Run | Behaviour::IgnoreCancel => {
                cancel.cancelled().await;
                (ExecutionState::Canceled, None)
            }
        };
        if self.state().tasks.remove(&attempt).is_some() {
            self.log.push(format!("{}#{} {state}", attempt.subtask, attempt.attempt));
            self.tell(&task, state, failure).await;
        }
    }

    async fn read_splits(&self, attempt: ExecutionAttemptId) {
        let Some((gateway, token)) = self.job_master() else { return };
        while let Ok(Some(split)) = gateway.request_next_input_split(token, attempt).await {
            self.log.push(format!("split {}", split.index));
        }
    }

    /// Registers at the job master and offers what it has, if that answers.
    async fn offer(&self) {
        self.check_frozen().await;
        let _one_at_a_time = self.offering.lock().await;
        let Some((gateway, token)) = self.job_master() else { return };
        if !self.state().registered {
            if gateway.register_task_executor(token, self.id.clone(), self.address(), None).await.is_err() {
                return;
            }
            self.state().registered = true;
        }
        let offers: Vec<_> = self
            .state()
            .slots
            .iter()
            .map(|(allocation_id, slot_number)| SlotOffer {
                allocation_id: *allocation_id,
                slot_number: *slot_number,
                profile: PROFILE,
            })
            .collect();
        let offered: Vec<_> = offers.iter().map(|offer| offer.allocation_id).collect();
        if let Ok(accepted) = gateway.offer_slots(token, self.id.clone(), offers).await {
            let rejected = |id: &AllocationId| offered.contains(id) && !accepted.contains(id);
            self.state().slots.retain(|allocation_id, _| !rejected(allocation_id));
        }
    }

    /// One heartbeat with the tasks that run.
    pub async fn heartbeat(&self) -> Result<()> {
        let tasks = self
            .state()
            .tasks
            .keys()
            .map(|attempt| {
                let metrics = TaskMetrics { records_in: 77, ..TaskMetrics::default() };
                (*attempt, metrics, BTreeMap::from([("lines".to_owned(), 70)]))
            })
            .collect();
        let slots = self.state().slots.keys().copied().collect();
        let payload = TaskExecutorHeartbeat { tasks, slots };
        let (gateway, token) = self.job_master().expect("the worker has slots of the job");
        gateway.heartbeat_from_task_executor(token, self.id.clone(), payload).await
    }

    pub async fn fail_first_slot(&self, cause: Failure) {
        let allocation_id = *self.state().slots.keys().next().expect("the worker has a slot");
        let (gateway, token) = self.job_master().expect("the worker has slots of the job");
        let _ = TaskExecutorGateway::free_slot(self, token, allocation_id, cause.clone()).await;
        let _ = gateway.fail_slot(token, self.id.clone(), allocation_id, cause).await;
    }
}

#[async_trait]
impl TaskExecutorGateway for Worker {
    async fn request_slot(&self, _token: ResourceManagerId, request: RequestSlot) -> Result<()> {
        self.check_frozen().await;
        let mut state = self.state();
        let slot = state.next_slot;
        state.next_slot += 1;
        state.slots.insert(request.allocation_id, slot);
        state.job_master = Some((request.job_master, request.job_master_id));
        Ok(())
    }

    async fn free_slot(
        &self,
        _token: JobMasterId,
        allocation_id: AllocationId,
        _cause: Failure,
    ) -> Result<()> {
        self.check_frozen().await;
        let mut state = self.state();
        if state.slots.remove(&allocation_id).is_some() {
            self.log.push("slot freed");
        }
        for task in state.tasks.values().filter(|task| task.allocation_id == allocation_id) {
            task.cancel.cancel();
        }
        // With its last slot it forgets the job.
        state.registered &= !state.slots.is_empty();
        Ok(())
    }

    async fn submit_tasks(
        &self,
        _token: JobMasterId,
        _job: Arc<JobInformation>,
        tasks: Vec<TaskDeploymentDescriptor>,
    ) -> Result<()> {
        self.check_frozen().await;
        self.log.push(format!("{} tasks to {}", tasks.len(), self.id));
        for task in tasks {
            let cancel = CancellationToken::new();
            let mut state = self.state();
            if !state.slots.contains_key(&task.allocation_id) {
                return Err(Failure::new(ErrorCode::NoResources, "no such slot").into());
            }
            let ignores_cancel = matches!((self.script)(&task), Behaviour::IgnoreCancel);
            let allocation_id = task.allocation_id;
            state.tasks.insert(task.attempt, Task { allocation_id, cancel: cancel.clone(), ignores_cancel });
            let me = self.me.upgrade().expect("the worker is called");
            tokio::spawn(me.run_task(task, cancel));
        }
        Ok(())
    }

    async fn cancel_tasks(&self, _token: JobMasterId, attempts: Vec<ExecutionAttemptId>) -> Result<()> {
        self.check_frozen().await;
        for attempt in attempts {
            let state = self.state();
            let Some(task) = state.tasks.get(&attempt) else { continue };
            self.log.push(format!("cancel {}#{}", attempt.subtask, attempt.attempt));
            if !task.ignores_cancel {
                task.cancel.cancel();
            }
        }
        Ok(())
    }

    async fn disconnect_job_master(&self, _token: JobMasterId, _job: JobId, _cause: Failure) -> Result<()> {
        self.check_frozen().await;
        self.log.push(format!("{} disconnected", self.id));
        let mut state = self.state();
        state.slots.clear();
        state.registered = false;
        for task in std::mem::take(&mut state.tasks).into_values() {
            task.cancel.cancel();
        }
        Ok(())
    }

    async fn heartbeat_from_job_master(&self, token: JobMasterId, _job: JobId) -> Result<()> {
        self.check_frozen().await;
        if self.state().slots.is_empty() {
            return Err(Error::Fenced { expected: "none".into(), got: token.to_string() });
        }
        Ok(())
    }

    async fn heartbeat_from_resource_manager(&self, _token: ResourceManagerId) -> Result<()> {
        Ok(())
    }
}

// ---- the resource manager -----------------------------------------------------

/// Gives each request a slot of the worker with the fewest, if that may have
/// one more.
pub struct FakeResourceManager {
    me: Weak<FakeResourceManager>,
    workers: Vec<Arc<Worker>>,
    slots_per_worker: usize,
    given: Mutex<BTreeMap<AllocationId, usize>>,
    dead: Mutex<BTreeSet<usize>>,
    /// Sends no heartbeats.
    silent: AtomicBool,
    rpc: Arc<EmbeddedRpcService>,
    /// Answers to the next slot requests.
    answers: Mutex<VecDeque<Error>>,
    log: Log,
}

impl FakeResourceManager {
    /// The next slot request that has no such answer yet gets it.
    pub fn answer_with(&self, error: Error) {
        self.answers.lock().expect("no fake panics").push_back(error);
    }

    pub fn be_silent(&self, silent: bool) {
        self.silent.store(silent, Ordering::SeqCst);
    }

    pub fn forget_worker(&self, number: usize) {
        self.dead.lock().expect("no fake panics").insert(number);
    }
}

#[async_trait]
impl ResourceManagerGateway for FakeResourceManager {
    async fn register_job_master(
        &self,
        token: ResourceManagerId,
        registration: JobMasterRegistration,
    ) -> Result<()> {
        assert_eq!(token, RM_TOKEN);
        self.log.push("job master registered");
        let (rpc, me) = (Arc::clone(&self.rpc), self.me.clone());
        tokio::spawn(async move {
            // Until the job master has ended.
            while let (Ok(gateway), Some(me)) = (rpc.job_master(&registration.address), me.upgrade()) {
                if !me.silent.load(Ordering::SeqCst) {
                    let _ = gateway.heartbeat_from_resource_manager(registration.job_master_id).await;
                }
                tokio::time::sleep(Duration::from_secs(10)).await;
            }
        });
        Ok(())
    }

    async fn disconnect_job_master(&self, _token: ResourceManagerId, _job: JobId) -> Result<()> {
        self.log.push("job master disconnected");
        Ok(())
    }

    async fn request_slot(
        &self,
        token: ResourceManagerId,
        job_master_id: JobMasterId,
        request: SlotRequest,
    ) -> Result<()> {
        self.log.push("slot requested");
        if let Some(error) = self.answers.lock().expect("no fake panics").pop_front() {
            return Err(error);
        }
        let mut given = self.given.lock().expect("no fake panics").clone();
        let dead = self.dead.lock().expect("no fake panics").clone();
        let held = |number: &usize| {
            let slots = &self.workers[*number].state().slots;
            given.iter().filter(|(id, at)| *at == number && slots.contains_key(id)).count()
        };
        let best = (0..self.workers.len()).filter(|number| !dead.contains(number)).min_by_key(held);
        let Some(best) = best.filter(|number| held(number) < self.slots_per_worker) else {
            self.log.push("slot request waits");
            return Ok(());
        };
        given.insert(request.allocation_id, best);
        *self.given.lock().expect("no fake panics") = given;
        let worker = Arc::clone(&self.workers[best]);
        let slot = RequestSlot {
            slot_id: SlotId { resource_id: worker.id.clone(), slot_number: 0 },
            job_id: request.job_id,
            allocation_id: request.allocation_id,
            profile: request.profile,
            job_master: request.job_master,
            job_master_id,
        };
        let asked = Arc::clone(&worker);
        tokio::spawn(async move {
            let _ = asked.request_slot(token, slot).await;
            asked.offer().await;
        });
        Ok(())
    }

    async fn cancel_slot_request(
        &self,
        _token: ResourceManagerId,
        _job_master: JobMasterId,
        _allocation: AllocationId,
    ) -> Result<()> {
        self.log.push("slot request cancelled");
        Ok(())
    }

    async fn register_task_executor(
        &self,
        _token: ResourceManagerId,
        _registration: TaskExecutorRegistration,
    ) -> Result<InstanceId> {
        Ok(InstanceId::from_bits(0))
    }

    async fn send_slot_report(
        &self,
        _token: ResourceManagerId,
        _instance: InstanceId,
        _report: SlotReport,
    ) -> Result<()> {
        Ok(())
    }

    async fn notify_slot_available(
        &self,
        _token: ResourceManagerId,
        _instance: InstanceId,
        _slot: SlotId,
        _allocation: AllocationId,
    ) -> Result<()> {
        Ok(())
    }

    async fn disconnect_task_executor(
        &self,
        _token: ResourceManagerId,
        _instance: InstanceId,
        _reason: String,
    ) -> Result<()> {
        Ok(())
    }

    async fn request_overview(&self, _: ResourceManagerId) -> Result<heddle_rpc::ResourceOverview> {
        unreachable!("only the dispatcher does")
    }
}

// ---- connectors ---------------------------------------------------------------

/// Three splits for every source; sinks that keep a log.
#[derive(Default)]
pub struct FakeOutputs {
    pub log: Log,
    pub fail_enumerate: bool,
    pub fail_prepare_of: Option<String>,
    pub fail_publish: bool,
    pub panic_publish: bool,
}

impl Outputs for FakeOutputs {
    fn enumerate_splits(
        &self,
        _source: &ConnectorSpec,
        _parallelism: u32,
    ) -> std::result::Result<Vec<InputSplit>, Failure> {
        self.log.push("enumerate");
        if self.fail_enumerate {
            return Err(Failure::new(ErrorCode::ConnectorInvalid, "no such input"));
        }
        Ok((0..3).map(|index| InputSplit { index, content: Vec::new() }).collect())
    }

    fn prepare_sink(&self, sink: &ConnectorSpec, _job: JobId) -> std::result::Result<(), Failure> {
        self.log.push(format!("prepare {}", sink.name));
        match &self.fail_prepare_of {
            Some(name) if *name == sink.name => {
                Err(Failure::new(ErrorCode::ConnectorIo, "the folder can not be written"))
            }
            _ => Ok(()),
        }
    }

    fn publish_sink(
        &self,
        sink: &ConnectorSpec,
        _job: JobId,
        committables: &[Committable],
    ) -> std::result::Result<Published, Failure> {
        self.log.push(format!("publish {}", sink.name));
        assert!(!self.panic_publish, "a connector's defect");
        if self.fail_publish {
            return Err(Failure::new(ErrorCode::ConnectorIo, "the disk is full"));
        }
        let lines = committables.iter().map(|c| String::from_utf8_lossy(&c.content).into_owned()).collect();
        Ok(Published { collected: Some((sink.name.clone(), lines)) })
    }

    fn discard_sink(&self, sink: &ConnectorSpec, _job: JobId) -> std::result::Result<(), Failure> {
        self.log.push(format!("discard {}", sink.name));
        Ok(())
    }
}

// ---- what is kept for the next leader -------------------------------------------

#[derive(Clone, Copy, Default, PartialEq)]
pub enum Storing {
    #[default]
    Works,
    /// Nothing is stored, and the leader stops.
    Stops,
    /// Never answers, and nothing is stored.
    HangsBefore,
    /// Never answers, and it is stored.
    HangsAfter,
}

#[derive(Default)]
pub struct Keeper {
    pub storing: Storing,
    pub asked: AtomicBool,
    pub kept: Mutex<Option<Commitment>>,
}

#[async_trait]
impl Commitments for Keeper {
    async fn store(&self, commitment: Commitment) -> bool {
        if matches!(self.storing, Storing::Works | Storing::HangsAfter) {
            *self.kept.lock().unwrap() = Some(commitment);
        }
        self.asked.store(true, Ordering::SeqCst);
        match self.storing {
            Storing::Works => true,
            Storing::Stops => false,
            Storing::HangsBefore | Storing::HangsAfter => std::future::pending().await,
        }
    }
}

// ---- all together -------------------------------------------------------------

pub struct Cluster {
    pub rpc: Arc<EmbeddedRpcService>,
    pub workers: Vec<Arc<Worker>>,
    pub resource_manager: Arc<FakeResourceManager>,
    pub log: Log,
}

impl Cluster {
    /// With the resource manager not served yet.
    pub fn without_resource_manager(workers: usize, slots_per_worker: usize, script: Script) -> Self {
        let (rpc, log, script) = (Arc::new(EmbeddedRpcService::new()), Log::default(), Arc::new(script));
        let workers: Vec<_> = (0..workers)
            .map(|number| Worker::new(number, Arc::clone(&rpc), Arc::clone(&script), log.clone()))
            .collect();
        let resource_manager = Arc::new_cyclic(|me| FakeResourceManager {
            me: me.clone(),
            workers: workers.clone(),
            slots_per_worker,
            given: Mutex::default(),
            dead: Mutex::default(),
            silent: AtomicBool::new(false),
            rpc: Arc::clone(&rpc),
            answers: Mutex::default(),
            log: log.clone(),
        });
        Self { rpc, workers, resource_manager, log }
    }

    pub fn new(
        workers: usize,
        slots_per_worker: usize,
        script: impl Fn(&TaskDeploymentDescriptor) -> Behaviour + Send + Sync + 'static,
    ) -> Self {
        let cluster = Self::without_resource_manager(workers, slots_per_worker, Box::new(script));
        cluster.serve_resource_manager();
        cluster
    }

    pub fn serve_resource_manager(&self) {
        self.rpc.serve_resource_manager(resource_manager_address(), self.resource_manager.clone());
    }

    pub fn start(&self, job: Arc<JobGraph>, outputs: FakeOutputs) -> Running {
        self.start_keeping(job, outputs, Arc::new(Keeper::default()), None)
    }

    /// With what a former leader kept.
    pub fn start_keeping(
        &self,
        job: Arc<JobGraph>,
        outputs: FakeOutputs,
        keeper: Arc<Keeper>,
        kept: Option<Commitment>,
    ) -> Running {
        let outputs = Arc::new(FakeOutputs { log: self.log.clone(), ..outputs });
        let options = Options::new(
            (*job).clone(),
            TOKEN,
            job_master_address(),
            (resource_manager_address(), RM_TOKEN),
            PROFILE,
        );
        let (service, handle) = Service::with_outputs(options, self.rpc.clone(), outputs);
        let service = service.with_commitments(keeper, kept);
        let shutdown = CancellationToken::new();
        let result = tokio::spawn(service.run(shutdown.clone()));
        Running { handle, shutdown, result }
    }

    pub async fn run(&self, job: Arc<JobGraph>, outputs: FakeOutputs) -> (JobResult, Handle) {
        let running = self.start(job, outputs);
        let handle = running.handle.clone();
        (running.result().await, handle)
    }
}

pub struct Running {
    pub handle: Handle,
    pub shutdown: CancellationToken,
    result: JoinHandle<JobResult>,
}

impl Running {
    /// The process dies: nothing is told to anybody.
    pub async fn kill(self) {
        self.result.abort();
        assert!(self.result.await.expect_err("it did not end before").is_cancelled());
    }

    pub async fn result(self) -> JobResult {
        // Paused time passes at once; this is for a job that hangs.
        tokio::time::timeout(Duration::from_secs(7200), self.result)
            .await
            .expect("the job ends")
            .expect("the job master does not panic")
    }

    pub async fn details(&self) -> JobDetails {
        self.handle.request_job(TOKEN).await.expect("the job master answers")
    }

    /// Waits until the job is as wished.
    pub async fn until(&self, what: impl Fn(&JobDetails) -> bool) -> JobDetails {
        for _ in 0..10_000 {
            let details = self.details().await;
            if what(&details) {
                return details;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the job does not get there: {:?}", self.details().await);
    }

    pub async fn until_all_run(&self) -> JobDetails {
        self.until(|details| {
            let mut subtasks = details.vertices.iter().flat_map(|vertex| &vertex.subtasks);
            details.overview.status == JobStatus::Running
                && subtasks.all(|subtask| subtask.state == ExecutionState::Running)
        })
        .await
    }
}
