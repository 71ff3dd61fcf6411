//! Jobs that end as they should: finished, cancelled, suspended, or refused
//! before anything runs.

use crate::fakes::{Behaviour, Cluster, FakeOutputs, TOKEN, job_master_address};
use crate::jobs::{JOB, JobBuilder};
use heddle_filesystem::FileSystems;
use heddle_job_master::{Options, Service};
use heddle_model::failure::ErrorCode;
use heddle_model::id::{JobMasterId, ResourceManagerId};
use heddle_model::job_graph::Distribution;
use heddle_model::job_status::{ExecutionState, JobStatus};
use heddle_model::plan::ConnectorSpec;
use heddle_model::stream_graph::OperatorKind;
use heddle_rpc::{Address, EmbeddedRpcService, Error, JobMasterGateway, RpcService};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

fn two_by_two() -> JobBuilder {
    JobBuilder::new().source(2).sink(2).edge(0, 1, Distribution::AllToAll)
}

#[tokio::test(start_paused = true)]
async fn a_job_runs_publishes_and_leaves_nothing_behind() {
    let cluster = Cluster::new(2, 1, |_| Behaviour::Finish);
    let (result, handle) = cluster.run(two_by_two().build(), FakeOutputs::default()).await;
    assert_eq!((result.status, result.failure), (JobStatus::Finished, None));
    assert_eq!(result.job_id, JOB);
    assert_eq!(result.accumulators, BTreeMap::from([("lines".to_owned(), 4)]));
    assert_eq!(
        result.collected,
        BTreeMap::from([("files".to_owned(), vec!["0#0".to_owned(), "1#0".to_owned()])])
    );
    assert!(result.first_record_ms.is_some());
    let log = &cluster.log;
    assert_eq!(log.count("2 tasks to te-"), 2, "one message for each worker: {:?}", log.lines());
    assert_eq!(log.count("split"), 3);
    assert_eq!(log.count("slot freed"), 2);
    assert_eq!(log.count("te-0 disconnected") + log.count("te-1 disconnected"), 2);
    assert_eq!(log.count("job master disconnected"), 1);
    assert_eq!(log.count("discard"), 0);
    let position = |part: &str| log.lines().iter().position(|line| line.contains(part));
    assert!(position("enumerate") < position("prepare files"), "{:?}", log.lines());
    assert!(position("prepare files") < position("tasks to"), "{:?}", log.lines());
    assert!(cluster.rpc.job_master(&job_master_address()).is_err(), "it is not served any more");
    let details = handle.request_job(TOKEN).await.expect("the last details are kept");
    assert_eq!(details.overview.status, JobStatus::Finished);
    assert_eq!(details.vertices[1].states, BTreeMap::from([("FINISHED".to_owned(), 2)]));
    assert_eq!(details.vertices[1].metrics.records_out, 10);
    assert_eq!(handle.cancel(TOKEN).await, Ok(()), "there is nothing to cancel");
}

