//! The slot pool: requests, offers, time-outs, losses.

use expect_test::{Expect, expect};
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::{AllocationId, ResourceId, SlotRequestId};
use heddle_model::memory::ResourceProfile;
use heddle_scheduler::slot_pool::{Action, Event, NewRequest, Offer, Options, SlotPool};
use std::time::Duration;

const SMALL: ResourceProfile = ResourceProfile { task_memory: 1, managed_memory: 1, network_memory: 1 };
const LARGE: ResourceProfile = ResourceProfile { task_memory: 9, managed_memory: 9, network_memory: 9 };

/// A pool and what it did, line by line.
struct Script {
    pool: SlotPool,
    now: Duration,
    text: String,
}

fn te(name: &str) -> ResourceId {
    ResourceId(name.into())
}

fn cause() -> Failure {
    Failure::new(ErrorCode::WorkerLost, "gone")
}

impl Script {
    fn new() -> Self {
        let pool = SlotPool::new(Options {
            request_timeout: Duration::from_secs(300),
            idle_timeout: Duration::from_secs(50),
        });
        Self { pool, now: Duration::ZERO, text: String::new() }
    }

    fn connected() -> Self {
        let mut script = Self::new();
        script.step(Event::ResourceManagerConnected);
        script.step(Event::TaskExecutorRegistered(te("a")));
        script.step(Event::TaskExecutorRegistered(te("b")));
        script.text.clear();
        script
    }

    fn step(&mut self, event: Event) -> &mut Self {
        for action in self.pool.step(self.now, event) {
            self.text.push_str(&show(&action));
            self.text.push('\n');
        }
        self
    }

    /// Requests with the allocation id that is ten times their number.
    fn request(&mut self, numbers: &[u128]) -> &mut Self {
        let requests = numbers
            .iter()
            .map(|number| NewRequest {
                id: SlotRequestId(*number),
                allocation_id: AllocationId(number * 10),
                profile: SMALL,
            })
            .collect();
        self.step(Event::Request(requests))
    }

    fn offer(&mut self, from: &str, offers: &[(u128, u32)]) -> &mut Self {
        self.offer_of(from, offers, SMALL)
    }

    fn offer_of(&mut self, from: &str, offers: &[(u128, u32)], profile: ResourceProfile) -> &mut Self {
        let offers = offers
            .iter()
            .map(|(allocation, slot_number)| Offer {
                allocation_id: AllocationId(*allocation),
                slot_number: *slot_number,
                profile,
            })
            .collect();
        self.step(Event::Offered { resource_id: te(from), offers })
    }

    /// Lets the time pass to the next deadline, if there is one.
    fn pass(&mut self) -> &mut Self {
        if let Some(deadline) = self.pool.next_deadline() {
            self.now = deadline;
            self.text.push_str(&format!("at {deadline:?}\n"));
        }
        self.step(Event::TimePassed)
    }

    fn check(&mut self, expected: Expect) {
        let pool = &self.pool;
        self.text.push_str(&format!(
            "{} pending, {} in use, {} kept\n",
            pool.pending(),
            pool.in_use(),
            pool.kept()
        ));
        expected.assert_eq(&self.text);
    }
}

fn show(action: &Action) -> String {
    match action {
        Action::AnswerOffer { accepted } => {
            format!("accepted {:?}", accepted.iter().map(|id| id.0).collect::<Vec<_>>())
        }
        Action::RequestSlot { allocation_id, .. } => format!("to the RM: request {}", allocation_id.0),
        Action::CancelSlotRequest { allocation_id } => format!("to the RM: cancel {}", allocation_id.0),
        Action::FreeSlot { resource_id, allocation_id, .. } => {
            format!("to {resource_id}: free {}", allocation_id.0)
        }
        Action::Fulfilled(slots) => {
            let slots: Vec<_> = slots
                .iter()
                .map(|s| format!("{} by {}@{}", s.request.0, s.allocation_id.0, s.resource_id))
                .collect();
            format!("fulfilled {}", slots.join(", "))
        }
        Action::Failed { requests, cause } => {
            let requests: Vec<_> = requests.iter().map(|request| request.0).collect();
            format!("failed {requests:?}: {} {}", cause.code, cause.message)
        }
    }
}

