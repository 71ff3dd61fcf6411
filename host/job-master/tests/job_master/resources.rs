//! The way to slots: registration at the resource manager, requests, time-outs.

use crate::fakes::{Behaviour, Cluster, FakeOutputs, TOKEN, resource_manager_address};
use crate::jobs::JobBuilder;
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::{AllocationId, ResourceId};
use heddle_model::job_graph::Distribution;
use heddle_model::job_status::JobStatus;
use heddle_rpc::{Error, JobMasterGateway, RpcService, SlotOffer};
use std::time::Duration;
use tokio::time::Instant;

fn two_by_two() -> JobBuilder {
    JobBuilder::new().source(2).sink(2).edge(0, 1, Distribution::AllToAll)
}

#[tokio::test(start_paused = true)]
async fn too_few_slots_fail_the_job_after_the_request_timeout() {
    let cluster = Cluster::new(1, 1, |_| Behaviour::Finish);
    let started = Instant::now();
    let (result, _) = cluster.run(two_by_two().build(), FakeOutputs::default()).await;
    assert!(started.elapsed() >= Duration::from_secs(300));
    let failure = result.failure.expect("the job failed");
    assert_eq!(failure.code, ErrorCode::NoResources);
    assert!(failure.message.contains("the job needs 2, 1 are there"), "{}", failure.message);
    assert_eq!(cluster.log.count("tasks to"), 0);
    assert_eq!(cluster.log.count("slot freed"), 1);
    assert_eq!(cluster.log.count("discard files"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_refused_is_made_again_by_a_restart() {
    let cluster = Cluster::new(2, 1, |_| Behaviour::Finish);
    let refusal = Failure::new(ErrorCode::NoResources, "no worker may be started");
    cluster.resource_manager.answer_with(refusal.into());
    let (result, handle) = cluster.run(two_by_two().fixed_delay(1).build(), FakeOutputs::default()).await;
    assert_eq!(result.status, JobStatus::Finished);
    let failure = handle.request_job(TOKEN).await.expect("kept").failure.expect("a request was refused");
    assert_eq!(failure.code, ErrorCode::NoResources);
    assert!(failure.message.contains("(no worker may be started)"), "{}", failure.message);
}

#[tokio::test(start_paused = true)]
async fn an_allocation_of_nobody_that_fails_changes_nothing() {
    let cluster = Cluster::new(0, 0, |_| Behaviour::Finish);
    let running = cluster.start(two_by_two().build(), FakeOutputs::default());
    running.until(|details| details.overview.status == JobStatus::Running).await;
    let cause = Failure::new(ErrorCode::NoResources, "no worker may be started");
    let told = running.handle.notify_allocation_failure(TOKEN, AllocationId(1), cause).await;
    assert_eq!(told, Ok(()));
    assert_eq!(running.details().await.overview.status, JobStatus::Running);
    running.shutdown.cancel();
    running.result().await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_resource_manager_is_registered_at_again_and_asked_again() {
    let cluster = Cluster::new(2, 1, |_| Behaviour::Finish);
    let gone = Error::Unreachable { address: resource_manager_address() };
    cluster.resource_manager.answer_with(gone);
    let stale = Error::Fenced { expected: "1".into(), got: "0".into() };
    cluster.resource_manager.answer_with(stale);
    let (result, handle) = cluster.run(two_by_two().build(), FakeOutputs::default()).await;
    assert_eq!(result.status, JobStatus::Finished);
    assert_eq!(handle.request_job(TOKEN).await.expect("kept").restarts, 0);
    assert_eq!(cluster.log.count("job master registered"), 3);
    assert_eq!(cluster.log.count("slot requested"), 4);
}

#[tokio::test(start_paused = true)]
async fn a_silent_resource_manager_is_registered_at_again_and_its_slots_go_on() {
    let cluster = Cluster::new(2, 1, |_| Behaviour::Run);
    let running = cluster.start(two_by_two().build(), FakeOutputs::default());
    running.until_all_run().await;
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(cluster.log.count("job master registered"), 1, "its heartbeats keep it");
    cluster.resource_manager.be_silent(true);
    tokio::time::sleep(Duration::from_secs(65)).await;
    assert_eq!(cluster.log.count("job master registered"), 2);
    cluster.resource_manager.be_silent(false);
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(cluster.log.count("job master registered"), 2);
    let details = running.until_all_run().await;
    assert_eq!(details.restarts, 0);
    assert_eq!(cluster.log.count("slot requested"), 2);
    let stale = heddle_model::id::JobMasterId::from_bits(99);
    let answer = running.handle.heartbeat_from_resource_manager(stale).await;
    assert!(matches!(answer, Err(Error::Fenced { .. })));
    running.shutdown.cancel();
    running.result().await;
}

#[tokio::test(start_paused = true)]
async fn the_resource_manager_may_come_late() {
    let cluster = Cluster::without_resource_manager(2, 1, Box::new(|_| Behaviour::Finish));
    let running = cluster.start(two_by_two().build(), FakeOutputs::default());
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(cluster.log.count("registered"), 0);
    cluster.serve_resource_manager();
    assert_eq!(running.result().await.status, JobStatus::Finished);
    assert_eq!(cluster.log.count("job master registered"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_resource_manager_that_never_comes_is_named() {
    let cluster = Cluster::without_resource_manager(1, 2, Box::new(|_| Behaviour::Finish));
    let (result, _) = cluster.run(two_by_two().build(), FakeOutputs::default()).await;
    let failure = result.failure.expect("the job failed");
    assert_eq!(failure.code, ErrorCode::NoResources);
    assert!(failure.message.contains("the resource manager was not reached"), "{}", failure.message);
}

#[tokio::test(start_paused = true)]
async fn offers_of_a_worker_that_did_not_register_are_rejected() {
    let cluster = Cluster::without_resource_manager(1, 2, Box::new(|_| Behaviour::Finish));
    let running = cluster.start(two_by_two().build(), FakeOutputs::default());
    let offer = SlotOffer { allocation_id: AllocationId(5), slot_number: 0, profile: crate::fakes::PROFILE };
    let stranger = ResourceId("stranger".into());
    let accepted = running.handle.offer_slots(TOKEN, stranger.clone(), vec![offer.clone()]).await;
    assert_eq!(accepted, Ok(Vec::new()));
    let nowhere = heddle_rpc::Address("embedded:nowhere".into());
    assert!(running.handle.register_task_executor(TOKEN, stranger, nowhere, None).await.is_err());
    running.shutdown.cancel();
    running.result().await;
}

#[tokio::test(start_paused = true)]
async fn slots_of_a_worker_that_comes_by_itself_are_used() {
    let cluster = Cluster::without_resource_manager(1, 2, Box::new(|_| Behaviour::Run));
    let running = cluster.start(two_by_two().build(), FakeOutputs::default());
    running.until(|details| details.overview.status == JobStatus::Running).await;
    let worker = &cluster.workers[0];
    let address = heddle_rpc::Address(format!("embedded:{}", worker.id));
    for number in 0..2 {
        let request = heddle_rpc::RequestSlot {
            slot_id: heddle_model::id::SlotId { resource_id: worker.id.clone(), slot_number: number },
            job_id: crate::jobs::JOB,
            allocation_id: AllocationId(u128::from(number)),
            profile: crate::fakes::PROFILE,
            job_master: crate::fakes::job_master_address(),
            job_master_id: TOKEN,
        };
        heddle_rpc::TaskExecutorGateway::request_slot(&**worker, crate::fakes::RM_TOKEN, request)
            .await
            .expect("the fake takes it");
    }
    running
        .handle
        .register_task_executor(TOKEN, worker.id.clone(), address, None)
        .await
        .expect("the job master takes it");
    let offers = (0..2)
        .map(|number| SlotOffer {
            allocation_id: AllocationId(number),
            slot_number: number as u32,
            profile: crate::fakes::PROFILE,
        })
        .collect();
    let accepted = running.handle.offer_slots(TOKEN, worker.id.clone(), offers).await;
    assert_eq!(accepted, Ok(vec![AllocationId(0), AllocationId(1)]));
    running.until_all_run().await;
    assert!(cluster.rpc.resource_manager(&resource_manager_address()).is_err());
    running.handle.cancel(TOKEN).await.expect("the job master answers");
    assert_eq!(running.result().await.status, JobStatus::Canceled);
}
