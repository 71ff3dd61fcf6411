//! The way of a job: deployment, failover by region, restarts, the end.

use crate::jobs::{JobBuilder, vertex_id};
use expect_test::{Expect, expect};
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::{AllocationId, ExecutionAttemptId, ResourceId, SlotRequestId};
use heddle_model::job_graph::{Distribution, JobGraph};
use heddle_model::job_status::{ExecutionState, JobStatus};
use heddle_model::restart::RestartStrategy;
use heddle_model::task::{Committable, InputSplit, TaskExecutionState, TaskMetrics};
use heddle_scheduler::execution_graph::SubtaskIndex;
use heddle_scheduler::scheduler::{Action, Event, Options, Scheduler};
use heddle_scheduler::slot_pool::Fulfilled;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A scheduler, and the log of what it did.
struct Run {
    scheduler: Scheduler,
    now: Duration,
    log: String,
    /// Requests that no slot serves yet.
    requests: Vec<SlotRequestId>,
    published: Vec<Committable>,
    slots: u128,
}

fn failure() -> Failure {
    Failure::new(ErrorCode::OperatorTrap, "the operator panicked")
}

impl Run {
    /// Started, with this many splits for each source.
    fn new(job: Arc<JobGraph>, splits: u32) -> Self {
        let sources = job.vertices.iter().filter(|vertex| vertex.connector_source().is_some());
        let splits = sources
            .map(|vertex| {
                let all = (0..splits).map(|index| InputSplit { index, content: Vec::new() }).collect();
                (vertex.id, all)
            })
            .collect();
        let options = Options { cancellation_timeout: Duration::from_secs(180), jitter_seed: 1 };
        let mut run = Self {
            scheduler: Scheduler::new(job, options).expect("the graph is valid"),
            now: Duration::ZERO,
            log: String::new(),
            requests: Vec::new(),
            published: Vec::new(),
            slots: 0,
        };
        run.step(Event::Start);
        run.step(Event::Prepared(Ok(splits)));
        run
    }

    /// Running, each slot on the TaskExecutor of its number.
    fn running(job: Arc<JobGraph>, splits: u32) -> Self {
        let mut run = Self::new(job, splits);
        run.serve_requests();
        run.log.clear();
        for index in 0..run.scheduler.graph().subtasks().len() {
            run.report(index, ExecutionState::Running);
        }
        run
    }

    fn step(&mut self, event: Event) -> &mut Self {
        for action in self.scheduler.step(self.now, event) {
            if let Action::RequestSlots(requests) = &action {
                self.requests.extend(requests);
            }
            if let Action::Publish(committables) = &action {
                self.published.extend(committables.clone());
            }
            self.log.push_str(&show(&action));
            self.log.push('\n');
        }
        self
    }

    fn serve_requests(&mut self) -> &mut Self {
        let slots = std::mem::take(&mut self.requests)
            .into_iter()
            .map(|request| {
                self.slots += 1;
                Fulfilled {
                    request,
                    allocation_id: AllocationId(self.slots),
                    resource_id: ResourceId(format!("te-{}", self.slots)),
                }
            })
            .collect();
        self.step(Event::SlotsAllocated(slots))
    }

    fn attempt(&self, index: usize) -> ExecutionAttemptId {
        self.scheduler.graph().attempt_id(SubtaskIndex(index))
    }

    fn report(&mut self, index: usize, state: ExecutionState) -> &mut Self {
        self.report_of(self.attempt(index), state, failure())
    }

    fn report_of(&mut self, attempt: ExecutionAttemptId, state: ExecutionState, cause: Failure) -> &mut Self {
        let finished = state == ExecutionState::Finished;
        let content = vec![attempt.subtask as u8, attempt.attempt as u8];
        self.step(Event::TaskStateChanged(TaskExecutionState {
            attempt,
            state,
            failure: (state == ExecutionState::Failed).then_some(cause),
            metrics: TaskMetrics::default(),
            accumulators: BTreeMap::from([("records".to_owned(), 10)]),
            committables: if finished { vec![Committable { sink: 1, content }] } else { Vec::new() },
        }))
    }

