//! A world of TaskExecutors that misbehave at random around the scheduler and
//! the slot pool. Whatever comes, the invariants hold, and once nothing fails
//! any more the job ends, with every split read exactly once.

use crate::jobs::JobBuilder;
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::{AllocationId, ExecutionAttemptId, ResourceId, VertexId};
use heddle_model::job_graph::{Distribution, JobGraph};
use heddle_model::job_status::{ExecutionState, JobStatus};
use heddle_model::memory::ResourceProfile;
use heddle_model::restart::RestartStrategy;
use heddle_model::task::{
    Committable, InputSplit, TaskDeploymentDescriptor, TaskExecutionState, TaskMetrics,
};
use heddle_scheduler::scheduler::{self, Scheduler};
use heddle_scheduler::slot_pool::{self, NewRequest, Offer, SlotPool};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

const PROFILE: ResourceProfile = ResourceProfile { task_memory: 1, managed_memory: 1, network_memory: 1 };
const TASK_EXECUTORS: u32 = 3;
const SPLITS: u32 = 12;

/// Any small generator would do (xorshift64*).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() >> 33) as usize % end.max(1)
    }

    fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        if from.is_empty() { None } else { Some(from[self.below(from.len())].clone()) }
    }
}

#[derive(Debug)]
struct Task {
    task_executor: ResourceId,
    allocation_id: AllocationId,
    state: ExecutionState,
    cancelled: bool,
    /// By vertex, since the published outputs are checked by it.
    splits: Vec<(VertexId, u32)>,
    input_ended: bool,
}

enum Todo {
    Scheduler(scheduler::Event),
    Pool(slot_pool::Event),
}

struct World {
    random: Random,
    job: Arc<JobGraph>,
    scheduler: Scheduler,
    pool: SlotPool,
    now: Duration,
    todo: VecDeque<Todo>,
    task_executors: BTreeSet<ResourceId>,
    connected: bool,
    /// Slot requests that the resource manager has to serve.
    requested: BTreeSet<AllocationId>,
    /// Slots that a TaskExecutor gave to the job.
    slots: BTreeMap<AllocationId, (ResourceId, u32)>,
    tasks: BTreeMap<ExecutionAttemptId, Task>,
    /// Of finished attempts: what they read.
    read: BTreeMap<ExecutionAttemptId, Vec<(VertexId, u32)>>,
    asked: Option<scheduler::Action>,
    published: Option<Vec<Committable>>,
    old_updates: Vec<TaskExecutionState>,
    drawn: u128,
    calm: bool,
}

fn failure(code: ErrorCode) -> Failure {
    Failure::new(code, "by chance")
}

fn te(number: u32) -> ResourceId {
    ResourceId(format!("te-{number}"))
}

impl World {
    fn new(seed: u64, job: Arc<JobGraph>) -> Self {
        let options =
            scheduler::Options { cancellation_timeout: Duration::from_secs(180), jitter_seed: seed };
        Self {
            random: Random(seed | 1),
            scheduler: Scheduler::new(Arc::clone(&job), options).expect("the graph is valid"),
            job,
            pool: SlotPool::new(slot_pool::Options {
                request_timeout: Duration::from_secs(300),
                idle_timeout: Duration::from_secs(50),
            }),
            now: Duration::ZERO,
            todo: VecDeque::new(),
            task_executors: BTreeSet::new(),
            connected: false,
            requested: BTreeSet::new(),
            slots: BTreeMap::new(),
            tasks: BTreeMap::new(),
            read: BTreeMap::new(),
            asked: None,
            published: None,
            old_updates: Vec::new(),
            drawn: 0,
            calm: false,
        }
    }

    fn tell_scheduler(&mut self, event: scheduler::Event) {
        self.todo.push_back(Todo::Scheduler(event));
        self.drive();
    }

    fn tell_pool(&mut self, event: slot_pool::Event) {
        self.todo.push_back(Todo::Pool(event));
        self.drive();
    }

    fn drive(&mut self) {
        while let Some(todo) = self.todo.pop_front() {
            match todo {
                Todo::Scheduler(event) => {
                    for action in self.scheduler.step(self.now, event) {
                        self.do_for_scheduler(action);
                    }
                }
                Todo::Pool(event) => {
                    for action in self.pool.step(self.now, event) {
                        self.do_for_pool(action);
                    }
                }
            }
        }
    }

