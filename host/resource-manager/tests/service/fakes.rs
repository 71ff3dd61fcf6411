//! Fake peers of a resource manager; they note what they hear and answer as
//! they are told to.

use async_trait::async_trait;
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::{
    AllocationId, ExecutionAttemptId, InstanceId, JobId, JobMasterId, ResourceId, ResourceManagerId, SlotId,
};
use heddle_model::memory::{ResourceProfile, WorkerResourceSpec};
use heddle_model::task::{
    DataAddress, InputSplit, JobInformation, TaskDeploymentDescriptor, TaskExecutionState,
};
use heddle_resource_manager::{
    DriverEvent, Error as ServiceError, Handle, Options, ResourceManagerDriver, Service,
};
use heddle_rpc::{
    Address, EmbeddedRpcService, JobDetails, JobMasterGateway, JobMasterRegistration, RequestSlot,
    ResourceManagerGateway, Result, RpcService, SlotOffer, SlotReport, SlotRequest, SlotStatus,
    TaskExecutorGateway, TaskExecutorHeartbeat, TaskExecutorRegistration,
};
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub const TOKEN: ResourceManagerId = ResourceManagerId(1);
pub const JOB: JobId = JobId(5);
pub const MASTER: JobMasterId = JobMasterId(21);

pub fn profile() -> ResourceProfile {
    ResourceProfile { task_memory: 100, managed_memory: 100, network_memory: 100 }
}

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

/// What a fake peer heard.
#[derive(Clone, Debug)]
pub enum Heard {
    RequestSlot(RequestSlot),
    Heartbeat,
    WorkerLost(ResourceId, Failure),
    AllocationFailed(AllocationId, Failure),
}

#[derive(Clone, Debug, Default)]
enum Mood {
    #[default]
    Willing,
    Refusing(String),
    Silent,
}

/// A fake task executor or job master, and its gateway.
pub struct Peer {
    pub address: Address,
    /// Of a task executor.
    pub instance: InstanceId,
    heard: tokio::sync::Mutex<mpsc::UnboundedReceiver<Heard>>,
    mood: Arc<Mutex<Mood>>,
}

impl Peer {
    pub async fn next(&self) -> Heard {
        let mut heard = self.heard.lock().await;
        let next = tokio::time::timeout(Duration::from_secs(3600), heard.recv()).await;
        next.unwrap_or_else(|_| panic!("{} hears nothing", self.address)).expect("the gateway lives")
    }

    pub fn refuse(&self, reason: &str) {
        *self.mood.lock().unwrap() = Mood::Refusing(reason.into());
    }

    pub fn fall_silent(&self) {
        *self.mood.lock().unwrap() = Mood::Silent;
    }
}

struct Gateway {
    heard: mpsc::UnboundedSender<Heard>,
    mood: Arc<Mutex<Mood>>,
}

impl Gateway {
    async fn hear(&self, heard: Heard) -> Result<()> {
        let heartbeat = matches!(heard, Heard::Heartbeat);
        self.heard.send(heard).ok();
        let mood = self.mood.lock().unwrap().clone();
        match mood {
            Mood::Willing => Ok(()),
            Mood::Refusing(_) if heartbeat => Ok(()),
            Mood::Refusing(reason) => Err(Failure::new(ErrorCode::Internal, reason).into()),
            Mood::Silent => std::future::pending().await,
        }
    }
}

#[async_trait]
impl TaskExecutorGateway for Gateway {
    async fn request_slot(&self, token: ResourceManagerId, request: RequestSlot) -> Result<()> {
        assert_eq!(token, TOKEN);
        self.hear(Heard::RequestSlot(request)).await
    }
    async fn heartbeat_from_resource_manager(&self, token: ResourceManagerId) -> Result<()> {
        assert_eq!(token, TOKEN);
        self.hear(Heard::Heartbeat).await
    }
    async fn free_slot(&self, _: JobMasterId, _: AllocationId, _: Failure) -> Result<()> {
        unreachable!()
    }
    async fn submit_tasks(
        &self,
        _: JobMasterId,
        _: Arc<JobInformation>,
        _: Vec<TaskDeploymentDescriptor>,
    ) -> Result<()> {
        unreachable!()
    }
    async fn cancel_tasks(&self, _: JobMasterId, _: Vec<ExecutionAttemptId>) -> Result<()> {
        unreachable!()
    }
    async fn disconnect_job_master(&self, _: JobMasterId, _: JobId, _: Failure) -> Result<()> {
        unreachable!()
    }
    async fn heartbeat_from_job_master(&self, _: JobMasterId, _: JobId) -> Result<()> {
        unreachable!()
    }
}