    fn pass(&mut self) -> &mut Self {
        if let Some(deadline) = self.scheduler.next_deadline() {
            self.now = deadline;
            self.log.push_str(&format!("at {deadline:?}\n"));
        }
        self.step(Event::TimePassed)
    }

    fn splits(&mut self, index: usize, count: usize) -> Vec<u32> {
        let attempt = self.attempt(index);
        let next = || self.scheduler.next_split(attempt).expect("the attempt is current");
        std::iter::repeat_with(next).map_while(|split| Some(split?.index)).take(count).collect()
    }

    fn check(&mut self, expected: Expect) -> &mut Self {
        expected.assert_eq(&std::mem::take(&mut self.log));
        self
    }
}

fn task(attempt: &ExecutionAttemptId) -> String {
    let vertex = (0..9).find(|number| vertex_id(*number) == attempt.vertex_id).unwrap_or(9);
    format!("v{vertex}.{}#{}", attempt.subtask, attempt.attempt)
}

fn show(action: &Action) -> String {
    let slots = |requests: &[SlotRequestId]| requests.iter().map(|r| r.0).collect::<Vec<_>>();
    match action {
        Action::StatusChanged(status) => status.to_string(),
        Action::Restarting { failure, tasks, delay } => {
            format!("restart {tasks} tasks after {delay:?}: {failure}")
        }
        Action::Prepare => "prepare".into(),
        Action::CancelTasks { resource_id, attempts } => {
            let tasks: Vec<_> = attempts.iter().map(task).collect();
            format!("{resource_id}: cancel {}", tasks.join(" "))
        }
        Action::DiscardCommittables(all) => {
            format!("drop {:?}", all.iter().map(|c| &c.content).collect::<Vec<_>>())
        }
        Action::ReleaseSlots { requests, cause } => format!("release {:?}: {cause}", slots(requests)),
        Action::AbandonSlots { requests, cause } => format!("abandon {:?}: {cause}", slots(requests)),
        Action::RequestSlots(requests) => format!("request {:?}", slots(requests)),
        Action::SubmitTasks { resource_id, tasks } => {
            let tasks: Vec<_> = tasks.iter().map(|t| task(&t.attempt)).collect();
            format!("{resource_id}: submit {}", tasks.join(" "))
        }
        Action::Publish(all) => format!("publish {:?}", all.iter().map(|c| &c.content).collect::<Vec<_>>()),
        Action::Discard => "discard".into(),
    }
}

/// Two lines, source to sink, that do not touch each other.
fn two_lines() -> JobBuilder {
    JobBuilder::new().source(2).sink(2).edge(0, 1, Distribution::Pointwise)
}

fn one_region() -> JobBuilder {
    JobBuilder::new().source(2).sink(2).edge(0, 1, Distribution::AllToAll)
}

