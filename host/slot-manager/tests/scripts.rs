//! The slot manager's behaviour as scripts: lines of "second event", and after
//! each the actions that follow.
//!
//! Names: `a`..`z` allocations, `j1` jobs, `w1` workers, `i1` instances,
//! `w1/0` slots. A worker brings 2 slots of 100 bytes.

use expect_test::{Expect, expect};
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

#[test]
fn a_free_slot_else_a_coming_one_else_a_new_worker() {
    check(
        options(),
        "
        0 request a j1
        0 request b j1
        0 request c j1
        1 started w1
        1 started w2
        2 report i1 w1 - -
        2 assigned i1 w1/0 a
        2 assigned i1 w1/1 b
        3 report i2 w2 - -
        3 assigned i2 w2/0 c
        4 request d j2
        ",
        expect![[r#"
            0 request a j1
                start a worker
            0 request b j1
            0 request c j1
                start a worker
            1 started w1
            1 started w2
            2 report i1 w1 - -
                assign w1/0 of i1 to a of j1
                assign w1/1 of i1 to b of j1
            2 assigned i1 w1/0 a
            2 assigned i1 w1/1 b
            3 report i2 w2 - -
                assign w2/0 of i2 to c of j1
            3 assigned i2 w2/0 c
            4 request d j2
                assign w2/1 of i2 to d of j2
            = 2 registered, 0 coming, 0 of 4 slots free, 0 waiting
        "#]],
    );
}

#[test]
fn a_worker_may_register_before_its_start_is_told() {
    check(
        options(),
        "
        0 request a j1
        1 report i1 w1 - -
        1 started w1
        2 request b j1
        2 request c j1
        ",
        expect![[r#"
            0 request a j1
                start a worker
            1 report i1 w1 - -
                assign w1/0 of i1 to a of j1
            1 started w1
            2 request b j1
                assign w1/1 of i1 to b of j1
            2 request c j1
                start a worker
            = 1 registered, 1 coming, 0 of 2 slots free, 1 waiting
        "#]],
    );
}

#[test]
fn a_worker_that_comes_by_itself_serves_what_waits_for_another() {
    check(
        options(),
        "
        0 request a j1
        1 report i9 stranger - -
        1 assigned i9 stranger/0 a
        2 started w1
        3 report i1 w1 - -
        ",
        expect![[r#"
            0 request a j1
                start a worker
            1 report i9 stranger - -
                assign stranger/0 of i9 to a of j1
            1 assigned i9 stranger/0 a
            2 started w1
            3 report i1 w1 - -
            = 2 registered, 0 coming, 3 of 4 slots free, 0 waiting
        "#]],
    );
}

#[test]
fn a_freed_slot_serves_the_oldest_request() {
    check(
        Options { max_workers: Some(1), ..options() },
        "
        0 request a j1
        0 report i1 w1 - -
        0 assigned i1 w1/0 a
        0 request b j1
        0 assigned i1 w1/1 b
        1 request c j2
        1 request d j3
        1.5 available i1 w1/1 b
        1.5 assigned i1 w1/1 c
        1.6 available i1 w1/1 b
        1.7 available i1 w1/0 a
        ",
        expect![[r#"
            0 request a j1
                start a worker
            0 report i1 w1 - -
                assign w1/0 of i1 to a of j1
            0 assigned i1 w1/0 a
            0 request b j1
                assign w1/1 of i1 to b of j1
            0 assigned i1 w1/1 b
            1 request c j2
            1 request d j3
            1.5 available i1 w1/1 b
                assign w1/1 of i1 to c of j2
            1.5 assigned i1 w1/1 c
            1.6 available i1 w1/1 b
            1.7 available i1 w1/0 a
                assign w1/0 of i1 to d of j3
            = 1 registered, 0 coming, 0 of 2 slots free, 0 waiting
        "#]],
    );
}

#[test]
fn a_refused_slot_waits_for_its_report_and_the_request_gets_another() {
    check(
        options(),
        "
        0 report i1 w1 - -
        0 request a j1
        0 refused i1 w1/0 a
        0 refused i1 w1/1 a
        1 report i1 w1 - x:j9
        1 assigned i1 w1/0 a
        ",
        expect![[r#"
            0 report i1 w1 - -
            0 request a j1
                assign w1/0 of i1 to a of j1
            0 refused i1 w1/0 a
                assign w1/1 of i1 to a of j1
            0 refused i1 w1/1 a
                start a worker
            1 report i1 w1 - x:j9
                assign w1/0 of i1 to a of j1
            1 assigned i1 w1/0 a
            = 1 registered, 1 coming, 0 of 2 slots free, 0 waiting
        "#]],
    );
}

#[test]
fn a_slot_of_a_lost_worker_is_given_up_and_its_jobs_are_told() {
    check(
        options(),
        "
        0 report i1 w1 - -
        0 request a j1
        0 assigned i1 w1/0 a
        0 request b j2
        1 gone i1 release
        1 assigned i1 w1/1 b
        2 started w2
        3 report i2 w2 - -
        4 terminated w1 killed
        5 terminated w2 out of memory
        ",
        expect![[r#"
            0 report i1 w1 - -
            0 request a j1
                assign w1/0 of i1 to a of j1
            0 assigned i1 w1/0 a
            0 request b j2
                assign w1/1 of i1 to b of j2
            1 gone i1 release
                release w1: no heartbeat
                tell j1 that w1 is lost: H3002 worker w1 is lost: no heartbeat
                start a worker
            1 assigned i1 w1/1 b
            2 started w2
            3 report i2 w2 - -
                assign w2/0 of i2 to b of j2
            4 terminated w1 killed
            5 terminated w2 out of memory
                start a worker
            = 0 registered, 1 coming, 0 of 0 slots free, 1 waiting
        "#]],
    );
}

#[test]
fn a_new_instance_replaces_the_slots_of_the_former() {
    check(
        options(),
        "
        0 report i1 w1 - -
        0 request a j1
        0 assigned i1 w1/0 a
        0 request b j1
        1 report i2 w1 a:j1 -
        1 refused i1 w1/1 b
        1 assigned i2 w1/1 b
        2 available i1 w1/0 a
        3 available i2 w1/0 a
        ",
        expect![[r#"
            0 report i1 w1 - -
            0 request a j1
                assign w1/0 of i1 to a of j1
            0 assigned i1 w1/0 a
            0 request b j1
                assign w1/1 of i1 to b of j1
            1 report i2 w1 a:j1 -
                assign w1/1 of i2 to b of j1
            1 refused i1 w1/1 b
            1 assigned i2 w1/1 b
            2 available i1 w1/0 a
            3 available i2 w1/0 a
            = 1 registered, 0 coming, 1 of 2 slots free, 0 waiting
        "#]],
    );
}

#[test]
fn a_new_instance_that_knows_the_allocation_fulfils_the_request() {
    check(
        options(),
        "
        0 report i1 w1 - -
        0 request a j1
        1 report i2 w1 a:j1 -
        ",
        expect![[r#"
            0 report i1 w1 - -
            0 request a j1
                assign w1/0 of i1 to a of j1
            1 report i2 w1 a:j1 -
            = 1 registered, 0 coming, 1 of 2 slots free, 0 waiting
        "#]],
    );
}

#[test]
fn a_report_that_was_made_before_the_assignment_changes_nothing() {
    check(
        options(),
        "
        0 report i1 w1 - -
        0 request a j1
        0 report i1 w1 - -
        0 assigned i1 w1/0 a
        1 report i1 w1 a:j1 -
        ",
        expect![[r#"
            0 report i1 w1 - -
            0 request a j1
                assign w1/0 of i1 to a of j1
            0 report i1 w1 - -
            0 assigned i1 w1/0 a
            1 report i1 w1 a:j1 -
            = 1 registered, 0 coming, 1 of 2 slots free, 0 waiting
        "#]],
    );
}

#[test]
fn cancelled_requests_and_those_of_a_job_that_is_gone_get_no_slot() {
    check(
        options(),
        "
        0 request a j1
        0 request b j2
        0 request c j2
        1 cancel a
        1 job-gone j2
        2 started w1
        2 started w2
        3 report i1 w1 - -
        4 request a j1
        5 cancel a
        5 assigned i1 w1/0 a
        6 available i1 w1/0 a
        ",
        expect![[r#"
            0 request a j1
                start a worker
            0 request b j2
            0 request c j2
                start a worker
            1 cancel a
            1 job-gone j2
            2 started w1
            2 started w2
            3 report i1 w1 - -
            4 request a j1
                assign w1/0 of i1 to a of j1
            5 cancel a
            5 assigned i1 w1/0 a
            6 available i1 w1/0 a
            = 1 registered, 1 coming, 2 of 2 slots free, 0 waiting
        "#]],
    );
}

#[test]
fn a_repeated_request_is_one_request() {
    check(
        options(),
        "
        0 request a j1
        0 request a j1
        1 report i1 w1 - -
        1 request a j1
        1 assigned i1 w1/0 a
        1 request a j1
        ",
        expect![[r#"
            0 request a j1
                start a worker
            0 request a j1
            1 report i1 w1 - -
                assign w1/0 of i1 to a of j1
            1 request a j1
            1 assigned i1 w1/0 a
            1 request a j1
            = 1 registered, 0 coming, 1 of 2 slots free, 0 waiting
        "#]],
    );
}

#[test]
fn an_idle_worker_is_released_after_the_timeout() {
    check(
        options(),
        "
        0 report i1 w1 - -
        10 request a j1
        10 assigned i1 w1/0 a
        100 available i1 w1/0 a
        at deadline
        131 report i1 w1 - -
        132 report i2 w1 - -
        133 terminated w1 done
        134 report i3 w1 - -
        ",
        expect![[r#"
            0 report i1 w1 - -
            10 request a j1
                assign w1/0 of i1 to a of j1
            10 assigned i1 w1/0 a
            100 available i1 w1/0 a
            130 tick
                release w1: idle for 30 s
            131 report i1 w1 - -
                release w1: it was released before
            132 report i2 w1 - -
                release w1: it was released before
            133 terminated w1 done
            134 report i3 w1 - -
            = 1 registered, 0 coming, 2 of 2 slots free, 0 waiting
        "#]],
    );
}

#[test]
fn starting_pauses_above_ten_failures_a_minute() {
    check(
        options(),
        "
        0 request a j1
        1 start-failed no image
        2 start-failed no image
        3 start-failed no image
        4 start-failed no image
        5 start-failed no image
        6 start-failed no image
        7 start-failed no image
        8 start-failed no image
        9 start-failed no image
        10 start-failed no image
        11 start-failed no image
        at deadline
        14 start-failed no image
        at deadline
        80 start-failed no image
        ",
        expect![[r#"
            0 request a j1
                start a worker
            1 start-failed no image
                start a worker
            2 start-failed no image
                start a worker
            3 start-failed no image
                start a worker
            4 start-failed no image
                start a worker
            5 start-failed no image
                start a worker
            6 start-failed no image
                start a worker
            7 start-failed no image
                start a worker
            8 start-failed no image
                start a worker
            9 start-failed no image
                start a worker
            10 start-failed no image
                start a worker
            11 start-failed no image
            14 tick
                start a worker
            14 start-failed no image
            17 tick
                start a worker
            80 start-failed no image
                start a worker
            = 0 registered, 1 coming, 0 of 0 slots free, 1 waiting
        "#]],
    );
}

#[test]
fn a_worker_that_ends_or_dallies_before_it_registers_is_replaced() {
    check(
        Options { request_timeout: Duration::from_secs(3600), ..options() },
        "
        0 request a j1
        1 started w1
        2 terminated w1 exit code 1
        3 started w2
        at deadline
        304 report i2 w2 - -
        305 terminated w2 released
        ",
        expect![[r#"
            0 request a j1
                start a worker
            1 started w1
            2 terminated w1 exit code 1
                start a worker
            3 started w2
            303 tick
                release w2: worker w2 did not register within 300 s
                start a worker
            304 report i2 w2 - -
                release w2: it was released before
            305 terminated w2 released
            = 0 registered, 1 coming, 0 of 0 slots free, 1 waiting
        "#]],
    );
}

#[test]
fn workers_that_bring_other_slots_than_asked_for_count_as_failures() {
    check(
        Options { max_start_failures_per_minute: 1, ..options() },
        "
        0 request a j1
        1 started w1
        2 report i1 w1 50
        3 started w2
        4 report i2 w2 50
        at deadline
        8 request b j1 40
        ",
        expect![[r#"
            0 request a j1
                start a worker
            1 started w1
            2 report i1 w1 50
                start a worker
            3 started w2
            4 report i2 w2 50
            7 tick
                start a worker
            8 request b j1 40
                assign w1/0 of i1 to b of j1
            = 2 registered, 1 coming, 1 of 2 slots free, 1 waiting
        "#]],
    );
}

#[test]
fn a_job_that_needs_more_than_the_limit_is_told_the_numbers() {
    check(
        Options { max_slots: Some(4), ..options() },
        "
        0 request a j1
        0 request b j1
        0 request c j1
        0 request d j1
        0 request e j1
        1 report i1 w1 - -
        1 report i2 w2 - -
        1 assigned i1 w1/0 a
        1 assigned i1 w1/1 b
        1 assigned i2 w2/0 c
        1 assigned i2 w2/1 d
        at deadline
        ",
        expect![[r#"
            0 request a j1
                start a worker
            0 request b j1
            0 request c j1
                start a worker
            0 request d j1
            0 request e j1
            1 report i1 w1 - -
                assign w1/0 of i1 to a of j1
                assign w1/1 of i1 to b of j1
            1 report i2 w2 - -
                assign w2/0 of i2 to c of j1
                assign w2/1 of i2 to d of j1
            1 assigned i1 w1/0 a
            1 assigned i1 w1/1 b
            1 assigned i2 w2/0 c
            1 assigned i2 w2/1 d
            2 tick
                refuse e of j1: H3001 not enough slots: the job holds 4 and needs 1 more, the cluster has 0 of 4 slots free on 2 workers, at most 4 slots (slotmanager.number-of-slots.max); lower the parallelism or raise the limit
            = 2 registered, 0 coming, 0 of 4 slots free, 0 waiting
        "#]],
    );
}

#[test]
fn at_the_limit_another_job_waits_for_its_turn_and_is_told_at_last() {
    check(
        Options { max_workers: Some(1), ..options() },
        "
        0 report i1 w1 a:j1 b:j1
        0 request c j2
        0 request d j2
        at deadline
        10 available i1 w1/0 a
        10 assigned i1 w1/0 c
        at deadline
        ",
        expect![[r#"
            0 report i1 w1 a:j1 b:j1
            0 request c j2
            0 request d j2
            2 tick
            10 available i1 w1/0 a
                assign w1/0 of i1 to c of j2
            10 assigned i1 w1/0 c
            300 tick
                refuse d of j2: H3001 not enough slots: none came within 300 s; the job holds 1 and waits for 1, the cluster has 0 of 2 slots free on 1 worker, at most 1 worker; free slots, start workers, or lower the parallelism
            = 1 registered, 0 coming, 0 of 2 slots free, 0 waiting
        "#]],
    );
}

#[test]
fn a_request_that_no_worker_could_serve_is_refused_at_once() {
    check(
        options(),
        "
        0 request a j1 3000000
        0 report i1 w1 4000000
        0 request b j1 3000000
        0 request c j1 3000000
        ",
        expect![[r#"
            0 request a j1 3000000
                refuse a of j1: H3001 no slot is large enough: the job wants 2.9 MiB of task memory where a slot has 100 bytes, 2.9 MiB of managed memory where a slot has 100 bytes, 2.9 MiB of network memory where a slot has 100 bytes; give workers more memory or fewer slots
            0 report i1 w1 4000000
            0 request b j1 3000000
                assign w1/0 of i1 to b of j1
            0 request c j1 3000000
            = 1 registered, 0 coming, 0 of 1 slots free, 1 waiting
        "#]],
    );
}

#[test]
fn without_workers_to_start_requests_wait_for_those_that_come() {
    check(
        Options { max_workers: Some(0), ..options() },
        "
        0 request a j1
        0 request b j1 200
        10 report i1 w1 - -
        10 assigned i1 w1/0 a
        at deadline
        ",
        expect![[r#"
            0 request a j1
            0 request b j1 200
            10 report i1 w1 - -
                assign w1/0 of i1 to a of j1
            10 assigned i1 w1/0 a
            300 tick
                refuse b of j1: H3001 not enough slots: none came within 300 s; the job holds 1 and waits for 1, the cluster has 1 of 2 slots free on 1 worker, and starts none by itself; free slots, start workers, or lower the parallelism
            = 1 registered, 0 coming, 1 of 2 slots free, 0 waiting
        "#]],
    );
}

#[test]
fn the_last_failed_start_is_in_the_message_of_a_timed_out_request() {
    check(
        Options {
            max_start_failures_per_minute: 0,
            start_retry_pause: Duration::from_secs(1000),
            ..options()
        },
        "
        0 request a j1
        1 start-failed the queue is full
        at deadline
        ",
        expect![[r#"
            0 request a j1
                start a worker
            1 start-failed the queue is full
            300 tick
                refuse a of j1: H3001 not enough slots: none came within 300 s; the job holds 0 and waits for 1, the cluster has 0 of 0 slots free on 0 workers; the last worker failed to start: the queue is full
            = 0 registered, 0 coming, 0 of 0 slots free, 0 waiting
        "#]],
    );
}

#[test]
fn a_worker_above_the_limit_is_sent_away() {
    check(
        Options { max_slots: Some(2), ..options() },
        "
        0 report i1 w1 - -
        1 report i2 w2 - -
        2 terminated w2 released
        ",
        expect![[r#"
            0 report i1 w1 - -
            1 report i2 w2 - -
                release w2: its 2 slots exceed slotmanager.number-of-slots.max or the most workers
            2 terminated w2 released
            = 1 registered, 0 coming, 2 of 2 slots free, 0 waiting
        "#]],
    );
}
