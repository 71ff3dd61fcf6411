//! The slot manager's behaviour as scripts: lines of "second event", and after
//! each the actions that follow.
//!
//! Names: `a`..`z` allocations, `j1` jobs, `w1` workers, `i1` instances,
//! `w1/0` slots. A worker brings 2 slots of 100 bytes.

mod limits;
mod matching;
mod workers;

use expect_test::Expect;
use heddle_model::id::{AllocationId, InstanceId, JobId, ResourceId, SlotId};
use heddle_model::memory::{ResourceProfile, WorkerResourceSpec};
use heddle_slot_manager::{Action, Event, Options, ReportedSlot, SlotManager, SlotRequest};
use std::fmt::Write;
use std::time::Duration;

fn profile(bytes: u64) -> ResourceProfile {
    ResourceProfile { task_memory: bytes, managed_memory: bytes, network_memory: bytes }
}

fn options() -> Options {
    Options::new(WorkerResourceSpec { slots: 2, slot: profile(100) })
}

fn allocation(name: &str) -> AllocationId {
    AllocationId(u128::from(name.as_bytes()[0]))
}

fn number(name: &str) -> u128 {
    name[1..].parse().unwrap()
}

fn slot(name: &str) -> SlotId {
    let (worker, slot_number) = name.split_once('/').unwrap();
    SlotId { resource_id: ResourceId(worker.into()), slot_number: slot_number.parse().unwrap() }
}

fn event(words: &[&str]) -> Event {
    let rest = |from: usize| words[from..].join(" ");
    match words[0] {
        "request" => Event::Request(SlotRequest {
            allocation_id: allocation(words[1]),
            job_id: JobId(number(words[2])),
            profile: profile(words.get(3).map_or(100, |bytes| bytes.parse().unwrap())),
        }),
        "cancel" => Event::Cancel { allocation_id: allocation(words[1]) },
        "job-gone" => Event::JobGone { job_id: JobId(number(words[1])) },
        "report" => Event::Report {
            instance: InstanceId(number(words[1])),
            resource_id: ResourceId(words[2].into()),
            slots: words[3..]
                .iter()
                .zip(0..)
                .map(|(word, slot_number)| reported(word, slot_number))
                .collect(),
        },
        "gone" => Event::TaskExecutorGone {
            instance: InstanceId(number(words[1])),
            reason: "no heartbeat".into(),
            release: words.get(2) == Some(&"release"),
        },
        "available" => Event::SlotAvailable {
            instance: InstanceId(number(words[1])),
            slot_id: slot(words[2]),
            allocation_id: allocation(words[3]),
        },
        "assigned" => Event::Assigned {
            instance: InstanceId(number(words[1])),
            slot_id: slot(words[2]),
            allocation_id: allocation(words[3]),
        },
        "refused" => Event::Refused {
            instance: InstanceId(number(words[1])),
            slot_id: slot(words[2]),
            allocation_id: allocation(words[3]),
            reason: "occupied".into(),
        },
        "started" => Event::WorkerStarted { resource_id: ResourceId(words[1].into()) },
        "start-failed" => Event::WorkerStartFailed { reason: rest(1) },
        "terminated" => Event::WorkerTerminated { resource_id: ResourceId(words[1].into()), reason: rest(2) },
        "tick" => Event::Tick,
        other => panic!("no such event: {other}"),
    }
}

/// `-` a free slot, `a:j1` an allocated one, a number a free slot of that size.
fn reported(word: &str, slot_number: u32) -> ReportedSlot {
    let free = ReportedSlot { slot_number, profile: profile(100), allocation: None };
    match word.split_once(':') {
        Some((name, job)) => {
            ReportedSlot { allocation: Some((allocation(name), JobId(number(job)))), ..free }
        }
        None if word == "-" => free,
        None => ReportedSlot { profile: profile(word.parse().unwrap()), ..free },
    }
}

fn describe(action: &Action) -> String {
    let name = |a: &AllocationId| char::from(a.0 as u8);
    match action {
        Action::Assign { instance, slot_id, request } => format!(
            "assign {}/{} of i{} to {} of j{}",
            slot_id.resource_id,
            slot_id.slot_number,
            instance.0,
            name(&request.allocation_id),
            request.job_id.0
        ),
        Action::StartWorker => "start a worker".into(),
        Action::ReleaseWorker { resource_id, reason } => format!("release {resource_id}: {reason}"),
        Action::RefuseRequest { job_id, allocation_id, failure } => {
            let details = failure.details.as_ref().map(|d| format!("\n      [{}]", d.replace('\n', "; ")));
            format!(
                "refuse {} of j{}: {} {}{}",
                name(allocation_id),
                job_id.0,
                failure.code,
                failure.message,
                details.unwrap_or_default()
            )
        }
        Action::WorkerLost { job_id, resource_id, failure } => {
            format!("tell j{} that {resource_id} is lost: {} {}", job_id.0, failure.code, failure.message)
        }
    }
}

/// Runs a script; a line that begins with `at deadline` steps at the next one.
fn check(options: Options, script: &str, expected: Expect) {
    let mut manager = SlotManager::new(options);
    let mut now = Duration::ZERO;
    let mut text = String::new();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let event = if line == "at deadline" {
            let deadline = manager.next_deadline().expect("something is awaited");
            assert!(deadline > now, "the deadline {deadline:?} has passed at {now:?}: a busy loop");
            now = deadline;
            writeln!(text, "{} tick", now.as_secs_f64()).unwrap();
            Event::Tick
        } else {
            let words: Vec<&str> = line.split_whitespace().collect();
            let at = Duration::from_secs_f64(words[0].parse().unwrap());
            assert!(at >= now, "time goes back at: {line}");
            now = at;
            writeln!(text, "{line}").unwrap();
            event(&words[1..])
        };
        for action in manager.step(now, event) {
            writeln!(text, "    {}", describe(&action)).unwrap();
        }
    }
    let o = manager.overview();
    writeln!(
        text,
        "= {} registered, {} coming, {} of {} slots free, {} waiting",
        o.task_executors, o.coming_workers, o.free_slots, o.slots, o.waiting_requests
    )
    .unwrap();
    expected.assert_eq(&text);
}
