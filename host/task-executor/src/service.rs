//! The TaskExecutor's event loop. What it does with each event stands in the
//! modules below: `resource_manager`, `slots`, `job_masters`, `tasks`. What
//! happens inside a task is `task`'s matter.

mod job_masters;
mod resource_manager;
mod slots;
mod tasks;

use resource_manager::{NO_LEADER, Registered};

use crate::job_connection::JobConnection;
use crate::message::{Handle, Message, Request};
use crate::slot_table::SlotTable;
use crate::task::{self, RunningTask, TaskOutcome, TaskRunner};
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::{
    AllocationId, ExecutionAttemptId, InstanceId, JobId, JobMasterId, ResourceId, ResourceManagerId,
};
use heddle_model::memory::WorkerResourceSpec;
use heddle_model::task::{DataAddress, TaskExecutionState};
use heddle_rpc::{Address, RpcService};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

/// First and longest wait between two tries to register (Flink's defaults).
const REGISTRATION_BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

/// A TaskExecutor that stops says so to its peers, and does not wait longer for
/// them.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);

/// A resource manager that leads: where, and under which session.
pub type ResourceManagerLeader = (Address, ResourceManagerId);

/// How one TaskExecutor is set up.
pub struct Options {
    pub resource_id: ResourceId,
    pub address: Address,
    /// Where other processes read its result partitions; none if all peers are
    /// in this process.
    pub data_address: Option<DataAddress>,
    pub spec: WorkerResourceSpec,
    /// The resource manager that leads, as far as is known.
    pub resource_manager: watch::Receiver<Option<ResourceManagerLeader>>,
    /// `taskmanager.slot.timeout`: how long an allocated slot waits for its
    /// job master.
    pub slot_timeout: Duration,
    /// `taskmanager.registration.timeout`: fatal after it.
    pub registration_timeout: Duration,
    pub heartbeat_timeout: Duration,
    /// How often running tasks' numbers go to their job master.
    pub metrics_interval: Duration,
}

/// Why a TaskExecutor ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "no resource manager accepted this TaskExecutor within {timeout:?} \
         (`taskmanager.registration.timeout`); last: {last}"
    )]
    RegistrationTimeout { timeout: Duration, last: String },
    /// No try helps.
    #[error("the resource manager at {address} refused this TaskExecutor: {failure}")]
    Refused { address: Address, failure: Failure },
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::RegistrationTimeout { .. } => ErrorCode::Unreachable,
            Error::Refused { failure, .. } => failure.code,
        };
        Failure::new(code, error.to_string())
    }
}

pub(crate) enum Event {
    Request(Message),
    Task(TaskExecutionState),
    TaskEnded(TaskOutcome),
    /// Another resource manager leads, or none.
    Leader(Option<ResourceManagerLeader>),
    RegisteredAtResourceManager(ResourceManagerId, Result<InstanceId, heddle_rpc::Error>),
    /// The resource manager does not know this registration (any more).
    RegistrationUnknown(InstanceId),
    RegisteredAtJobMaster {
        job_id: JobId,
        token: JobMasterId,
        result: heddle_rpc::Result<()>,
    },
    OffersAnswered {
        job_id: JobId,
        token: JobMasterId,
        offered: Vec<AllocationId>,
        result: heddle_rpc::Result<Vec<AllocationId>>,
    },
    Told,
    Tick,
}

pub struct Service<R: TaskRunner> {
    options: Options,
    runner: R,
    rpc: Arc<dyn RpcService>,
    handle: Handle,
    messages: mpsc::Receiver<Message>,
    started: Instant,

    slots: SlotTable,
    resources: HashMap<AllocationId, R::Slot>,
    jobs: BTreeMap<JobId, JobConnection>,
    running: BTreeMap<ExecutionAttemptId, RunningTask>,

    /// The resource manager that it belongs to, or would.
    leader: Option<ResourceManagerLeader>,
    /// As registered there.
    instance: Option<InstanceId>,
    /// The registration that is under way.
    registration: Option<AbortHandle>,
    registration_since: Instant,
    registration_backoff: Duration,
    /// Why it is not registered.
    registration_refused: String,
    resource_manager_heard: Instant,

    /// Calls to other roles; each ends as an event.
    calls: JoinSet<Event>,
    tasks: JoinSet<TaskOutcome>,
    attempts_by_task: HashMap<tokio::task::Id, ExecutionAttemptId>,
    task_events: mpsc::Receiver<TaskExecutionState>,
    task_events_sender: mpsc::Sender<TaskExecutionState>,
}

