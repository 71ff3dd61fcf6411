//! Failing tasks and lost workers, and the restarts that follow.

use crate::fakes::{Behaviour, Cluster, FakeOutputs, TOKEN};
use crate::jobs::JobBuilder;
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::job_graph::Distribution;
use heddle_model::job_status::JobStatus;
use heddle_rpc::JobMasterGateway;

fn trap() -> Behaviour {
    Behaviour::Fail(Failure::new(ErrorCode::OperatorTrap, "the operator panicked"))
}

fn two_by_two() -> JobBuilder {
    JobBuilder::new().source(2).sink(2).edge(0, 1, Distribution::AllToAll)
}

#[tokio::test(start_paused = true)]
async fn a_failed_task_restarts_its_region_and_only_the_latest_output_is_published() {
    let cluster = Cluster::new(2, 1, |task| match task.attempt.attempt {
        0 if task.attempt.subtask == 1 && !task.inputs.is_empty() => trap(),
        _ => Behaviour::Finish,
    });
    let (result, handle) = cluster.run(two_by_two().fixed_delay(1).build(), FakeOutputs::default()).await;
    assert_eq!((result.status, result.failure), (JobStatus::Finished, None));
    assert_eq!(result.collected["files"], ["0#1", "1#1"]);
    assert_eq!(result.accumulators["lines"], 4);
    let details = handle.request_job(TOKEN).await.expect("the last details are kept");
    assert_eq!(details.restarts, 1);
    assert_eq!(details.failure.map(|failure| failure.code), Some(ErrorCode::OperatorTrap));
    assert_eq!(cluster.log.count("tasks to"), 4, "the slots are used again: {:?}", cluster.log.lines());
    assert_eq!(cluster.log.count("prepare"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_always_fails_fails_the_job() {
    let cluster = Cluster::new(1, 2, |task| match task.inputs.is_empty() {
        true => Behaviour::Run,
        false => trap(),
    });
    let (result, handle) = cluster.run(two_by_two().fixed_delay(3).build(), FakeOutputs::default()).await;
    assert_eq!(result.status, JobStatus::Failed);
    let failure = result.failure.expect("the job failed");
    assert_eq!((failure.code, failure.message.as_str()), (ErrorCode::OperatorTrap, "the operator panicked"));
    assert!(failure.details.expect("it says why").contains("`fixed-delay` allows 3 restarts"));
    let details = handle.request_job(TOKEN).await.expect("the last details are kept");
    assert_eq!(details.restarts, 3);
    assert_eq!(cluster.workers[0].running(), 0);
    assert_eq!(cluster.log.count("discard files"), 1);
}

#[tokio::test(start_paused = true)]
async fn tasks_that_their_worker_lost_without_a_word_start_again() {
    let cluster = Cluster::new(1, 2, |task| match task.attempt.attempt {
        0 => Behaviour::Run,
        _ => Behaviour::Finish,
    });
    let running = cluster.start(two_by_two().fixed_delay(1).build(), FakeOutputs::default());
    running.until_all_run().await;
    cluster.workers[0].forget_tasks();
    for _ in 0..2 {
        cluster.workers[0].heartbeat().await.expect("the worker is known");
    }
    let handle = running.handle.clone();
    let result = running.result().await;
    assert_eq!(result.status, JobStatus::Finished);
    assert_eq!(result.collected["files"], ["0#1", "1#1"]);
    let details = handle.request_job(TOKEN).await.expect("the last details are kept");
    assert_eq!(details.restarts, 1);
    assert_eq!(details.failure.map(|failure| failure.code), Some(ErrorCode::WorkerLost));
}

#[tokio::test(start_paused = true)]
async fn an_error_that_no_retry_helps_fails_the_job_without_a_restart() {
    let cluster =
        Cluster::new(1, 2, |_| Behaviour::Fail(Failure::new(ErrorCode::SchemaMismatch, "the ends disagree")));
    let (result, handle) = cluster.run(two_by_two().fixed_delay(9).build(), FakeOutputs::default()).await;
    assert_eq!(result.failure.map(|failure| failure.code), Some(ErrorCode::SchemaMismatch));
    assert_eq!(handle.request_job(TOKEN).await.expect("the last details are kept").restarts, 0);
}

/// Runs in the first attempt, finishes in a later one.
fn finish_later() -> Cluster {
    Cluster::new(3, 1, |task| match task.attempt.attempt {
        0 => Behaviour::Run,
        _ => Behaviour::Finish,
    })
}

#[tokio::test(start_paused = true)]
async fn a_killed_worker_is_replaced() {
    let cluster = finish_later();
    let running = cluster.start(two_by_two().fixed_delay(1).build(), FakeOutputs::default());
    running.until_all_run().await;
    cluster.resource_manager.forget_worker(0);
    cluster.workers[0].kill();
    let handle = running.handle.clone();
    let result = running.result().await;
    assert_eq!(result.status, JobStatus::Finished);
    assert_eq!(result.collected["files"], ["0#1", "1#1"]);
    let details = handle.request_job(TOKEN).await.expect("the last details are kept");
    assert_eq!(details.restarts, 1);
    let failure = details.failure.expect("a worker was lost");
    assert_eq!(failure.code, ErrorCode::WorkerLost);
    assert!(failure.message.contains("te-0"), "{}", failure.message);
}

#[tokio::test(start_paused = true)]
async fn a_silent_worker_is_lost_after_the_heartbeat_timeout() {
    let cluster = finish_later();
    let running = cluster.start(two_by_two().fixed_delay(1).build(), FakeOutputs::default());
    running.until_all_run().await;
    cluster.resource_manager.forget_worker(1);
    cluster.workers[1].freeze();
    let handle = running.handle.clone();
    assert_eq!(running.result().await.status, JobStatus::Finished);
    let failure = handle.request_job(TOKEN).await.expect("kept").failure.expect("a worker was lost");
    assert_eq!(failure.code, ErrorCode::WorkerLost);
    assert!(failure.message.contains("silent for 50s"), "{}", failure.message);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_leaves_takes_its_tasks_along() {
    let cluster = finish_later();
    let running = cluster.start(two_by_two().fixed_delay(1).build(), FakeOutputs::default());
    running.until_all_run().await;
    cluster.resource_manager.forget_worker(0);
    let reason = Failure::new(ErrorCode::WorkerLost, "it is shut down");
    let leaving = cluster.workers[0].id.clone();
    running.handle.disconnect_task_executor(TOKEN, leaving, reason).await.expect("the job master answers");
    let handle = running.handle.clone();
    assert_eq!(running.result().await.status, JobStatus::Finished);
    let details = handle.request_job(TOKEN).await.expect("kept");
    let message = details.failure.expect("a worker was lost").message;
    assert_eq!(message, "TaskExecutor te-0 was lost: it is shut down");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_forgot_the_job_is_lost() {
    let cluster = finish_later();
    let running = cluster.start(two_by_two().fixed_delay(1).build(), FakeOutputs::default());
    running.until_all_run().await;
    // As after a partition: it dropped the job, and answers so.
    let cause = Failure::new(ErrorCode::Internal, "forgotten");
    heddle_rpc::TaskExecutorGateway::disconnect_job_master(
        &*cluster.workers[0],
        TOKEN,
        crate::jobs::JOB,
        cause,
    )
    .await
    .expect("the fake answers");
    assert_eq!(running.result().await.status, JobStatus::Finished);
}

#[tokio::test(start_paused = true)]
async fn a_failed_slot_is_replaced() {
    let cluster = finish_later();
    let running = cluster.start(two_by_two().fixed_delay(1).build(), FakeOutputs::default());
    running.until_all_run().await;
    let cause = Failure::new(ErrorCode::MemoryLimit, "the slot's memory is used up");
    cluster.workers[0].fail_first_slot(cause).await;
    let handle = running.handle.clone();
    assert_eq!(running.result().await.status, JobStatus::Finished);
    assert_eq!(handle.request_job(TOKEN).await.expect("kept").restarts, 1);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_ignores_its_cancellation_does_not_keep_the_job() {
    let cluster = Cluster::new(1, 2, |_| Behaviour::IgnoreCancel);
    let running = cluster.start(two_by_two().build(), FakeOutputs::default());
    running.until_all_run().await;
    running.handle.cancel(TOKEN).await.expect("the job master answers");
    assert_eq!(running.result().await.status, JobStatus::Canceled);
    assert_eq!(cluster.log.count("slot freed"), 2);
    assert_eq!(cluster.log.count("discard files"), 1);
}
