//! The resource manager between fake task executors, job masters and a fake
//! driver, all in one process and on paused time.

mod fakes;

use fakes::{Fixture, Heard, JOB, MASTER, TOKEN, eventually};
use heddle_model::failure::ErrorCode;
use heddle_model::id::{AllocationId, InstanceId, JobId, JobMasterId, ResourceId, ResourceManagerId, SlotId};
use heddle_resource_manager::{DriverEvent, Options};
use heddle_rpc::{Error, ResourceManagerGateway, RpcService};
use std::time::Duration;

const A: AllocationId = AllocationId(0xa);
const B: AllocationId = AllocationId(0xb);

#[tokio::test(start_paused = true)]
async fn a_request_starts_a_worker_whose_slot_is_given_to_the_job() {
    let mut fixture = Fixture::start(|options| options).await;
    let master = fixture.job_master(JOB, MASTER).await;
    fixture.request(JOB, MASTER, A).await.unwrap();
    assert_eq!(fixture.driver.next().await, "request a worker with 2 slots");

    fixture.driver.tell(DriverEvent::WorkerStarted { resource_id: ResourceId("w1".into()) });
    let worker = fixture.task_executor("w1").await;
    let Heard::RequestSlot(request) = worker.next().await else { panic!("no slot was asked for") };
    assert_eq!(request.slot_id, SlotId { resource_id: ResourceId("w1".into()), slot_number: 0 });
    assert_eq!((request.job_id, request.allocation_id), (JOB, A));
    assert_eq!((request.job_master, request.job_master_id), (master.address.clone(), MASTER));

    eventually(|| async { fixture.handle.overview().await.unwrap().free_slots == 1 }).await;
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_task_executor_with_smaller_slots_is_refused_and_the_others_are_told_of() {
    let fixture = Fixture::start(|options| options).await;
    let _worker = fixture.task_executor("w1").await;
    let mut small = fixture.registration("w2");
    small.spec.slot.managed_memory -= 1;
    let refused = fixture.gateway().register_task_executor(TOKEN, small).await.unwrap_err();
    let heddle_rpc::Error::Failure(failure) = refused else { panic!("{refused}") };
    assert_eq!(failure.code, ErrorCode::ConfigurationInvalid);
    assert!(failure.message.contains("w2") && failure.message.contains("managed memory"), "{failure}");

    eventually(|| async { fixture.handle.overview().await.unwrap().free_slots == 2 }).await;
    let overview = fixture.gateway().request_overview(TOKEN).await.unwrap();
    let told: Vec<_> =
        overview.task_executors.iter().map(|e| (&*e.resource_id.0, e.slots, e.free_slots)).collect();
    assert_eq!(told, [("w1", 2, 2)]);
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_slot_is_replaced_by_another() {
    let mut fixture = Fixture::start(|options| options).await;
    fixture.job_master(JOB, MASTER).await;
    let stubborn = fixture.task_executor("w1").await;
    stubborn.refuse("the slot is occupied");
    fixture.request(JOB, MASTER, A).await.unwrap();
    for _ in 0..2 {
        assert!(matches!(stubborn.next().await, Heard::RequestSlot(_)));
    }
    // Both of its slots were tried; now a worker is asked for.
    assert_eq!(fixture.driver.next().await, "request a worker with 2 slots");
    let willing = fixture.task_executor("w2").await;
    assert!(matches!(willing.next().await, Heard::RequestSlot(request) if request.allocation_id == A));
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_task_executor_that_does_not_answer_is_given_up() {
    let mut fixture = Fixture::start(|options| options).await;
    fixture.job_master(JOB, MASTER).await;
    let silent = fixture.task_executor("w1").await;
    silent.fall_silent();
    fixture.request(JOB, MASTER, A).await.unwrap();
    assert_eq!(fixture.driver.next().await, "request a worker with 2 slots");
    // Heartbeats are not answered either.
    assert_eq!(fixture.driver.next().await, "release w1");
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn messages_of_another_session_are_refused_and_counted() {
    let fixture = Fixture::start(|options| options).await;
    let stale = ResourceManagerId(99);
    let error = fixture.gateway().disconnect_job_master(stale, JOB).await.unwrap_err();
    assert_eq!(error, Error::Fenced { expected: TOKEN.to_string(), got: stale.to_string() });
    let registration = fixture.registration("w1");
    let error = fixture.gateway().register_task_executor(stale, registration).await.unwrap_err();
    assert!(matches!(error, Error::Fenced { .. }));
    assert_eq!(fixture.handle.fenced_messages(), 2);

    // A job master that is not registered, and an instance that is not.
    assert!(matches!(fixture.request(JOB, MASTER, A).await, Err(Error::Fenced { .. })));
    let report = fixture.gateway().send_slot_report(TOKEN, InstanceId(1), Default::default()).await;
    assert!(matches!(report, Err(Error::Fenced { .. })));
    assert_eq!(fixture.handle.fenced_messages(), 4);
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_new_leader_of_a_job_replaces_the_former() {
    let mut fixture = Fixture::start(|options| options).await;
    fixture.job_master(JOB, MASTER).await;
    fixture.request(JOB, MASTER, A).await.unwrap();
    assert_eq!(fixture.driver.next().await, "request a worker with 2 slots");

    let next = JobMasterId(22);
    let master = fixture.job_master(JOB, next).await;
    assert!(matches!(fixture.request(JOB, MASTER, B).await, Err(Error::Fenced { .. })));
    let cancel = fixture.gateway().cancel_slot_request(TOKEN, MASTER, A).await;
    assert!(matches!(cancel, Err(Error::Fenced { .. })));
    fixture.request(JOB, next, B).await.unwrap();

    // What the former asked for is forgotten.
    let worker = fixture.task_executor("w1").await;
    let Heard::RequestSlot(request) = worker.next().await else { panic!("no slot was asked for") };
    assert_eq!((request.allocation_id, request.job_master_id), (B, next));
    assert_eq!(request.job_master, master.address);
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn peers_hear_heartbeats_and_lost_task_executors_are_told_to_their_jobs() {
    let mut fixture = Fixture::start(|options| options).await;
    let master = fixture.job_master(JOB, MASTER).await;
    let worker = fixture.task_executor("w1").await;
    fixture.request(JOB, MASTER, A).await.unwrap();
    assert!(matches!(worker.next().await, Heard::RequestSlot(_)));
    assert!(matches!(worker.next().await, Heard::Heartbeat));
    assert!(matches!(master.next().await, Heard::Heartbeat));

    fixture.rpc.stop_serving(&worker.address);
    let told = loop {
        match master.next().await {
            Heard::Heartbeat => {}
            other => break other,
        }
    };
    let Heard::WorkerLost(resource_id, failure) = told else { panic!("not told: {told:?}") };
    assert_eq!(resource_id, ResourceId("w1".into()));
    assert_eq!(failure.code, ErrorCode::WorkerLost);
    assert_eq!(failure.message, "worker w1 is lost: nothing answers at its address any more");
    assert_eq!(fixture.driver.next().await, "release w1");
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_job_master_wants_nothing_any_more() {
    let mut fixture = Fixture::start(|options| options).await;
    let master = fixture.job_master(JOB, MASTER).await;
    fixture.request(JOB, MASTER, A).await.unwrap();
    assert_eq!(fixture.driver.next().await, "request a worker with 2 slots");
    fixture.rpc.stop_serving(&master.address);
    eventually(|| async { fixture.handle.overview().await.unwrap().waiting_requests == 0 }).await;
    assert!(matches!(fixture.request(JOB, MASTER, B).await, Err(Error::Fenced { .. })));
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_idle_worker_is_released_and_may_not_come_back() {
    let mut fixture = Fixture::start(|options| options).await;
    let worker = fixture.task_executor("w1").await;
    assert_eq!(fixture.driver.next().await, "release w1");
    let report = fixture.gateway().send_slot_report(TOKEN, worker.instance, Default::default()).await;
    assert!(matches!(report, Err(Error::Fenced { .. })));
    let again = fixture.gateway().register_task_executor(TOKEN, fixture.registration("w1")).await;
    assert!(matches!(again, Err(Error::Failure(failure)) if failure.code == ErrorCode::WorkerLost));

    fixture.driver.tell(DriverEvent::WorkerTerminated {
        resource_id: ResourceId("w1".into()),
        reason: "released".into(),
    });
    eventually(|| async {
        fixture.gateway().register_task_executor(TOKEN, fixture.registration("w1")).await.is_ok()
    })
    .await;
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_freed_slot_goes_to_the_next_request() {
    let fixture = Fixture::start(|options| Options { max_workers: Some(1), ..options }).await;
    fixture.job_master(JOB, MASTER).await;
    let worker = fixture.task_executor("w1").await;
    for allocation in [A, B, AllocationId(0xc)] {
        fixture.request(JOB, MASTER, allocation).await.unwrap();
    }
    let mut given = Vec::new();
    for _ in 0..2 {
        let Heard::RequestSlot(request) = worker.next().await else { panic!("no slot was asked for") };
        given.push(request);
    }
    eventually(|| async { fixture.handle.overview().await.unwrap().free_slots == 0 }).await;
    let freed = given[0].clone();
    fixture
        .gateway()
        .notify_slot_available(TOKEN, worker.instance, freed.slot_id.clone(), freed.allocation_id)
        .await
        .unwrap();
    let Heard::RequestSlot(request) = worker.next().await else { panic!("no slot was asked for") };
    assert_eq!((request.slot_id, request.allocation_id), (freed.slot_id, AllocationId(0xc)));
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_job_is_told_with_numbers_when_no_worker_comes() {
    let mut fixture = Fixture::start(|options| options).await;
    let master = fixture.job_master(JOB, MASTER).await;
    fixture.driver.refuse("the queue is full");
    fixture.request(JOB, MASTER, A).await.unwrap();
    assert_eq!(fixture.driver.next().await, "request a worker with 2 slots");
    let told = loop {
        match master.next().await {
            Heard::Heartbeat => {}
            other => break other,
        }
    };
    let Heard::AllocationFailed(allocation_id, failure) = told else { panic!("not told: {told:?}") };
    assert_eq!(allocation_id, A);
    assert_eq!(failure.code, ErrorCode::NoResources);
    for part in ["holds 0 and waits for 1", "0 of 0 slots free", "the queue is full"] {
        assert!(failure.message.contains(part), "{failure}");
    }
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_task_executor_that_registers_anew_keeps_its_allocations() {
    let fixture = Fixture::start(|options| options).await;
    fixture.job_master(JOB, MASTER).await;
    let former = fixture.task_executor("w1").await;
    let report = fixture.report("w1", &[Some((A, JOB)), None]);
    let instance = fixture.gateway().register_task_executor(TOKEN, fixture.registration("w1")).await.unwrap();
    let stale = fixture.gateway().send_slot_report(TOKEN, former.instance, report.clone()).await;
    assert!(matches!(stale, Err(Error::Fenced { .. })));
    fixture.gateway().send_slot_report(TOKEN, instance, report).await.unwrap();
    let overview = fixture.handle.overview().await.unwrap();
    assert_eq!((overview.task_executors, overview.slots, overview.free_slots), (1, 2, 1));
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_task_executor_that_says_good_bye_is_gone_at_once() {
    let fixture = Fixture::start(|options| options).await;
    let worker = fixture.task_executor("w1").await;
    let gateway = fixture.gateway();
    gateway.disconnect_task_executor(TOKEN, worker.instance, "shutting down".into()).await.unwrap();
    gateway.disconnect_task_executor(TOKEN, worker.instance, "shutting down".into()).await.unwrap();
    assert_eq!(fixture.handle.overview().await.unwrap().task_executors, 0);
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn shutdown_ends_the_workers_and_nothing_answers_any_more() {
    let mut fixture = Fixture::start(|options| options).await;
    fixture.shutdown.cancel();
    assert_eq!(fixture.driver.next().await, "shutdown");
    fixture.service.take().unwrap().await.unwrap().unwrap();
    assert!(fixture.rpc.resource_manager(&fixture.address).is_err());
    let late = fixture.handle.disconnect_job_master(TOKEN, JobId(1)).await;
    assert_eq!(late, Err(Error::Unreachable { address: fixture.address.clone() }));
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_panics_ends_the_resource_manager() {
    let mut fixture = Fixture::start(|options| options).await;
    fixture.job_master(JOB, MASTER).await;
    fixture.driver.panic();
    fixture.request(JOB, MASTER, A).await.unwrap();
    let error = fixture.service.take().unwrap().await.unwrap().unwrap_err();
    assert!(error.to_string().starts_with("the driver of the resource manager ended"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_driver_does_not_hold_up_others() {
    let mut fixture = Fixture::start(|options| options).await;
    fixture.job_master(JOB, MASTER).await;
    fixture.driver.take(Duration::from_secs(120));
    fixture.request(JOB, MASTER, A).await.unwrap();
    assert_eq!(fixture.driver.next().await, "request a worker with 2 slots");
    let before = tokio::time::Instant::now();
    let worker = fixture.task_executor("w1").await;
    assert!(matches!(worker.next().await, Heard::RequestSlot(_)));
    assert!(before.elapsed() < Duration::from_secs(1));
    fixture.stop().await;
}
