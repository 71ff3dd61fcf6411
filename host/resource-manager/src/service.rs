//! The resource manager's loop: messages, driver events, answers of peers and
//! time go into the slot manager; its actions become calls.

use crate::connections::{Connections, JobMaster, Liveness, TaskExecutor};
use crate::driver::{DriverEvent, Order, ResourceManagerDriver, drive};
use crate::message::{Call, Command, Handle, MAX_WAITING_MESSAGES};
use crate::{Error, Options, registration};
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::{InstanceId, JobId, JobMasterId, ResourceId, ResourceManagerId};
use heddle_rpc::{
    Address, JobMasterRegistration, RequestSlot, ResourceOverview, RpcService, SlotReport,
    TaskExecutorOverview, TaskExecutorRegistration,
};
use heddle_slot_manager::{Action, Event as SlotEvent, ReportedSlot, SlotManager};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// Orders that may wait for the driver; beyond that the resource manager waits.
const MAX_WAITING_ORDERS: usize = 64;

/// Driver events that may wait for the resource manager.
const MAX_WAITING_EVENTS: usize = 64;

/// How long the driver may take to end its workers.
const DRIVER_SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(30);

/// What a call to a peer led to.
enum Answer {
    Slot(SlotEvent),
    TaskExecutorHeartbeat(InstanceId, heddle_rpc::Result<()>),
    JobMasterHeartbeat(JobId, JobMasterId, heddle_rpc::Result<()>),
    Told,
}

enum Event {
    Command(Command),
    Driver(DriverEvent),
    DriverEnded(Result<(), JoinError>),
    Answer(Result<Answer, JoinError>),
    Heartbeat,
    Deadline,
    Shutdown,
}

/// What the driver's task is given.
struct Driver {
    driver: Box<dyn ResourceManagerDriver>,
    orders: mpsc::Receiver<Order>,
    events: mpsc::Sender<DriverEvent>,
}

pub struct Service {
    options: Options,
    rpc: Arc<dyn RpcService>,
    commands: mpsc::Receiver<Command>,
    fenced: Arc<AtomicU64>,
    slots: SlotManager,
    connections: Connections,
    orders: mpsc::Sender<Order>,
    driver_events: mpsc::Receiver<DriverEvent>,
    /// Taken when the service runs.
    driver: Option<Driver>,
    calls: JoinSet<Answer>,
    /// Seeded with the leader session, so that a run can be repeated.
    random: StdRng,
    /// The slot manager's time starts here.
    start: Instant,
}

impl Service {
    /// Serves at its address from now on; messages wait until it runs.
    pub fn new(
        options: Options,
        rpc: Arc<dyn RpcService>,
        driver: Box<dyn ResourceManagerDriver>,
    ) -> (Service, Handle) {
        let (sender, commands) = mpsc::channel(MAX_WAITING_MESSAGES);
        let (orders, order_receiver) = mpsc::channel(MAX_WAITING_ORDERS);
        let (event_sender, driver_events) = mpsc::channel(MAX_WAITING_EVENTS);
        let fenced = Arc::new(AtomicU64::new(0));
        let handle = Handle {
            address: options.address.clone(),
            token: options.token,
            commands: sender,
            fenced: fenced.clone(),
        };
        rpc.serve_resource_manager(options.address.clone(), Arc::new(handle.clone()));
        let service = Service {
            slots: SlotManager::new(options.slot_manager()),
            random: random_of(options.token),
            options,
            rpc,
            commands,
            fenced,
            connections: Connections::default(),
            orders,
            driver_events,
            driver: Some(Driver { driver, orders: order_receiver, events: event_sender }),
            calls: JoinSet::new(),
            start: Instant::now(),
        };
        (service, handle)
    }

