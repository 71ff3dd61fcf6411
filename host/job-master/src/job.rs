//! One running job: feeds the scheduler and the slot pool, and does what they
//! say.
//!
//! Decides nothing that a brain can decide; keeps the connections to the
//! resource manager and to TaskExecutors.

use crate::call_queue::CallQueue;
use crate::details::{self, Times};
use crate::handle::Message;
use crate::outputs::{self, Outputs};
use crate::service::{Event, Options};
use crate::task_executors::{Call, Called, TaskExecutor, bounded, lost};
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::{AllocationId, ExecutionAttemptId, JobId, ResourceId, SlotRequestId};
use heddle_model::job_graph::JobGraph;
use heddle_model::job_status::JobStatus;
use heddle_model::memory::ResourceProfile;
use heddle_model::plan::TransformationId;
use heddle_model::task::{InputSplit, JobInformation};
use heddle_rpc::{
    Address, Error, JobDetails, JobMasterRegistration, JobOverview, JobResult, ResourceManagerGateway,
    Result, RpcService, SlotOffer, SlotRequest,
};
use heddle_scheduler::scheduler::{self, Scheduler};
use heddle_scheduler::slot_pool::{self, SlotPool};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use tracing::{debug, info, warn};

/// First and longest pause between two tries to register.
const REGISTRATION_BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

enum ResourceManagerCall {
    Request { allocation_id: AllocationId, profile: ResourceProfile },
    Cancel { allocation_id: AllocationId },
}

struct ResourceManager {
    /// Set while registered.
    gateway: Option<Arc<dyn ResourceManagerGateway>>,
    calls: CallQueue<ResourceManagerCall>,
    backoff: Duration,
    registration: Option<AbortHandle>,
}

/// An event for a brain that waits its turn.
enum Todo {
    Scheduler(scheduler::Event),
    Pool(slot_pool::Event),
}

/// A job that could not even start.
pub(crate) struct Refused {
    pub details: JobDetails,
    pub result: JobResult,
}

pub(crate) struct Job {
    options: Options,
    job: Arc<JobGraph>,
    information: Arc<JobInformation>,
    rpc: Arc<dyn RpcService>,
    outputs: Arc<dyn Outputs>,
    scheduler: Scheduler,
    pool: SlotPool,
    todo: VecDeque<Todo>,
    calls: JoinSet<Event>,
    resource_manager: ResourceManager,
    task_executors: BTreeMap<ResourceId, TaskExecutor>,
    generations: u64,
    next_heartbeat: Duration,
    prepared_sinks: BTreeSet<TransformationId>,
    collected: BTreeMap<String, Vec<String>>,
    started: Instant,
    times: Times,
}

impl Job {
    pub fn new(
        options: Options,
        rpc: Arc<dyn RpcService>,
        outputs: Arc<dyn Outputs>,
    ) -> std::result::Result<Self, Box<Refused>> {
        let job = Arc::new(options.job.clone());
        let times = Times { started_at_ms: epoch_ms(), ended_at_ms: None };
        let scheduler_options = scheduler::Options {
            cancellation_timeout: options.cancellation_timeout,
            jitter_seed: rand::random(),
        };
        let scheduler = Scheduler::new(Arc::clone(&job), scheduler_options)
            .map_err(|failure| Box::new(refuse(&job, times, failure)))?;
        let pool = SlotPool::new(slot_pool::Options {
            request_timeout: options.slot_request_timeout,
            idle_timeout: options.slot_idle_timeout,
        });
        let information = Arc::new(JobInformation {
            job_id: job.job_id,
            job_name: job.name.clone(),
            component: job.component,
            program: job.program.clone(),
            execution: job.execution.clone(),
        });
        Ok(Self {
            job,
            information,
            rpc,
            outputs,
            scheduler,
            pool,
            todo: VecDeque::new(),
            calls: JoinSet::new(),
            resource_manager: ResourceManager {
                gateway: None,
                calls: CallQueue::new(),
                backoff: REGISTRATION_BACKOFF.0,
                registration: None,
            },
            task_executors: BTreeMap::new(),
            generations: 0,
            next_heartbeat: options.heartbeat_interval,
            prepared_sinks: BTreeSet::new(),
            collected: BTreeMap::new(),
            started: Instant::now(),
            times,
            options,
        })
    }

