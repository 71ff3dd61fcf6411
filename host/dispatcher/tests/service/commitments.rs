//! What a job is to publish, as the dispatcher keeps it for the next leader.

use crate::fakes::{Fixture, eventually, graph};
use heddle_ha::{JobGraphStore, JobResultStore, ResultState, Unreadable};
use heddle_model::id::{BlobKey, JobId};
use heddle_model::job_status::JobStatus;
use heddle_model::task::{Commitment, Committable};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

fn commitment(job: u128) -> Commitment {
    Commitment {
        job_id: JobId(job),
        start_time_ms: 1000,
        first_sink_record_at_ms: None,
        accumulators: BTreeMap::new(),
        committables: vec![Committable { sink: 1, content: b"file".to_vec() }],
    }
}

#[tokio::test(start_paused = true)]
async fn a_commitment_is_stored_until_it_is_done_and_gone_with_the_result() {
    let mut fixture = Fixture::start().await;
    let master = fixture.submit(1).await;
    fixture.stores.fail("create_committing", 3);
    assert!(master.commitments.store(commitment(1)).await);
    assert_eq!(fixture.stores.failures_left("create_committing"), 0);
    assert_eq!(fixture.stores.result_state(JobId(1)).await, ResultState::Committing);
    master.end(JobStatus::Finished);
    eventually(|| async { fixture.stores.result_state(JobId(1)).await == ResultState::Clean }).await;
    assert_eq!(fixture.stores.results.committing().await.unwrap().good, []);
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_stops_does_not_say_that_it_is_stored() {
    let mut fixture = Fixture::start().await;
    let master = fixture.submit(1).await;
    fixture.stores.fail("create_committing", u32::MAX);
    let commitments = Arc::clone(&master.commitments);
    let storing = tokio::spawn(async move { commitments.store(commitment(1)).await });
    tokio::time::sleep(Duration::from_secs(1000)).await;
    assert!(!storing.is_finished(), "it tries again");
    fixture.shutdown.cancel();
    assert!(!storing.await.unwrap());
    fixture.stop().await;
}

/// Killed before it was stored, after it was, and after the result was.
#[tokio::test(start_paused = true)]
async fn a_new_leader_hands_over_what_the_former_kept() {
    let mut fixture = Fixture::prepare(
        |options| options,
        |stores| async move {
            for job in [1, 2] {
                stores.graphs.put(&graph(job, BlobKey::of(b"component"))).await.unwrap();
            }
            stores.results.create_committing(commitment(2)).await.unwrap();
            // Its graph is gone: the clean-up had begun.
            stores.results.create_committing(commitment(3)).await.unwrap();
            stores.results.create_dirty(crate::dirty(3)).await.unwrap();
        },
    )
    .await;
    fixture.lead(1).await;
    let (first, second) = (fixture.started().await, fixture.started().await);
    assert_eq!((first.job_id, &first.kept), (JobId(1), &None));
    assert_eq!((second.job_id, &second.kept), (JobId(2), &Some(commitment(2))));
    let jobs = fixture.gateway().list_jobs().await.unwrap();
    assert_eq!(jobs.iter().map(|job| job.job_id).collect::<Vec<_>>().len(), 3);
    second.end(JobStatus::Finished);
    for job in [2, 3] {
        eventually(|| async { fixture.stores.result_state(JobId(job)).await == ResultState::Clean }).await;
    }
    let result = fixture.gateway().request_job_result(JobId(2)).await.unwrap();
    assert_eq!(result.status, JobStatus::Finished);
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_commitment_is_lost_has_failed_and_does_not_run_again() {
    let mut fixture = Fixture::prepare(
        |options| options,
        |stores| async move {
            for job in [1, 2] {
                stores.graphs.put(&graph(job, BlobKey::of(b"component"))).await.unwrap();
            }
            let reason = "x_COMMITTING.json cannot be read: it is empty".to_owned();
            stores.unreadable_commitments.lock().unwrap().push(Unreadable { job_id: JobId(1), reason });
        },
    )
    .await;
    fixture.lead(1).await;
    assert_eq!(fixture.started().await.job_id, JobId(2));
    crate::has_failed_for_what_is_lost(&fixture, JobId(1), "x_COMMITTING.json cannot be read").await;
    assert_eq!(fixture.stores.graph_ids().await, [JobId(2)]);
    fixture.stop().await;
}
