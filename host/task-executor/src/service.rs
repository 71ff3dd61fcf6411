//! The TaskExecutor's event loop: registration at the resource manager, slots
//! and their offers, job masters, tasks. It starts tasks and hears of their
//! end; what happens inside one is `task`'s matter.

use crate::job_connection::{JobConnection, Phase};
use crate::message::{Handle, Message, Request};
use crate::slot_table::{Freed, SlotTable, TaskSlot};
use crate::task::{self, RunningTask, TaskContext, TaskOutcome};
use heddle_blob::BlobCache;
use heddle_connectors::Console;
use heddle_exchange::PartitionManager;
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::{
    AllocationId, ExecutionAttemptId, InstanceId, JobId, JobMasterId, ResourceId, ResourceManagerId,
};
use heddle_model::job_status::ExecutionState;
use heddle_model::memory::WorkerResourceSpec;
use heddle_model::task::{JobInformation, TaskDeploymentDescriptor, TaskExecutionState};
use heddle_rpc::{
    Address, RequestSlot, ResourceManagerGateway, RpcService, TaskExecutorHeartbeat, TaskExecutorRegistration,
};
use heddle_state::ManagedMemory;
use heddle_wasm::{MemoryBudget, Runtime};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

/// First and longest wait between two tries to register (Flink's defaults).
const REGISTRATION_BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

/// How one TaskExecutor is set up.
pub struct Options {
    pub resource_id: ResourceId,
    pub address: Address,
    pub spec: WorkerResourceSpec,
    pub resource_manager: Address,
    pub resource_manager_id: ResourceManagerId,
    /// `taskmanager.slot.timeout`: how long an allocated slot waits for its
    /// job master.
    pub slot_timeout: Duration,
    /// `taskmanager.registration.timeout`: fatal after it.
    pub registration_timeout: Duration,
    pub heartbeat_timeout: Duration,
    /// How often running tasks' numbers go to their job master.
    pub metrics_interval: Duration,
}

/// What all TaskExecutors of a process share.
#[derive(Clone)]
pub struct Shared {
    pub wasm: Runtime,
    pub partitions: PartitionManager,
    /// The fixed pool of worker threads that runs all subtasks.
    pub workers: tokio::runtime::Handle,
    pub blobs: Arc<BlobCache>,
    pub console: Arc<dyn Console>,
}

/// Why a TaskExecutor ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "no resource manager at {address} accepted this TaskExecutor within {timeout:?}; \
         last answer: {last}"
    )]
    RegistrationTimeout { address: Address, timeout: Duration, last: String },
}

pub(crate) enum Event {
    Request(Message),
    Task(TaskExecutionState),
    TaskEnded(TaskOutcome),
    RegisteredAtResourceManager(Result<InstanceId, heddle_rpc::Error>),
    RegisteredAtJobMaster {
        job_id: JobId,
        token: JobMasterId,
        result: heddle_rpc::Result<()>,
    },
    OffersAnswered {
        job_id: JobId,
        offered: Vec<AllocationId>,
        result: heddle_rpc::Result<Vec<AllocationId>>,
    },
    Told,
    Tick,
}

struct SlotResources {
    task_memory: Arc<MemoryBudget>,
    managed_memory: Arc<ManagedMemory>,
}

pub struct Service {
    options: Options,
    shared: Shared,
    rpc: Arc<dyn RpcService>,
    handle: Handle,
    messages: mpsc::Receiver<Message>,
    started: Instant,

    slots: SlotTable,
    resources: HashMap<AllocationId, SlotResources>,
    jobs: HashMap<JobId, JobConnection>,
    running: HashMap<ExecutionAttemptId, RunningTask>,

    instance: Option<InstanceId>,
    registration_since: Instant,
    registration_backoff: Duration,
    resource_manager_heard: Instant,

    /// Calls to other roles; each ends as an event.
    calls: JoinSet<Event>,
    tasks: JoinSet<TaskOutcome>,
    attempts_by_task: HashMap<tokio::task::Id, ExecutionAttemptId>,
    task_events: mpsc::Receiver<TaskExecutionState>,
    task_events_sender: mpsc::Sender<TaskExecutionState>,
}

