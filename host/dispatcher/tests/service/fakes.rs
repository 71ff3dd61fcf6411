//! Job masters that end when the test says so, stores that fail, and an
//! election that the test decides.

use async_trait::async_trait;
use heddle_blob::{BlobServer, ServerOptions};
use heddle_dispatcher::{Error as ServiceError, Handle, JobMaster, JobMasters, Options, Service};
use heddle_ha::{
    Commitments, EmbeddedJobGraphStore, EmbeddedJobResultStore, Error as HaError, JobGraphStore, JobGraphs,
    JobResultEntry, JobResultStore, LeaderElection, Leadership, ResultState, Services, Unreadable,
};
use heddle_job_master::Commitments as JobCommitments;
use heddle_model::failure::Failure;
use heddle_model::id::{
    AllocationId, BlobKey, DispatcherId, ExecutionAttemptId, JobId, JobMasterId, ResourceId,
    ResourceManagerId, VertexId,
};
use heddle_model::job_graph::{ExecutionConfig, JobGraph, JobVertex};
use heddle_model::job_status::JobStatus;
use heddle_model::memory::ResourceProfile;
use heddle_model::plan::Program;
use heddle_model::task::{Commitment, DataAddress, InputSplit, TaskExecutionState};
use heddle_rpc::{
    Address, DispatcherGateway, EmbeddedRpcService, JobDetails, JobMasterGateway, JobOverview, JobResult,
    Result, RpcService, SlotOffer, TaskExecutorHeartbeat,
};
use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Waits, on paused time, until the condition holds.
pub async fn eventually<F: Future<Output = bool>>(condition: impl Fn() -> F) {
    for _ in 0..10_000 {
        if condition().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the condition never holds");
}

pub fn graph(job: u128, component: BlobKey) -> JobGraph {
    let vertex = JobVertex {
        id: VertexId(1),
        name: "source".into(),
        parallelism: 2,
        max_parallelism: 128,
        slot_sharing_group: "default".into(),
        operators: Vec::new(),
        chain_edges: Vec::new(),
        inputs: Vec::new(),
        outputs: Vec::new(),
    };
    JobGraph {
        job_id: JobId(job),
        name: format!("job {job}"),
        component,
        program: Program::default(),
        execution: ExecutionConfig::default(),
        vertices: vec![vertex],
    }
}

/// How a fake job master ends.
#[derive(Clone, Debug, PartialEq)]
enum End {
    Status(JobStatus),
    Panic(&'static str),
}

/// A fake job master that was started.
pub struct Started {
    pub job_id: JobId,
    pub id: JobMasterId,
    pub commitments: Arc<dyn JobCommitments>,
    pub kept: Option<Commitment>,
    end: watch::Sender<Option<End>>,
    behaviour: Arc<Behaviour>,
}

#[derive(Default)]
struct Behaviour {
    silent: std::sync::atomic::AtomicBool,
    /// Milliseconds that suspending takes.
    suspends_in_ms: AtomicU32,
}

impl Started {
    pub fn end(&self, status: JobStatus) {
        self.end.send_replace(Some(End::Status(status)));
    }

    pub fn panic(&self, message: &'static str) {
        self.end.send_replace(Some(End::Panic(message)));
    }

    /// Answers no call any more.
    pub fn fall_silent(&self) {
        self.behaviour.silent.store(true, Ordering::SeqCst);
    }

    pub fn suspend_in(&self, time: Duration) {
        self.behaviour.suspends_in_ms.store(time.as_millis() as u32, Ordering::SeqCst);
    }
}

struct Gateway {
    job: JobGraph,
    id: JobMasterId,
    end: watch::Sender<Option<End>>,
    behaviour: Arc<Behaviour>,
}

impl Gateway {
    async fn check(&self, token: JobMasterId) {
        assert_eq!(token, self.id);
        if self.behaviour.silent.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
    }
}

#[async_trait]
impl JobMasterGateway for Gateway {
    async fn request_job(&self, token: JobMasterId) -> Result<JobDetails> {
        self.check(token).await;
        let status = match &*self.end.borrow() {
            Some(End::Status(status)) => *status,
            _ => JobStatus::Running,
        };
        let overview = JobOverview {
            job_id: self.job.job_id,
            name: self.job.name.clone(),
            status,
            start_time_ms: 0,
            end_time_ms: None,
        };
        Ok(JobDetails {
            overview,
            restarts: 7,
            vertices: Vec::new(),
            accumulators: BTreeMap::new(),
            failure: None,
            failures: Vec::new(),
        })
    }
    async fn cancel(&self, token: JobMasterId) -> Result<()> {
        self.check(token).await;
        self.end.send_replace(Some(End::Status(JobStatus::Canceled)));
        Ok(())
    }
    async fn register_task_executor(
        &self,
        _: JobMasterId,
        _: ResourceId,
        _: Address,
        _: Option<DataAddress>,
    ) -> Result<()> {
        unreachable!()
    }
    async fn disconnect_task_executor(&self, _: JobMasterId, _: ResourceId, _: Failure) -> Result<()> {
        unreachable!()
    }
    async fn offer_slots(
        &self,
        _: JobMasterId,
        _: ResourceId,
        _: Vec<SlotOffer>,
    ) -> Result<Vec<AllocationId>> {
        unreachable!()
    }
    async fn fail_slot(&self, _: JobMasterId, _: ResourceId, _: AllocationId, _: Failure) -> Result<()> {
        unreachable!()
    }
    async fn update_task_execution_state(&self, _: JobMasterId, _: TaskExecutionState) -> Result<()> {
        unreachable!()
    }
    async fn request_next_input_split(
        &self,
        _: JobMasterId,
        _: ExecutionAttemptId,
    ) -> Result<Option<InputSplit>> {
        unreachable!()
    }
    async fn heartbeat_from_task_executor(
        &self,
        _: JobMasterId,
        _: ResourceId,
        _: TaskExecutorHeartbeat,
    ) -> Result<()> {
        unreachable!()
    }
    async fn heartbeat_from_resource_manager(&self, _: JobMasterId) -> Result<()> {
        unreachable!()
    }
    async fn notify_allocation_failure(&self, _: JobMasterId, _: AllocationId, _: Failure) -> Result<()> {
        unreachable!()
    }
}

struct Masters {
    started: mpsc::UnboundedSender<Started>,
    running: Arc<AtomicU32>,
}

impl JobMasters for Masters {
    fn create(
        &self,
        job: JobGraph,
        id: JobMasterId,
        _address: Address,
        _: ResourceManagerId,
        commitments: Arc<dyn JobCommitments>,
        kept: Option<Commitment>,
    ) -> JobMaster {
        let (end, mut ended) = watch::channel(None);
        let behaviour = Arc::new(Behaviour::default());
        let job_id = job.job_id;
        let gateway = Gateway { job, id, end: end.clone(), behaviour: behaviour.clone() };
        self.started.send(Started { job_id, id, commitments, kept, end, behaviour: behaviour.clone() }).ok();
        let running = self.running.clone();
        let run = move |shutdown: CancellationToken| -> heddle_dispatcher::Running {
            Box::pin(async move {
                let _counted = Counted::new(running);
                let end = tokio::select! {
                    end = wait(&mut ended) => end,
                    () = shutdown.cancelled() => {
                        let time = behaviour.suspends_in_ms.load(Ordering::SeqCst);
                        tokio::time::sleep(Duration::from_millis(u64::from(time))).await;
                        End::Status(JobStatus::Suspended)
                    }
                };
                let status = match end {
                    End::Status(status) => status,
                    End::Panic(message) => panic!("{message}"),
                };
                JobResult {
                    job_id,
                    status,
                    failure: None,
                    runtime_ms: 12,
                    first_record_ms: Some(3),
                    accumulators: BTreeMap::from([("words".to_owned(), 42)]),
                    collected: BTreeMap::new(),
                }
            })
        };
        JobMaster { gateway: Arc::new(gateway), run: Box::new(run) }
    }
}

async fn wait(ended: &mut watch::Receiver<Option<End>>) -> End {
    let end = ended.wait_for(Option::is_some).await.expect("the test holds the sender");
    end.clone().expect("it was waited for")
}

struct Counted(Arc<AtomicU32>);

impl Counted {
    fn new(count: Arc<AtomicU32>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The embedded stores, with failures and a gate before `put`.
pub struct Stores {
    pub graphs: EmbeddedJobGraphStore,
    pub results: EmbeddedJobResultStore,
    /// Each operation named here fails this many times.
    failures: Mutex<BTreeMap<&'static str, u32>>,
    /// Each `put` of a graph takes a permit.
    pub gate: Semaphore,
    /// What the next listing of graphs cannot read.
    pub unreadable: Mutex<Vec<Unreadable>>,
    /// Commitments that cannot be read.
    pub unreadable_commitments: Mutex<Vec<Unreadable>>,
    /// Results that were cleaned up before, the latest first.
    pub clean: Mutex<Vec<JobResultEntry>>,
}

impl Stores {
    pub fn fail(&self, operation: &'static str, times: u32) {
        self.failures.lock().unwrap().insert(operation, times);
    }

    pub fn failures_left(&self, operation: &'static str) -> u32 {
        self.failures.lock().unwrap().get(operation).copied().unwrap_or(0)
    }

    fn check(&self, operation: &'static str) -> std::result::Result<(), HaError> {
        match self.failures.lock().unwrap().get_mut(operation) {
            Some(left) if *left > 0 => {
                *left -= 1;
                Err(HaError::Storage { operation, reason: "the disk is full".into() })
            }
            _ => Ok(()),
        }
    }

    pub async fn graph_ids(&self) -> Vec<JobId> {
        self.graphs.list().await.unwrap().graphs.iter().map(|graph| graph.job_id).collect()
    }

    pub async fn result_state(&self, job_id: JobId) -> ResultState {
        self.results.state(job_id).await.unwrap()
    }
}

struct SharedStores(Arc<Stores>);

#[async_trait]
impl JobGraphStore for SharedStores {
    async fn put(&self, graph: &JobGraph) -> std::result::Result<(), HaError> {
        self.0.gate.acquire().await.unwrap().forget();
        self.0.check("put")?;
        self.0.graphs.put(graph).await
    }
    async fn remove(&self, job_id: JobId) -> std::result::Result<(), HaError> {
        self.0.check("remove")?;
        self.0.graphs.remove(job_id).await
    }
    async fn list(&self) -> std::result::Result<JobGraphs, HaError> {
        self.0.check("list")?;
        let mut found = self.0.graphs.list().await?;
        found.unreadable = std::mem::take(&mut *self.0.unreadable.lock().unwrap());
        Ok(found)
    }
}

#[async_trait]
impl JobResultStore for SharedStores {
    async fn create_committing(&self, commitment: Commitment) -> std::result::Result<(), HaError> {
        self.0.check("create_committing")?;
        self.0.results.create_committing(commitment).await
    }
    async fn create_dirty(&self, entry: JobResultEntry) -> std::result::Result<(), HaError> {
        self.0.check("create_dirty")?;
        self.0.results.create_dirty(entry).await
    }
    async fn mark_clean(&self, job_id: JobId) -> std::result::Result<(), HaError> {
        self.0.check("mark_clean")?;
        self.0.results.mark_clean(job_id).await
    }
    async fn state(&self, job_id: JobId) -> std::result::Result<ResultState, HaError> {
        self.0.check("state")?;
        self.0.results.state(job_id).await
    }
    async fn committing(&self) -> std::result::Result<Commitments, HaError> {
        self.0.check("committing")?;
        let mut found = self.0.results.committing().await?;
        found.unreadable = self.0.unreadable_commitments.lock().unwrap().clone();
        Ok(found)
    }
    async fn dirty(&self) -> std::result::Result<Vec<JobResultEntry>, HaError> {
        self.0.results.dirty().await
    }
    async fn clean(&self, most: usize) -> std::result::Result<Vec<JobResultEntry>, HaError> {
        Ok(self.0.clean.lock().unwrap().iter().take(most).cloned().collect())
    }
}

struct Election {
    changes: mpsc::UnboundedReceiver<Leadership>,
    confirmed: mpsc::UnboundedSender<u128>,
}

#[async_trait]
impl LeaderElection for Election {
    async fn next(&mut self) -> Leadership {
        match self.changes.recv().await {
            Some(change) => change,
            None => std::future::pending().await,
        }
    }
    async fn confirm(&mut self, session: u128, address: &str) -> std::result::Result<(), HaError> {
        assert_eq!(address, format!("embedded:dispatcher/{}", DispatcherId(session)));
        self.confirmed.send(session).ok();
        Ok(())
    }
}

pub struct Fixture {
    pub rpc: Arc<EmbeddedRpcService>,
    pub address: Address,
    pub blobs: BlobServer,
    pub component: BlobKey,
    pub stores: Arc<Stores>,
    pub election: mpsc::UnboundedSender<Leadership>,
    pub confirmed: mpsc::UnboundedReceiver<u128>,
    pub shutdown: CancellationToken,
    pub service: Option<JoinHandle<std::result::Result<(), ServiceError>>>,
    pub handle: Handle,
    started: mpsc::UnboundedReceiver<Started>,
    running: Arc<AtomicU32>,
    root: PathBuf,
}

impl Drop for Fixture {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.root).ok();
    }
}

impl Fixture {
    /// A dispatcher that leads, over empty stores.
    pub async fn start() -> Fixture {
        let mut fixture = Self::prepare(|options| options, |_| async {}).await;
        fixture.lead(1).await;
        fixture
    }

    /// A dispatcher that waits for its leadership; `fill` the stores before.
    pub async fn prepare<F: Future<Output = ()>>(
        change: impl FnOnce(Options) -> Options,
        fill: impl FnOnce(Arc<Stores>) -> F,
    ) -> Fixture {
        let root = tempfile::tempdir().unwrap().keep();
        let rpc = Arc::new(EmbeddedRpcService::new());
        let blobs = BlobServer::open(ServerOptions::new(&root)).unwrap();
        let component = blobs.put(bytes::Bytes::from_static(b"component")).await.unwrap();
        let stores = Arc::new(Stores {
            graphs: EmbeddedJobGraphStore::default(),
            results: EmbeddedJobResultStore::default(),
            failures: Mutex::default(),
            gate: Semaphore::new(1000),
            unreadable: Mutex::default(),
            unreadable_commitments: Mutex::default(),
            clean: Mutex::default(),
        });
        fill(stores.clone()).await;
        let (election, changes) = mpsc::unbounded_channel();
        let (confirm, confirmed) = mpsc::unbounded_channel();
        let (start, started) = mpsc::unbounded_channel();
        let running = Arc::new(AtomicU32::new(0));
        let address = Address("embedded:dispatcher".into());
        let resource_manager = Address("embedded:resourcemanager".into());
        let profile = ResourceProfile { task_memory: 1, managed_memory: 1, network_memory: 1 };
        let options = change(Options::new(address.clone(), resource_manager, profile));
        let ha = Services {
            job_graphs: Arc::new(SharedStores(stores.clone())),
            job_results: Arc::new(SharedStores(stores.clone())),
            blobs: Arc::new(heddle_ha::EmbeddedBlobStore),
            dispatcher_election: Box::new(Election { changes, confirmed: confirm }),
        };
        let masters = Box::new(Masters { started: start, running: running.clone() });
        let (service, handle) = Service::with_job_masters(options, rpc.clone(), ha, blobs.clone(), masters);
        let shutdown = CancellationToken::new();
        let service = Some(tokio::spawn(service.run(shutdown.clone())));
        Fixture {
            rpc,
            address,
            blobs,
            component,
            stores,
            election,
            confirmed,
            shutdown,
            service,
            handle,
            started,
            running,
            root,
        }
    }

    /// Grants leadership and waits until it is confirmed.
    pub async fn lead(&mut self, session: u128) {
        self.election.send(Leadership::Granted { session }).unwrap();
        let confirmed = tokio::time::timeout(Duration::from_secs(3600), self.confirmed.recv()).await;
        assert_eq!(confirmed.expect("it leads"), Some(session));
    }

    pub fn gateway(&self) -> Arc<dyn DispatcherGateway> {
        Arc::new(self.handle.clone())
    }

    /// Whoever is served as the leader of a session.
    pub fn leader(&self, session: u128) -> Result<Arc<dyn DispatcherGateway>> {
        let address = Address(format!("{}/{}", self.address, DispatcherId(session)));
        self.rpc.dispatcher(&address)
    }

    /// The next job master that is started.
    pub async fn started(&mut self) -> Started {
        let next = tokio::time::timeout(Duration::from_secs(3600), self.started.recv()).await;
        next.expect("a job master is started").expect("the dispatcher lives")
    }

    /// Submits a job and gives its master.
    pub async fn submit(&mut self, job: u128) -> Started {
        let submitted = self.gateway().submit_job(graph(job, self.component)).await;
        assert_eq!(submitted, Ok(JobId(job)));
        self.started().await
    }

    pub fn running_masters(&self) -> u32 {
        self.running.load(Ordering::SeqCst)
    }

    pub async fn status(&self, job: u128) -> JobStatus {
        self.gateway().request_job(JobId(job)).await.unwrap().overview.status
    }

    pub async fn stop(mut self) {
        self.shutdown.cancel();
        self.service.take().unwrap().await.unwrap().unwrap();
    }
}
