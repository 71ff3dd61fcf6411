//! Tables: what each state of a task and of a job becomes by each event.

use crate::jobs::JobBuilder;
use expect_test::{Expect, expect};
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::{AllocationId, ResourceId, SlotRequestId};
use heddle_model::job_status::ExecutionState;
use heddle_model::task::{TaskExecutionState, TaskMetrics};
use heddle_scheduler::scheduler::{Action, Event, Options, Scheduler};
use heddle_scheduler::slot_pool::Fulfilled;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

fn failure() -> Failure {
    Failure::new(ErrorCode::OperatorError, "operator failed")
}

fn fatal() -> Failure {
    Failure::new(ErrorCode::SchemaMismatch, "schemas differ")
}

/// One task, which a restart may follow.
fn new_scheduler() -> Scheduler {
    let options = Options { cancellation_timeout: Duration::from_secs(10), jitter_seed: 0 };
    Scheduler::new(JobBuilder::new().source(1).fixed_delay(1).build(), options).expect("the graph is valid")
}

fn report(scheduler: &Scheduler, state: ExecutionState) -> Event {
    let index = scheduler.graph().vertices()[0].subtasks().next().expect("there is one task");
    Event::TaskStateChanged(TaskExecutionState {
        attempt: scheduler.graph().attempt_id(index),
        state,
        failure: (state == ExecutionState::Failed).then(failure),
        metrics: TaskMetrics::default(),
        accumulators: BTreeMap::new(),
        committables: Vec::new(),
    })
}

fn allocated() -> Event {
    Event::SlotsAllocated(vec![Fulfilled {
        request: SlotRequestId(0),
        allocation_id: AllocationId(0),
        resource_id: ResourceId("te".into()),
    }])
}

fn step(scheduler: &mut Scheduler, event: Event) -> Vec<Action> {
    scheduler.step(Duration::ZERO, event)
}

fn task_state(scheduler: &Scheduler) -> ExecutionState {
    scheduler.graph().subtasks()[0].current.state
}

/// A scheduler whose task has come to this state.
fn with_task(state: ExecutionState) -> Scheduler {
    use ExecutionState::*;
    let mut scheduler = new_scheduler();
    if state == Created {
        return scheduler;
    }
    step(&mut scheduler, Event::Start);
    step(&mut scheduler, Event::Prepared(Ok(BTreeMap::new())));
    if state == Scheduled {
        return scheduler;
    }
    step(&mut scheduler, allocated());
    let way: &[ExecutionState] = match state {
        Deploying => &[],
        Initializing => &[Initializing],
        Running | Canceling | Canceled => &[Initializing, Running],
        Finished => &[Running, Finished],
        Failed => &[Running, Failed],
        Created | Scheduled => unreachable!("handled above"),
    };
    for state in way {
        let event = report(&scheduler, *state);
        step(&mut scheduler, event);
    }
    if matches!(state, Canceling | Canceled) {
        step(&mut scheduler, Event::Cancel);
    }
    if state == Canceled {
        let event = report(&scheduler, Canceled);
        step(&mut scheduler, event);
    }
    assert_eq!(task_state(&scheduler), state);
    scheduler
}