    fn do_for_scheduler(&mut self, action: scheduler::Action) {
        use scheduler::Action;
        match action {
            Action::StatusChanged(_) | Action::Restarting { .. } | Action::DiscardCommittables(_) => {}
            Action::Prepare | Action::Publish(_) | Action::Discard => {
                assert!(self.asked.is_none(), "one thing at a time");
                self.asked = Some(action);
            }
            Action::CancelTasks { attempts, .. } => {
                for attempt in attempts {
                    if let Some(task) = self.tasks.get_mut(&attempt) {
                        task.cancelled = true;
                    }
                }
            }
            Action::ReleaseSlots { requests, cause } => {
                self.todo.push_back(Todo::Pool(slot_pool::Event::Release { requests, cause }));
            }
            Action::AbandonSlots { requests, cause } => {
                self.todo.push_back(Todo::Pool(slot_pool::Event::Abandon { requests, cause }));
            }
            Action::RequestSlots(requests) => {
                let requests = requests
                    .into_iter()
                    .map(|id| {
                        self.drawn += 1;
                        NewRequest { id, allocation_id: AllocationId(self.drawn), profile: PROFILE }
                    })
                    .collect();
                self.todo.push_back(Todo::Pool(slot_pool::Event::Request(requests)));
            }
            Action::SubmitTasks { resource_id, tasks } => self.submit(&resource_id, tasks),
        }
    }

    fn submit(&mut self, resource_id: &ResourceId, tasks: Vec<TaskDeploymentDescriptor>) {
        if !self.task_executors.contains(resource_id) {
            return;
        }
        if !self.calm && self.random.one_in(20) {
            let attempts = tasks.iter().map(|task| task.attempt).collect();
            let cause = failure(ErrorCode::Internal);
            self.todo.push_back(Todo::Scheduler(scheduler::Event::TasksRejected { attempts, cause }));
            return;
        }
        for task in tasks {
            let slot = self.slots.get(&task.allocation_id);
            assert_eq!(slot.map(|(at, _)| at), Some(resource_id), "a task goes to where its slot is");
            for (other, running) in &self.tasks {
                let same = other.vertex_id == task.attempt.vertex_id;
                assert!(
                    !(same && other.subtask == task.attempt.subtask),
                    "{other} lives while {} starts",
                    task.attempt
                );
                assert!(
                    !(same && running.allocation_id == task.allocation_id),
                    "a slot has two subtasks of one vertex"
                );
                let together = other.subtask == task.attempt.subtask
                    && self.group_of(other.vertex_id) == self.group_of(task.attempt.vertex_id);
                assert!(
                    !together || running.cancelled || running.allocation_id == task.allocation_id,
                    "{other} and {} share a slot, wherever they are",
                    task.attempt
                );
            }
            let has_source = task.vertex.connector_source().is_some();
            self.tasks.insert(
                task.attempt,
                Task {
                    task_executor: resource_id.clone(),
                    allocation_id: task.allocation_id,
                    state: ExecutionState::Deploying,
                    cancelled: false,

                    splits: Vec::new(),
                    input_ended: !has_source,
                },
            );
        }
    }

    fn group_of(&self, vertex: VertexId) -> Option<&str> {
        self.job.vertex(vertex).map(|vertex| vertex.slot_sharing_group.as_str())
    }

    fn do_for_pool(&mut self, action: slot_pool::Action) {
        use slot_pool::Action;
        match action {
            Action::AnswerOffer { .. } => {}
            Action::RequestSlot { allocation_id, .. } => {
                assert!(self.connected, "nobody is there to ask");
                self.requested.insert(allocation_id);
            }
            Action::CancelSlotRequest { allocation_id } => {
                // It comes too late for a slot that is on its way.
                self.requested.remove(&allocation_id);
            }
            Action::FreeSlot { allocation_id, .. } => {
                self.slots.remove(&allocation_id);
                self.tasks.retain(|_, task| task.allocation_id != allocation_id);
            }
            Action::Fulfilled(slots) => {
                for slot in &slots {
                    let at = self.slots.get(&slot.allocation_id).map(|(at, _)| at);
                    assert_eq!(at, Some(&slot.resource_id), "the pool has a slot that is not there");
                }
                self.todo.push_back(Todo::Scheduler(scheduler::Event::SlotsAllocated(slots)));
            }
            Action::Failed { requests, cause } => {
                let event = scheduler::Event::SlotsFailed { requests, cause };
                self.todo.push_back(Todo::Scheduler(event));
            }
        }
    }

