//! The TaskExecutor through its public door, among peers that come late, fall
//! silent, refuse, and say the wrong things. Each test ends with the slot table
//! that is left.

mod fakes;

use fakes::{
    HEARTBEAT_TIMEOUT, JOB, NEXT_RM_TOKEN, Offers, Process, RM_TOKEN, SLOT_TIMEOUT, STALE, TOKEN, attempt,
    resource_manager_address, sink_task,
};
use heddle_model::batch_builder::TextBatchBuilder;
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::{AllocationId, InstanceId, JobMasterId, ResourceManagerId};
use heddle_rpc::{Error, TaskExecutorGateway};
use std::sync::atomic::Ordering;
use std::time::Duration;

fn end() -> Failure {
    Failure::new(ErrorCode::Internal, "the job has ended")
}

/// The failure behind an error.
fn refusal(result: heddle_rpc::Result<()>) -> Failure {
    match result {
        Err(Error::Failure(failure)) => failure,
        other => panic!("a refusal is expected: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_runs_in_a_slot_that_was_offered_and_its_end_is_told() {
    let process = Process::new();
    let worker = process.start("worker");
    worker.request(1, 4).await.expect("the slot is free");
    process.job_master.log.until("offered [4]").await;
    let producer = process.producer(0);
    worker.submit(TOKEN, vec![sink_task(0, 4)]).await.expect("the slot is the job's");
    let mut batch = TextBatchBuilder::with_capacity(100);
    batch.push("a line");
    producer.try_send(0, batch.finish().expect("a line").into()).expect("there is room");
    process.job_master.log.until("task 0 RUNNING").await;
    producer.finish();
    process.job_master.log.until("FINISHED").await;
    assert_eq!(
        process.job_master.log.take(),
        [
            "worker registered",
            "offered [4]",
            "task 0 INITIALIZING",
            "task 0 RUNNING",
            "task 0 FINISHED with 1 outputs"
        ]
    );
    assert_eq!(worker.slots().await, [None, Some(4)], "the slot is the job's until it gives it back");
    let stale = worker.handle.free_slot(STALE, AllocationId(4), end()).await;
    assert_eq!(stale, Err(Error::Fenced { expected: TOKEN.to_string(), got: STALE.to_string() }));
    assert_eq!(worker.slots().await, [None, Some(4)]);
    worker.handle.free_slot(TOKEN, AllocationId(4), end()).await.expect("it is taken");
    process.resource_manager.log.until("slot 1 is free of 4").await;
    assert_eq!(worker.slots().await, [None, None]);
}

// ---- the resource manager -----------------------------------------------------

#[tokio::test(start_paused = true)]
async fn registration_is_tried_again_until_the_resource_manager_takes_it() {
    let process = Process::new();
    let full = Failure::new(ErrorCode::NoResources, "not yet");
    process
        .resource_manager
        .refusals
        .lock()
        .expect("no fake panics")
        .extend([full.clone().into(), full.into()]);
    let worker = process.start("worker");
    process.resource_manager.log.until("registered as 1").await;
    assert_eq!(
        process.resource_manager.log.take(),
        ["registration refused", "registration refused", "registered as 1"]
    );
    assert_eq!(worker.slots().await, [None, None]);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_no_resource_manager_takes_ends() {
    let process = Process::new();
    process.stop_resource_manager();
    let error = process.start("worker").ended(false).await.expect_err("nobody takes it");
    let text = error.to_string();
    assert!(text.contains("within 300s") && text.contains("nothing answers at"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_resource_manager_that_was_silent_is_registered_at_again_with_the_slots_as_they_are() {
    let process = Process::new();
    let worker = process.start("worker");
    worker.request(0, 4).await.expect("the slot is free");
    process.job_master.log.until("offered").await;
    worker.submit(TOKEN, vec![sink_task(0, 4)]).await.expect("the slot is the job's");
    tokio::time::sleep(3 * HEARTBEAT_TIMEOUT).await;
    assert_eq!(process.resource_manager.log.count("registered"), 1, "its heartbeats keep it");
    process.resource_manager.silent.store(true, Ordering::SeqCst);
    process.resource_manager.log.until("registered as 2").await;
    process.resource_manager.silent.store(false, Ordering::SeqCst);
    tokio::time::sleep(3 * HEARTBEAT_TIMEOUT).await;
    assert_eq!(process.resource_manager.log.take(), ["registered as 1", "registered as 2"]);
    assert_eq!(worker.slots().await, [Some(4), None]);
}

#[tokio::test(start_paused = true)]
async fn a_resource_manager_that_takes_over_finds_the_slots_free_and_the_former_one_is_fenced_off() {
    let process = Process::new();
    let worker = process.start("worker");
    worker.request(0, 4).await.expect("the slot is free");
    process.job_master.log.until("offered").await;
    let _producer = process.producer(0);
    worker.submit(TOKEN, vec![sink_task(0, 4)]).await.expect("the slot is the job's");
    process.job_master.log.until("task 0 RUNNING").await;
    process.leader.send_replace(None);
    tokio::time::sleep(SLOT_TIMEOUT).await;
    assert_eq!(worker.slots_at(RM_TOKEN).await, None, "nobody leads");
    process.leader.send_replace(Some((resource_manager_address(), NEXT_RM_TOKEN)));
    process.resource_manager.log.until("registered as 2").await;
    // The job runs again, under another master.
    while worker.slots_at(NEXT_RM_TOKEN).await != Some(vec![None, None]) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(worker.slots_at(RM_TOKEN).await, None, "the former one is late");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_nobody_leads_for_too_long_ends() {
    let process = Process::new();
    let worker = process.start("worker");
    process.resource_manager.log.until("registered as 1").await;
    process.leader.send_replace(None);
    let error = worker.ended(false).await.expect_err("nobody leads");
    assert!(error.to_string().contains("no resource manager leads"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_registration_that_the_resource_manager_does_not_know_is_made_again() {
    let process = Process::new();
    let worker = process.start("worker");
    worker.request(0, 4).await.expect("the slot is free");
    // A copy of the registration came late and replaced it.
    process.resource_manager.forgotten.lock().expect("no fake panics").push(InstanceId::from_bits(1));
    process.resource_manager.log.until("registered as 2").await;
    tokio::time::sleep(HEARTBEAT_TIMEOUT).await;
    assert_eq!(process.resource_manager.log.count("registered"), 2);
    assert_eq!(worker.slots().await, [Some(4), None]);
}

#[tokio::test(start_paused = true)]
async fn the_word_of_another_resource_manager_is_not_taken() {
    let process = Process::new();
    let worker = process.start("worker");
    let stale = ResourceManagerId::from_bits(1);
    let answer = worker.handle.heartbeat_from_resource_manager(stale).await;
    assert!(matches!(answer, Err(Error::Fenced { .. })), "{answer:?}");
    assert_eq!(worker.slots().await, [None, None]);
}

// ---- slots --------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn requests_for_slots_that_are_not_there_or_taken_are_refused() {
    let process = Process::new();
    let worker = process.start("worker");
    let unknown = refusal(worker.request(2, 4).await);
    assert_eq!(unknown.code, ErrorCode::NoResources);
    assert!(unknown.message.contains("there is no slot 2: this TaskExecutor has 2"), "{unknown}");
    worker.request(0, 4).await.expect("the slot is free");
    worker.request(0, 4).await.expect("the same again changes nothing");
    let taken = refusal(worker.request(0, 5).await);
    assert!(taken.message.contains("slot 0 is held by allocation"), "{taken}");
    assert_eq!(worker.slots().await, [Some(4), None]);
}

#[tokio::test(start_paused = true)]
async fn a_slot_whose_job_master_never_answers_is_given_back_in_time() {
    let process = Process::new();
    process.stop_job_master();
    let worker = process.start("worker");
    worker.request(0, 4).await.expect("the slot is free");
    tokio::time::sleep(SLOT_TIMEOUT - Duration::from_secs(1)).await;
    assert_eq!(worker.slots().await, [Some(4), None]);
    process.resource_manager.log.until("slot 0 is free of 4").await;
    assert_eq!(worker.slots().await, [None, None]);
    process.serve_job_master();
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(process.job_master.log.take(), Vec::<String>::new(), "the job is forgotten");
}

#[tokio::test(start_paused = true)]
async fn a_slot_that_is_rejected_is_given_back_at_once() {
    let process = Process::new();
    process.job_master.answer_offers(Offers::AcceptEven);
    let worker = process.start("worker");
    worker.request(0, 4).await.expect("the slot is free");
    worker.request(1, 5).await.expect("the slot is free");
    process.resource_manager.log.until("slot 1 is free of 5").await;
    tokio::time::sleep(2 * SLOT_TIMEOUT).await;
    assert_eq!(process.resource_manager.log.count("is free"), 1);
    assert_eq!(worker.slots().await, [Some(4), None]);
}

#[tokio::test(start_paused = true)]
async fn a_job_none_of_whose_slots_is_wanted_is_forgotten() {
    let process = Process::new();
    process.job_master.answer_offers(Offers::Reject);
    let worker = process.start("worker");
    worker.request(0, 4).await.expect("the slot is free");
    process.resource_manager.log.until("slot 0 is free of 4").await;
    let answer = worker.handle.heartbeat_from_job_master(TOKEN, JOB).await;
    assert!(matches!(answer, Err(Error::Fenced { .. })), "{answer:?}");
    assert_eq!(worker.slots().await, [None, None]);
}

#[tokio::test(start_paused = true)]
async fn an_offer_that_fails_is_made_again() {
    let process = Process::new();
    process.job_master.answer_offers(Offers::Fail);
    let worker = process.start("worker");
    worker.request(0, 4).await.expect("the slot is free");
    process.job_master.log.until("offered").await;
    process.job_master.answer_offers(Offers::Accept);
    tokio::time::sleep(2 * SLOT_TIMEOUT).await;
    assert!(process.job_master.log.count("offered [4]") >= 2);
    assert_eq!(worker.slots().await, [Some(4), None]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_after_the_slot_was_given_back_changes_nothing() {
    let process = Process::new();
    process.job_master.answer_offers(Offers::AcceptAfter(2 * SLOT_TIMEOUT));
    let worker = process.start("worker");
    worker.request(0, 4).await.expect("the slot is free");
    process.resource_manager.log.until("slot 0 is free of 4").await;
    tokio::time::sleep(3 * SLOT_TIMEOUT).await;
    assert_eq!(worker.slots().await, [None, None]);
    // The job master believes that it has the slot.
    let answer = worker.submit(TOKEN, vec![sink_task(0, 4)]).await;
    assert!(matches!(answer, Err(Error::Fenced { .. })), "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_after_the_job_master_was_lost_binds_nobody() {
    let process = Process::new();
    let worker = process.start("worker");
    worker.request(0, 4).await.expect("the slot is free");
    process.job_master.log.until("offered [4]").await;
    worker.handle.heartbeat_from_job_master(TOKEN, JOB).await.expect("it is registered");
    process.job_master.silent.store(true, Ordering::SeqCst);
    process.stop_job_master();
    tokio::time::sleep(HEARTBEAT_TIMEOUT - Duration::from_secs(5)).await;
    process.serve_job_master();
    process.job_master.answer_offers(Offers::AcceptAfter(Duration::from_secs(8)));
    worker.request(1, 5).await.expect("the slot is free");
    process.job_master.log.until("offered [5]").await;
    process.stop_job_master();
    process.resource_manager.log.until("slot 1 is free of 5").await;
    process.resource_manager.log.until("slot 0 is free of 4").await;
    assert_eq!(worker.slots().await, [None, None]);
}

// ---- tasks --------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn an_attempt_that_comes_late_does_not_start_and_a_newer_one_supersedes() {
    let process = Process::new();
    let worker = process.start("worker");
    worker.request(0, 4).await.expect("the slot is free");
    process.job_master.log.until("offered").await;
    let task = |number: u32| {
        let mut task = sink_task(0, 4);
        task.attempt.attempt = number;
        vec![task]
    };
    worker.submit(TOKEN, task(1)).await.expect("the slot is the job's");
    process.job_master.log.until("task 0 INITIALIZING").await;
    let late = refusal(worker.submit(TOKEN, task(0)).await);
    assert_eq!(late.code, ErrorCode::Fenced);
    assert!(late.message.contains("comes after attempt 1 of the same subtask"), "{late}");
    assert_eq!(process.job_master.log.count("CANCELED"), 0);
    worker.submit(TOKEN, task(2)).await.expect("it is newer");
    process.job_master.log.until("task 0 CANCELED").await;
    let copy = refusal(worker.submit(TOKEN, task(1)).await);
    assert_eq!(copy.code, ErrorCode::Fenced);
}

#[tokio::test(start_paused = true)]
async fn tasks_of_a_job_master_that_counts_as_lost_do_not_start() {
    let process = Process::new();
    let worker = process.start("worker");
    worker.request(0, 4).await.expect("the slot is free");
    process.job_master.log.until("offered [4]").await;
    worker.handle.heartbeat_from_job_master(TOKEN, JOB).await.expect("it is registered");
    process.job_master.silent.store(true, Ordering::SeqCst);
    process.stop_job_master();
    tokio::time::sleep(HEARTBEAT_TIMEOUT + Duration::from_secs(5)).await;
    let refused = refusal(worker.submit(TOKEN, vec![sink_task(0, 4)]).await);
    assert_eq!(refused.code, ErrorCode::Fenced);
    assert!(refused.message.contains("is not registered at the master"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_task_is_told_until_the_job_master_takes_it() {
    let process = Process::new();
    let worker = process.start("worker");
    worker.request(0, 4).await.expect("the slot is free");
    process.job_master.log.until("offered").await;
    worker.submit(TOKEN, vec![sink_task(0, 4)]).await.expect("the slot is the job's");
    process.job_master.log.until("task 0 INITIALIZING").await;
    process.job_master.deaf.store(true, Ordering::SeqCst);
    worker.handle.cancel_tasks(TOKEN, vec![attempt(0)]).await.expect("it is taken");
    tokio::time::sleep(5 * HEARTBEAT_TIMEOUT).await;
    assert_eq!(process.job_master.log.count("CANCELED"), 0);
    process.job_master.deaf.store(false, Ordering::SeqCst);
    process.job_master.log.until("task 0 CANCELED").await;
}

#[tokio::test(start_paused = true)]
async fn tasks_that_are_not_for_here_do_not_start() {
    let process = Process::new();
    let worker = process.start("worker");
    worker.request(0, 4).await.expect("the slot is free");
    process.job_master.log.until("offered").await;
    let stale = worker.submit(STALE, vec![sink_task(0, 4)]).await;
    assert!(matches!(stale, Err(Error::Fenced { .. })), "{stale:?}");
    // All or none: the first one of them is refused with the second.
    let unknown = refusal(worker.submit(TOKEN, vec![sink_task(0, 4), sink_task(1, 99)]).await);
    assert_eq!(unknown.code, ErrorCode::NoResources);
    assert!(unknown.message.contains("no slot is allocated as"), "{unknown}");
    let mut foreign = sink_task(0, 4);
    foreign.attempt.job_id = heddle_model::id::JobId::from_bits(8);
    refusal(worker.submit(TOKEN, vec![foreign]).await);
    assert_eq!(process.job_master.log.count("task"), 0);
    worker.handle.free_slot(TOKEN, AllocationId(4), end()).await.expect("it is taken");
    assert_eq!(worker.slots().await, [None, None], "nothing runs in it");
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_submitted_twice_runs_once() {
    let process = Process::new();
    let worker = process.start("worker");
    worker.request(0, 4).await.expect("the slot is free");
    process.job_master.log.until("offered").await;
    worker.submit(TOKEN, vec![sink_task(0, 4)]).await.expect("the slot is the job's");
    let again = refusal(worker.submit(TOKEN, vec![sink_task(0, 4)]).await);
    assert!(again.message.contains("is running here already"), "{again}");
    process.job_master.log.until("INITIALIZING").await;
    assert_eq!(process.job_master.log.count("task 0"), 1, "the first one goes on");
    let twice = refusal(worker.submit(TOKEN, vec![sink_task(1, 4), sink_task(1, 4)]).await);
    assert!(twice.message.contains("is running here already"), "{twice}");
    worker.handle.cancel_tasks(TOKEN, vec![attempt(0)]).await.expect("it is taken");
    process.job_master.log.until("task 0 CANCELED").await;
    assert_eq!(process.job_master.log.count("task 1"), 0);
    assert_eq!(worker.slots().await, [Some(4), None]);
}

#[tokio::test(start_paused = true)]
async fn cancelling_what_does_not_run_changes_nothing() {
    let process = Process::new();
    let worker = process.start("worker");
    worker.request(0, 4).await.expect("the slot is free");
    process.job_master.log.until("offered").await;
    worker.submit(TOKEN, vec![sink_task(0, 4)]).await.expect("the slot is the job's");
    worker.handle.cancel_tasks(TOKEN, vec![attempt(1)]).await.expect("it may have ended");
    let stale = worker.handle.cancel_tasks(STALE, vec![attempt(0)]).await;
    assert!(matches!(stale, Err(Error::Fenced { .. })), "{stale:?}");
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(process.job_master.log.count("CANCELED"), 0);
    assert_eq!(worker.slots().await, [Some(4), None]);
}

#[tokio::test(start_paused = true)]
async fn a_slot_that_is_taken_away_is_free_when_its_task_has_ended() {
    let process = Process::new();
    let worker = process.start("worker");
    worker.request(0, 4).await.expect("the slot is free");
    process.job_master.log.until("offered").await;
    worker.submit(TOKEN, vec![sink_task(0, 4)]).await.expect("the slot is the job's");
    process.job_master.log.until("INITIALIZING").await;
    worker.handle.free_slot(TOKEN, AllocationId(4), end()).await.expect("it is taken");
    process.job_master.log.until("task 0 FAILED: the job has ended").await;
    process.resource_manager.log.until("slot 0 is free of 4").await;
    assert_eq!(worker.slots().await, [None, None]);
}

#[tokio::test(start_paused = true)]
async fn a_task_whose_end_could_not_be_told_is_still_reported() {
    let process = Process::new();
    let worker = process.start("worker");
    worker.request(0, 4).await.expect("the slot is free");
    process.job_master.log.until("offered").await;
    process.job_master.deaf.store(true, Ordering::SeqCst);
    worker.submit(TOKEN, vec![sink_task(0, 4)]).await.expect("the slot is the job's");
    worker.handle.cancel_tasks(TOKEN, vec![attempt(0)]).await.expect("it is taken");
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(process.job_master.reported(), [0]);
    process.job_master.deaf.store(false, Ordering::SeqCst);
    process.job_master.log.until("task 0 CANCELED").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(process.job_master.reported(), Vec::<u32>::new());
    assert_eq!(worker.slots().await, [Some(4), None]);
}

// ---- the job master -----------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn a_silent_job_master_loses_its_tasks_and_gets_its_slots_again_when_it_is_back() {
    let process = Process::new();
    let worker = process.start("worker");
    worker.request(0, 4).await.expect("the slot is free");
    process.job_master.log.until("offered").await;
    let _producer = process.producer(0);
    worker.submit(TOKEN, vec![sink_task(0, 4)]).await.expect("the slot is the job's");
    tokio::time::sleep(3 * HEARTBEAT_TIMEOUT).await;
    assert_eq!(process.job_master.reported(), [0], "its heartbeats keep it");
    process.job_master.log.take();
    process.job_master.silent.store(true, Ordering::SeqCst);
    process.job_master.log.until("worker registered").await;
    process.job_master.silent.store(false, Ordering::SeqCst);
    process.job_master.log.until("offered [4]").await;
    tokio::time::sleep(2 * SLOT_TIMEOUT).await;
    assert_eq!(process.job_master.reported(), Vec::<u32>::new());
    assert_eq!(process.job_master.log.take(), ["worker registered", "offered [4]"]);
    assert_eq!(worker.slots().await, [Some(4), None]);
}

#[tokio::test(start_paused = true)]
async fn the_slots_of_a_job_master_that_is_gone_are_given_back() {
    let process = Process::new();
    let worker = process.start("worker");
    worker.request(0, 4).await.expect("the slot is free");
    process.job_master.log.until("offered").await;
    worker.submit(TOKEN, vec![sink_task(0, 4)]).await.expect("the slot is the job's");
    process.job_master.silent.store(true, Ordering::SeqCst);
    process.stop_job_master();
    process.resource_manager.log.until("slot 0 is free of 4").await;
    assert_eq!(worker.slots().await, [None, None]);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_job_ends_its_tasks_and_frees_its_slots() {
    let process = Process::new();
    let worker = process.start("worker");
    worker.request(0, 4).await.expect("the slot is free");
    worker.request(1, 5).await.expect("the slot is free");
    process.job_master.log.until("5").await;
    worker.submit(TOKEN, vec![sink_task(0, 4)]).await.expect("the slot is the job's");
    let stale = worker.handle.disconnect_job_master(STALE, JOB, end()).await;
    assert!(matches!(stale, Err(Error::Fenced { .. })), "{stale:?}");
    worker.handle.disconnect_job_master(TOKEN, JOB, end()).await.expect("it is taken");
    process.resource_manager.log.until("slot 0 is free of 4").await;
    process.resource_manager.log.until("slot 1 is free of 5").await;
    assert_eq!(worker.slots().await, [None, None]);
}

#[tokio::test(start_paused = true)]
async fn a_request_of_a_new_leader_replaces_the_old_one() {
    let process = Process::new();
    let worker = process.start("worker");
    worker.request(0, 4).await.expect("the slot is free");
    process.job_master.log.until("offered").await;
    let unknown = worker.handle.heartbeat_from_job_master(JobMasterId::from_bits(12), JOB).await;
    assert!(matches!(unknown, Err(Error::Fenced { .. })), "{unknown:?}");
    assert_eq!(worker.slots().await, [Some(4), None]);
}

// ---- the process --------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn a_worker_that_stops_says_so_to_its_peers() {
    let process = Process::new();
    let worker = process.start("worker");
    worker.request(0, 4).await.expect("the slot is free");
    process.job_master.log.until("offered").await;
    worker.submit(TOKEN, vec![sink_task(0, 4)]).await.expect("the slot is the job's");
    process.job_master.log.until("INITIALIZING").await;
    let handle = worker.handle.clone();
    worker.ended(true).await.expect("it was asked to");
    assert_eq!(process.job_master.log.count("worker disconnected: the TaskExecutor stops"), 1);
    assert_eq!(process.resource_manager.log.count("disconnected: the TaskExecutor stops"), 1);
    let answer = handle.heartbeat_from_resource_manager(RM_TOKEN).await;
    assert!(matches!(answer, Err(Error::Unreachable { .. })), "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn what_a_job_shares_in_a_process_stays_for_the_worker_that_still_runs_it() {
    let process = Process::new();
    let (first, second) = (process.start("first"), process.start("second"));
    first.request(0, 4).await.expect("the slot is free");
    second.request(0, 6).await.expect("the slot is free");
    process.job_master.log.until("offered [4]").await;
    process.job_master.log.until("offered [6]").await;
    let producer = process.producer(1);
    second.submit(TOKEN, vec![sink_task(1, 6)]).await.expect("the slot is the job's");
    process.job_master.log.until("task 1 RUNNING").await;
    first.handle.free_slot(TOKEN, AllocationId(4), end()).await.expect("it is taken");
    process.resource_manager.log.until("slot 0 is free of 4").await;
    producer.finish();
    process.job_master.log.until("task 1 FINISHED").await;
    assert_eq!(first.slots().await, [None, None]);
    let _kept = process.producer(0);
    assert_eq!(process.shared.partitions.partitions(), 1);
    second.handle.free_slot(TOKEN, AllocationId(6), end()).await.expect("it is taken");
    process.resource_manager.log.until("slot 0 is free of 6").await;
    assert_eq!(second.slots().await, [None, None]);
    assert_eq!(process.shared.partitions.partitions(), 0, "the last one has left");
}
