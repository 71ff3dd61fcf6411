//! The dispatcher with fake job masters, failing stores and a decided election,
//! on paused time.

mod commitments;
mod fakes;

use fakes::{Fixture, eventually, graph};
use heddle_dispatcher::Options;
use heddle_ha::{JobGraphStore, JobResultEntry, JobResultStore, Leadership, ResultState, Unreadable};
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::{BlobKey, JobId};
use heddle_model::job_status::JobStatus;
use heddle_rpc::{DispatcherGateway, Error, JobResult};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

fn failure<T: std::fmt::Debug>(result: heddle_rpc::Result<T>) -> Failure {
    match result {
        Err(Error::Failure(failure)) => failure,
        other => panic!("no failure: {other:?}"),
    }
}

/// Waits for a job's result; when this returns the dispatcher knows of it.
async fn waiting(fixture: &Fixture, job: u128) -> JoinHandle<heddle_rpc::Result<JobResult>> {
    let gateway = fixture.gateway();
    let waiting = tokio::spawn(async move { gateway.request_job_result(JobId(job)).await });
    // Paused time moves only when nobody else can.
    tokio::time::sleep(Duration::from_millis(1)).await;
    waiting
}

#[tokio::test(start_paused = true)]
async fn a_job_is_stored_before_it_runs_and_cleaned_up_after() {
    let mut fixture = Fixture::start().await;
    let master = fixture.submit(1).await;
    assert_eq!(fixture.stores.graph_ids().await, [JobId(1)]);
    assert_eq!(fixture.status(1).await, JobStatus::Running);
    let result = waiting(&fixture, 1).await;

    master.end(JobStatus::Finished);
    let result = result.await.unwrap().unwrap();
    assert_eq!((result.status, result.first_record_ms), (JobStatus::Finished, Some(3)));
    assert_eq!(result.accumulators, BTreeMap::from([("words".to_owned(), 42)]));
    eventually(|| async { fixture.stores.result_state(JobId(1)).await == ResultState::Clean }).await;
    assert_eq!(fixture.stores.graph_ids().await, []);
    assert!(!fixture.blobs.contains(fixture.component));

    // It stays readable.
    let gateway = fixture.gateway();
    assert_eq!(gateway.request_job_result(JobId(1)).await, Ok(result));
    let details = gateway.request_job(JobId(1)).await.unwrap();
    assert_eq!((details.overview.status, details.restarts), (JobStatus::Finished, 7));
    assert_eq!(gateway.list_jobs().await.unwrap(), [details.overview]);
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_job_is_submitted_only_once() {
    let mut fixture = Fixture::prepare(|o| Options { max_finished_jobs: 1, ..o }, |_| async {}).await;
    fixture.lead(1).await;
    let first = fixture.submit(1).await;
    let again = fixture.gateway().submit_job(graph(1, fixture.component)).await;
    let refused = failure(again);
    assert_eq!(refused.code, ErrorCode::DuplicateJob);
    assert!(refused.message.contains("has not ended"), "{refused}");

    let second = fixture.submit(2).await;
    for (master, job) in [(first, 1), (second, 2)] {
        let result = waiting(&fixture, job).await;
        master.end(JobStatus::Failed);
        result.await.unwrap().unwrap();
    }
    // The first is no longer among the finished ones, but has a result.
    for job in [1, 2] {
        let component =
            fixture.gateway().put_blob(bytes::Bytes::from_static(b"component").into()).await.unwrap();
        let refused = failure(fixture.gateway().submit_job(graph(job, component)).await);
        assert_eq!(refused.code, ErrorCode::DuplicateJob);
        assert!(refused.message.contains("has ended already"), "{refused}");
    }
    assert_eq!(fixture.gateway().list_jobs().await.unwrap().len(), 1);
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_same_job_twice_at_once_is_refused_while_the_first_is_stored() {
    let mut fixture = Fixture::start().await;
    fixture.stores.gate.forget_permits(1000);
    let gateway = fixture.gateway();
    let job = graph(1, fixture.component);
    let first = tokio::spawn(async move { gateway.submit_job(job).await });
    eventually(|| async { fixture.gateway().list_jobs().await.unwrap().len() == 1 }).await;
    assert_eq!(fixture.status(1).await, JobStatus::Initializing);
    let refused = failure(fixture.gateway().submit_job(graph(1, fixture.component)).await);
    assert_eq!(refused.code, ErrorCode::DuplicateJob);

    // A cancellation meanwhile is not lost.
    fixture.gateway().cancel_job(JobId(1)).await.unwrap();
    let result = waiting(&fixture, 1).await;
    fixture.stores.gate.add_permits(1000);
    assert_eq!(first.await.unwrap(), Ok(JobId(1)));
    fixture.started().await;
    assert_eq!(result.await.unwrap().unwrap().status, JobStatus::Canceled);
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_run_is_refused_and_leaves_nothing() {
    let fixture = Fixture::start().await;
    let submit = |job| {
        let gateway = fixture.gateway();
        async move { failure(gateway.submit_job(job).await) }
    };
    let mut job = graph(1, fixture.component);
    job.vertices[0].parallelism = 0;
    let refused = submit(job).await;
    assert_eq!(refused.code, ErrorCode::ParallelismInvalid);
    assert_eq!(
        refused.message,
        "vertex `source` of job `job 1` has parallelism 0; it must be from 1 to its maximum, 128"
    );
    let mut job = graph(1, fixture.component);
    job.vertices.clear();
    assert_eq!(submit(job).await.code, ErrorCode::PlanInvalid);

    let refused = submit(graph(1, BlobKey::of(b"never uploaded"))).await;
    assert_eq!(refused.code, ErrorCode::Blob);
    assert!(refused.message.contains("upload it again"), "{refused}");

    fixture.stores.fail("put", 1);
    let refused = submit(graph(1, fixture.component)).await;
    assert!(refused.message.contains("could not be stored: put failed: the disk is full"), "{refused}");
    assert_eq!(fixture.gateway().list_jobs().await.unwrap(), []);
    assert_eq!(fixture.stores.graph_ids().await, []);
    assert!(!fixture.blobs.contains(fixture.component), "the component of a refused job is released");
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn cancelling() {
    let mut fixture = Fixture::start().await;
    fixture.submit(1).await;
    let finished = fixture.submit(2).await;
    let result = waiting(&fixture, 1).await;
    let gateway = fixture.gateway();
    gateway.cancel_job(JobId(1)).await.unwrap();
    assert_eq!(result.await.unwrap().unwrap().status, JobStatus::Canceled);
    gateway.cancel_job(JobId(1)).await.unwrap();

    finished.end(JobStatus::Finished);
    gateway.request_job_result(JobId(2)).await.unwrap();
    let refused = failure(gateway.cancel_job(JobId(2)).await);
    assert_eq!(refused.code, ErrorCode::NoSuchJob);
    assert!(refused.message.ends_with("cannot be cancelled: it is FINISHED already"), "{refused}");

    let unknown = failure(gateway.cancel_job(JobId(3)).await);
    assert_eq!(unknown.code, ErrorCode::NoSuchJob);
    assert!(unknown.message.contains("the nearest known ones are 0000"), "{unknown}");
    assert_eq!(failure(gateway.request_job(JobId(3)).await), unknown);
    assert_eq!(failure(gateway.request_job_result(JobId(3)).await), unknown);
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_job_master_that_panics_fails_its_job_alone() {
    let mut fixture = Fixture::start().await;
    let bad = fixture.submit(1).await;
    let good = fixture.submit(2).await;
    let result = waiting(&fixture, 1).await;
    bad.panic("index out of bounds");
    let result = result.await.unwrap().unwrap();
    assert_eq!(result.status, JobStatus::Failed);
    let cause = result.failure.unwrap();
    assert_eq!(cause.code, ErrorCode::Internal);
    assert_eq!(cause.message, "the job master of `job 1` panicked: index out of bounds");
    eventually(|| async { fixture.stores.result_state(JobId(1)).await == ResultState::Clean }).await;

    good.end(JobStatus::Finished);
    let result = fixture.gateway().request_job_result(JobId(2)).await.unwrap();
    assert_eq!(result.status, JobStatus::Finished);
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_job_master_that_does_not_answer_holds_up_nobody() {
    let mut fixture = Fixture::start().await;
    let silent = fixture.submit(1).await;
    fixture.submit(2).await;
    silent.fall_silent();
    let details = fixture.gateway().request_job(JobId(1)).await.unwrap();
    assert_eq!((details.overview.status, details.restarts), (JobStatus::Running, 0));
    let names: Vec<_> =
        fixture.gateway().list_jobs().await.unwrap().into_iter().map(|job| job.name).collect();
    assert!(names.contains(&"job 1".to_owned()) && names.contains(&"job 2".to_owned()), "{names:?}");
    let refused = failure(fixture.gateway().cancel_job(JobId(1)).await);
    assert!(refused.message.contains("was not answered within 10 s"), "{refused}");

    silent.end(JobStatus::Failed);
    let result = fixture.gateway().request_job_result(JobId(1)).await.unwrap();
    assert_eq!(result.status, JobStatus::Failed);
    assert_eq!(fixture.status(1).await, JobStatus::Failed);
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn storing_the_result_and_cleaning_up_are_tried_until_they_succeed() {
    let mut fixture = Fixture::start().await;
    let master = fixture.submit(1).await;
    for operation in ["create_dirty", "remove", "mark_clean"] {
        fixture.stores.fail(operation, 3);
    }
    let before = tokio::time::Instant::now();
    let result = waiting(&fixture, 1).await;
    master.end(JobStatus::Finished);
    assert_eq!(result.await.unwrap().unwrap().status, JobStatus::Finished);
    // 1 + 2 + 4 seconds: the pause doubles.
    assert_eq!(before.elapsed().as_secs(), 7);
    assert_eq!(fixture.stores.result_state(JobId(1)).await, ResultState::Dirty);
    eventually(|| async { fixture.stores.result_state(JobId(1)).await == ResultState::Clean }).await;
    assert_eq!(fixture.stores.failures_left("mark_clean"), 0);
    assert_eq!(fixture.stores.graph_ids().await, []);
    fixture.stop().await;
}

fn dirty(job: u128) -> JobResultEntry {
    JobResultEntry {
        job_id: JobId(job),
        job_name: format!("job {job}"),
        status: JobStatus::Failed,
        failure: Some(Failure::new(ErrorCode::OperatorTrap, "it trapped")),
        start_time_ms: 1000,
        runtime_ms: 500,
        accumulators: BTreeMap::new(),
        collected: BTreeMap::new(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_leader_cleans_up_dirty_results_and_runs_the_other_jobs() {
    let component = BlobKey::of(b"component");
    let mut fixture = Fixture::prepare(
        |options| options,
        |stores| async move {
            for job in [1, 2] {
                stores.graphs.put(&graph(job, component)).await.unwrap();
            }
            stores.results.create_dirty(dirty(1)).await.unwrap();
        },
    )
    .await;
    fixture.lead(1).await;
    let master = fixture.started().await;
    assert_eq!(master.job_id, JobId(2), "a job that has a result does not run again");
    eventually(|| async { fixture.stores.result_state(JobId(1)).await == ResultState::Clean }).await;
    assert_eq!(fixture.stores.graph_ids().await, [JobId(2)]);
    let result = fixture.gateway().request_job_result(JobId(1)).await.unwrap();
    assert_eq!((result.status, result.failure), (JobStatus::Failed, dirty(1).failure));
    assert_eq!(fixture.gateway().list_jobs().await.unwrap().len(), 2);
    assert_eq!(fixture.running_masters(), 1);
    fixture.stop().await;
}

/// What is stored of the job cannot be read: it has failed for these words, and
/// is cleaned up.
async fn has_failed_for_what_is_lost(fixture: &Fixture, job_id: JobId, words: &str) {
    let result = fixture.gateway().request_job_result(job_id).await.unwrap();
    assert_eq!(result.status, JobStatus::Failed);
    let failure = result.failure.unwrap();
    assert_eq!(failure.code, ErrorCode::HighAvailability);
    assert!(failure.message.contains(words), "{failure}");
    eventually(|| async { fixture.stores.result_state(job_id).await == ResultState::Clean }).await;
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_graph_is_lost_has_failed_and_the_others_run() {
    let component = BlobKey::of(b"component");
    let mut fixture = Fixture::prepare(
        |options| options,
        |stores| async move {
            stores.graphs.put(&graph(2, component)).await.unwrap();
            let reason = "x.json cannot be read: it is empty; it was moved to corrupted/x.json".to_owned();
            stores.unreadable.lock().unwrap().push(Unreadable { job_id: JobId(1), reason });
        },
    )
    .await;
    fixture.lead(1).await;
    assert_eq!(fixture.started().await.job_id, JobId(2));
    has_failed_for_what_is_lost(&fixture, JobId(1), "it was moved to corrupted/x.json").await;
    fixture.stop().await;
}

/// A client whose JobManager was killed right after the end of its job.
#[tokio::test(start_paused = true)]
async fn results_that_were_cleaned_up_are_still_readable_under_a_new_leader() {
    let mut fixture = Fixture::prepare(
        |options| Options { max_finished_jobs: 2, ..options },
        |stores| async move {
            *stores.clean.lock().unwrap() = vec![dirty(3), dirty(2), dirty(1)];
            // Killed between the result and the removal of the graph.
            stores.graphs.put(&graph(3, BlobKey::of(b"component"))).await.unwrap();
        },
    )
    .await;
    fixture.lead(1).await;
    let listed: Vec<_> = fixture.gateway().list_jobs().await.unwrap().iter().map(|j| j.job_id).collect();
    assert_eq!(listed, [JobId(2), JobId(3)]);
    assert_eq!(fixture.status(3).await, JobStatus::Failed);
    assert_eq!(fixture.running_masters(), 0);
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn finished_jobs_are_read_from_their_files_and_archived() {
    let folder = tempfile::tempdir().unwrap();
    let (store, archive) = (folder.path().join("store"), folder.path().join("archive"));
    let options = |options| Options {
        finished_job_cache: 0,
        finished_job_folder: Some(store.clone()),
        archive_folder: Some(archive.clone()),
        finished_job_lifetime: Duration::from_secs(20),
        ..options
    };
    let mut fixture = Fixture::prepare(options, |_| async {}).await;
    fixture.lead(1).await;
    for job in [1, 2] {
        // The end of the former job may have removed it.
        fixture.blobs.put(bytes::Bytes::from_static(b"component")).await.unwrap();
        let master = fixture.submit(job).await;
        let result = waiting(&fixture, job).await;
        master.end(JobStatus::Finished);
        result.await.unwrap().unwrap();
    }
    // Of the first, only the file is left.
    let details = fixture.gateway().request_job(JobId(1)).await.unwrap();
    assert_eq!((details.overview.status, details.restarts), (JobStatus::Finished, 7));
    let result = fixture.gateway().request_job_result(JobId(1)).await.unwrap();
    assert_eq!(result.accumulators["words"], 42);
    let archived = std::fs::read_to_string(archive.join(JobId(1).to_string())).unwrap();
    assert!(archived.contains("\"words\": 42"), "{archived}");

    let count = |folder: &std::path::Path| std::fs::read_dir(folder).unwrap().count();
    assert_eq!(count(&store), 2);
    eventually(|| async { fixture.gateway().list_jobs().await.unwrap().is_empty() }).await;
    eventually(|| async { count(&store) == 0 }).await;
    assert_eq!(count(&archive), 2);
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_recovery_that_fails_is_fatal_and_says_why() {
    let mut fixture =
        Fixture::prepare(|options| options, |stores| async move { stores.fail("list", 1) }).await;
    fixture.election.send(Leadership::Granted { session: 1 }).unwrap();
    let error = fixture.service.take().unwrap().await.unwrap().unwrap_err();
    let cause = std::error::Error::source(&error).unwrap();
    assert_eq!(
        format!("{error}: {cause}"),
        "the jobs of the former leader could not be recovered: list failed: the disk is full"
    );
    assert!(fixture.leader(1).is_err());
}

#[tokio::test(start_paused = true)]
async fn shutdown_suspends_the_jobs() {
    let mut fixture = Fixture::start().await;
    let master = fixture.submit(1).await;
    master.suspend_in(Duration::from_secs(5));
    let result = waiting(&fixture, 1).await;
    eventually(|| async { fixture.running_masters() == 1 }).await;
    fixture.shutdown.cancel();
    fixture.service.take().unwrap().await.unwrap().unwrap();
    assert_eq!(fixture.running_masters(), 0);
    assert_eq!(result.await.unwrap().unwrap().status, JobStatus::Suspended);
    assert_eq!(fixture.stores.graph_ids().await, [JobId(1)]);
    assert_eq!(fixture.stores.result_state(JobId(1)).await, ResultState::Absent);
    let late = fixture.handle.list_jobs().await;
    assert_eq!(late, Err(Error::Unreachable { address: fixture.address.clone() }));
}

#[tokio::test(start_paused = true)]
async fn a_job_that_does_not_suspend_in_time_is_dropped() {
    let mut fixture = Fixture::start().await;
    let master = fixture.submit(1).await;
    master.suspend_in(Duration::from_secs(3600));
    let result = waiting(&fixture, 1).await;
    eventually(|| async { fixture.running_masters() == 1 }).await;
    let before = tokio::time::Instant::now();
    fixture.shutdown.cancel();
    fixture.service.take().unwrap().await.unwrap().unwrap();
    assert_eq!(before.elapsed().as_secs(), 30);
    assert_eq!(result.await.unwrap().unwrap().status, JobStatus::Suspended);
}

#[tokio::test(start_paused = true)]
async fn a_new_leader_process_starts_only_after_the_former_has_stopped() {
    let mut fixture = Fixture::start().await;
    let former = fixture.submit(1).await;
    former.suspend_in(Duration::from_secs(5));
    let result = waiting(&fixture, 1).await;
    eventually(|| async { fixture.running_masters() == 1 }).await;

    let before = tokio::time::Instant::now();
    fixture.lead(2).await;
    assert!(before.elapsed() >= Duration::from_secs(5));
    assert_eq!(result.await.unwrap().unwrap().status, JobStatus::Suspended);
    let next = fixture.started().await;
    assert_eq!(next.job_id, JobId(1));
    assert_ne!(next.id, former.id);
    eventually(|| async { fixture.running_masters() == 1 }).await;
    next.end(JobStatus::Finished);
    let result = fixture.gateway().request_job_result(JobId(1)).await.unwrap();
    assert_eq!(result.status, JobStatus::Finished);
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_meant_for_a_former_leader_reaches_nobody() {
    let mut fixture = Fixture::prepare(|options| options, |_| async {}).await;
    assert!(fixture.leader(1).is_err(), "it does not lead yet");
    fixture.lead(1).await;
    let former = fixture.leader(1).unwrap();
    assert_eq!(former.list_jobs().await, Ok(vec![]));
    fixture.lead(2).await;
    assert!(fixture.leader(1).is_err());
    assert_eq!(fixture.leader(2).unwrap().list_jobs().await, Ok(vec![]));
    fixture.election.send(Leadership::Revoked).unwrap();
    eventually(|| async { fixture.leader(2).is_err() }).await;
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn whoever_runs_it_hears_that_the_cluster_is_to_end() {
    let fixture = Fixture::start().await;
    let requested = fixture.handle.shut_down_requested();
    assert!(!requested.is_cancelled());
    fixture.leader(1).unwrap().shut_down_cluster().await.unwrap();
    assert!(requested.is_cancelled());
    assert_eq!(fixture.gateway().list_jobs().await, Ok(vec![]), "it is not the dispatcher that ends it");
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn without_leadership_nobody_is_served() {
    let mut fixture = Fixture::start().await;
    fixture.submit(1).await;
    fixture.election.send(Leadership::Revoked).unwrap();
    eventually(|| async { fixture.running_masters() == 0 }).await;
    let refused = fixture.gateway().list_jobs().await;
    assert_eq!(refused, Err(Error::Unreachable { address: fixture.address.clone() }));
    let refused = fixture.gateway().submit_job(graph(2, fixture.component)).await;
    assert_eq!(refused, Err(Error::Unreachable { address: fixture.address.clone() }));

    fixture.lead(3).await;
    assert_eq!(fixture.started().await.job_id, JobId(1));
    assert_eq!(fixture.gateway().list_jobs().await.unwrap().len(), 1);
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_stored_when_the_leadership_ends_is_run_by_the_next() {
    let mut fixture = Fixture::start().await;
    fixture.stores.gate.forget_permits(1000);
    let (gateway, job) = (fixture.gateway(), graph(1, fixture.component));
    let submitted = tokio::spawn(async move { gateway.submit_job(job).await });
    eventually(|| async { fixture.gateway().list_jobs().await.unwrap().len() == 1 }).await;
    fixture.election.send(Leadership::Revoked).unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    fixture.stores.gate.add_permits(1000);
    let told = failure(submitted.await.unwrap());
    assert_eq!(told.code, ErrorCode::Fenced);
    assert_eq!(fixture.running_masters(), 0);
    fixture.lead(2).await;
    assert_eq!(fixture.started().await.job_id, JobId(1));
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn uploads_that_no_job_needs_are_removed_after_a_while() {
    let fixture = Fixture::start().await;
    let key = fixture.gateway().put_blob(bytes::Bytes::from_static(b"abandoned").into()).await.unwrap();
    assert!(fixture.blobs.contains(key));
    let blobs = Arc::new(fixture.blobs.clone());
    eventually(|| {
        let blobs = blobs.clone();
        async move {
            tokio::time::sleep(Duration::from_secs(60)).await;
            !blobs.contains(key)
        }
    })
    .await;
    fixture.stop().await;
}
