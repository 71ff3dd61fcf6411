//! Many jobs at once, and jobs that are cancelled at every stage of their life.

use crate::fixture::{Fixture, failure, soon};
use heddle_model::failure::ErrorCode;
use heddle_model::id::JobId;
use heddle_model::job_status::JobStatus;
use heddle_rpc::grpc::{GrpcClient, Identity, Limits, Role};
use heddle_rpc::{DispatcherGateway, RpcService};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

const SUBMISSIONS: u128 = 200;

/// A gateway over the network, as another client has it.
fn dispatcher(fixture: &Fixture) -> Arc<dyn DispatcherGateway> {
    let limits = Limits::from_configuration(&heddle_model::config::Configuration::new());
    let client = GrpcClient::new(&Identity::new(Role::Client, None), limits).unwrap();
    client.dispatcher(&fixture.door.rpc.address("dispatcher")).unwrap()
}

/// No slot is held by a job that is gone.
async fn all_slots_come_back(fixture: &Fixture) {
    soon("all slots are free", async {
        loop {
            let overview = fixture.client.overview().await.unwrap();
            let resources = overview.resources;
            let held = |executor: &heddle_rpc::TaskExecutorOverview| executor.slots != executor.free_slots;
            if !resources.task_executors.iter().any(held) && resources.waiting_requests == 0 {
                assert_eq!(overview.jobs_running, 0);
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_submissions_at_once_all_run() {
    // Four slots, so that most of them wait.
    let fixture = Fixture::start_with(&[
        ("slotmanager.number-of-slots.max", "4"),
        ("resourcemanager.taskmanager-timeout", "1 h"),
    ])
    .await;
    let job = fixture.prepare("test-guests/faulty.wasm", &["none"]).await;
    let dispatcher = dispatcher(&fixture);
    let mut submissions = JoinSet::new();
    for number in 0..SUBMISSIONS {
        let (dispatcher, content) = (Arc::clone(&dispatcher), job.component.clone());
        let mut graph = job.graph.clone();
        graph.job_id = JobId(number + 1);
        submissions.spawn(async move {
            dispatcher.put_blob(content.into()).await.unwrap();
            let job_id = dispatcher.submit_job(graph).await.unwrap();
            let result = dispatcher.request_job_result(job_id).await.unwrap();
            (job_id, result)
        });
    }
    let mut ends: HashMap<JobStatus, u32> = HashMap::new();
    soon("all have ended", async {
        while let Some(ended) = submissions.join_next().await {
            let (job_id, result) = ended.unwrap();
            assert_eq!(result.job_id, job_id);
            assert_eq!(result.failure, None);
            *ends.entry(result.status).or_default() += 1;
        }
    })
    .await;
    assert_eq!(ends, HashMap::from([(JobStatus::Finished, SUBMISSIONS as u32)]));
    let overview = fixture.client.overview().await.unwrap();
    assert_eq!((overview.jobs_finished, overview.jobs_running), (SUBMISSIONS as u32, 0));
    assert_eq!(fixture.client.list().await.unwrap().len(), SUBMISSIONS as usize);
    all_slots_come_back(&fixture).await;
    fixture.cluster.shut_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_may_be_cancelled_at_every_stage_of_its_life() {
    let fixture = Fixture::start().await;
    let dispatcher = dispatcher(&fixture);
    // After it was asked for, from at once to long after it runs.
    let mut stages = BTreeMap::<&str, u32>::new();
    for round in 0..40_u64 {
        let output = fixture.folder.path().join(format!("output-{round}"));
        let arguments = ["endless", "--output", output.to_str().unwrap()];
        let job = fixture.prepare("test-guests/faulty.wasm", &arguments).await;
        let (graph, content) = (job.graph.clone(), job.component.clone());
        let job_id = graph.job_id;
        dispatcher.put_blob(content.into()).await.unwrap();
        let submitted = tokio::spawn({
            let dispatcher = Arc::clone(&dispatcher);
            async move { dispatcher.submit_job(graph).await }
        });
        tokio::time::sleep(Duration::from_micros(round * round * 150)).await;
        let stage = match dispatcher.request_job(job_id).await {
            Ok(details) => details.overview.status.name(),
            Err(_) => "not there",
        };
        *stages.entry(stage).or_default() += 1;
        if let Err(error) = fixture.client.job(job_id).cancel().await {
            assert_eq!((error.code, stage), (ErrorCode::NoSuchJob, "not there"), "{error}");
            // It came before the submission.
            submitted.await.unwrap().unwrap();
            fixture.client.job(job_id).cancel().await.unwrap();
        } else {
            submitted.await.unwrap().unwrap();
        }
        // Once more while it is being cancelled, and again when it is.
        let again = fixture.client.job(job_id).cancel().await;
        assert!(again.is_ok(), "{again:?}");
        let result = soon("its end", fixture.client.job(job_id).result()).await.unwrap();
        assert_eq!((result.status, result.failure), (JobStatus::Canceled, None), "round {round}");
        fixture.client.job(job_id).cancel().await.unwrap();
        let left = std::fs::read_dir(&output).map_or(0, Iterator::count);
        assert_eq!(left, 0, "round {round}: output is left");
    }
    assert!(stages.len() > 1, "only {stages:?} was met");
    all_slots_come_back(&fixture).await;

    // Of one that has finished there is nothing to cancel.
    let job = fixture.prepare("test-guests/faulty.wasm", &["none"]).await;
    let job = fixture.client.submit(job).await.unwrap();
    assert_eq!(soon("its end", job.result()).await.unwrap().status, JobStatus::Finished);
    let error = failure(job.cancel().await);
    assert_eq!(error.code, ErrorCode::NoSuchJob);
    assert!(error.message.contains("it is FINISHED already"), "{error}");
    fixture.cluster.shut_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_waits_or_restarts_can_be_cancelled() {
    let fixture = Fixture::start_with(&[("slotmanager.number-of-slots.max", "1")]).await;
    let first = fixture.submit_endless().await;
    crate::fixture::running(&first).await;
    let waiting = fixture.submit_endless().await;
    soon("it waits for a slot", async {
        while fixture.client.overview().await.unwrap().resources.waiting_requests == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    waiting.cancel().await.unwrap();
    assert_eq!(soon("its end", waiting.result()).await.unwrap().status, JobStatus::Canceled);
    first.cancel().await.unwrap();
    assert_eq!(soon("its end", first.result()).await.unwrap().status, JobStatus::Canceled);

    let restarts = [
        ("restart-strategy.type", "fixed-delay"),
        ("restart-strategy.fixed-delay.delay", "1 h"),
        ("restart-strategy.fixed-delay.attempts", "3"),
    ];
    let job = fixture.prepare_with("test-guests/faulty.wasm", &["panics"], &restarts).await;
    let job = fixture.client.submit(job).await.unwrap();
    let details = soon("it restarts", async {
        loop {
            let details = job.details().await.unwrap();
            if details.overview.status == JobStatus::Restarting {
                break details;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert_eq!(details.failures.len(), 1);
    assert_eq!(details.failures[0].failure.code, ErrorCode::OperatorTrap);
    job.cancel().await.unwrap();
    assert_eq!(soon("its end", job.result()).await.unwrap().status, JobStatus::Canceled);
    all_slots_come_back(&fixture).await;
    fixture.cluster.shut_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_cannot_grant_its_job_more_than_the_cluster_does() {
    let fixture = Fixture::start().await;
    let granted = [("taskmanager.wasm.grants", "clocks")];
    let job = fixture.prepare_with("test-guests/faulty.wasm", &["none"], &granted).await;
    let job = fixture.client.submit(job).await.unwrap();
    let result = soon("its end", job.result()).await.unwrap();
    assert_eq!(result.status, JobStatus::Failed);
    let failure = result.failure.unwrap();
    assert_eq!(failure.code, ErrorCode::ComponentImport, "{failure}");
    for word in ["`clocks`", "nothing", "taskmanager.wasm.grants"] {
        assert!(failure.message.contains(word), "`{word}` in: {failure}");
    }
    fixture.cluster.shut_down().await;
}