    /// Something that goes well.
    fn progress(&mut self) {
        match self.random.below(8) {
            0 => self.answer_asked(),
            1 if !self.connected => {
                self.connected = true;
                self.tell_pool(slot_pool::Event::ResourceManagerConnected);
            }
            1 | 2 => self.serve_slot(),
            3 => {
                let missing: Vec<_> =
                    (0..TASK_EXECUTORS).map(te).filter(|id| !self.task_executors.contains(id)).collect();
                if let Some(id) = self.random.pick(&missing) {
                    self.task_executors.insert(id.clone());
                    self.tell_pool(slot_pool::Event::TaskExecutorRegistered(id));
                }
            }
            4 => {
                let next = self.scheduler.next_deadline().into_iter().chain(self.pool.next_deadline()).min();
                // Time may also pass for nothing.
                self.now = if self.calm || self.random.one_in(4) {
                    next.unwrap_or(self.now).max(self.now)
                } else {
                    self.now + Duration::from_millis(self.random.below(2000) as u64)
                };
                self.todo.push_back(Todo::Pool(slot_pool::Event::TimePassed));
                self.tell_scheduler(scheduler::Event::TimePassed);
            }
            _ => self.move_task(),
        }
    }

    fn answer_asked(&mut self) {
        let event = match self.asked.take() {
            None => return,
            Some(scheduler::Action::Prepare) => {
                let sources = self.job.vertices.iter().filter(|v| v.connector_source().is_some());
                let splits = |_| (0..SPLITS).map(|index| InputSplit { index, content: vec![] }).collect();
                scheduler::Event::Prepared(Ok(sources.map(|v| (v.id, splits(v))).collect()))
            }
            Some(scheduler::Action::Publish(committables)) => {
                self.published = Some(committables);
                scheduler::Event::Published(Ok(()))
            }
            Some(_) => {
                assert!(self.tasks.is_empty(), "outputs are discarded while tasks write");
                scheduler::Event::Discarded
            }
        };
        self.tell_scheduler(event);
    }

    fn serve_slot(&mut self) {
        let workers: Vec<_> = self.task_executors.iter().cloned().collect();
        let requested: Vec<_> = self.requested.iter().copied().collect();
        let Some(resource_id) = self.random.pick(&workers) else { return };
        let Some(allocation_id) = self.random.pick(&requested) else { return };
        self.requested.remove(&allocation_id);
        let slot_number = self.random.below(1000) as u32;
        self.offer(resource_id, allocation_id, slot_number);
    }

    fn offer(&mut self, resource_id: ResourceId, allocation_id: AllocationId, slot_number: u32) {
        let offers = vec![Offer { allocation_id, slot_number, profile: PROFILE }];
        let event = slot_pool::Event::Offered { resource_id: resource_id.clone(), offers };
        let known = self.slots.contains_key(&allocation_id);
        self.slots.entry(allocation_id).or_insert((resource_id.clone(), slot_number));
        let actions = self.pool.step(self.now, event);
        let rejected = matches!(
            &actions[0],
            slot_pool::Action::AnswerOffer { accepted } if !accepted.contains(&allocation_id)
        );
        if rejected && !known {
            self.slots.remove(&allocation_id);
        }
        for action in actions {
            self.do_for_pool(action);
        }
        self.drive();
    }

    /// A task goes on, by one state or one split.
    fn move_task(&mut self) {
        let attempts: Vec<_> = self.tasks.keys().copied().collect();
        let Some(attempt) = self.random.pick(&attempts) else { return };
        let Some(task) = self.tasks.get_mut(&attempt) else { return };
        let next = match task.state {
            _ if task.cancelled => ExecutionState::Canceled,
            ExecutionState::Deploying => ExecutionState::Initializing,
            ExecutionState::Initializing => ExecutionState::Running,
            _ if !task.input_ended => {
                match self.scheduler.next_split(attempt) {
                    Ok(Some(split)) => task.splits.push((attempt.vertex_id, split.index)),
                    Ok(None) => task.input_ended = true,
                    Err(_) => panic!("{attempt} lives and was not cancelled, yet gets no split"),
                }
                return;
            }
            _ => ExecutionState::Finished,
        };
        self.report(attempt, next);
    }