#[async_trait]
impl JobMasterGateway for Gateway {
    async fn disconnect_task_executor(
        &self,
        _: JobMasterId,
        resource_id: ResourceId,
        reason: Failure,
    ) -> Result<()> {
        self.hear(Heard::WorkerLost(resource_id, reason)).await
    }
    async fn notify_allocation_failure(
        &self,
        _: JobMasterId,
        allocation_id: AllocationId,
        cause: Failure,
    ) -> Result<()> {
        self.hear(Heard::AllocationFailed(allocation_id, cause)).await
    }
    async fn heartbeat_from_resource_manager(&self, _: JobMasterId) -> Result<()> {
        self.hear(Heard::Heartbeat).await
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
    async fn request_job(&self, _: JobMasterId) -> Result<JobDetails> {
        unreachable!()
    }
    async fn cancel(&self, _: JobMasterId) -> Result<()> {
        unreachable!()
    }
}

#[derive(Clone, Debug, Default)]
enum DriverMood {
    #[default]
    Willing,
    Refusing(String),
    Slow(Duration),
    Panicking,
}

/// The test's end of a fake driver.
pub struct DriverControl {
    orders: mpsc::UnboundedReceiver<String>,
    events: mpsc::UnboundedSender<DriverEvent>,
    mood: Arc<Mutex<DriverMood>>,
}

impl DriverControl {
    /// The next order.
    pub async fn next(&mut self) -> String {
        let next = tokio::time::timeout(Duration::from_secs(3600), self.orders.recv()).await;
        next.expect("the driver gets an order").expect("the driver lives")
    }

    pub fn tell(&self, event: DriverEvent) {
        self.events.send(event).unwrap();
    }

    pub fn refuse(&self, reason: &str) {
        *self.mood.lock().unwrap() = DriverMood::Refusing(reason.into());
    }

    /// Each request takes this long.
    pub fn take(&self, time: Duration) {
        *self.mood.lock().unwrap() = DriverMood::Slow(time);
    }

    pub fn panic(&self) {
        *self.mood.lock().unwrap() = DriverMood::Panicking;
    }
}

struct Driver {
    orders: mpsc::UnboundedSender<String>,
    events: mpsc::UnboundedReceiver<DriverEvent>,
    mood: Arc<Mutex<DriverMood>>,
}

#[async_trait]
impl ResourceManagerDriver for Driver {
    async fn request_worker(&mut self, spec: WorkerResourceSpec) -> std::result::Result<(), Failure> {
        self.orders.send(format!("request a worker with {} slots", spec.slots)).ok();
        let mood = self.mood.lock().unwrap().clone();
        match mood {
            DriverMood::Willing => Ok(()),
            DriverMood::Refusing(reason) => Err(Failure::new(ErrorCode::NoResources, reason)),
            DriverMood::Slow(time) => {
                tokio::time::sleep(time).await;
                Ok(())
            }
            DriverMood::Panicking => panic!("as told"),
        }
    }
    async fn release_worker(&mut self, id: ResourceId) -> std::result::Result<(), Failure> {
        self.orders.send(format!("release {id}")).ok();
        Ok(())
    }
    async fn next_event(&mut self) -> DriverEvent {
        match self.events.recv().await {
            Some(event) => event,
            None => std::future::pending().await,
        }
    }
    async fn shutdown(&mut self) {
        self.orders.send("shutdown".into()).ok();
    }
}

pub struct Fixture {
    pub rpc: Arc<EmbeddedRpcService>,
    pub handle: Handle,
    pub address: Address,
    pub driver: DriverControl,
    pub shutdown: CancellationToken,
    pub service: Option<JoinHandle<std::result::Result<(), ServiceError>>>,
}

impl Fixture {
    pub async fn start(change: impl FnOnce(Options) -> Options) -> Fixture {
        let rpc = Arc::new(EmbeddedRpcService::new());
        let (order_sender, orders) = mpsc::unbounded_channel();
        let (events, event_receiver) = mpsc::unbounded_channel();
        let mood = Arc::new(Mutex::new(DriverMood::default()));
        let driver = Driver { orders: order_sender, events: event_receiver, mood: mood.clone() };
        let address = Address("embedded:resourcemanager".into());
        let worker = WorkerResourceSpec { slots: 2, slot: profile() };
        let options = change(Options::new(TOKEN, address.clone(), worker));
        let (service, handle) = Service::new(options, rpc.clone(), Box::new(driver));
        let shutdown = CancellationToken::new();
        let service = Some(tokio::spawn(service.run(shutdown.clone())));
        Fixture { rpc, handle, address, driver: DriverControl { orders, events, mood }, shutdown, service }
    }

