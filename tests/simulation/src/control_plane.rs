//! How much the control plane takes: one job on many TaskExecutors that only
//! pretend, in real time. The resource manager and the job master are the real
//! services; what is measured holds both and the messages between all.

use crate::jobs;
use async_trait::async_trait;
use heddle_filesystem::FileSystems;
use heddle_job_master as job_master;
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::{
    AllocationId, BlobKey, ExecutionAttemptId, InstanceId, JobId, JobMasterId, ResourceId, ResourceManagerId,
    SlotId,
};
use heddle_model::job_graph::{Distribution, ExecutionConfig, JobGraph};
use heddle_model::job_status::{ExecutionState, JobStatus};
use heddle_model::memory::{ResourceProfile, WorkerResourceSpec};
use heddle_model::plan::Program;
use heddle_model::restart::RestartStrategy;
use heddle_model::task::{JobInformation, TaskDeploymentDescriptor, TaskExecutionState, TaskMetrics};
use heddle_resource_manager::{self as resource_manager, StandaloneDriver};
use heddle_rpc::{
    Address, EmbeddedRpcService, JobMasterGateway, RequestSlot, ResourceManagerGateway, Result, RpcService,
    SlotOffer, SlotReport, SlotStatus, TaskExecutorGateway, TaskExecutorHeartbeat, TaskExecutorRegistration,
};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

const VERTICES: u32 = 10;
const PROFILE: ResourceProfile = ResourceProfile { task_memory: 1, managed_memory: 1, network_memory: 1 };
const SESSION: ResourceManagerId = ResourceManagerId(7);
const MASTER: JobMasterId = JobMasterId(8);
const JOB: JobId = JobId(9);

/// What it took; times in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    pub workers: u32,
    pub subtasks: u32,
    /// From the start of the job until all subtasks run.
    pub deploy_ms: f64,
    /// From the failure of one task until its region runs again.
    pub fail_ms: f64,
    /// One heartbeat of each TaskExecutor, with all of its tasks.
    pub heartbeat_ms: f64,
    /// From the request until the job has ended.
    pub cancel_ms: f64,
    /// What the process grew by until all subtasks ran.
    pub resident_mib: f64,
}

impl Figures {
    pub fn total_ms(&self) -> f64 {
        self.deploy_ms + self.fail_ms + self.heartbeat_ms + self.cancel_ms
    }

    pub fn json(&self) -> String {
        let Self { workers, subtasks, deploy_ms, fail_ms, heartbeat_ms, cancel_ms, resident_mib } = self;
        let total_ms = self.total_ms();
        format!(
            "{{\"workers\": {workers}, \"subtasks\": {subtasks}, \"deploy_ms\": {deploy_ms:.1}, \
             \"fail_ms\": {fail_ms:.1}, \"heartbeat_ms\": {heartbeat_ms:.1}, \"cancel_ms\": {cancel_ms:.1}, \
             \"total_ms\": {total_ms:.1}, \"resident_mib\": {resident_mib:.1}}}"
        )
    }
}

/// Runs in a process of its own, or the memory tells nothing.
pub fn measure(workers: u32, subtasks: u32) -> Figures {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime without I/O needs nothing of the system").block_on(one(workers, subtasks))
}

async fn one(workers: u32, subtasks: u32) -> Figures {
    let rpc = Arc::new(EmbeddedRpcService::new());
    let slots = (subtasks / VERTICES).div_ceil(workers);
    let spec = WorkerResourceSpec { slots, slot: PROFILE };
    let manager = rpc.address("resourcemanager");
    let options = resource_manager::Options {
        max_workers: Some(0),
        ..resource_manager::Options::new(SESSION, manager.clone(), spec)
    };
    let (service, _) = resource_manager::Service::new(options, rpc.clone(), Box::new(StandaloneDriver));
    let stop = CancellationToken::new();
    let running = tokio::spawn(service.run(stop.clone()));
    let counters = Arc::new(Counters::default());
    let mut all = Vec::new();
    for number in 0..workers {
        let worker = Worker::new(number, slots, &rpc, &counters);
        worker.register(spec).await.expect("the resource manager takes it");
        all.push(worker);
    }

    let graph = graph(subtasks);
    let before = resident_mib();
    let begin = Instant::now();
    let address = rpc.address("jobmaster");
    let options = job_master::Options::new(graph, MASTER, address, (manager, SESSION), PROFILE);
    let (service, master) =
        job_master::Service::new(options, rpc.clone(), FileSystems::new(Default::default()));
    let job = tokio::spawn(service.run(CancellationToken::new()));
    counters.until_running(subtasks as usize).await;
    let deploy_ms = millis(begin);
    let resident_mib = resident_mib() - before;

    let begin = Instant::now();
    let region = VERTICES as usize;
    let failed = all.iter().find_map(|worker| worker.any_task().map(|task| (worker, task)));
    let (worker, task) = failed.expect("tasks run");
    let cause = Failure::new(ErrorCode::OperatorTrap, "a record makes the operator panic");
    worker.tell(&master, task, ExecutionState::Failed, Some(cause)).await;
    counters.until_running(subtasks as usize + region).await;
    let fail_ms = millis(begin);

    let begin = Instant::now();
    for worker in &all {
        worker.heartbeat(&master).await.expect("the job master knows it");
    }
    let heartbeat_ms = millis(begin);

    let begin = Instant::now();
    master.cancel(MASTER).await.expect("the job runs");
    let result = job.await.expect("the job master does not panic");
    let cancel_ms = millis(begin);
    assert_eq!(result.status, JobStatus::Canceled, "{:?}", result.failure);
    stop.cancel();
    let _ = running.await;
    Figures { workers, subtasks, deploy_ms, fail_ms, heartbeat_ms, cancel_ms, resident_mib }
}