impl Service {
    pub fn new(options: Options, shared: Shared, rpc: Arc<dyn RpcService>) -> (Self, Handle) {
        let (handle, messages) = Handle::new(options.address.clone());
        let (task_events_sender, task_events) = mpsc::channel(crate::message::MESSAGES_MAX);
        let now = Instant::now();
        let service = Self {
            slots: SlotTable::new(
                options.resource_id.clone(),
                options.spec.slots,
                options.spec.slot,
                options.slot_timeout,
            ),
            shared,
            rpc,
            handle: handle.clone(),
            messages,
            started: now,
            resources: HashMap::new(),
            jobs: HashMap::new(),
            running: HashMap::new(),
            instance: None,
            registration_since: now,
            registration_backoff: REGISTRATION_BACKOFF.0,
            resource_manager_heard: now,
            calls: JoinSet::new(),
            tasks: JoinSet::new(),
            attempts_by_task: HashMap::new(),
            task_events,
            task_events_sender,
            options,
        };
        (service, handle)
    }

    /// Serves until told to stop, or until it can not register.
    ///
    /// # Errors
    /// [`Error::RegistrationTimeout`]; the process is to end with it.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), Error> {
        let address = self.options.address.clone();
        self.rpc.serve_task_executor(address.clone(), Arc::new(self.handle.clone()));
        info!(resource_id = %self.options.resource_id, slots = self.options.spec.slots, "task executor starts");
        self.register_at_resource_manager(Duration::ZERO);
        let mut ticks = tokio::time::interval(self.options.metrics_interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let result = loop {
            let event = tokio::select! {
                () = shutdown.cancelled() => break Ok(()),
                Some(message) = self.messages.recv() => Event::Request(message),
                Some(state) = self.task_events.recv() => Event::Task(state),
                Some(ended) = self.tasks.join_next_with_id() => {
                    match task::outcome(ended, &mut self.attempts_by_task) {
                        Some(outcome) => Event::TaskEnded(outcome),
                        None => continue,
                    }
                }
                Some(answer) = self.calls.join_next() => match answer {
                    Ok(event) => event,
                    Err(panic) => {
                        error!(%panic, "a call to another role panicked");
                        continue;
                    }
                },
                _ = ticks.tick() => Event::Tick,
            };
            if let Err(error) = self.handle(event) {
                break Err(error);
            }
        };
        self.shut_down().await;
        self.rpc.stop_serving(&address);
        result
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn handle(&mut self, event: Event) -> Result<(), Error> {
        match event {
            Event::Request(Message { request, reply }) => {
                let answer = self.answer(request);
                // A caller that went away needs no answer.
                let _ = reply.send(answer);
            }
            Event::Task(state) => self.tell_job_master(state),
            Event::TaskEnded(outcome) => self.task_ended(outcome),
            Event::RegisteredAtResourceManager(result) => self.registered_at_resource_manager(result)?,
            Event::RegisteredAtJobMaster { job_id, token, result } => {
                self.registered_at_job_master(job_id, token, result);
            }
            Event::OffersAnswered { job_id, offered, result } => {
                self.offers_answered(job_id, offered, result)
            }
            Event::Told => {}
            Event::Tick => self.tick()?,
        }
        Ok(())
    }

    fn answer(&mut self, request: Request) -> heddle_rpc::Result<()> {
        match request {
            Request::Slot(token, request) => self.request_slot(token, request),
            Request::FreeSlot(allocation_id, cause) => {
                self.free_slot(allocation_id, &cause);
                Ok(())
            }
            Request::SubmitTasks(token, job, tasks) => self.submit_tasks(token, &job, tasks),
            Request::CancelTasks(token, attempts) => self.cancel_tasks(token, &attempts),
            Request::DisconnectJobMaster(token, job_id, cause) => {
                self.check_job_master(job_id, token)?;
                self.drop_job(job_id, &cause);
                Ok(())
            }
            Request::HeartbeatFromJobMaster(token, job_id) => {
                let now = Instant::now();
                self.check_job_master(job_id, token)?.heard = now;
                self.report_metrics(job_id);
                Ok(())
            }
            Request::HeartbeatFromResourceManager(token) => {
                self.check_resource_manager(token)?;
                self.resource_manager_heard = Instant::now();
                self.send_slot_report();
                Ok(())
            }
        }
    }

    // ---- the resource manager ------------------------------------------------

    fn resource_manager(&self) -> heddle_rpc::Result<Arc<dyn ResourceManagerGateway>> {
        self.rpc.resource_manager(&self.options.resource_manager)
    }

    fn check_resource_manager(&self, token: ResourceManagerId) -> heddle_rpc::Result<()> {
        let expected = self.options.resource_manager_id;
        if token == expected {
            return Ok(());
        }
        Err(heddle_rpc::Error::Fenced { expected: expected.to_string(), got: token.to_string() })
    }

    fn register_at_resource_manager(&mut self, delay: Duration) {
        let rpc = Arc::clone(&self.rpc);
        let address = self.options.resource_manager.clone();
        let token = self.options.resource_manager_id;
        let registration = TaskExecutorRegistration {
            resource_id: self.options.resource_id.clone(),
            address: self.options.address.clone(),
            spec: self.options.spec,
        };
        self.calls.spawn(async move {
            tokio::time::sleep(delay).await;
            let result = match rpc.resource_manager(&address) {
                Ok(gateway) => gateway.register_task_executor(token, registration).await,
                Err(error) => Err(error),
            };
            Event::RegisteredAtResourceManager(result)
        });
    }

    fn registered_at_resource_manager(
        &mut self,
        result: Result<InstanceId, heddle_rpc::Error>,
    ) -> Result<(), Error> {
        match result {
            Ok(instance) => {
                info!(%instance, resource_id = %self.options.resource_id, "registered at the resource manager");
                self.instance = Some(instance);
                self.resource_manager_heard = Instant::now();
                self.registration_backoff = REGISTRATION_BACKOFF.0;
                self.send_slot_report();
            }
            Err(error) => {
                let timeout = self.options.registration_timeout;
                if self.registration_since.elapsed() >= timeout {
                    return Err(Error::RegistrationTimeout {
                        address: self.options.resource_manager.clone(),
                        timeout,
                        last: error.to_string(),
                    });
                }
                let delay = self.registration_backoff;
                debug!(%error, ?delay, "registration at the resource manager refused, trying again");
                self.registration_backoff = (delay * 2).min(REGISTRATION_BACKOFF.1);
                self.register_at_resource_manager(delay);
            }
        }
        Ok(())
    }

    fn send_slot_report(&mut self) {
        let (Some(instance), Ok(gateway)) = (self.instance, self.resource_manager()) else { return };
        let token = self.options.resource_manager_id;
        let report = self.slots.report();
        self.calls.spawn(async move {
            if let Err(error) = gateway.send_slot_report(token, instance, report).await {
                warn!(%error, "the resource manager did not take the slot report");
            }
            Event::Told
        });
    }

    fn slot_freed(&mut self, slot: TaskSlot) {
        self.resources.remove(&slot.allocation_id);
        debug!(slot = slot.slot_number, allocation = %slot.allocation_id, "slot freed");
        if let (Some(instance), Ok(gateway)) = (self.instance, self.resource_manager()) {
            let token = self.options.resource_manager_id;
            let slot_id = heddle_model::id::SlotId {
                resource_id: self.options.resource_id.clone(),
                slot_number: slot.slot_number,
            };
            self.calls.spawn(async move {
                let allocation = slot.allocation_id;
                if let Err(error) = gateway.notify_slot_available(token, instance, slot_id, allocation).await
                {
                    warn!(%error, %allocation, "the resource manager did not hear of the free slot");
                }
                Event::Told
            });
        }
        self.forget_job_without_slots(slot.job_id);
    }

    // ---- slots ---------------------------------------------------------------

    fn request_slot(&mut self, token: ResourceManagerId, request: RequestSlot) -> heddle_rpc::Result<()> {
        self.check_resource_manager(token)?;
        let now = self.now();
        self.slots
            .allocate(
                now,
                request.slot_id.slot_number,
                request.job_id,
                request.allocation_id,
                request.profile,
            )
            .map_err(|error| Failure::new(ErrorCode::NoResources, error.to_string()))?;
        self.resources.entry(request.allocation_id).or_insert_with(|| SlotResources {
            task_memory: Arc::new(MemoryBudget::new(self.options.spec.slot.task_memory)),
            managed_memory: ManagedMemory::new(self.options.spec.slot.managed_memory),
        });
        let known = self.jobs.get(&request.job_id).is_some_and(|job| job.token == request.job_master_id);
        if known {
            self.offer_slots(request.job_id);
        } else {
            let connection = JobConnection::new(request.job_master.clone(), request.job_master_id);
            self.jobs.insert(request.job_id, connection);
            self.register_at_job_master(request.job_id, Duration::ZERO);
        }
        Ok(())
    }

    fn free_slot(&mut self, allocation_id: AllocationId, cause: &Failure) {
        match self.slots.free(allocation_id) {
            Ok(Freed::Now(slot)) => self.slot_freed(slot),
            Ok(Freed::WhenEnded(attempts)) => {
                for attempt in attempts {
                    if let Some(task) = self.running.get_mut(&attempt) {
                        task.fail(cause.clone());
                    }
                }
            }
            Err(error) => debug!(%error, "nothing to free"),
        }
    }

    fn offer_slots(&mut self, job_id: JobId) {
        let offers = self.slots.offers(job_id);
        let Some(job) = self.jobs.get_mut(&job_id) else { return };
        if offers.is_empty() || !matches!(job.phase, Phase::Registered) {
            return;
        }
        let Ok(gateway) = self.rpc.job_master(&job.address) else { return };
        let (token, resource_id) = (job.token, self.options.resource_id.clone());
        self.calls.spawn(async move {
            let offered = offers.iter().map(|offer| offer.allocation_id).collect();
            let result = gateway.offer_slots(token, resource_id, offers).await;
            Event::OffersAnswered { job_id, offered, result }
        });
    }

    fn offers_answered(
        &mut self,
        job_id: JobId,
        offered: Vec<AllocationId>,
        result: heddle_rpc::Result<Vec<AllocationId>>,
    ) {
        let accepted = match result {
            Ok(accepted) => accepted,
            Err(error) => {
                // The slots stay allocated and are offered again until they expire.
                warn!(%error, %job_id, "the job master did not answer the offer");
                return;
            }
        };
        for allocation_id in offered {
            if accepted.contains(&allocation_id) {
                if let Err(error) = self.slots.mark_active(allocation_id) {
                    debug!(%error, "an accepted slot is gone");
                }
            } else {
                debug!(%allocation_id, %job_id, "offer rejected");
                self.free_slot(allocation_id, &Failure::new(ErrorCode::Internal, "the offer was rejected"));
            }
        }
    }

    // ---- job masters ---------------------------------------------------------

    fn check_job_master(
        &mut self,
        job_id: JobId,
        token: JobMasterId,
    ) -> heddle_rpc::Result<&mut JobConnection> {
        match self.jobs.get_mut(&job_id) {
            Some(job) if job.token == token => Ok(job),
            Some(job) => {
                Err(heddle_rpc::Error::Fenced { expected: job.token.to_string(), got: token.to_string() })
            }
            None => Err(heddle_rpc::Error::Fenced { expected: "none".into(), got: token.to_string() }),
        }
    }

    fn register_at_job_master(&mut self, job_id: JobId, delay: Duration) {
        let Some(job) = self.jobs.get(&job_id) else { return };
        let (token, address) = (job.token, job.address.clone());
        let rpc = Arc::clone(&self.rpc);
        let (resource_id, own_address) = (self.options.resource_id.clone(), self.options.address.clone());
        self.calls.spawn(async move {
            tokio::time::sleep(delay).await;
            let result = match rpc.job_master(&address) {
                Ok(gateway) => gateway.register_task_executor(token, resource_id, own_address).await,
                Err(error) => Err(error),
            };
            Event::RegisteredAtJobMaster { job_id, token, result }
        });
    }

    fn registered_at_job_master(
        &mut self,
        job_id: JobId,
        token: JobMasterId,
        result: heddle_rpc::Result<()>,
    ) {
        let Some(job) = self.jobs.get_mut(&job_id).filter(|job| job.token == token) else { return };
        match result {
            Ok(()) => {
                debug!(%job_id, "registered at the job master");
                job.registered();
                let updates = job.open_outbox();
                if let Ok(gateway) = self.rpc.job_master(&job.address) {
                    self.calls.spawn(crate::job_connection::deliver(gateway, token, updates));
                }
                self.offer_slots(job_id);
            }
            Err(error) => {
                let delay = job.next_backoff();
                debug!(%error, %job_id, ?delay, "registration at the job master refused, trying again");
                self.register_at_job_master(job_id, delay);
            }
        }
    }

    fn tell_job_master(&mut self, state: TaskExecutionState) {
        let job_id = state.attempt.job_id;
        let Some(job) = self.jobs.get_mut(&job_id) else { return };
        if !job.tell(state) {
            let cause = Failure::new(ErrorCode::WorkerLost, "the job master does not take state updates");
            warn!(%job_id, "too many state updates wait for the job master");
            self.drop_job(job_id, &cause);
        }
    }

    fn report_metrics(&mut self, job_id: JobId) {
        let Some(job) = self.jobs.get(&job_id) else { return };
        let Ok(gateway) = self.rpc.job_master(&job.address) else { return };
        let tasks = self
            .running
            .iter()
            .filter(|(attempt, _)| attempt.job_id == job_id)
            .map(|(attempt, task)| (*attempt, task.metrics.snapshot(), task.metrics.accumulators()))
            .collect();
        let (token, resource_id) = (job.token, self.options.resource_id.clone());
        self.calls.spawn(async move {
            let payload = TaskExecutorHeartbeat { tasks };
            if let Err(error) = gateway.heartbeat_from_task_executor(token, resource_id, payload).await {
                debug!(%error, %job_id, "the job master did not take the heartbeat");
            }
            Event::Told
        });
    }

    /// The job master is silent: its tasks end, its slots wait for a new one
    /// until they expire.
    fn lose_job_master(&mut self, job_id: JobId) {
        let message = format!("the job master was silent for {:?}", self.options.heartbeat_timeout);
        warn!(%job_id, "{message}");
        let cause = Failure::new(ErrorCode::WorkerLost, message);
        for (attempt, task) in &mut self.running {
            if attempt.job_id == job_id {
                task.fail(cause.clone());
            }
        }
        let now = self.now();
        for allocation_id in self.slots.allocations_of(job_id) {
            if let Err(error) = self.slots.mark_inactive(now, allocation_id) {
                debug!(%error, "the slot is gone");
            }
        }
        if let Some(job) = self.jobs.get_mut(&job_id) {
            job.lost();
            self.register_at_job_master(job_id, Duration::ZERO);
        }
    }

    /// Ends everything of a job here.
    fn drop_job(&mut self, job_id: JobId, cause: &Failure) {
        for allocation_id in self.slots.allocations_of(job_id) {
            self.free_slot(allocation_id, cause);
        }
        self.forget_job_without_slots(job_id);
    }

    fn forget_job_without_slots(&mut self, job_id: JobId) {
        if self.slots.allocations_of(job_id).is_empty() && self.jobs.remove(&job_id).is_some() {
            debug!(%job_id, "no slot of the job is left here");
            self.shared.partitions.release_job(job_id);
            let blobs = Arc::clone(&self.shared.blobs);
            self.calls.spawn(async move {
                if let Err(error) = blobs.release(job_id).await {
                    warn!(%error, %job_id, "the job's blobs stay in the cache");
                }
                Event::Told
            });
        }
    }

    // ---- tasks ---------------------------------------------------------------

    fn submit_tasks(
        &mut self,
        token: JobMasterId,
        job: &Arc<JobInformation>,
        tasks: Vec<TaskDeploymentDescriptor>,
    ) -> heddle_rpc::Result<()> {
        self.check_job_master(job.job_id, token)?;
        for descriptor in &tasks {
            if self.running.contains_key(&descriptor.attempt) {
                let message = format!("attempt {} is running here already", descriptor.attempt);
                return Err(Failure::new(ErrorCode::Internal, message).into());
            }
            // The job master's word that it has the slot may overtake its answer
            // to the offer.
            self.slots
                .mark_active(descriptor.allocation_id)
                .and_then(|()| self.slots.add_task(descriptor.allocation_id, descriptor.attempt))
                .map_err(|error| Failure::new(ErrorCode::NoResources, error.to_string()))?;
        }
        for descriptor in tasks {
            self.start_task(token, job, descriptor);
        }
        Ok(())
    }

    fn start_task(
        &mut self,
        token: JobMasterId,
        job: &Arc<JobInformation>,
        descriptor: TaskDeploymentDescriptor,
    ) {
        let attempt = descriptor.attempt;
        let Some(connection) = self.jobs.get(&job.job_id) else { return };
        let Some(slot) = self.resources.get(&descriptor.allocation_id) else { return };
        let task = RunningTask::new();
        let context = TaskContext {
            job: Arc::clone(job),
            descriptor,
            shared: self.shared.clone(),
            task_memory: Arc::clone(&slot.task_memory),
            managed_memory: Arc::clone(&slot.managed_memory),
            metrics: task.metrics.clone(),
            cancel: task.cancel.clone(),
            states: self.task_events_sender.clone(),
            rpc: Arc::clone(&self.rpc),
            job_master: connection.address.clone(),
            job_master_id: token,
        };
        debug!(task = %attempt, "task starts");
        self.running.insert(attempt, task);
        let spawned = self.tasks.spawn_on(task::run(context), &self.shared.workers);
        self.attempts_by_task.insert(spawned.id(), attempt);
    }

    fn cancel_tasks(
        &mut self,
        token: JobMasterId,
        attempts: &[ExecutionAttemptId],
    ) -> heddle_rpc::Result<()> {
        for attempt in attempts {
            self.check_job_master(attempt.job_id, token)?;
            match self.running.get(attempt) {
                Some(task) => task.cancel(),
                // It has ended, and its last state may have been lost.
                None => debug!(task = %attempt, "nothing to cancel"),
            }
        }
        Ok(())
    }

    fn task_ended(&mut self, outcome: TaskOutcome) {
        let attempt = outcome.attempt;
        // States told before the end must arrive before it.
        while let Ok(state) = self.task_events.try_recv() {
            self.tell_job_master(state);
        }
        let Some(task) = self.running.remove(&attempt) else { return };
        let (state, failure) = match (outcome.result, task.failed_from_outside) {
            (task::Ended::Finished, _) => (ExecutionState::Finished, None),
            (task::Ended::Failed(failure), _) => (ExecutionState::Failed, Some(failure)),
            (task::Ended::Canceled, Some(cause)) => (ExecutionState::Failed, Some(cause)),
            (task::Ended::Canceled, None) => (ExecutionState::Canceled, None),
        };
        match &failure {
            Some(failure) => info!(task = %attempt, code = %failure.code, error = %failure, "task failed"),
            None => debug!(task = %attempt, %state, "task ended"),
        }
        self.tell_job_master(TaskExecutionState {
            attempt,
            state,
            failure,
            metrics: task.metrics.snapshot(),
            accumulators: task.metrics.accumulators(),
            committables: outcome.committables,
        });
        if let Some(slot) = self.slots.remove_task(attempt) {
            self.slot_freed(slot);
        }
    }

    // ---- time ----------------------------------------------------------------

    fn tick(&mut self) -> Result<(), Error> {
        let now = self.now();
        for allocation_id in self.slots.expired(now) {
            let message = format!("no job master took the slot within {:?}", self.options.slot_timeout);
            warn!(%allocation_id, "{message}");
            self.free_slot(allocation_id, &Failure::new(ErrorCode::NoResources, message));
        }
        let timeout = self.options.heartbeat_timeout;
        let lost: Vec<JobId> =
            self.jobs.iter().filter(|(_, job)| job.heard.elapsed() > timeout).map(|(id, _)| *id).collect();
        for job_id in lost {
            self.lose_job_master(job_id);
        }
        let jobs: Vec<JobId> = self.jobs.keys().copied().collect();
        for job_id in jobs {
            self.offer_slots(job_id);
            self.report_metrics(job_id);
        }
        if self.instance.is_some() && self.resource_manager_heard.elapsed() > timeout {
            warn!(?timeout, "the resource manager is silent, registering again");
            self.instance = None;
            self.registration_since = Instant::now();
            self.register_at_resource_manager(Duration::ZERO);
        }
        Ok(())
    }

    async fn shut_down(&mut self) {
        info!(resource_id = %self.options.resource_id, tasks = self.running.len(), "task executor stops");
        for task in self.running.values() {
            task.cancel();
        }
        while self.tasks.join_next().await.is_some() {}
        if let (Some(instance), Ok(gateway)) = (self.instance, self.resource_manager()) {
            let token = self.options.resource_manager_id;
            let reason = "the TaskExecutor stops".to_owned();
            if let Err(error) = gateway.disconnect_task_executor(token, instance, reason).await {
                debug!(%error, "the resource manager did not hear of the end");
            }
        }
        self.calls.shutdown().await;
    }
}