#[tokio::test(start_paused = true)]
async fn a_running_job_shows_its_tasks_and_what_they_report() {
    let cluster = Cluster::new(1, 2, |_| Behaviour::Run);
    let running = cluster.start(two_by_two().build(), FakeOutputs::default());
    running.until_all_run().await;
    cluster.workers[0].heartbeat().await.expect("the worker is known");
    let details = running.details().await;
    assert_eq!(details.vertices[0].metrics.records_in, 154);
    assert_eq!(details.accumulators, BTreeMap::from([("lines".to_owned(), 280)]));
    assert_eq!(details.overview.end_time_ms, None);
    running.handle.cancel(TOKEN).await.expect("the job master answers");
    assert_eq!(running.result().await.status, JobStatus::Canceled);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_job_ends_its_tasks_and_then_discards_its_outputs() {
    let cluster = Cluster::new(1, 2, |_| Behaviour::Run);
    let running = cluster.start(two_by_two().build(), FakeOutputs::default());
    running.until_all_run().await;
    running.handle.cancel(TOKEN).await.expect("the job master answers");
    let result = running.result().await;
    assert_eq!((result.status, result.failure), (JobStatus::Canceled, None));
    assert_eq!(cluster.workers[0].running(), 0);
    let lines = cluster.log.lines();
    let last_task = lines.iter().rposition(|line| line.contains("CANCELED"));
    let discarded = lines.iter().position(|line| line.contains("discard files"));
    assert!(last_task.is_some() && last_task < discarded, "{lines:?}");
    assert_eq!(cluster.log.count("publish"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_job_is_cancelled_while_it_waits_for_slots() {
    let cluster = Cluster::new(0, 0, |_| Behaviour::Run);
    let running = cluster.start(two_by_two().build(), FakeOutputs::default());
    running.until(|details| details.overview.status == JobStatus::Running).await;
    running.handle.cancel(TOKEN).await.expect("the job master answers");
    assert_eq!(running.result().await.status, JobStatus::Canceled);
    assert_eq!(cluster.log.count("slot request cancelled"), 2);
    assert_eq!(cluster.log.count("discard files"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_shut_down_job_master_suspends_its_job() {
    let cluster = Cluster::new(1, 2, |_| Behaviour::Run);
    let running = cluster.start(two_by_two().build(), FakeOutputs::default());
    running.until_all_run().await;
    running.shutdown.cancel();
    assert_eq!(running.result().await.status, JobStatus::Suspended);
    assert_eq!(cluster.workers[0].running(), 0);
    assert_eq!(cluster.log.count("te-0 disconnected"), 1);
}

#[tokio::test(start_paused = true)]
async fn messages_of_another_session_are_refused() {
    let cluster = Cluster::new(1, 2, |_| Behaviour::Run);
    let running = cluster.start(two_by_two().build(), FakeOutputs::default());
    running.until_all_run().await;
    let stale = JobMasterId::from_bits(99);
    assert!(matches!(running.handle.cancel(stale).await, Err(Error::Fenced { .. })));
    assert!(matches!(running.handle.request_job(stale).await, Err(Error::Fenced { .. })));
    assert_eq!(running.details().await.overview.status, JobStatus::Running);
    running.shutdown.cancel();
    running.result().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_deployed_when_an_input_or_output_is_not_there() {
    let cluster = Cluster::new(1, 2, |_| Behaviour::Finish);
    let outputs = FakeOutputs { fail_enumerate: true, ..FakeOutputs::default() };
    let job = two_by_two().fixed_delay(9).build();
    let (result, _) = cluster.run(job.clone(), outputs).await;
    assert_eq!(result.status, JobStatus::Failed);
    assert_eq!(result.failure.map(|failure| failure.code), Some(ErrorCode::ConnectorInvalid));
    assert_eq!(cluster.log.count("prepare"), 0);
    assert_eq!(cluster.log.count("tasks to"), 0);

    let cluster = Cluster::new(1, 2, |_| Behaviour::Finish);
    let outputs = FakeOutputs { fail_prepare_of: Some("other".into()), ..FakeOutputs::default() };
    let second = ConnectorSpec { name: "other".into(), options: Vec::new() };
    let job = two_by_two().fixed_delay(9).vertex(1, OperatorKind::ConnectorSink(second)).build();
    let (result, _) = cluster.run(job, outputs).await;
    assert_eq!(result.status, JobStatus::Failed, "an error that a retry may mend, yet there is none");
    assert_eq!(cluster.log.count("prepare"), 2);
    assert_eq!(cluster.log.count("tasks to"), 0);
    assert_eq!(cluster.log.count("discard files"), 1);
    assert_eq!(cluster.log.count("discard other"), 0, "it was never prepared");
}

#[tokio::test(start_paused = true)]
async fn outputs_that_can_not_be_published_fail_the_job() {
    let cluster = Cluster::new(1, 2, |_| Behaviour::Finish);
    let outputs = FakeOutputs { fail_publish: true, ..FakeOutputs::default() };
    let (result, _) = cluster.run(two_by_two().fixed_delay(9).build(), outputs).await;
    assert_eq!(result.status, JobStatus::Failed);
    assert_eq!(result.failure.map(|failure| failure.message), Some("the disk is full".to_owned()));
    assert_eq!(cluster.log.count("discard files"), 1);
    assert!(result.collected.is_empty());

    let cluster = Cluster::new(1, 2, |_| Behaviour::Finish);
    let outputs = FakeOutputs { panic_publish: true, ..FakeOutputs::default() };
    let (result, _) = cluster.run(two_by_two().build(), outputs).await;
    let failure = result.failure.expect("the job failed");
    assert_eq!(failure.code, ErrorCode::Internal);
    assert!(failure.message.contains("a connector's defect"), "{}", failure.message);
}

#[tokio::test(start_paused = true)]
async fn a_graph_that_does_not_fit_together_fails_the_job_at_once() {
    let cluster = Cluster::new(1, 2, |_| Behaviour::Finish);
    let (result, handle) = cluster.run(JobBuilder::new().source(0).build(), FakeOutputs::default()).await;
    assert_eq!(result.failure.map(|failure| failure.code), Some(ErrorCode::ParallelismInvalid));
    let details = handle.request_job(TOKEN).await.expect("the last details are kept");
    assert_eq!(details.overview.status, JobStatus::Failed);
}

#[tokio::test(start_paused = true)]
async fn the_connectors_of_the_host_are_asked() {
    let rpc: Arc<dyn RpcService> = Arc::new(EmbeddedRpcService::new());
    let options = vec![("path".to_owned(), "/no/such/folder".to_owned())];
    let source = ConnectorSpec { name: "text-files".into(), options };
    let job = JobBuilder::new().vertex(1, OperatorKind::ConnectorSource(source)).build();
    let resource_manager = (Address("embedded:rm".into()), ResourceManagerId::from_bits(1));
    let options =
        Options::new((*job).clone(), TOKEN, job_master_address(), resource_manager, crate::fakes::PROFILE);
    let (service, _handle) = Service::new(options, rpc, FileSystems::new(Default::default()));
    let result = tokio::time::timeout(Duration::from_secs(60), service.run(CancellationToken::new())).await;
    let failure = result.expect("the job ends").failure.expect("the job failed");
    assert_eq!(failure.code, ErrorCode::ConnectorInvalid);
    assert!(failure.message.contains("/no/such/folder"), "{}", failure.message);
}

#[tokio::test(start_paused = true)]
async fn a_split_is_for_attempts_that_run() {
    let cluster = Cluster::new(1, 2, |_| Behaviour::Run);
    let running = cluster.start(two_by_two().build(), FakeOutputs::default());
    let details = running.until_all_run().await;
    assert_eq!(details.vertices[0].subtasks[0].state, ExecutionState::Running);
    let attempt = heddle_model::id::ExecutionAttemptId {
        job_id: JOB,
        vertex_id: details.vertices[0].vertex_id,
        subtask: 0,
        attempt: 0,
    };
    let first = running.handle.request_next_input_split(TOKEN, attempt).await.expect("the attempt runs");
    assert_eq!(first.map(|split| split.index), Some(0));
    let later = heddle_model::id::ExecutionAttemptId { attempt: 1, ..attempt };
    let refused = running.handle.request_next_input_split(TOKEN, later).await;
    assert!(matches!(refused, Err(Error::Fenced { .. })), "{refused:?}");
    running.shutdown.cancel();
    running.result().await;
}
