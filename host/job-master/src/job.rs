//! One running job: feeds the scheduler and the slot pool, and does what they
//! say.
//!
//! Decides nothing that a brain can decide; keeps the connections to the
//! resource manager and to TaskExecutors.

mod ending;
mod publishing;
mod resource_manager;
mod workers;

use crate::commitments::Commitments;
use crate::details::Times;
use crate::handle::Message;
use crate::outputs::{self, Outputs};
use crate::service::{Event, Options};
use crate::task_executors::{Call, TaskExecutor, lost};
use ending::{Refused, refuse};
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::{AllocationId, ExecutionAttemptId, JobId, JobMasterId, ResourceId, SlotRequestId};
use heddle_model::job_graph::JobGraph;
use heddle_model::job_status::JobStatus;
use heddle_model::plan::TransformationId;
use heddle_model::task::{Commitment, InputSplit, JobInformation};
use heddle_rpc::{Error, JobFailure, Result, RpcService, SlotOffer, TaskExecutorHeartbeat};
use heddle_scheduler::scheduler::{self, Scheduler};
use heddle_scheduler::slot_pool::{self, SlotPool};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use resource_manager::{ResourceManager, ResourceManagerCall};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{debug, info, warn};

/// Failures that a job's details tell, at most.
const FAILURES_MAX: usize = 16;

/// An event for a brain that waits its turn.
enum Todo {
    Scheduler(scheduler::Event),
    Pool(slot_pool::Event),
}

pub(crate) struct Job {
    options: Options,
    job: Arc<JobGraph>,
    information: Arc<JobInformation>,
    rpc: Arc<dyn RpcService>,
    outputs: Arc<dyn Outputs>,
    commitments: Arc<dyn Commitments>,
    /// What a former leader kept: the tasks have finished under it.
    kept: Option<Arc<Commitment>>,
    scheduler: Scheduler,
    pool: SlotPool,
    todo: VecDeque<Todo>,
    calls: JoinSet<Event>,
    resource_manager: ResourceManager,
    task_executors: BTreeMap<ResourceId, TaskExecutor>,
    generations: u64,
    /// Seeded with this master's id, so that a run can be repeated.
    random: StdRng,
    next_heartbeat: Duration,
    prepared_sinks: BTreeSet<TransformationId>,
    /// The latest failures that it survived.
    survived: VecDeque<JobFailure>,
    collected: BTreeMap<String, Vec<String>>,
    started: Instant,
    times: Times,
}

impl Job {
    pub fn new(
        options: Options,
        rpc: Arc<dyn RpcService>,
        outputs: Arc<dyn Outputs>,
        commitments: Arc<dyn Commitments>,
        kept: Option<Commitment>,
    ) -> std::result::Result<Self, Box<Refused>> {
        let job = Arc::new(options.job.clone());
        let times = Times {
            started_at_ms: kept.as_ref().map_or_else(epoch_ms, |kept| kept.start_time_ms),
            ended_at_ms: None,
        };
        let mut random = random_of(options.job_master_id);
        let scheduler_options = scheduler::Options {
            cancellation_timeout: options.cancellation_timeout,
            jitter_seed: random.random(),
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
            commitments,
            kept: kept.map(Arc::new),
            scheduler,
            pool,
            todo: VecDeque::new(),
            calls: JoinSet::new(),
            resource_manager: ResourceManager::new(),
            task_executors: BTreeMap::new(),
            generations: 0,
            random,
            next_heartbeat: options.heartbeat_interval,
            prepared_sinks: BTreeSet::new(),
            survived: VecDeque::new(),
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
        match &self.kept {
            None => self.tell_scheduler(scheduler::Event::Start),
            Some(kept) => {
                let committables = kept.committables.clone();
                self.prepared_sinks = outputs::all_sinks(&self.job);
                self.tell_scheduler(scheduler::Event::Recover(committables));
            }
        }
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
            Event::PublishingStopped => {
                info!(job_id = %self.id(), "job is suspended before its outputs are published");
                self.tell_scheduler(scheduler::Event::PublishingStopped);
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
            Message::RegisterTaskExecutor(resource_id, address, data_address, reply) => {
                let _ = reply.send(self.register_task_executor(resource_id, &address, data_address));
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
                    let TaskExecutorHeartbeat { tasks: reports, slots: allocations } = payload;
                    let from = resource_id.clone();
                    self.tell_pool(slot_pool::Event::SlotsReported { resource_id: from, allocations });
                    self.tell_scheduler(scheduler::Event::TasksReported { resource_id, reports });
                }
                let _ = reply.send(answer);
            }
            Message::ResourceManagerHeartbeat(reply) => {
                self.resource_manager.heard = self.now();
                let _ = reply.send(Ok(()));
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
            self.check_resource_manager(now);
            let (token, job_id) = (self.options.job_master_id, self.job.job_id);
            for (resource_id, task_executor) in &mut self.task_executors {
                task_executor.send_heartbeat(resource_id, token, job_id, &mut self.calls);
            }
        }
        self.todo.push_back(Todo::Pool(slot_pool::Event::TimePassed));
        self.tell_scheduler(scheduler::Event::TimePassed);
    }

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
                Action::Restarting { failure, tasks, delay } => {
                    warn!(
                        job_id = %self.id(), code = %failure.code, error = %failure, tasks, ?delay,
                        "tasks start again after a failure"
                    );
                    if self.survived.len() == FAILURES_MAX {
                        self.survived.pop_front();
                    }
                    self.survived.push_back(JobFailure { at_ms: epoch_ms(), failure });
                }
                Action::Prepare => {
                    let (outputs, job) = (Arc::clone(&self.outputs), Arc::clone(&self.job));
                    self.work_outside(move || Event::Prepared(outputs::prepare(&*outputs, &job)));
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
                Action::SubmitTasks { resource_id, mut tasks } => {
                    tasks.iter_mut().for_each(|task| self.name_data_addresses(task));
                    info!(job_id = %self.id(), %resource_id, tasks = tasks.len(), "tasks are deployed");
                    let job = Arc::clone(&self.information);
                    self.call_task_executor(&resource_id, Call::Submit { job, tasks });
                }
                Action::Publish(committables) => self.publish(committables),
                Action::Discard => {
                    let (outputs, job) = (Arc::clone(&self.outputs), Arc::clone(&self.job));
                    let sinks = std::mem::take(&mut self.prepared_sinks);
                    self.work_outside(move || Event::Discarded(outputs::discard(&*outputs, &job, &sinks)));
                }
            }
        }
    }

    /// Work on inputs and outputs.
    fn work_outside(&mut self, work: impl FnOnce() -> Event + Send + 'static) {
        if self.outputs.may_block() {
            self.calls.spawn_blocking(work);
        } else {
            self.calls.spawn(async move { work() });
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

    fn new_request(&mut self, id: SlotRequestId) -> slot_pool::NewRequest {
        slot_pool::NewRequest {
            id,
            allocation_id: AllocationId::from_bits(self.random.random()),
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
}

/// The id is drawn at random for each master, hence so is what follows from it.
fn random_of(id: JobMasterId) -> StdRng {
    let mut seed = [0; 32];
    seed[..16].copy_from_slice(&id.0.to_le_bytes());
    StdRng::from_seed(seed)
}

fn offer(offer: SlotOffer) -> slot_pool::Offer {
    slot_pool::Offer {
        allocation_id: offer.allocation_id,
        slot_number: offer.slot_number,
        profile: offer.profile,
    }
}

pub(crate) fn epoch_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
