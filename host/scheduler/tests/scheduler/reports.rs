//! Reports of TaskExecutors against what was deployed to them.

use crate::jobs::JobBuilder;
use heddle_model::failure::ErrorCode;
use heddle_model::id::{AllocationId, ExecutionAttemptId, ResourceId};
use heddle_model::job_graph::Distribution;
use heddle_model::job_status::{ExecutionState, JobStatus};
use heddle_model::task::{TaskExecutionState, TaskMetrics};
use heddle_scheduler::execution_graph::SubtaskIndex;
use heddle_scheduler::scheduler::{Action, Event, Options, Scheduler};
use heddle_scheduler::slot_pool::Fulfilled;
use std::collections::BTreeMap;
use std::time::Duration;

/// A source and a sink in one slot of `te`, deployed; whether `te` has
/// confirmed that is up to the test.
struct Deployed(Scheduler);

impl Deployed {
    fn new() -> Self {
        let job = JobBuilder::new().source(1).sink(1).edge(0, 1, Distribution::AllToAll).fixed_delay(1);
        let options = Options { cancellation_timeout: Duration::from_secs(180), jitter_seed: 1 };
        let mut scheduler = Scheduler::new(job.build(), options).expect("the graph is valid");
        scheduler.step(Duration::ZERO, Event::Start);
        let actions = scheduler.step(Duration::ZERO, Event::Prepared(Ok(BTreeMap::new())));
        let request = actions.iter().find_map(|action| match action {
            Action::RequestSlots(requests) => requests.first().copied(),
            _ => None,
        });
        let slot = Fulfilled {
            request: request.expect("a job needs a slot"),
            allocation_id: AllocationId(1),
            resource_id: te(),
        };
        scheduler.step(Duration::ZERO, Event::SlotsAllocated(vec![slot]));
        Self(scheduler)
    }

    fn step(&mut self, event: Event) -> Vec<Action> {
        self.0.step(Duration::ZERO, event)
    }

    fn attempt(&self, index: usize) -> ExecutionAttemptId {
        self.0.graph().attempt_id(SubtaskIndex(index))
    }

    fn accepted(mut self) -> Self {
        let attempts = vec![self.attempt(0), self.attempt(1)];
        assert_eq!(self.step(Event::TasksAccepted(attempts)), []);
        self
    }

    fn report(&mut self, resource_id: ResourceId, attempts: &[ExecutionAttemptId]) -> Vec<Action> {
        let report = |attempt: &ExecutionAttemptId| (*attempt, TaskMetrics::default(), BTreeMap::new());
        self.step(Event::TasksReported { resource_id, reports: attempts.iter().map(report).collect() })
    }

    fn state(&self, index: usize) -> ExecutionState {
        self.0.graph().subtask(SubtaskIndex(index)).current.state
    }
}

fn te() -> ResourceId {
    ResourceId("te".into())
}

#[test]
fn a_task_that_two_reports_in_a_row_do_not_name_has_failed() {
    let mut job = Deployed::new().accepted();
    let (source, sink) = (job.attempt(0), job.attempt(1));
    assert_eq!(job.report(te(), &[source]), [], "the first may have been on its way already");
    assert_eq!(job.report(te(), &[source, sink]), []);
    assert_eq!(job.report(te(), &[source]), []);
    let actions = job.report(te(), &[source]);
    assert_eq!(job.state(1), ExecutionState::Failed);
    assert_eq!(job.0.status(), JobStatus::Restarting);
    let cancelled = Action::CancelTasks { resource_id: te(), attempts: vec![source] };
    assert!(actions.contains(&cancelled), "{actions:?}");
    let failure = job.0.failure().expect("a task failed");
    assert_eq!(failure.code, ErrorCode::WorkerLost);
    assert!(failure.message.contains("TaskExecutor te does not run task `v1 (1/1)`"), "{failure}");
}

#[test]
fn a_task_that_is_cancelled_and_gone_has_ended() {
    let mut job = Deployed::new().accepted();
    job.step(Event::Cancel);
    assert_eq!(job.report(te(), &[]), []);
    let actions = job.report(te(), &[]);
    assert_eq!([job.state(0), job.state(1)], [ExecutionState::Canceled; 2]);
    assert!(actions.contains(&Action::Discard), "{actions:?}");
}

#[test]
fn a_task_on_its_way_is_not_missed() {
    let mut job = Deployed::new();
    for _ in 0..5 {
        assert_eq!(job.report(te(), &[]), []);
    }
    assert_eq!([job.state(0), job.state(1)], [ExecutionState::Deploying; 2]);
    let (source, sink) = (job.attempt(0), job.attempt(1));
    assert_eq!(job.report(te(), &[source, sink]), [], "it may be named before it is confirmed");
}

#[test]
fn the_report_of_another_worker_says_nothing_of_a_task() {
    let mut job = Deployed::new().accepted();
    for _ in 0..5 {
        assert_eq!(job.report(ResourceId("other".into()), &[]), []);
    }
    assert_eq!(job.state(0), ExecutionState::Deploying);
}

#[test]
fn a_task_that_ended_is_not_missed() {
    let mut job = Deployed::new().accepted();
    let (source, sink) = (job.attempt(0), job.attempt(1));
    let finished = |attempt| {
        Event::TaskStateChanged(TaskExecutionState {
            attempt,
            state: ExecutionState::Finished,
            failure: None,
            metrics: TaskMetrics::default(),
            accumulators: BTreeMap::new(),
            committables: Vec::new(),
        })
    };
    job.step(finished(source));
    for _ in 0..5 {
        assert_eq!(job.report(te(), &[sink]), []);
    }
    assert_eq!(job.report(te(), &[source, sink]), [], "a report that the end overtook");
    assert_eq!([job.state(0), job.state(1)], [ExecutionState::Finished, ExecutionState::Deploying]);
}

#[test]
fn tasks_that_nobody_wants_are_cancelled() {
    let mut job = Deployed::new().accepted();
    let (source, sink) = (job.attempt(0), job.attempt(1));
    let future = ExecutionAttemptId { attempt: 7, ..source };
    let cancel = |resource_id, attempt| vec![Action::CancelTasks { resource_id, attempts: vec![attempt] }];
    assert_eq!(job.report(te(), &[source, sink, future]), cancel(te(), future));
    let other = ResourceId("other".into());
    assert_eq!(job.report(other.clone(), &[source]), cancel(other, source), "it runs at `te`");
}