    fn report(&mut self, attempt: ExecutionAttemptId, state: ExecutionState) {
        let Some(task) = self.tasks.get_mut(&attempt) else { return };
        task.state = state;
        let mut committables = Vec::new();
        if state == ExecutionState::Finished {
            self.read.insert(attempt, task.splits.clone());
            let sink = self.job.vertices.iter().position(|v| v.id == attempt.vertex_id).unwrap_or(0) as u32;
            let content = [attempt.subtask.to_le_bytes(), attempt.attempt.to_le_bytes()].concat();
            committables.push(Committable { sink, content });
        }
        if state.is_terminal() {
            self.tasks.remove(&attempt);
        }
        let update = TaskExecutionState {
            attempt,
            state,
            failure: (state == ExecutionState::Failed).then(|| failure(ErrorCode::OperatorError)),
            metrics: TaskMetrics::default(),
            accumulators: BTreeMap::from([("tasks".to_owned(), 1)]),
            committables,
        };
        self.old_updates.push(update.clone());
        self.tell_scheduler(scheduler::Event::TaskStateChanged(update));
    }

    /// Something that goes wrong.
    fn trouble(&mut self) {
        match self.random.below(9) {
            0 | 1 => {
                let attempts: Vec<_> = self.tasks.keys().copied().collect();
                if let Some(attempt) = self.random.pick(&attempts) {
                    self.report(attempt, ExecutionState::Failed);
                }
            }
            2 => {
                let workers: Vec<_> = self.task_executors.iter().cloned().collect();
                if let Some(resource_id) = self.random.pick(&workers) {
                    self.task_executors.remove(&resource_id);
                    self.slots.retain(|_, (at, _)| *at != resource_id);
                    self.tasks.retain(|_, task| task.task_executor != resource_id);
                    let cause = failure(ErrorCode::WorkerLost);
                    self.tell_pool(slot_pool::Event::TaskExecutorLost { resource_id, cause });
                }
            }
            3 => {
                let slots: Vec<_> = self.slots.iter().map(|(id, (at, _))| (*id, at.clone())).collect();
                if let Some((allocation_id, resource_id)) = self.random.pick(&slots) {
                    self.slots.remove(&allocation_id);
                    self.tasks.retain(|_, task| task.allocation_id != allocation_id);
                    let cause = failure(ErrorCode::NoResources);
                    self.tell_pool(slot_pool::Event::SlotFailed { resource_id, allocation_id, cause });
                }
            }
            4 => {
                let requested: Vec<_> = self.requested.iter().copied().collect();
                if let Some(allocation_id) = self.random.pick(&requested) {
                    self.requested.remove(&allocation_id);
                    let cause = failure(ErrorCode::NoResources);
                    self.tell_pool(slot_pool::Event::AllocationFailed { allocation_id, cause });
                }
            }
            // Repeats and late messages of every kind.
            5 => {
                if let Some(update) = self.random.pick(&self.old_updates.clone()) {
                    let current = self.tasks.contains_key(&update.attempt);
                    // A TaskExecutor never says that a task has ended which it
                    // still runs.
                    if !(current && update.state.is_terminal()) {
                        self.tell_scheduler(scheduler::Event::TaskStateChanged(update));
                    }
                }
            }
            6 => {
                let slots: Vec<_> =
                    self.slots.iter().map(|(id, (at, number))| (*id, at.clone(), *number)).collect();
                if let Some((allocation_id, resource_id, number)) = self.random.pick(&slots) {
                    self.offer(resource_id, allocation_id, number);
                    self.offer(te(0), allocation_id, number + 1);
                }
            }
            7 if self.connected => {
                self.connected = false;
                self.requested.clear();
                self.tell_pool(slot_pool::Event::ResourceManagerDisconnected);
            }
            // A slot that nobody asked for.
            _ => {
                self.drawn += 1;
                let (worker, allocation_id) = (te(self.random.below(4) as u32), AllocationId(self.drawn));
                self.offer(worker, allocation_id, 5000);
            }
        }
    }

    fn is_over(&self) -> bool {
        self.scheduler.status().is_terminal()
    }

    /// Runs the job; `cancel` after so many steps. Gives how it ended.
    fn run(mut self, cancel_at: Option<usize>) -> (JobStatus, Self) {
        self.tell_scheduler(scheduler::Event::Start);
        let troubled = 50 + self.random.below(600);
        for step in 0..200_000 {
            self.calm = step >= troubled;
            if !self.calm && self.random.one_in(6) {
                self.trouble();
            } else {
                self.progress();
            }
            if cancel_at == Some(step) {
                self.tell_scheduler(scheduler::Event::Cancel);
            }
            if self.is_over() {
                return (self.scheduler.status(), self);
            }
        }
        panic!("the job does not end: {:?}, {:?}, {:#?}", self.tasks, self.pool, self.scheduler);
    }