fn millis(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

fn resident_mib() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: f64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or_default();
    pages * 4096.0 / f64::from(1 << 20)
}

/// Vertices in a row that exchange pointwise: as many regions as a vertex has
/// subtasks.
fn graph(subtasks: u32) -> JobGraph {
    let strategy = RestartStrategy::FixedDelay { attempts: 10, delay: Duration::ZERO };
    let mut graph = JobGraph {
        job_id: JOB,
        name: "many subtasks".to_owned(),
        component: BlobKey([0; 32]),
        program: Program::default(),
        execution: ExecutionConfig { restart_strategy: strategy, ..Default::default() },
        vertices: Vec::new(),
    };
    for index in 0..VERTICES {
        graph.vertices.push(jobs::vertex(index, subtasks / VERTICES, "default"));
        if index > 0 {
            jobs::connect(&mut graph, index as usize, Distribution::Pointwise);
        }
    }
    graph
}

#[derive(Default)]
struct Counters {
    /// Tasks that were told to run, ever.
    running: AtomicUsize,
    changed: Notify,
}

impl Counters {
    async fn until_running(&self, count: usize) {
        while self.running.load(Ordering::Relaxed) < count {
            self.changed.notified().await;
        }
    }
}

#[derive(Default)]
struct State {
    instance: Option<InstanceId>,
    /// Offers are on their way.
    offering: bool,
    /// At the job master.
    registered: bool,
    offers: Vec<SlotOffer>,
    slots: Vec<(AllocationId, u32)>,
    tasks: BTreeSet<ExecutionAttemptId>,
}

struct Worker {
    me: Weak<Worker>,
    id: ResourceId,
    address: Address,
    slots: u32,
    rpc: Arc<EmbeddedRpcService>,
    counters: Arc<Counters>,
    state: Mutex<State>,
}

impl Worker {
    fn new(number: u32, slots: u32, rpc: &Arc<EmbeddedRpcService>, counters: &Arc<Counters>) -> Arc<Self> {
        let worker = Arc::new_cyclic(|me| Self {
            me: me.clone(),
            id: ResourceId(format!("worker-{number}")),
            address: rpc.address(&format!("taskexecutor/{number}")),
            slots,
            rpc: Arc::clone(rpc),
            counters: Arc::clone(counters),
            state: Mutex::default(),
        });
        rpc.serve_task_executor(worker.address.clone(), worker.clone());
        worker
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics while it holds a worker")
    }

    fn me(&self) -> Arc<Worker> {
        self.me.upgrade().expect("somebody calls it")
    }

    fn resource_manager(&self) -> Result<Arc<dyn ResourceManagerGateway>> {
        self.rpc.resource_manager(&self.rpc.address("resourcemanager"))
    }

    fn job_master(&self) -> Result<Arc<dyn JobMasterGateway>> {
        self.rpc.job_master(&self.rpc.address("jobmaster"))
    }

    async fn register(&self, spec: WorkerResourceSpec) -> Result<()> {
        let manager = self.resource_manager()?;
        let (resource_id, address) = (self.id.clone(), self.address.clone());
        let registration =
            TaskExecutorRegistration { resource_id, address, spec, heartbeat_timeout_ms: u64::MAX };
        let instance = manager.register_task_executor(SESSION, registration).await?;
        self.state().instance = Some(instance);
        let slot = |slot_number| SlotStatus {
            slot_id: SlotId { resource_id: self.id.clone(), slot_number },
            profile: PROFILE,
            allocation: None,
        };
        let report = SlotReport { slots: (0..self.slots).map(slot).collect() };
        manager.send_slot_report(SESSION, instance, report).await
    }

