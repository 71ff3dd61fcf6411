//! The driver's decisions, told step by step.

use expect_test::{Expect, expect};
use heddle_model::memory::{ResourceProfile, WorkerResourceSpec};
use heddle_yarn::driver::{Action, Brain, Event, Intervals};
use heddle_yarn::id::ContainerId;
use heddle_yarn::masters::{Allocated, Container, ContainerStatus};
use heddle_yarn::token::Token;
use heddle_yarn::types::{NodeId, Resource};
use std::fmt::Write;
use std::time::Duration;

fn container(number: i64) -> ContainerId {
    format!("container_1_0001_01_{number:06}").parse().unwrap()
}

fn node() -> NodeId {
    NodeId { host: "n".to_owned(), port: 1 }
}

fn given(number: i64, priority: i32) -> Container {
    Container {
        id: container(number),
        node: node(),
        node_http: String::new(),
        resource: Resource { memory_mib: 1024, vcores: 1 },
        priority,
        token: Token::new(vec![1], vec![2], "ContainerToken", ""),
    }
}

fn spec(slots: u32) -> WorkerResourceSpec {
    let slot = ResourceProfile { task_memory: 1, managed_memory: 1, network_memory: 1 };
    WorkerResourceSpec { slots, slot }
}

fn nothing(response_id: i32) -> Allocated {
    Allocated {
        response_id,
        allocated: Vec::new(),
        completed: Vec::new(),
        updated_nodes: Vec::new(),
        node_tokens: vec![(node(), Token::new(vec![1], vec![2], "NMToken", ""))],
        recovered: Vec::new(),
        preempted: Vec::new(),
        available: Resource::default(),
        token: None,
        is_shutdown: false,
    }
}

fn completed(number: i64, exit_status: i32, diagnostics: &str) -> ContainerStatus {
    ContainerStatus {
        id: container(number),
        is_complete: true,
        exit_status,
        diagnostics: diagnostics.to_owned(),
    }
}

/// Each line of the script: milliseconds, then an event.
fn check(script: &str, expected: Expect) {
    let maximum = Resource { memory_mib: 4096, vcores: 4 };
    let mut brain = Brain::new(Intervals::default(), maximum, None);
    let (mut told, mut response_id) = (String::new(), 0);
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split(' ').collect();
        let now = Duration::from_millis(words[0].parse().unwrap());
        let number = |at: usize| words[at].parse::<i64>().unwrap();
        let event = match words[1] {
            "request" => {
                let memory_mib = number(2) as u64;
                let resource = Resource { memory_mib, vcores: 1 };
                Event::Request { spec: spec((memory_mib / 512) as u32), resource }
            }
            "release" => Event::Release(container(number(2))),
            // Containers as number:priority, ends as number=status.
            "beat" => {
                response_id += 1;
                let mut allocated = nothing(response_id);
                for word in &words[2..] {
                    if let Some((number, priority)) = word.split_once(':') {
                        allocated.allocated.push(given(number.parse().unwrap(), priority.parse().unwrap()));
                    } else if let Some((number, status)) = word.split_once('=') {
                        allocated.completed.push(completed(
                            number.parse().unwrap(),
                            status.parse().unwrap(),
                            "",
                        ));
                    } else {
                        allocated.is_shutdown = *word == "shutdown";
                    }
                }
                Event::Heartbeat(Box::new(allocated))
            }
            "failed" => Event::HeartbeatFailed,
            "unknown" => Event::NotRegistered,
            "registered" => Event::Registered,
            "recovered" => {
                let containers = words[2..].iter().map(|word| given(word.parse().unwrap(), 1)).collect();
                Event::Recovered { containers, node_tokens: nothing(0).node_tokens }
            }
            "started" => Event::Started { container: container(number(2)), error: None },
            "refused" => {
                Event::Started { container: container(number(2)), error: Some("no disk".to_owned()) }
            }
            "tick" => Event::Tick,
            other => panic!("{other}"),
        };
        for action in brain.step(now, event) {
            writeln!(told, "{} {}", words[0], shown(&action)).unwrap();
        }
    }
    expected.assert_eq(&told);
}

fn shown(action: &Action) -> String {
    let own = |id: &ContainerId| id.number;
    match action {
        Action::Heartbeat { response_id, asks, releases } => {
            let asks: Vec<String> = asks
                .iter()
                .map(|ask| format!(" ask {}×{} MiB at {}", ask.count, ask.resource.memory_mib, ask.priority))
                .collect();
            let releases: Vec<String> = releases.iter().map(|id| format!(" release {}", own(id))).collect();
            format!("heartbeat {response_id}{}{}", asks.concat(), releases.concat())
        }
        Action::Start { container, spec, .. } => {
            format!("start {} with {} slots", own(&container.id), spec.slots)
        }
        Action::Stop { container, .. } => format!("stop {}", own(container)),
        Action::WorkerStarted { container, .. } => format!("worker {}", own(container)),
        Action::WorkerRecovered { container, .. } => format!("recovered {}", own(container)),
        Action::StartFailed { reason } => format!("failed: {reason}"),
        Action::WorkerTerminated { container, reason, .. } => format!("ended {}: {reason}", own(container)),
        Action::Register => "register".to_owned(),
        Action::Shutdown => "shutdown".to_owned(),
    }
}