#[test]
fn requests_wait_until_the_resource_manager_is_there_and_are_made_again_after_it_was_lost() {
    let mut script = Script::new();
    script.step(Event::TaskExecutorRegistered(te("a")));
    script.request(&[1, 2]);
    assert_eq!(script.text, "");
    script
        .step(Event::ResourceManagerConnected)
        .offer("a", &[(10, 0)])
        .step(Event::ResourceManagerDisconnected)
        .step(Event::ResourceManagerConnected)
        .check(expect![[r#"
            to the RM: request 10
            to the RM: request 20
            accepted [10]
            fulfilled 1 by 10@a
            to the RM: request 20
            1 pending, 1 in use, 0 kept
        "#]]);
}

#[test]
fn offers_of_an_unknown_task_executor_are_rejected() {
    Script::connected().request(&[1]).offer("stranger", &[(10, 0)]).check(expect![[r#"
        to the RM: request 10
        accepted []
        1 pending, 0 in use, 0 kept
    "#]]);
}

#[test]
fn a_repeated_offer_is_acknowledged_and_another_slot_for_the_same_allocation_rejected() {
    Script::connected()
        .request(&[1])
        .offer("a", &[(10, 0)])
        .offer("a", &[(10, 0)])
        .offer("a", &[(10, 1)])
        .offer("b", &[(10, 0)])
        .check(expect![[r#"
            to the RM: request 10
            accepted [10]
            fulfilled 1 by 10@a
            accepted [10]
            accepted []
            accepted []
            0 pending, 1 in use, 0 kept
        "#]]);
}

#[test]
fn an_offer_that_was_not_asked_for_serves_a_request_that_it_fits() {
    Script::connected()
        .request(&[1, 2])
        .offer_of("a", &[(76, 3)], LARGE)
        .offer("a", &[(77, 0), (10, 1)])
        .offer("b", &[(20, 0)])
        .check(expect![[r#"
            to the RM: request 10
            to the RM: request 20
            accepted [76]
            accepted [10, 77]
            to the RM: cancel 20
            fulfilled 1 by 10@a, 2 by 77@a
            accepted [20]
            0 pending, 2 in use, 2 kept
        "#]]);
}

#[test]
fn a_slot_that_nobody_wants_is_kept_for_a_while() {
    Script::connected().offer("a", &[(77, 0)]).request(&[1]).check(expect![[r#"
        accepted [77]
        fulfilled 1 by 77@a
        0 pending, 1 in use, 0 kept
    "#]]);
    Script::connected().offer("a", &[(77, 0)]).pass().request(&[1]).check(expect![[r#"
        accepted [77]
        at 50s
        to a: free 77
        to the RM: request 10
        1 pending, 0 in use, 0 kept
    "#]]);
}

#[test]
fn too_few_slots_in_time_say_how_many_are_needed_and_what_to_do() {
    Script::connected().request(&[1, 2, 3]).offer("a", &[(10, 0)]).pass().check(expect![[r#"
        to the RM: request 10
        to the RM: request 20
        to the RM: request 30
        accepted [10]
        fulfilled 1 by 10@a
        at 300s
        to the RM: cancel 20
        to the RM: cancel 30
        failed [2, 3]: H3001 not enough slots: the job needs 3, 1 are there, 2 could not be had (no more came within 300s); start more TaskExecutors, raise `taskmanager.numberOfTaskSlots`, or lower the parallelism (-p)
        0 pending, 1 in use, 0 kept
    "#]]);
    Script::new().request(&[1]).pass().check(expect![[r#"
        at 300s
        failed [1]: H3001 not enough slots: the job needs 1, 0 are there, 1 could not be had (the resource manager was not reached within 300s); start more TaskExecutors, raise `taskmanager.numberOfTaskSlots`, or lower the parallelism (-p)
        0 pending, 0 in use, 0 kept
    "#]]);
}

#[test]
fn what_the_resource_manager_refuses_fails_its_request() {
    let refused = |code, message: &str| Event::AllocationFailed {
        allocation_id: AllocationId(20),
        cause: Failure::new(code, message),
    };
    Script::connected()
        .request(&[1, 2])
        .step(refused(ErrorCode::NoResources, "no worker may be started"))
        .step(refused(ErrorCode::NoResources, "said twice"))
        .check(expect![[r#"
            to the RM: request 10
            to the RM: request 20
            failed [2]: H3001 not enough slots: the job needs 2, 0 are there, 1 could not be had (no worker may be started); start more TaskExecutors, raise `taskmanager.numberOfTaskSlots`, or lower the parallelism (-p)
            1 pending, 0 in use, 0 kept
        "#]]);
    Script::connected().request(&[2]).step(refused(ErrorCode::Internal, "broken")).check(expect![[r#"
        to the RM: request 20
        failed [2]: H9001 broken
        0 pending, 0 in use, 0 kept
    "#]]);
}

#[test]
fn a_lost_task_executor_takes_all_of_its_slots() {
    Script::connected()
        .request(&[1, 2, 3])
        .offer("a", &[(10, 0), (20, 1), (78, 2), (79, 3)])
        .offer("b", &[(30, 0)])
        .step(Event::TaskExecutorLost { resource_id: te("a"), cause: cause() })
        .offer("a", &[(10, 0)])
        .check(expect![[r#"
            to the RM: request 10
            to the RM: request 20
            to the RM: request 30
            accepted [10, 20, 78, 79]
            to the RM: cancel 30
            fulfilled 1 by 10@a, 2 by 20@a, 3 by 78@a
            accepted [30]
            failed [1, 2, 3]: H3002 gone
            accepted []
            0 pending, 0 in use, 1 kept
        "#]]);
}

#[test]
fn a_failed_slot_fails_its_request_if_its_own_task_executor_says_so() {
    let failed = |from: &str| Event::SlotFailed {
        resource_id: te(from),
        allocation_id: AllocationId(10),
        cause: cause(),
    };
    Script::connected()
        .request(&[1])
        .offer("a", &[(10, 0)])
        .step(failed("b"))
        .step(failed("a"))
        .step(failed("a"))
        .check(expect![[r#"
            to the RM: request 10
            accepted [10]
            fulfilled 1 by 10@a
            failed [1]: H3002 gone
            0 pending, 0 in use, 0 kept
        "#]]);
}

#[test]
fn a_slot_that_only_its_task_executor_knows_is_freed() {
    let reported = |from: &str, allocations: &[u128]| Event::SlotsReported {
        resource_id: te(from),
        allocations: allocations.iter().map(|allocation| AllocationId(*allocation)).collect(),
    };
    Script::connected()
        .request(&[1])
        .offer("a", &[(10, 0), (77, 1)])
        .step(reported("a", &[10, 77]))
        .step(reported("a", &[10, 78]))
        .step(reported("b", &[10]))
        .step(reported("stranger", &[79]))
        .check(expect![[r#"
            to the RM: request 10
            accepted [10, 77]
            fulfilled 1 by 10@a
            to a: free 78
            to b: free 10
            to stranger: free 79
            0 pending, 1 in use, 1 kept
        "#]]);
}

#[test]
fn a_released_slot_goes_to_who_waits_or_back() {
    let release = |numbers: &[u128]| Event::Release {
        requests: numbers.iter().map(|number| SlotRequestId(*number)).collect(),
        cause: cause(),
    };
    Script::connected()
        .request(&[1, 2, 3])
        .offer("a", &[(10, 0)])
        .step(release(&[3]))
        .step(release(&[1]))
        .step(release(&[2, 2, 9]))
        .check(expect![[r#"
            to the RM: request 10
            to the RM: request 20
            to the RM: request 30
            accepted [10]
            fulfilled 1 by 10@a
            to the RM: cancel 30
            to the RM: cancel 20
            fulfilled 2 by 10@a
            to a: free 10
            0 pending, 0 in use, 0 kept
        "#]]);
}

#[test]
fn at_the_end_everything_goes_back() {
    Script::connected()
        .request(&[1, 2])
        .offer("a", &[(10, 0)])
        .offer_of("b", &[(77, 0)], LARGE)
        .step(Event::ReleaseAll { cause: cause() })
        .check(expect![[r#"
            to the RM: request 10
            to the RM: request 20
            accepted [10]
            fulfilled 1 by 10@a
            accepted [77]
            to the RM: cancel 20
            to a: free 10
            to b: free 77
            0 pending, 0 in use, 0 kept
        "#]]);
}