#[test]
fn every_report_in_every_state_of_a_task() {
    let mut text = format!("{:13}", "");
    for reported in ExecutionState::ALL {
        write!(text, "{:13}", reported.name()).expect("a string takes all");
    }
    for before in ExecutionState::ALL {
        write!(text, "\n{:13}", before.name()).expect("a string takes all");
        for reported in ExecutionState::ALL {
            let mut scheduler = with_task(before);
            let event = report(&scheduler, reported);
            step(&mut scheduler, event);
            let after = task_state(&scheduler);
            let dropped = scheduler.counters().illegal_transitions;
            assert!(dropped == 0 || after == before, "{before} {reported}: dropped, yet it did something");
            assert!(after == before || before.may_become(after), "{before} became {after}");
            let cell = match (after == before, dropped) {
                (true, 0) => "=",
                (true, _) => "-",
                (false, _) => after.name(),
            };
            write!(text, "{cell:13}").expect("a string takes all");
        }
    }
    let text: Vec<_> = text.lines().map(str::trim_end).collect();
    // `-`: dropped and counted; `=`: says what is known.
    expect![[r#"
                     CREATED      SCHEDULED    DEPLOYING    INITIALIZING RUNNING      FINISHED     CANCELING    CANCELED     FAILED
        CREATED      =            -            -            -            -            -            -            -            -
        SCHEDULED    -            =            -            -            -            -            -            -            -
        DEPLOYING    -            -            =            INITIALIZING RUNNING      FINISHED     -            FAILED       FAILED
        INITIALIZING -            -            -            -            RUNNING      FINISHED     -            FAILED       FAILED
        RUNNING      -            -            -            -            -            FINISHED     -            FAILED       FAILED
        FINISHED     -            -            -            -            -            =            -            -            -
        CANCELING    -            -            -            -            -            FINISHED     =            CANCELED     FAILED
        CANCELED     -            -            -            -            -            -            -            =            -
        FAILED       -            -            -            -            -            -            -            -            ="#]].assert_eq(&text.join("\n"));
}

/// The states of a job that a test can bring about, with how.
fn jobs() -> Vec<(&'static str, Scheduler)> {
    let mut all = Vec::new();
    let mut add = |name, events: &[fn(&Scheduler) -> Event]| {
        let mut scheduler = new_scheduler();
        for event in events {
            let event = event(&scheduler);
            step(&mut scheduler, event);
        }
        all.push((name, scheduler));
    };
    let start: fn(&Scheduler) -> Event = |_| Event::Start;
    let prepared: fn(&Scheduler) -> Event = |_| Event::Prepared(Ok(BTreeMap::new()));
    let allocate: fn(&Scheduler) -> Event = |_| allocated();
    let run: fn(&Scheduler) -> Event = |s| report(s, ExecutionState::Running);
    let finish: fn(&Scheduler) -> Event = |s| report(s, ExecutionState::Finished);
    let fail: fn(&Scheduler) -> Event = |s| report(s, ExecutionState::Failed);
    let cancel: fn(&Scheduler) -> Event = |_| Event::Cancel;
    let fail_job: fn(&Scheduler) -> Event = |_| Event::Fail(fatal());
    let suspend: fn(&Scheduler) -> Event = |_| Event::Suspend;
    add("new", &[]);
    add("preparing", &[start]);
    add("preparing, cancelled", &[start, cancel]);
    add("waiting for slots", &[start, prepared]);
    add("running", &[start, prepared, allocate, run]);
    add("restarting", &[start, prepared, allocate, run, fail]);
    add("cancelling", &[start, prepared, allocate, run, cancel]);
    add("failing", &[start, prepared, allocate, run, fail_job]);
    add("suspending", &[start, prepared, allocate, run, suspend]);
    add("publishing", &[start, prepared, allocate, run, finish]);
    add("recovered, publishing", &[|_| Event::Recover(Vec::new())]);
    add("discarding", &[start, prepared, cancel]);
    all
}

fn check_jobs(expected: Expect) {
    type Row = (&'static str, fn(&Scheduler) -> Event);
    let events: [Row; 16] = [
        ("start", |_| Event::Start),
        ("recover", |_| Event::Recover(Vec::new())),
        ("prepared", |_| Event::Prepared(Ok(BTreeMap::new()))),
        ("not prepared", |_| Event::Prepared(Err(fatal()))),
        ("slot comes", |_| allocated()),
        ("slot fails", |_| Event::SlotsFailed { requests: vec![SlotRequestId(0)], cause: failure() }),
        ("task finished", |s| report(s, ExecutionState::Finished)),
        ("task failed", |s| report(s, ExecutionState::Failed)),
        ("task canceled", |s| report(s, ExecutionState::Canceled)),
        ("cancel", |_| Event::Cancel),
        ("fail", |_| Event::Fail(fatal())),
        ("suspend", |_| Event::Suspend),
        ("published", |_| Event::Published(Ok(()))),
        ("not published", |_| Event::Published(Err(fatal()))),
        ("publishing stopped", |_| Event::PublishingStopped),
        ("discarded", |_| Event::Discarded),
    ];
    let mut text = String::new();
    for (number, (name, before)) in jobs().into_iter().enumerate() {
        writeln!(text, "{name}: {}", before.status()).expect("a string takes all");
        for (label, event) in events {
            let mut scheduler = jobs().swap_remove(number).1;
            let event = event(&scheduler);
            let actions = step(&mut scheduler, event);
            let after = scheduler.status();
            assert!(after == before.status() || before.status().may_become(after), "{name}, {label}");
            let shown: Vec<_> = actions.iter().map(show).collect();
            if !shown.is_empty() {
                writeln!(text, "  {label}: {}", shown.join(", ")).expect("a string takes all");
            }
        }
    }
    expected.assert_eq(&text);
}

fn show(action: &Action) -> String {
    match action {
        Action::StatusChanged(status) => status.to_string(),
        Action::Restarting { delay, .. } => format!("restart after {delay:?}"),
        Action::Prepare => "prepare".into(),
        Action::CancelTasks { attempts, .. } => format!("cancel {} task", attempts.len()),
        Action::DiscardCommittables(all) => format!("drop {} committables", all.len()),
        Action::ReleaseSlots { requests, .. } => format!("release {} slot", requests.len()),
        Action::AbandonSlots { requests, .. } => format!("abandon {} slot", requests.len()),
        Action::RequestSlots(requests) => format!("request {} slot", requests.len()),
        Action::SubmitTasks { tasks, .. } => format!("submit {} task", tasks.len()),
        Action::Publish(all) => format!("publish {}", all.len()),
        Action::Discard => "discard".into(),
    }
}

#[test]
fn every_event_in_every_state_of_a_job() {
    check_jobs(expect![[r#"
        new: CREATED
          start: prepare
          recover: RUNNING, publish 0
          cancel: CANCELLING, discard
          fail: FAILING, discard
          suspend: discard
        preparing: CREATED
          prepared: RUNNING, request 1 slot
          not prepared: FAILING, discard
          cancel: CANCELLING
          fail: FAILING
        preparing, cancelled: CANCELLING
          prepared: discard
          not prepared: discard
        waiting for slots: RUNNING
          slot comes: submit 1 task
          slot fails: RESTARTING, restart after 1s
          cancel: CANCELLING, discard
          fail: FAILING, discard
          suspend: discard
        running: RUNNING
          slot fails: RESTARTING, restart after 1s
          task finished: release 1 slot, publish 0
          task failed: RESTARTING, restart after 1s
          task canceled: RESTARTING, restart after 1s
          cancel: CANCELLING, cancel 1 task
          fail: FAILING, cancel 1 task
          suspend: cancel 1 task
        restarting: RESTARTING
          cancel: CANCELLING, discard
          fail: FAILING, discard
          suspend: discard
        cancelling: CANCELLING
          slot fails: discard
          task finished: release 1 slot, discard
          task failed: discard
          task canceled: discard
        failing: FAILING
          slot fails: discard
          task finished: release 1 slot, discard
          task failed: discard
          task canceled: discard
          cancel: CANCELLING
        suspending: RUNNING
          slot fails: discard
          task finished: release 1 slot, discard
          task failed: discard
          task canceled: discard
        publishing: RUNNING
          published: FINISHED
          not published: FAILING, discard
          publishing stopped: SUSPENDED
        recovered, publishing: RUNNING
          published: FINISHED
          not published: FAILING, discard
          publishing stopped: SUSPENDED
        discarding: CANCELLING
          discarded: CANCELED
    "#]]);
}