#[test]
fn a_job_runs_to_its_end() {
    let mut run = Run::new(one_region().build(), 0);
    run.serve_requests();
    for state in [ExecutionState::Initializing, ExecutionState::Running, ExecutionState::Finished] {
        for index in [3, 1, 0, 2] {
            run.report(index, state);
        }
    }
    run.step(Event::Published(Ok(()))).check(expect![[r#"
        prepare
        RUNNING
        request [0, 1]
        te-1: submit v0.0#0 v1.0#0
        te-2: submit v0.1#0 v1.1#0
        release [0, 1]: the job needs the slot no more
        publish [[0, 0], [1, 0], [0, 0], [1, 0]]
        FINISHED
    "#]]);
    assert_eq!(run.scheduler.accumulators(), BTreeMap::from([("records".to_owned(), 40)]));
}

#[test]
fn only_the_region_of_the_failed_task_restarts() {
    let mut run = Run::running(two_lines().fixed_delay(1).build(), 4);
    assert_eq!(run.splits(0, 1), [0]);
    assert_eq!(run.splits(1, 1), [1]);
    assert_eq!(run.splits(0, 1), [2]);
    let old = run.attempt(0);
    run.report(2, ExecutionState::Failed);
    assert!(run.scheduler.next_split(old).is_err(), "a cancelled task gets no split");
    run.report(0, ExecutionState::Canceled).pass();
    run.report_of(old, ExecutionState::Running, failure());
    assert_eq!(run.scheduler.counters().stale, 2);
    assert!(run.scheduler.next_split(old).is_err(), "a superseded task gets no split");
    assert_eq!(run.splits(0, 9), [0, 2, 3], "what the failed attempt had, and what nobody had");
    run.check(expect![[r#"
        RESTARTING
        restart 2 tasks after 1s: the operator panicked
        te-1: cancel v0.0#0
        at 1s
        RUNNING
        te-1: submit v0.0#1 v1.0#1
    "#]]);
    assert_eq!(run.scheduler.restarts(), 1);
    assert_eq!(run.scheduler.failure(), Some(&failure()));
}

#[test]
fn outputs_of_superseded_attempts_are_dropped_and_the_latest_published() {
    let mut run = Run::running(one_region().fixed_delay(1).build(), 0);
    run.report(0, ExecutionState::Finished).report(2, ExecutionState::Finished);
    run.report(3, ExecutionState::Failed).report(1, ExecutionState::Finished).pass();
    run.check(expect![[r#"
        RESTARTING
        restart 4 tasks after 1s: the operator panicked
        te-2: cancel v0.1#0
        at 1s
        RUNNING
        drop [[0, 0], [1, 0], [0, 0]]
        te-1: submit v0.0#1 v1.0#1
        te-2: submit v0.1#1 v1.1#1
    "#]]);
    // What an old attempt tells late is not taken.
    let late = ExecutionAttemptId { attempt: 0, ..run.attempt(2) };
    run.report_of(late, ExecutionState::Finished, failure());
    for index in 0..4 {
        run.report(index, ExecutionState::Running).report(index, ExecutionState::Finished);
    }
    assert_eq!(run.published.len(), 4);
    assert!(run.published.iter().all(|committable| committable.content[1] == 1));
    assert_eq!(run.scheduler.accumulators(), BTreeMap::from([("records".to_owned(), 40)]));
}

#[test]
fn the_delay_runs_while_tasks_are_cancelled() {
    let mut run = Run::running(one_region().fixed_delay(1).build(), 0);
    run.report(0, ExecutionState::Failed);
    run.now = Duration::from_secs(5);
    run.step(Event::TimePassed);
    for index in 1..4 {
        run.report(index, ExecutionState::Canceled);
    }
    run.check(expect![[r#"
        RESTARTING
        restart 4 tasks after 1s: the operator panicked
        te-1: cancel v1.0#0
        te-2: cancel v0.1#0 v1.1#0
        RUNNING
        te-1: submit v0.0#1 v1.0#1
        te-2: submit v0.1#1 v1.1#1
    "#]]);
}

#[test]
fn a_job_fails_with_the_failure_that_no_restart_is_left_for() {
    let mut run = Run::running(two_lines().fixed_delay(1).build(), 0);
    run.report(0, ExecutionState::Failed).report(2, ExecutionState::Canceled).pass();
    let cause = Failure::new(ErrorCode::OperatorError, "the second one").with_details("a backtrace");
    run.report_of(run.attempt(1), ExecutionState::Failed, cause);
    run.report_of(run.attempt(3), ExecutionState::Failed, failure());
    for index in [0, 2] {
        run.report(index, ExecutionState::Canceled);
    }
    run.step(Event::Discarded).check(expect![[r#"
        RESTARTING
        restart 2 tasks after 1s: the operator panicked
        te-1: cancel v1.0#0
        at 1s
        RUNNING
        te-1: submit v0.0#1 v1.0#1
        FAILING
        te-1: cancel v0.0#1 v1.0#1
        te-2: cancel v1.1#0
        discard
        FAILED
    "#]]);
    let failure = run.scheduler.failure().expect("the job failed");
    assert_eq!(failure.message, "the second one");
    expect![[r#"
        a backtrace
        the restart strategy `fixed-delay` allows 1 restarts, and they are used up"#]]
    .assert_eq(failure.details.as_deref().unwrap_or_default());
}

#[test]
fn a_failure_that_no_retry_helps_fails_the_job_at_once() {
    let mut run = Run::running(two_lines().fixed_delay(9).build(), 0);
    let cause = Failure::new(ErrorCode::SchemaMismatch, "schemas differ");
    run.report_of(run.attempt(0), ExecutionState::Failed, cause);
    run.check(expect![[r#"
        FAILING
        te-1: cancel v1.0#0
        te-2: cancel v0.1#0 v1.1#0
    "#]]);
}

#[test]
fn a_lost_worker_is_one_failure() {
    let mut run = Run::running(two_lines().fixed_delay(1).build(), 0);
    let cause = Failure::new(ErrorCode::WorkerLost, "TaskExecutor te-1 was lost");
    run.step(Event::SlotsFailed { requests: vec![SlotRequestId(0), SlotRequestId(1)], cause });
    run.pass().serve_requests().check(expect![[r#"
        RESTARTING
        restart 4 tasks after 1s: TaskExecutor te-1 was lost
        at 1s
        RUNNING
        request [2, 3]
        te-3: submit v0.0#1 v1.0#1
        te-4: submit v0.1#1 v1.1#1
    "#]]);
    assert_eq!(run.scheduler.restarts(), 1);
}

#[test]
fn a_lost_slot_restarts_the_region_in_the_slots_that_are_left() {
    let mut run = Run::running(one_region().fixed_delay(1).build(), 0);
    let cause = Failure::new(ErrorCode::WorkerLost, "TaskExecutor te-1 was lost");
    run.step(Event::SlotsFailed { requests: vec![SlotRequestId(0)], cause });
    run.report(1, ExecutionState::Canceled).report(3, ExecutionState::Canceled);
    run.pass().serve_requests().check(expect![[r#"
        RESTARTING
        restart 4 tasks after 1s: TaskExecutor te-1 was lost
        te-2: cancel v0.1#0 v1.1#0
        at 1s
        RUNNING
        request [2]
        te-2: submit v0.1#1 v1.1#1
        te-3: submit v0.0#1 v1.0#1
    "#]]);
}

#[test]
fn a_region_that_gets_too_few_slots_keeps_none() {
    let cause = Failure::new(ErrorCode::NoResources, "not enough slots");
    let event = || Event::SlotsFailed { requests: vec![SlotRequestId(1)], cause: cause.clone() };
    let mut run = Run::new(one_region().fixed_delay(1).build(), 0);
    run.requests.truncate(1);
    run.serve_requests().step(event()).pass().serve_requests().check(expect![[r#"
        prepare
        RUNNING
        request [0, 1]
        RESTARTING
        restart 4 tasks after 1s: not enough slots
        release [0]: not enough slots
        at 1s
        RUNNING
        request [2, 3]
        te-2: submit v0.0#1 v1.0#1
        te-3: submit v0.1#1 v1.1#1
    "#]]);

    let mut run = Run::new(one_region().restart(RestartStrategy::None).build(), 0);
    run.step(event()).step(Event::Discarded).check(expect![[r#"
        prepare
        RUNNING
        request [0, 1]
        FAILING
        release [0]: not enough slots
        discard
        FAILED
    "#]]);
    assert_eq!(run.scheduler.failure().map(|failure| failure.code), Some(ErrorCode::NoResources));
}

#[test]
fn tasks_that_were_not_taken_fail_with_their_slot_and_are_cancelled_to_be_sure() {
    let mut run = Run::new(two_lines().fixed_delay(1).build(), 0);
    run.serve_requests();
    run.log.clear();
    let attempts = vec![run.attempt(0), run.attempt(2)];
    run.step(Event::TasksRejected { attempts, cause: failure() }).pass().serve_requests().check(expect![[
        r#"
        RESTARTING
        restart 2 tasks after 1s: the operator panicked
        te-1: cancel v0.0#0 v1.0#0
        abandon [0]: the operator panicked
        at 1s
        RUNNING
        request [2]
        te-3: submit v0.0#1 v1.0#1
    "#
    ]]);
}

#[test]
fn a_task_that_does_not_end_is_given_up_with_its_slot() {
    let mut run = Run::running(one_region().fixed_delay(1).build(), 0);
    run.report(0, ExecutionState::Failed).report(1, ExecutionState::Canceled);
    run.report(3, ExecutionState::Canceled).pass().pass().serve_requests().check(expect![[r#"
        RESTARTING
        restart 4 tasks after 1s: the operator panicked
        te-1: cancel v1.0#0
        te-2: cancel v0.1#0 v1.1#0
        at 180s
        RUNNING
        abandon [0]: task `v1 (1/2)` did not end within 180s after it was cancelled, so its slot is given back (`task.cancellation.timeout`)
        request [2]
        te-2: submit v0.1#1 v1.1#1
        te-3: submit v0.0#1 v1.0#1
    "#]]);
    assert_eq!(run.scheduler.counters().given_up, 1);
}

#[test]
fn a_slot_that_its_task_executor_freed_fails_the_tasks_in_it() {
    let mut run = Run::running(two_lines().fixed_delay(1).build(), 0);
    run.report(0, ExecutionState::Canceled).check(expect![[r#"
        RESTARTING
        restart 2 tasks after 1s: task `v0 (1/2)` was ended by its TaskExecutor, which gave no reason
        te-1: cancel v1.0#0
    "#]]);
}

#[test]
fn a_finished_region_gives_its_slots_back_early() {
    let mut run = Run::running(two_lines().build(), 0);
    run.report(0, ExecutionState::Finished).report(2, ExecutionState::Finished).check(expect![[r#"
        release [0]: the job needs the slot no more
    "#]]);
    // Its slot is gone, which is no failure.
    run.step(Event::SlotsFailed { requests: vec![SlotRequestId(0)], cause: failure() }).check(expect![[""]]);
}

#[test]
fn outputs_that_were_not_published_fail_the_job_and_are_discarded() {
    let mut run = Run::running(JobBuilder::new().source(1).fixed_delay(9).build(), 0);
    run.report(0, ExecutionState::Finished).step(Event::Cancel);
    run.step(Event::Published(Err(Failure::new(ErrorCode::ConnectorIo, "the disk is full"))));
    run.step(Event::Discarded).check(expect![[r#"
        release [0]: the job needs the slot no more
        publish [[0, 0]]
        FAILING
        discard
        FAILED
    "#]]);
    assert_eq!(run.scheduler.failure().map(|failure| failure.code), Some(ErrorCode::ConnectorIo));
}

#[test]
fn a_cancelled_job_ends_when_its_tasks_have() {
    let mut run = Run::running(two_lines().fixed_delay(1).build(), 0);
    run.report(0, ExecutionState::Failed).step(Event::Cancel).report(2, ExecutionState::Failed);
    run.report(1, ExecutionState::Finished).report(3, ExecutionState::Canceled);
    run.step(Event::Cancel).step(Event::Discarded).check(expect![[r#"
        RESTARTING
        restart 2 tasks after 1s: the operator panicked
        te-1: cancel v1.0#0
        CANCELLING
        te-2: cancel v0.1#0 v1.1#0
        discard
        CANCELED
    "#]]);
    assert_eq!(run.scheduler.status(), JobStatus::Canceled);
    assert_eq!(run.scheduler.next_deadline(), None);
}

/// Seconds instead of milliseconds here mean that something is quadratic.
#[test]
fn a_job_of_twenty_thousand_regions_is_moved_one_message_at_a_time() {
    let job = JobBuilder::new().source(20_000).sink(20_000).edge(0, 1, Distribution::Pointwise);
    let mut run = Run::new(job.fixed_delay(1).build(), 0);
    for request in std::mem::take(&mut run.requests) {
        run.requests.push(request);
        run.serve_requests();
    }
    run.log.clear();
    let tasks = run.scheduler.graph().subtasks().len();
    for state in [ExecutionState::Running, ExecutionState::Finished] {
        for index in 0..tasks {
            run.report(index, state);
            run.scheduler.next_deadline();
        }
    }
    assert_eq!(run.published.len(), tasks);
}