    fn any_task(&self) -> Option<ExecutionAttemptId> {
        self.state().tasks.first().copied()
    }

    async fn tell(
        &self,
        master: &dyn JobMasterGateway,
        attempt: ExecutionAttemptId,
        state: ExecutionState,
        failure: Option<Failure>,
    ) {
        let (metrics, accumulators, committables) = Default::default();
        let update = TaskExecutionState { attempt, state, failure, metrics, accumulators, committables };
        if state.is_terminal() {
            self.state().tasks.remove(&attempt);
        }
        // The job master is gone once the job has ended.
        let _ = master.update_task_execution_state(MASTER, update).await;
    }

    async fn heartbeat(&self, master: &dyn JobMasterGateway) -> Result<()> {
        let payload = {
            let state = self.state();
            let tasks = state.tasks.iter();
            TaskExecutorHeartbeat {
                tasks: tasks.map(|task| (*task, TaskMetrics::default(), Default::default())).collect(),
                slots: state.slots.iter().map(|(allocation, _)| *allocation).collect(),
            }
        };
        master.heartbeat_from_task_executor(MASTER, self.id.clone(), payload).await
    }

    async fn offer(&self) -> Result<()> {
        let master = self.job_master()?;
        if !std::mem::replace(&mut self.state().registered, true) {
            master.register_task_executor(MASTER, self.id.clone(), self.address.clone(), None).await?;
        }
        loop {
            let offers = {
                let mut state = self.state();
                let offers = std::mem::take(&mut state.offers);
                if offers.is_empty() {
                    state.offering = false;
                    return Ok(());
                }
                offers
            };
            master.offer_slots(MASTER, self.id.clone(), offers).await?;
        }
    }
}

#[async_trait]
impl TaskExecutorGateway for Worker {
    async fn request_slot(&self, _: ResourceManagerId, request: RequestSlot) -> Result<()> {
        let RequestSlot { slot_id: SlotId { slot_number, .. }, allocation_id, profile, .. } = request;
        let mut state = self.state();
        state.slots.push((allocation_id, slot_number));
        state.offers.push(SlotOffer { allocation_id, slot_number, profile });
        if !std::mem::replace(&mut state.offering, true) {
            let me = self.me();
            tokio::spawn(async move { me.offer().await });
        }
        Ok(())
    }

    async fn free_slot(&self, _: JobMasterId, allocation_id: AllocationId, _: Failure) -> Result<()> {
        let (slot, instance) = {
            let mut state = self.state();
            let slot = state.slots.iter().position(|(id, _)| *id == allocation_id);
            (slot.map(|index| state.slots.swap_remove(index).1), state.instance)
        };
        if let (Some(slot_number), Some(instance)) = (slot, instance) {
            let slot_id = SlotId { resource_id: self.id.clone(), slot_number };
            let manager = self.resource_manager()?;
            manager.notify_slot_available(SESSION, instance, slot_id, allocation_id).await?;
        }
        Ok(())
    }

    async fn submit_tasks(
        &self,
        _: JobMasterId,
        _: Arc<JobInformation>,
        tasks: Vec<TaskDeploymentDescriptor>,
    ) -> Result<()> {
        let attempts: Vec<_> = tasks.iter().map(|task| task.attempt).collect();
        self.state().tasks.extend(attempts.iter().copied());
        let (me, master) = (self.me(), self.job_master()?);
        tokio::spawn(async move {
            for state in [ExecutionState::Initializing, ExecutionState::Running] {
                for attempt in &attempts {
                    me.tell(&*master, *attempt, state, None).await;
                }
            }
            me.counters.running.fetch_add(attempts.len(), Ordering::Relaxed);
            me.counters.changed.notify_one();
        });
        Ok(())
    }

    async fn cancel_tasks(&self, _: JobMasterId, attempts: Vec<ExecutionAttemptId>) -> Result<()> {
        let (me, master) = (self.me(), self.job_master()?);
        tokio::spawn(async move {
            for attempt in attempts {
                me.tell(&*master, attempt, ExecutionState::Canceled, None).await;
            }
        });
        Ok(())
    }

    async fn disconnect_job_master(&self, _: JobMasterId, _: JobId, _: Failure) -> Result<()> {
        Ok(())
    }

    async fn heartbeat_from_job_master(&self, _: JobMasterId, _: JobId) -> Result<()> {
        Ok(())
    }

    async fn heartbeat_from_resource_manager(&self, _: ResourceManagerId) -> Result<()> {
        Ok(())
    }
}