impl<R: TaskRunner> Service<R> {
    pub fn new(options: Options, runner: R, rpc: Arc<dyn RpcService>) -> (Self, Handle) {
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
            runner,
            rpc,
            handle: handle.clone(),
            messages,
            started: now,
            resources: HashMap::new(),
            jobs: BTreeMap::new(),
            running: BTreeMap::new(),
            leader: None,
            instance: None,
            registration: None,
            registration_since: now,
            registration_backoff: REGISTRATION_BACKOFF.0,
            registration_refused: NO_LEADER.to_owned(),
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
        let mut leaders = self.options.resource_manager.clone();
        let first = leaders.borrow_and_update().clone();
        self.resource_manager_leads(first);
        let mut ticks = tokio::time::interval(self.options.metrics_interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let result = loop {
            // The order makes a run repeatable, and keeps slots and time alive
            // beside a flood of messages.
            let event = tokio::select! {
                biased;
                () = shutdown.cancelled() => break Ok(()),
                // Who tells of leaders may have gone: then the last one stays.
                Ok(()) = leaders.changed() => Event::Leader(leaders.borrow_and_update().clone()),
                Some(ended) = self.tasks.join_next_with_id() => {
                    match task::outcome(ended, &mut self.attempts_by_task) {
                        Some(outcome) => Event::TaskEnded(outcome),
                        None => continue,
                    }
                }
                Some(answer) = self.calls.join_next() => match answer {
                    Ok(event) => event,
                    Err(aborted) if aborted.is_cancelled() => continue,
                    Err(panic) => {
                        error!(%panic, "a call to another role panicked");
                        continue;
                    }
                },
                _ = ticks.tick() => Event::Tick,
                Some(state) = self.task_events.recv() => Event::Task(state),
                Some(message) = self.messages.recv() => Event::Request(message),
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
            Event::Leader(leader) => self.resource_manager_leads(leader),
            Event::RegisteredAtResourceManager(token, result) => {
                self.registered_at_resource_manager(token, result)?;
            }
            Event::RegistrationUnknown(instance) => self.registration_unknown(instance),
            Event::RegisteredAtJobMaster { job_id, token, result } => {
                self.registered_at_job_master(job_id, token, result);
            }
            Event::OffersAnswered { job_id, token, offered, result } => {
                self.offers_answered(job_id, token, offered, result);
            }
            Event::Told => {}
            Event::Tick => self.tick()?,
        }
        Ok(())
    }

    fn answer(&mut self, request: Request) -> heddle_rpc::Result<()> {
        match request {
            Request::Slot(token, request) => self.request_slot(token, request),
            Request::FreeSlot(token, allocation_id, cause) => {
                if let Some(job_id) = self.slots.job_of(allocation_id) {
                    self.check_job_master(job_id, token)?;
                }
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

    fn tick(&mut self) -> Result<(), Error> {
        let now = self.now();
        for allocation_id in self.slots.expired(now) {
            let message = format!("no job master took the slot within {:?}", self.options.slot_timeout);
            warn!(%allocation_id, "{message}");
            self.free_slot(allocation_id, &Failure::new(ErrorCode::NoResources, message));
        }
        let timeout = self.options.heartbeat_timeout;
        let lost: Vec<JobId> =
            self.jobs.iter().filter(|(_, job)| job.is_silent(timeout)).map(|(id, _)| *id).collect();
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
            self.lose_resource_manager(format!("it was silent for {timeout:?} (`heartbeat.timeout`)"));
            self.register_at_resource_manager(Duration::ZERO);
        }
        self.check_registration()
    }

    async fn shut_down(&mut self) {
        info!(resource_id = %self.options.resource_id, tasks = self.running.len(), "task executor stops");
        for task in self.running.values() {
            task.cancel();
        }
        while self.tasks.join_next().await.is_some() {}
        let mut goodbyes = JoinSet::new();
        for (job_id, job) in std::mem::take(&mut self.jobs) {
            self.release_job(job_id);
            let Ok(gateway) = self.rpc.job_master(&job.address) else { continue };
            let resource_id = self.options.resource_id.clone();
            let cause = Failure::new(ErrorCode::WorkerLost, "the TaskExecutor stops");
            let goodbye =
                async move { gateway.disconnect_task_executor(job.token, resource_id, cause).await };
            goodbyes.spawn(tokio::time::timeout(GOODBYE_TIMEOUT, goodbye));
        }
        goodbyes.join_all().await;
        if let Some(registered) = self.registered() {
            let reason = "the TaskExecutor stops".to_owned();
            let Registered { gateway, token, instance } = registered;
            let goodbye = gateway.disconnect_task_executor(token, instance, reason);
            match tokio::time::timeout(GOODBYE_TIMEOUT, goodbye).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => debug!(%error, "the resource manager did not hear of the end"),
                Err(_) => debug!("the resource manager did not answer at the end"),
            }
        }
        self.calls.shutdown().await;
    }
}