    pub async fn stop(mut self) {
        self.shutdown.cancel();
        self.service.take().unwrap().await.unwrap().unwrap();
    }

    pub fn gateway(&self) -> Arc<dyn ResourceManagerGateway> {
        self.rpc.resource_manager(&self.address).unwrap()
    }

    fn peer(&self, name: &str) -> (Peer, Arc<Gateway>) {
        let (sender, heard) = mpsc::unbounded_channel();
        let mood = Arc::new(Mutex::new(Mood::default()));
        let peer = Peer {
            address: Address(format!("embedded:{name}")),
            instance: InstanceId(0),
            heard: tokio::sync::Mutex::new(heard),
            mood: mood.clone(),
        };
        (peer, Arc::new(Gateway { heard: sender, mood }))
    }

    /// Serves and registers a job master.
    pub async fn job_master(&self, job_id: JobId, id: JobMasterId) -> Peer {
        let (peer, gateway) = self.peer(&format!("jobmaster-{id}"));
        self.rpc.serve_job_master(peer.address.clone(), gateway);
        let address = peer.address.clone();
        let registration = JobMasterRegistration { job_id, job_master_id: id, address };
        self.gateway().register_job_master(TOKEN, registration).await.unwrap();
        peer
    }

    pub fn registration(&self, name: &str) -> TaskExecutorRegistration {
        TaskExecutorRegistration {
            resource_id: ResourceId(name.into()),
            address: Address(format!("embedded:{name}")),
            spec: WorkerResourceSpec { slots: 2, slot: profile() },
            heartbeat_timeout_ms: u64::MAX,
        }
    }

    pub fn report(&self, name: &str, held: &[Option<(AllocationId, JobId)>]) -> SlotReport {
        let slots = held
            .iter()
            .zip(0..)
            .map(|(allocation, slot_number)| SlotStatus {
                slot_id: SlotId { resource_id: ResourceId(name.into()), slot_number },
                profile: profile(),
                allocation: *allocation,
            })
            .collect();
        SlotReport { slots }
    }

    /// Serves and registers a task executor with two free slots.
    pub async fn task_executor(&self, name: &str) -> Peer {
        let (mut peer, gateway) = self.peer(name);
        self.rpc.serve_task_executor(peer.address.clone(), gateway);
        let manager = self.gateway();
        peer.instance = manager.register_task_executor(TOKEN, self.registration(name)).await.unwrap();
        manager.send_slot_report(TOKEN, peer.instance, self.report(name, &[None, None])).await.unwrap();
        peer
    }

    pub async fn request(
        &self,
        job_id: JobId,
        master: JobMasterId,
        allocation_id: AllocationId,
    ) -> Result<()> {
        let job_master = Address(format!("embedded:jobmaster-{master}"));
        let request = SlotRequest { job_id, allocation_id, profile: profile(), job_master };
        self.gateway().request_slot(TOKEN, master, request).await
    }
}