    /// Runs until shutdown, or until the driver fails.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), Error> {
        info!(address = %self.options.address, token = %self.options.token, "resource manager started");
        let mut driver = JoinSet::new();
        if let Some(given) = self.driver.take() {
            driver.spawn(drive(given.driver, given.orders, given.events));
        }
        let mut heartbeat =
            tokio::time::interval(self.options.heartbeat_interval.max(Duration::from_millis(1)));
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let outcome = loop {
            let deadline = self.slots.next_deadline().and_then(|at| self.start.checked_add(at));
            let event = tokio::select! {
                biased;
                () = shutdown.cancelled() => Event::Shutdown,
                Some(ended) = driver.join_next() => Event::DriverEnded(ended),
                Some(event) = self.driver_events.recv() => Event::Driver(event),
                Some(answer) = self.calls.join_next() => Event::Answer(answer),
                _ = heartbeat.tick() => Event::Heartbeat,
                () = until(deadline) => Event::Deadline,
                Some(command) = self.commands.recv() => Event::Command(command),
            };
            match event {
                Event::Command(command) => self.command(command).await,
                Event::Driver(event) => self.driver_event(event).await,
                Event::DriverEnded(ended) => {
                    let reason = match ended {
                        Ok(()) => "it stopped by itself".to_owned(),
                        Err(error) => error.to_string(),
                    };
                    break Err(Error::Driver { reason });
                }
                Event::Answer(Ok(answer)) => self.answer(answer).await,
                Event::Answer(Err(error)) => warn!(%error, "a call to a peer ended badly"),
                Event::Heartbeat => self.heartbeat().await,
                Event::Deadline => self.step(SlotEvent::Tick).await,
                Event::Shutdown => break Ok(()),
            }
        };
        self.rpc.stop_serving(&self.options.address);
        self.calls.shutdown().await;
        // The end of the orders tells the driver to end its workers. Its events
        // are read no more.
        let Service { orders, driver_events, .. } = self;
        drop((orders, driver_events));
        if timeout(DRIVER_SHUTDOWN_TIMEOUT, driver.join_next()).await.is_err() {
            warn!(seconds = DRIVER_SHUTDOWN_TIMEOUT.as_secs(), "the driver did not end its workers in time");
            driver.shutdown().await;
        }
        info!("resource manager stopped");
        outcome
    }

    async fn command(&mut self, Command { token, call }: Command) {
        let fenced = (token != self.options.token).then(|| heddle_rpc::Error::Fenced {
            expected: self.options.token.to_string(),
            got: token.to_string(),
        });
        if fenced.is_some() {
            self.fenced.fetch_add(1, Ordering::Relaxed);
            debug!(%token, "a stale message was refused");
        }
        macro_rules! answer {
            ($reply:expr, $handle:expr) => {{
                let result = match fenced {
                    Some(error) => Err(error),
                    None => $handle,
                };
                // Nobody waits any more: nothing to tell.
                let _ = $reply.send(result);
            }};
        }
        match call {
            Call::RegisterJobMaster(registration, reply) => {
                answer!(reply, self.register_job_master(registration).await)
            }
            Call::DisconnectJobMaster(job_id, reply) => {
                answer!(reply, {
                    self.job_gone(job_id, "it disconnected").await;
                    Ok(())
                })
            }
            Call::RequestSlot(id, request, reply) => {
                answer!(
                    reply,
                    match self.connections.check_job_master(request.job_id, id) {
                        Ok(()) => {
                            let request = heddle_slot_manager::SlotRequest {
                                allocation_id: request.allocation_id,
                                job_id: request.job_id,
                                profile: request.profile,
                            };
                            self.step(SlotEvent::Request(request)).await;
                            Ok(())
                        }
                        Err(error) => Err(self.fence(error)),
                    }
                )
            }
            Call::CancelSlotRequest(id, allocation_id, reply) => {
                answer!(
                    reply,
                    if self.connections.job_masters.values().any(|m| m.id == id) {
                        self.step(SlotEvent::Cancel { allocation_id }).await;
                        Ok(())
                    } else {
                        let expected = "a registered job master".to_owned();
                        Err(self.fence(heddle_rpc::Error::Fenced { expected, got: id.to_string() }))
                    }
                )
            }
            Call::RegisterTaskExecutor(registration, reply) => {
                answer!(reply, self.register_task_executor(registration))
            }
            Call::SendSlotReport(instance, report, reply) => {
                answer!(reply, self.slot_report(instance, report).await)
            }
            Call::NotifySlotAvailable(instance, slot_id, allocation_id, reply) => {
                answer!(
                    reply,
                    match self.connections.check_instance(instance) {
                        Ok(executor) => {
                            executor.liveness.hear();
                            self.step(SlotEvent::SlotAvailable { instance, slot_id, allocation_id }).await;
                            Ok(())
                        }
                        Err(error) => Err(self.fence(error)),
                    }
                )
            }
            Call::DisconnectTaskExecutor(instance, reason, reply) => {
                answer!(reply, {
                    self.task_executor_gone(instance, reason, false).await;
                    Ok(())
                })
            }
            Call::Overview(reply) => answer!(reply, Ok(self.slots.overview())),
            Call::ResourceOverview(reply) => answer!(reply, Ok(self.resource_overview())),
        }
    }

    fn resource_overview(&self) -> ResourceOverview {
        let numbers = self.slots.overview();
        let slots: BTreeMap<_, _> =
            self.slots.task_executors().map(|(id, slots, free)| (id, (slots as u32, free as u32))).collect();
        let mut task_executors: Vec<_> = self
            .connections
            .task_executors
            .values()
            .map(|executor| {
                let (slots, free_slots) = slots.get(&executor.resource_id).copied().unwrap_or_default();
                TaskExecutorOverview {
                    resource_id: executor.resource_id.clone(),
                    address: executor.address.clone(),
                    slots,
                    free_slots,
                    silent_ms: executor.liveness.silent().as_millis() as u64,
                }
            })
            .collect();
        task_executors.sort_by(|a, b| a.resource_id.cmp(&b.resource_id));
        ResourceOverview {
            task_executors,
            coming_workers: numbers.coming_workers,
            waiting_requests: numbers.waiting_requests as u32,
            stale_messages: self.fenced.load(Ordering::Relaxed),
        }
    }

    /// Counts a refusal.
    fn fence(&self, error: heddle_rpc::Error) -> heddle_rpc::Error {
        self.fenced.fetch_add(1, Ordering::Relaxed);
        debug!(%error, "a stale message was refused");
        error
    }

    async fn register_job_master(&mut self, registration: JobMasterRegistration) -> heddle_rpc::Result<()> {
        let JobMasterRegistration { job_id, job_master_id, address } = registration;
        info!(job = %job_id, job_master = %job_master_id, %address, "job master registered");
        let master = JobMaster { id: job_master_id, address, liveness: Liveness::new() };
        let former = self.connections.job_masters.insert(job_id, master);
        if former.is_some_and(|former| former.id != job_master_id) {
            // What the former leader asked for nobody waits for.
            self.step(SlotEvent::JobGone { job_id }).await;
        }
        Ok(())
    }

    async fn job_gone(&mut self, job_id: JobId, reason: &str) {
        if self.connections.job_masters.remove(&job_id).is_some() {
            info!(job = %job_id, reason, "job master is gone");
            self.step(SlotEvent::JobGone { job_id }).await;
        }
    }

    fn register_task_executor(
        &mut self,
        registration: TaskExecutorRegistration,
    ) -> heddle_rpc::Result<InstanceId> {
        let fits = registration::check(&registration, &self.options);
        let TaskExecutorRegistration { resource_id, address, .. } = registration;
        if let Err(failure) = fits {
            warn!(worker = %resource_id, %address, %failure, "a task executor is refused");
            return Err(failure.into());
        }
        if self.slots.is_releasing(&resource_id) {
            let message = format!("worker {resource_id} was released and is to end");
            return Err(Failure::new(ErrorCode::WorkerLost, message).into());
        }
        let instance = InstanceId::from_bits(self.random.random());
        info!(worker = %resource_id, %instance, %address, "task executor registered");
        let former = self.connections.instance_of(&resource_id);
        let replaces = former.and_then(|former| {
            let entry = self.connections.task_executors.remove(&former)?;
            // A former one that never reported is not known to the slot manager.
            entry.replaces.or(Some(former))
        });
        let executor = TaskExecutor { resource_id, address, liveness: Liveness::new(), replaces };
        self.connections.task_executors.insert(instance, executor);
        Ok(instance)
    }

    async fn slot_report(&mut self, instance: InstanceId, report: SlotReport) -> heddle_rpc::Result<()> {
        let executor = match self.connections.check_instance(instance) {
            Ok(executor) => executor,
            Err(error) => return Err(self.fence(error)),
        };
        executor.liveness.hear();
        executor.replaces = None;
        let resource_id = executor.resource_id.clone();
        let slots = report
            .slots
            .into_iter()
            .map(|slot| ReportedSlot {
                slot_number: slot.slot_id.slot_number,
                profile: slot.profile,
                allocation: slot.allocation,
            })
            .collect();
        self.step(SlotEvent::Report { instance, resource_id, slots }).await;
        Ok(())
    }

    async fn task_executor_gone(&mut self, instance: InstanceId, reason: String, release: bool) {
        let Some(executor) = self.connections.task_executors.remove(&instance) else { return };
        warn!(worker = %executor.resource_id, reason, "task executor is gone");
        let instance = executor.replaces.unwrap_or(instance);
        self.step(SlotEvent::TaskExecutorGone { instance, reason, release }).await;
    }

    async fn driver_event(&mut self, event: DriverEvent) {
        let event = match event {
            DriverEvent::WorkerStarted { resource_id } => {
                info!(worker = %resource_id, "worker is starting");
                SlotEvent::WorkerStarted { resource_id }
            }
            DriverEvent::StartFailed { reason } => {
                warn!(reason, "a worker did not start");
                SlotEvent::WorkerStartFailed { reason }
            }
            DriverEvent::WorkerTerminated { resource_id, reason } => {
                info!(worker = %resource_id, reason, "worker ended");
                self.forget_worker(&resource_id);
                SlotEvent::WorkerTerminated { resource_id, reason }
            }
        };
        self.step(event).await;
    }

    fn forget_worker(&mut self, resource_id: &ResourceId) {
        self.connections.task_executors.retain(|_, executor| executor.resource_id != *resource_id);
    }

    async fn answer(&mut self, answer: Answer) {
        match answer {
            Answer::Slot(event) => self.step(event).await,
            Answer::TaskExecutorHeartbeat(instance, result) => {
                let Some(executor) = self.connections.task_executors.get_mut(&instance) else { return };
                executor.liveness.answered(&result);
                if let Some(reason) = executor.liveness.lost(self.options.heartbeat_timeout) {
                    self.task_executor_gone(instance, reason, true).await;
                }
            }
            Answer::JobMasterHeartbeat(job_id, id, result) => {
                let Some(master) = self.connections.job_masters.get_mut(&job_id) else { return };
                if master.id != id {
                    return;
                }
                master.liveness.answered(&result);
                if let Some(reason) = master.liveness.lost(self.options.heartbeat_timeout) {
                    self.job_gone(job_id, &reason).await;
                }
            }
            Answer::Told => {}
        }
    }

    /// Tells every peer that this one lives, and acts on those that do not.
    async fn heartbeat(&mut self) {
        let limit = self.options.heartbeat_timeout;
        let lost_executors: Vec<(InstanceId, String)> = self
            .connections
            .task_executors
            .iter()
            .filter_map(|(instance, e)| Some((*instance, e.liveness.lost(limit)?)))
            .collect();
        for (instance, reason) in lost_executors {
            self.task_executor_gone(instance, reason, true).await;
        }
        let lost_masters: Vec<(JobId, String)> = self
            .connections
            .job_masters
            .iter()
            .filter_map(|(job_id, m)| Some((*job_id, m.liveness.lost(limit)?)))
            .collect();
        for (job_id, reason) in lost_masters {
            self.job_gone(job_id, &reason).await;
        }

        let token = self.options.token;
        for (instance, executor) in &mut self.connections.task_executors {
            if std::mem::replace(&mut executor.liveness.asking, true) {
                continue;
            }
            let (rpc, address, instance) = (self.rpc.clone(), executor.address.clone(), *instance);
            let call = bounded(self.options.rpc_timeout, address.clone(), async move {
                rpc.task_executor(&address)?.heartbeat_from_resource_manager(token).await
            });
            self.calls.spawn(async move { Answer::TaskExecutorHeartbeat(instance, call.await) });
        }
        for (job_id, master) in &mut self.connections.job_masters {
            if std::mem::replace(&mut master.liveness.asking, true) {
                continue;
            }
            let (rpc, address, id, job_id) = (self.rpc.clone(), master.address.clone(), master.id, *job_id);
            let call = bounded(self.options.rpc_timeout, address.clone(), async move {
                rpc.job_master(&address)?.heartbeat_from_resource_manager(id).await
            });
            self.calls.spawn(async move { Answer::JobMasterHeartbeat(job_id, id, call.await) });
        }
    }

    async fn step(&mut self, event: SlotEvent) {
        let actions = self.slots.step(self.start.elapsed(), event);
        for action in actions {
            self.act(action).await;
        }
    }

    async fn act(&mut self, action: Action) {
        match action {
            Action::Assign { instance, slot_id, request } => self.assign(instance, slot_id, request),
            Action::StartWorker => {
                info!(slots = self.options.worker.slots, "requesting a worker");
                // The driver's end is noticed by the loop.
                let _ = self.orders.send(Order::Request(self.options.worker)).await;
            }
            Action::ReleaseWorker { resource_id, reason } => {
                info!(worker = %resource_id, reason, "worker is to end");
                self.forget_worker(&resource_id);
                let _ = self.orders.send(Order::Release(resource_id)).await;
            }
            Action::RefuseRequest { job_id, allocation_id, failure } => {
                warn!(job = %job_id, allocation = %allocation_id, %failure, "a slot request is refused");
                self.tell_job_master(job_id, move |gateway, id| async move {
                    gateway.notify_allocation_failure(id, allocation_id, failure).await
                });
            }
            Action::WorkerLost { job_id, resource_id, failure } => {
                self.tell_job_master(job_id, move |gateway, id| async move {
                    gateway.disconnect_task_executor(id, resource_id, failure).await
                });
            }
        }
    }

    fn assign(
        &mut self,
        instance: InstanceId,
        slot_id: heddle_model::id::SlotId,
        request: heddle_slot_manager::SlotRequest,
    ) {
        let allocation_id = request.allocation_id;
        let executor = self.connections.task_executors.get(&instance);
        let master = self.connections.job_masters.get(&request.job_id);
        let (Some(executor), Some(master)) = (executor, master) else {
            let reason = "its task executor or job master is gone".to_owned();
            let refused = SlotEvent::Refused { instance, slot_id, allocation_id, reason };
            self.calls.spawn(async move { Answer::Slot(refused) });
            return;
        };
        let message = RequestSlot {
            slot_id: slot_id.clone(),
            job_id: request.job_id,
            allocation_id,
            profile: request.profile,
            job_master: master.address.clone(),
            job_master_id: master.id,
        };
        debug!(slot = %slot_id, job = %request.job_id, allocation = %allocation_id, "giving a slot");
        let (rpc, address, token) = (self.rpc.clone(), executor.address.clone(), self.options.token);
        let call = bounded(self.options.rpc_timeout, address.clone(), async move {
            rpc.task_executor(&address)?.request_slot(token, message).await
        });
        self.calls.spawn(async move {
            Answer::Slot(match call.await {
                Ok(()) => SlotEvent::Assigned { instance, slot_id, allocation_id },
                Err(error) => {
                    warn!(slot = %slot_id, allocation = %allocation_id, %error, "a slot was refused");
                    SlotEvent::Refused { instance, slot_id, allocation_id, reason: error.to_string() }
                }
            })
        });
    }

    fn tell_job_master<F>(
        &mut self,
        job_id: JobId,
        call: impl FnOnce(Arc<dyn heddle_rpc::JobMasterGateway>, JobMasterId) -> F + Send + 'static,
    ) where
        F: Future<Output = heddle_rpc::Result<()>> + Send,
    {
        let Some(master) = self.connections.job_masters.get(&job_id) else { return };
        let (rpc, address, id) = (self.rpc.clone(), master.address.clone(), master.id);
        let told = bounded(self.options.rpc_timeout, address.clone(), async move {
            call(rpc.job_master(&address)?, id).await
        });
        self.calls.spawn(async move {
            if let Err(error) = told.await {
                warn!(job = %job_id, %error, "a job master could not be told");
            }
            Answer::Told
        });
    }
}

/// A session is drawn at random, hence so is what follows from it.
fn random_of(token: ResourceManagerId) -> StdRng {
    let mut seed = [0; 32];
    seed[..16].copy_from_slice(&token.0.to_le_bytes());
    StdRng::from_seed(seed)
}

/// A call that takes too long counts as unanswered.
async fn bounded(
    limit: Duration,
    address: Address,
    call: impl Future<Output = heddle_rpc::Result<()>>,
) -> heddle_rpc::Result<()> {
    match timeout(limit, call).await {
        Ok(result) => result,
        Err(_) => Err(heddle_rpc::Error::Unreachable { address }),
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