    pub fn id(&self) -> JobId {
        self.job.job_id
    }

    pub fn start(&mut self) {
        info!(job_id = %self.id(), name = self.job.name, slots = self.job.required_slots(), "job starts");
        self.register_at_resource_manager(Duration::ZERO);
        self.tell_scheduler(scheduler::Event::Start);
    }

    pub fn is_over(&self) -> bool {
        self.scheduler.status().is_terminal()
    }

    pub fn next_deadline(&self) -> Instant {
        let brains = self.scheduler.next_deadline().into_iter().chain(self.pool.next_deadline());
        let next = brains.fold(self.next_heartbeat, Duration::min);
        // Far enough for a deadline that no clock can show.
        self.started.checked_add(next).unwrap_or_else(|| self.started + Duration::from_secs(86_400 * 365))
    }

    /// None when no call is under way.
    pub async fn next_call_ended(&mut self) -> Option<Event> {
        Some(match self.calls.join_next().await? {
            Ok(event) => event,
            Err(error) if error.is_panic() => Event::CallPanicked(error.to_string()),
            Err(_) => Event::Told,
        })
    }

    pub fn handle(&mut self, event: Event) {
        match event {
            Event::Message(message) => self.message(message),
            Event::Prepared(prepared) => {
                self.prepared_sinks = prepared.sinks;
                self.tell_scheduler(scheduler::Event::Prepared(prepared.result));
            }
            Event::Published(result) => {
                let result = result.map(|collected| self.collected = collected);
                self.tell_scheduler(scheduler::Event::Published(result));
            }
            Event::Discarded(failures) => {
                for failure in failures {
                    warn!(job_id = %self.id(), error = %failure, "an output could not be discarded");
                }
                self.tell_scheduler(scheduler::Event::Discarded);
            }
            Event::RegisteredAtResourceManager(result) => self.registered_at_resource_manager(result),
            Event::SlotRequested { allocation_id, result } => self.slot_requested(allocation_id, result),
            Event::SlotRequestCancelled(result) => {
                self.resource_manager.calls.ended();
                if let Err(error) = result {
                    debug!(job_id = %self.id(), %error, "a slot request was not cancelled");
                }
                self.call_resource_manager();
            }
            Event::TaskExecutorCalled { resource_id, generation, called } => {
                self.task_executor_called(resource_id, generation, called);
            }
            Event::HeartbeatAnswered { resource_id, generation, result } => {
                let now = self.now();
                let lost = self
                    .current(&resource_id, generation)
                    .and_then(|task_executor| task_executor.heartbeat_answered(&resource_id, now, result));
                if let Some(cause) = lost {
                    self.lose_task_executor(&resource_id, cause);
                }
            }
            Event::Told => {}
            Event::CallPanicked(error) => {
                let message = format!("a call of the job master panicked: {error}");
                self.tell_scheduler(scheduler::Event::Fail(Failure::new(ErrorCode::Internal, message)));
            }
            Event::TimePassed => self.time_passed(),
            Event::Shutdown => {
                info!(job_id = %self.id(), "job is suspended");
                self.tell_scheduler(scheduler::Event::Suspend);
            }
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn message(&mut self, message: Message) {
        // An answer that nobody waits for any more is no error.
        match message {
            Message::RegisterTaskExecutor(resource_id, address, reply) => {
                let _ = reply.send(self.register_task_executor(resource_id, &address));
            }
            Message::DisconnectTaskExecutor(resource_id, reason, reply) => {
                let cause = lost(&resource_id, &reason.message);
                self.lose_task_executor(&resource_id, cause);
                let _ = reply.send(Ok(()));
            }
            Message::OfferSlots(resource_id, offers, reply) => {
                let now = self.now();
                let offers = offers.into_iter().map(offer).collect();
                let actions = self.pool.step(now, slot_pool::Event::Offered { resource_id, offers });
                let accepted = actions.iter().find_map(|action| match action {
                    slot_pool::Action::AnswerOffer { accepted } => Some(accepted.clone()),
                    _ => None,
                });
                // The answer leaves before the tasks that go into the slots.
                let _ = reply.send(Ok(accepted.unwrap_or_default()));
                self.do_for_pool(actions);
                self.drive();
            }
            Message::FailSlot(resource_id, allocation_id, cause, reply) => {
                self.tell_pool(slot_pool::Event::SlotFailed { resource_id, allocation_id, cause });
                let _ = reply.send(Ok(()));
            }
            Message::UpdateTaskExecutionState(update, reply) => {
                debug!(task = %update.attempt, state = %update.state, "task state");
                self.tell_scheduler(scheduler::Event::TaskStateChanged(*update));
                let _ = reply.send(Ok(()));
            }
            Message::RequestNextInputSplit(attempt, reply) => {
                let _ = reply.send(self.next_split(attempt));
            }
            Message::Heartbeat(resource_id, payload, reply) => {
                let now = self.now();
                let answer = match self.task_executors.get_mut(&resource_id) {
                    Some(task_executor) => {
                        task_executor.heard(now);
                        Ok(())
                    }
                    None => Err(Failure::new(
                        ErrorCode::Fenced,
                        format!("TaskExecutor {resource_id} is not registered at the job master"),
                    )
                    .into()),
                };
                if answer.is_ok() {
                    self.tell_scheduler(scheduler::Event::TasksReported(payload.tasks));
                }
                let _ = reply.send(answer);
            }
            Message::AllocationFailure(allocation_id, cause, reply) => {
                self.tell_pool(slot_pool::Event::AllocationFailed { allocation_id, cause });
                let _ = reply.send(Ok(()));
            }
            Message::RequestJob(reply) => {
                let _ = reply.send(Ok(self.details()));
            }
            Message::Cancel(reply) => {
                self.tell_scheduler(scheduler::Event::Cancel);
                let _ = reply.send(Ok(()));
            }
        }
    }

    fn next_split(&mut self, attempt: ExecutionAttemptId) -> Result<Option<InputSplit>> {
        self.scheduler.next_split(attempt).map_err(|stale| Error::Fenced {
            expected: "an attempt that runs".to_owned(),
            got: stale.attempt.to_string(),
        })
    }

    fn time_passed(&mut self) {
        let now = self.now();
        if now >= self.next_heartbeat {
            self.next_heartbeat = now + self.options.heartbeat_interval;
            let timeout = self.options.heartbeat_timeout;
            let silent: Vec<_> = self
                .task_executors
                .iter()
                .filter_map(|(id, one)| Some((id.clone(), one.silent(id, now, timeout)?)))
                .collect();
            for (resource_id, cause) in silent {
                self.lose_task_executor(&resource_id, cause);
            }
            let (token, job_id) = (self.options.job_master_id, self.job.job_id);
            for (resource_id, task_executor) in &mut self.task_executors {
                task_executor.send_heartbeat(resource_id, token, job_id, &mut self.calls);
            }
        }
        self.todo.push_back(Todo::Pool(slot_pool::Event::TimePassed));
        self.tell_scheduler(scheduler::Event::TimePassed);
    }

    // ---- the brains ----------------------------------------------------------

    fn tell_scheduler(&mut self, event: scheduler::Event) {
        self.todo.push_back(Todo::Scheduler(event));
        self.drive();
    }

    fn tell_pool(&mut self, event: slot_pool::Event) {
        self.todo.push_back(Todo::Pool(event));
        self.drive();
    }

    /// Until no brain has anything to hear.
    fn drive(&mut self) {
        let now = self.now();
        while let Some(todo) = self.todo.pop_front() {
            match todo {
                Todo::Scheduler(event) => {
                    let actions = self.scheduler.step(now, event);
                    self.do_for_scheduler(actions);
                }
                Todo::Pool(event) => {
                    let actions = self.pool.step(now, event);
                    self.do_for_pool(actions);
                }
            }
        }
    }

    fn do_for_scheduler(&mut self, actions: Vec<scheduler::Action>) {
        use scheduler::Action;
        for action in actions {
            match action {
                Action::StatusChanged(status) => self.status_changed(status),
                Action::Restarting { failure, tasks, delay } => warn!(
                    job_id = %self.id(), code = %failure.code, error = %failure, tasks, ?delay,
                    "tasks start again after a failure"
                ),
                Action::Prepare => {
                    let (outputs, job) = (Arc::clone(&self.outputs), Arc::clone(&self.job));
                    self.calls.spawn_blocking(move || Event::Prepared(outputs::prepare(&*outputs, &job)));
                }
                Action::CancelTasks { resource_id, attempts } => {
                    self.call_task_executor(&resource_id, Call::Cancel(attempts));
                }
                // Published are only those that are named; the rest goes with
                // the sink's scratch files.
                Action::DiscardCommittables(superseded) => {
                    debug!(job_id = %self.id(), count = superseded.len(), "outputs were superseded");
                }
                Action::ReleaseSlots { requests, cause } => {
                    self.todo.push_back(Todo::Pool(slot_pool::Event::Release { requests, cause }));
                }
                Action::AbandonSlots { requests, cause } => {
                    self.todo.push_back(Todo::Pool(slot_pool::Event::Abandon { requests, cause }));
                }
                Action::RequestSlots(requests) => {
                    let requests = requests.into_iter().map(|id| self.new_request(id)).collect();
                    self.todo.push_back(Todo::Pool(slot_pool::Event::Request(requests)));
                }
                Action::SubmitTasks { resource_id, tasks } => {
                    info!(job_id = %self.id(), %resource_id, tasks = tasks.len(), "tasks are deployed");
                    let job = Arc::clone(&self.information);
                    self.call_task_executor(&resource_id, Call::Submit { job, tasks });
                }
                Action::Publish(committables) => {
                    let (outputs, job) = (Arc::clone(&self.outputs), Arc::clone(&self.job));
                    self.calls.spawn_blocking(move || {
                        Event::Published(outputs::publish(&*outputs, &job, committables))
                    });
                }
                Action::Discard => {
                    let (outputs, job) = (Arc::clone(&self.outputs), Arc::clone(&self.job));
                    let sinks = std::mem::take(&mut self.prepared_sinks);
                    self.calls
                        .spawn_blocking(move || Event::Discarded(outputs::discard(&*outputs, &job, &sinks)));
                }
            }
        }
    }

    fn do_for_pool(&mut self, actions: Vec<slot_pool::Action>) {
        use slot_pool::Action;
        for action in actions {
            match action {
                // Answered where the offer came in.
                Action::AnswerOffer { .. } => {}
                Action::RequestSlot { allocation_id, profile } => {
                    self.resource_manager.calls.push(ResourceManagerCall::Request { allocation_id, profile });
                }
                Action::CancelSlotRequest { allocation_id } => {
                    self.resource_manager.calls.push(ResourceManagerCall::Cancel { allocation_id });
                }
                Action::FreeSlot { resource_id, allocation_id, cause } => {
                    self.call_task_executor(&resource_id, Call::Free { allocation_id, cause });
                }
                Action::Fulfilled(slots) => {
                    self.todo.push_back(Todo::Scheduler(scheduler::Event::SlotsAllocated(slots)));
                }
                Action::Failed { requests, cause } => {
                    warn!(job_id = %self.id(), slots = requests.len(), error = %cause, "slots failed");
                    let event = scheduler::Event::SlotsFailed { requests, cause };
                    self.todo.push_back(Todo::Scheduler(event));
                }
            }
        }
        self.call_resource_manager();
    }

    fn new_request(&self, id: SlotRequestId) -> slot_pool::NewRequest {
        slot_pool::NewRequest {
            id,
            allocation_id: AllocationId::from_bits(rand::random()),
            profile: self.options.slot_profile,
        }
    }

    fn status_changed(&mut self, status: JobStatus) {
        match self.scheduler.failure() {
            Some(failure) if matches!(status, JobStatus::Failing | JobStatus::Failed) => {
                warn!(job_id = %self.id(), %status, code = %failure.code, error = %failure, "job status");
            }
            _ => info!(job_id = %self.id(), %status, "job status"),
        }
        if status.is_terminal() {
            self.times.ended_at_ms = Some(epoch_ms());
        }
    }

    // ---- the resource manager ------------------------------------------------

    fn register_at_resource_manager(&mut self, delay: Duration) {
        let (rpc, address) = (Arc::clone(&self.rpc), self.options.resource_manager.clone());
        let token = self.options.resource_manager_id;
        let registration = JobMasterRegistration {
            job_id: self.job.job_id,
            job_master_id: self.options.job_master_id,
            address: self.options.address.clone(),
        };
        let abort = self.calls.spawn(async move {
            tokio::time::sleep(delay).await;
            let result = match rpc.resource_manager(&address) {
                Ok(gateway) => bounded(gateway.register_job_master(token, registration)).await,
                Err(error) => Err(error),
            };
            Event::RegisteredAtResourceManager(result)
        });
        self.resource_manager.registration = Some(abort);
    }

    fn registered_at_resource_manager(&mut self, result: Result<()>) {
        self.resource_manager.registration = None;
        let address = &self.options.resource_manager;
        match result.and_then(|()| self.rpc.resource_manager(address)) {
            Ok(gateway) => {
                info!(job_id = %self.id(), %address, "registered at the resource manager");
                self.resource_manager.gateway = Some(gateway);
                self.resource_manager.backoff = REGISTRATION_BACKOFF.0;
                self.tell_pool(slot_pool::Event::ResourceManagerConnected);
            }
            Err(error) => {
                let delay = self.resource_manager.backoff;
                debug!(job_id = %self.id(), %error, ?delay, "registration refused, trying again");
                self.resource_manager.backoff = (delay * 2).min(REGISTRATION_BACKOFF.1);
                self.register_at_resource_manager(delay);
            }
        }
    }

    fn lose_resource_manager(&mut self, error: &Error) {
        if self.resource_manager.gateway.take().is_none() {
            return;
        }
        warn!(job_id = %self.id(), %error, "the resource manager was lost");
        self.resource_manager.calls.drain().for_each(drop);
        self.tell_pool(slot_pool::Event::ResourceManagerDisconnected);
        self.register_at_resource_manager(self.resource_manager.backoff);
    }

    fn call_resource_manager(&mut self) {
        let Some(gateway) = self.resource_manager.gateway.clone() else { return };
        let Some(call) = self.resource_manager.calls.next() else { return };
        let (token, job_master_id) = (self.options.resource_manager_id, self.options.job_master_id);
        let (job_id, job_master) = (self.job.job_id, self.options.address.clone());
        self.calls.spawn(async move {
            match call {
                ResourceManagerCall::Request { allocation_id, profile } => {
                    let request = SlotRequest { job_id, allocation_id, profile, job_master };
                    let result = bounded(gateway.request_slot(token, job_master_id, request)).await;
                    Event::SlotRequested { allocation_id, result }
                }
                ResourceManagerCall::Cancel { allocation_id } => Event::SlotRequestCancelled(
                    bounded(gateway.cancel_slot_request(token, job_master_id, allocation_id)).await,
                ),
            }
        });
    }

    fn slot_requested(&mut self, allocation_id: AllocationId, result: Result<()>) {
        self.resource_manager.calls.ended();
        match result {
            Ok(()) => {}
            Err(Error::Failure(cause)) => {
                self.tell_pool(slot_pool::Event::AllocationFailed { allocation_id, cause });
            }
            // The requests are made again once it is back.
            Err(error) => self.lose_resource_manager(&error),
        }
        self.call_resource_manager();
    }

    // ---- TaskExecutors -------------------------------------------------------

    fn register_task_executor(&mut self, resource_id: ResourceId, address: &Address) -> Result<()> {
        let gateway = self.rpc.task_executor(address)?;
        if self.task_executors.remove(&resource_id).is_some() {
            // It registers again because it has forgotten this job: slots of its
            // former life are gone.
            let cause = lost(&resource_id, "it registered again");
            let resource_id = resource_id.clone();
            self.tell_pool(slot_pool::Event::TaskExecutorLost { resource_id, cause });
        }
        info!(job_id = %self.id(), %resource_id, %address, "TaskExecutor registered");
        self.generations += 1;
        let task_executor = TaskExecutor::new(gateway, self.generations, self.now());
        self.task_executors.insert(resource_id.clone(), task_executor);
        self.tell_pool(slot_pool::Event::TaskExecutorRegistered(resource_id));
        Ok(())
    }

    fn current(&mut self, resource_id: &ResourceId, generation: u64) -> Option<&mut TaskExecutor> {
        self.task_executors.get_mut(resource_id).filter(|one| one.generation == generation)
    }

    fn call_task_executor(&mut self, resource_id: &ResourceId, call: Call) {
        // A TaskExecutor that is gone took its tasks and slots with it; the
        // brains have heard of it.
        let Some(task_executor) = self.task_executors.get_mut(resource_id) else { return };
        task_executor.push(call);
        task_executor.make_next_call(resource_id, self.options.job_master_id, &mut self.calls);
    }

    fn task_executor_called(&mut self, resource_id: ResourceId, generation: u64, called: Called) {
        let token = self.options.job_master_id;
        let Some(task_executor) =
            self.task_executors.get_mut(&resource_id).filter(|one| one.generation == generation)
        else {
            return;
        };
        task_executor.call_ended();
        task_executor.make_next_call(&resource_id, token, &mut self.calls);
        match called {
            Called::Submitted { result: Ok(()), .. } | Called::Cancelled(Ok(())) | Called::Freed(Ok(())) => {}
            Called::Submitted { attempts, result: Err(Error::Failure(cause)) } => {
                warn!(job_id = %self.id(), %resource_id, error = %cause, "tasks were not taken");
                self.tell_scheduler(scheduler::Event::TasksRejected { attempts, cause });
            }
            Called::Submitted { result: Err(error), .. } | Called::Cancelled(Err(error)) => {
                match error {
                    // The cancellation time-out is the remedy.
                    Error::Failure(cause) => {
                        warn!(job_id = %self.id(), %resource_id, error = %cause, "tasks were not cancelled");
                    }
                    error => {
                        let cause = lost(&resource_id, &error.to_string());
                        self.lose_task_executor(&resource_id, cause);
                    }
                }
            }
            Called::Freed(Err(error)) => debug!(job_id = %self.id(), %resource_id, %error, "slot not freed"),
        }
    }

    fn lose_task_executor(&mut self, resource_id: &ResourceId, cause: Failure) {
        let Some(task_executor) = self.task_executors.remove(resource_id) else { return };
        info!(job_id = %self.id(), %resource_id, reason = %cause, "TaskExecutor disconnected");
        let (token, job_id) = (self.options.job_master_id, self.job.job_id);
        let told = cause.clone();
        // If it lives after all, it is to end its tasks.
        self.calls.spawn(async move {
            let call = task_executor.gateway.disconnect_job_master(token, job_id, told);
            if let Err(error) = bounded(call).await {
                debug!(%job_id, %error, "the lost TaskExecutor did not hear of it");
            }
            Event::Told
        });
        let resource_id = resource_id.clone();
        self.tell_pool(slot_pool::Event::TaskExecutorLost { resource_id, cause });
    }

    // ---- the end -------------------------------------------------------------

    pub fn details(&self) -> JobDetails {
        details::details(&self.scheduler, self.times)
    }

    pub fn result(&self) -> JobResult {
        let started = self.times.started_at_ms;
        JobResult {
            job_id: self.job.job_id,
            status: self.scheduler.status(),
            failure: match self.scheduler.status() {
                JobStatus::Failed => self.scheduler.failure().cloned(),
                _ => None,
            },
            runtime_ms: self.times.ended_at_ms.unwrap_or_else(epoch_ms).saturating_sub(started),
            first_record_ms: self.scheduler.first_sink_record_at_ms().map(|at| at.saturating_sub(started)),
            accumulators: self.scheduler.accumulators(),
            collected: self.collected.clone(),
        }
    }

    /// Starts to give everything back and to tell everybody; done when no call
    /// is under way.
    pub fn clean_up(&mut self) {
        if let Some(registration) = self.resource_manager.registration.take() {
            registration.abort();
        }
        let status = self.scheduler.status();
        let cause = Failure::new(ErrorCode::Internal, format!("the job has ended: {status}"));
        let mut freed: BTreeMap<ResourceId, Vec<(AllocationId, Failure)>> = BTreeMap::new();
        let mut cancelled = Vec::new();
        let now = self.now();
        for action in self.pool.step(now, slot_pool::Event::ReleaseAll { cause: cause.clone() }) {
            match action {
                slot_pool::Action::FreeSlot { resource_id, allocation_id, cause } => {
                    freed.entry(resource_id).or_default().push((allocation_id, cause));
                }
                slot_pool::Action::CancelSlotRequest { allocation_id } => cancelled.push(allocation_id),
                _ => {}
            }
        }
        let (token, job_id) = (self.options.job_master_id, self.job.job_id);
        for (resource_id, task_executor) in &mut self.task_executors {
            let mut slots = task_executor.unsent_releases();
            slots.extend(freed.remove(resource_id).unwrap_or_default());
            let (gateway, cause) = (Arc::clone(&task_executor.gateway), cause.clone());
            self.calls.spawn(async move {
                for (allocation_id, cause) in slots {
                    let _ = gateway.free_slot(allocation_id, cause).await;
                }
                // The TaskExecutor may have forgotten the job with its last slot.
                if let Err(error) = gateway.disconnect_job_master(token, job_id, cause).await {
                    debug!(%job_id, %error, "a TaskExecutor did not hear of the end of the job");
                }
                Event::Told
            });
        }
        let Some(gateway) = self.resource_manager.gateway.take() else { return };
        let resource_manager_id = self.options.resource_manager_id;
        cancelled.extend(self.resource_manager.calls.drain().filter_map(|call| match call {
            ResourceManagerCall::Cancel { allocation_id } => Some(allocation_id),
            ResourceManagerCall::Request { .. } => None,
        }));
        self.calls.spawn(async move {
            for allocation_id in cancelled {
                let _ = gateway.cancel_slot_request(resource_manager_id, token, allocation_id).await;
            }
            if let Err(error) = gateway.disconnect_job_master(resource_manager_id, job_id).await {
                debug!(%job_id, %error, "the resource manager did not hear of the end of the job");
            }
            Event::Told
        });
    }

    /// Answers what comes after the end, so that nobody tries again.
    pub fn answer_late(&self, message: Message) {
        match message {
            Message::DisconnectTaskExecutor(_, _, reply)
            | Message::FailSlot(_, _, _, reply)
            | Message::UpdateTaskExecutionState(_, reply)
            | Message::Heartbeat(_, _, reply)
            | Message::AllocationFailure(_, _, reply)
            | Message::Cancel(reply) => {
                let _ = reply.send(Ok(()));
            }
            Message::OfferSlots(_, _, reply) => {
                let _ = reply.send(Ok(Vec::new()));
            }
            Message::RequestJob(reply) => {
                let _ = reply.send(Ok(self.details()));
            }
            // Unreachable, says the dropped answer.
            Message::RegisterTaskExecutor(..) | Message::RequestNextInputSplit(..) => {}
        }
    }
}

fn offer(offer: SlotOffer) -> slot_pool::Offer {
    slot_pool::Offer {
        allocation_id: offer.allocation_id,
        slot_number: offer.slot_number,
        profile: offer.profile,
    }
}

fn refuse(job: &JobGraph, times: Times, failure: Failure) -> Refused {
    let overview = JobOverview {
        job_id: job.job_id,
        name: job.name.clone(),
        status: JobStatus::Failed,
        start_time_ms: times.started_at_ms,
        end_time_ms: Some(times.started_at_ms),
    };
    let details = JobDetails {
        overview,
        restarts: 0,
        vertices: Vec::new(),
        accumulators: BTreeMap::new(),
        failure: Some(failure.clone()),
    };
    let result = JobResult {
        job_id: job.job_id,
        status: JobStatus::Failed,
        failure: Some(failure),
        runtime_ms: 0,
        first_record_ms: None,
        accumulators: BTreeMap::new(),
        collected: BTreeMap::new(),
    };
    Refused { details, result }
}

fn epoch_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