    /// The published outputs are those of one attempt of each subtask, and
    /// these have read every split once.
    fn check_published(&self) {
        let published = self.published.as_ref().expect("a finished job has published");
        let mut read: Vec<(VertexId, u32)> = Vec::new();
        let mut subtasks = BTreeSet::new();
        for committable in published {
            let (subtask, attempt) = committable.content.split_at(4);
            let number = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().expect("four bytes"));
            let attempt = ExecutionAttemptId {
                job_id: self.job.job_id,
                vertex_id: self.job.vertices[committable.sink as usize].id,
                subtask: number(subtask),
                attempt: number(attempt),
            };
            assert!(subtasks.insert((attempt.vertex_id, attempt.subtask)), "{attempt} is published twice");
            read.extend(&self.read[&attempt]);
        }
        let expected: usize = self.job.vertices.iter().map(|v| v.parallelism as usize).sum();
        assert_eq!(subtasks.len(), expected);
        let sources = self.job.vertices.iter().filter(|v| v.connector_source().is_some());
        let all: Vec<_> = sources.flat_map(|v| (0..SPLITS).map(move |split| (v.id, split))).collect();
        read.sort_unstable();
        assert_eq!(read, all, "every split is read once");
        let sum = BTreeMap::from([("tasks".to_owned(), expected as i64)]);
        assert_eq!(self.scheduler.accumulators(), sum);
    }
}

/// A job of a random shape that always restarts.
fn random_job(random: &mut Random, strategy: RestartStrategy) -> Arc<JobGraph> {
    let parallelism = |random: &mut Random| 1 + random.below(4) as u32;
    let distribution = |random: &mut Random| {
        if random.one_in(2) { Distribution::AllToAll } else { Distribution::Pointwise }
    };
    let mut job = JobBuilder::new().source(parallelism(random));
    let vertices = 1 + random.below(4);
    for vertex in 1..=vertices {
        job = if random.one_in(4) { job.source(parallelism(random)) } else { job.map(parallelism(random)) };
        if random.one_in(4) {
            job = job.group("other");
        }
        if !random.one_in(5) {
            let producer = random.below(vertex);
            job = job.edge(producer, vertex, distribution(random));
        }
    }
    job.restart(strategy).build()
}

fn always() -> RestartStrategy {
    RestartStrategy::FixedDelay { attempts: u32::MAX, delay: Duration::from_secs(1) }
}

fn seeds() -> std::ops::Range<u64> {
    match std::env::var("HEDDLE_TEST_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => seed..seed + 1,
        None => 1..400,
    }
}

#[test]
fn a_job_that_may_restart_always_finishes_and_reads_every_split_once() {
    for seed in seeds() {
        println!("HEDDLE_TEST_SEED={seed}");
        let mut random = Random(seed * 0x9e37 + 1);
        let job = random_job(&mut random, always());
        let (status, world) = World::new(random.next(), job).run(None);
        assert_eq!(status, JobStatus::Finished);
        world.check_published();
    }
}

#[test]
fn a_cancelled_job_ends_without_a_task_left() {
    for seed in seeds() {
        println!("HEDDLE_TEST_SEED={seed}");
        let mut random = Random(seed * 0x79b9 + 1);
        let job = random_job(&mut random, always());
        let cancel_at = random.below(500);
        let (status, world) = World::new(random.next(), job).run(Some(cancel_at));
        match status {
            JobStatus::Finished => world.check_published(),
            status => {
                assert_eq!(status, JobStatus::Canceled);
                assert!(world.tasks.is_empty());
            }
        }
    }
}

#[test]
fn a_job_with_few_restarts_ends_one_way_or_the_other() {
    for seed in seeds() {
        println!("HEDDLE_TEST_SEED={seed}");
        let mut random = Random(seed * 0x7f4a + 1);
        let strategy = RestartStrategy::FailureRate {
            max_failures_per_interval: 2,
            failure_rate_interval: Duration::from_secs(60),
            delay: Duration::from_millis(100),
        };
        let job = random_job(&mut random, strategy);
        let (status, world) = World::new(random.next(), job).run(None);
        match status {
            JobStatus::Finished => world.check_published(),
            status => {
                assert_eq!(status, JobStatus::Failed);
                assert!(world.scheduler.failure().is_some());
                assert!(world.tasks.is_empty());
            }
        }
    }
}