#[test]
fn what_is_wanted_is_asked_for_once_and_what_is_too_much_goes_back() {
    check(
        "0 request 1024
         500 request 1024
         600 beat
         1000 tick
         1100 beat 1:1 2:1 3:1
         1500 tick
         1600 beat
         6000 tick
         6600 tick",
        expect![[r#"
            500 heartbeat 0 ask 2×1024 MiB at 1
            1000 heartbeat 1
            1100 worker 1
            1100 start 1 with 2 slots
            1100 worker 2
            1100 start 2 with 2 slots
            1500 heartbeat 2 release 3
            6600 heartbeat 3
        "#]],
    );
}

#[test]
fn each_size_has_its_priority() {
    check(
        "0 request 1024
         0 request 2048
         500 tick
         600 beat 1:2
         1100 beat
         1600 tick
         1700 beat 2:2 3:1 4:9",
        expect![[r#"
            500 heartbeat 0 ask 1×1024 MiB at 1 ask 1×2048 MiB at 2
            600 worker 1
            600 start 1 with 4 slots
            1100 heartbeat 2
            1700 worker 3
            1700 start 3 with 2 slots
            1700 heartbeat 3 release 2 release 4
        "#]],
    );
}

#[test]
fn a_request_above_the_maximum_fails_with_the_numbers() {
    check(
        "0 request 8192",
        expect![[r#"
            0 failed: a worker needs 8192 MiB, 1 vcores, and YARN gives a container no more than 4096 MiB, 4 vcores
        "#]],
    );
}

#[test]
fn ends_are_told_once_with_their_cause() {
    check(
        "0 request 1024
         0 request 1024
         0 request 1024
         500 tick
         600 beat 1:1 2:1 3:1
         700 refused 1
         800 release 2
         900 release 2
         1000 tick
         1100 beat 1=-100 2=-105 3=-104
         1200 release 3
         1300 refused 3",
        expect![[r#"
            500 heartbeat 0 ask 3×1024 MiB at 1
            600 worker 1
            600 start 1 with 2 slots
            600 worker 2
            600 start 2 with 2 slots
            600 worker 3
            600 start 3 with 2 slots
            700 ended 1: its node did not start it: no disk
            800 stop 2
            1000 heartbeat 1 release 1 release 2
            1100 ended 2: it was stopped
            1100 ended 3: its node killed it for its memory; give it more with `taskmanager.memory.process.size`
        "#]],
    );
}

#[test]
fn what_did_not_come_through_is_said_again() {
    check(
        "0 request 1024
         500 tick
         600 failed
         1000 tick
         1100 beat 1:1 2:1
         1500 tick
         1600 failed
         2000 tick",
        expect![[r#"
            500 heartbeat 0 ask 1×1024 MiB at 1
            1000 heartbeat 0 ask 1×1024 MiB at 1
            1100 worker 1
            1100 start 1 with 2 slots
            1500 heartbeat 1 release 2
            2000 heartbeat 1 release 2
        "#]],
    );
}

#[test]
fn containers_of_earlier_attempts_are_workers_like_others() {
    check(
        "0 recovered 1 2
         100 recovered 1
         200 release 1
         300 request 1024
         500 tick
         600 beat 2=137 1=-105 3:1
         700 release 3",
        expect![[r#"
            0 recovered 1
            0 recovered 2
            200 stop 1
            500 heartbeat 0 ask 1×1024 MiB at 1 release 1
            600 ended 2: it was ended by signal 9
            600 ended 1: it was stopped
            600 worker 3
            600 start 3 with 2 slots
            700 stop 3
        "#]],
    );
}

#[test]
fn a_resource_manager_that_was_started_again_is_told_all_once_more() {
    check(
        "0 request 1024
         0 request 2048
         500 tick
         600 beat 1:1
         1000 tick
         1100 unknown
         1500 request 2048
         1600 registered
         1700 beat 2:2 3:2
         2300 beat shutdown",
        expect![[r#"
            500 heartbeat 0 ask 1×1024 MiB at 1 ask 1×2048 MiB at 2
            600 worker 1
            600 start 1 with 2 slots
            1000 heartbeat 1
            1100 register
            1600 heartbeat 0 ask 0×1024 MiB at 1 ask 2×2048 MiB at 2
            1700 worker 2
            1700 start 2 with 4 slots
            1700 worker 3
            1700 start 3 with 4 slots
            2300 shutdown
        "#]],
    );
}
