//! The embedded stores and election, through their traits.

use heddle_ha::{Error, JobResultEntry, Leadership, ResultState, Services};
use heddle_model::id::{BlobKey, JobId};
use heddle_model::job_graph::{ExecutionConfig, JobGraph};
use heddle_model::job_status::JobStatus;
use heddle_model::plan::Program;
use heddle_model::task::Commitment;
use std::collections::BTreeMap;

fn graph(bits: u128) -> JobGraph {
    JobGraph {
        job_id: JobId(bits),
        name: format!("job {bits}"),
        component: BlobKey::of(b"component"),
        program: Program::default(),
        execution: ExecutionConfig::default(),
        vertices: Vec::new(),
    }
}

fn entry(bits: u128) -> JobResultEntry {
    JobResultEntry {
        job_id: JobId(bits),
        job_name: "job".into(),
        status: JobStatus::Finished,
        failure: None,
        start_time_ms: 1,
        runtime_ms: 2,
        accumulators: BTreeMap::new(),
        collected: BTreeMap::new(),
    }
}

fn commitment(bits: u128) -> Commitment {
    Commitment {
        job_id: JobId(bits),
        start_time_ms: 1,
        first_sink_record_at_ms: None,
        accumulators: BTreeMap::new(),
        committables: Vec::new(),
    }
}

#[tokio::test]
async fn graphs_are_listed_in_order_and_removed_twice_without_error() {
    let store = Services::embedded(1).job_graphs;
    for bits in [3, 1, 2] {
        store.put(&graph(bits)).await.unwrap();
    }
    store.remove(JobId(2)).await.unwrap();
    store.remove(JobId(2)).await.unwrap();
    let ids: Vec<_> = store.list().await.unwrap().graphs.iter().map(|g| g.job_id).collect();
    assert_eq!(ids, [JobId(1), JobId(3)]);
}

/// Every pair of states, by the one table of legal transitions (a repeated
/// step is no transition and succeeds).
#[tokio::test]
async fn a_result_goes_only_forward() {
    for from in ResultState::ALL {
        for to in [ResultState::Committing, ResultState::Dirty, ResultState::Clean] {
            let store = Services::embedded(1).job_results;
            if from == ResultState::Committing {
                store.create_committing(commitment(1)).await.unwrap();
            } else if from != ResultState::Absent {
                store.create_dirty(entry(1)).await.unwrap();
            }
            if from == ResultState::Clean {
                store.mark_clean(JobId(1)).await.unwrap();
            }
            assert_eq!(store.state(JobId(1)).await.unwrap(), from);

            let done = match to {
                ResultState::Committing => store.create_committing(commitment(1)).await,
                ResultState::Dirty => store.create_dirty(entry(1)).await,
                _ => store.mark_clean(JobId(1)).await,
            };
            if from == to || from.next().contains(&to) {
                assert_eq!(done, Ok(()), "{from} -> {to}");
                assert_eq!(store.state(JobId(1)).await.unwrap(), to);
            } else {
                assert!(matches!(done, Err(Error::Transition { .. })), "{from} -> {to}: {done:?}");
                assert_eq!(store.state(JobId(1)).await.unwrap(), from);
            }
        }
    }
}

#[tokio::test]
async fn only_dirty_results_are_listed() {
    let store = Services::embedded(1).job_results;
    for bits in [2, 1] {
        store.create_dirty(entry(bits)).await.unwrap();
    }
    assert_eq!(store.dirty().await.unwrap(), [entry(1), entry(2)]);
    store.mark_clean(JobId(1)).await.unwrap();
    assert_eq!(store.dirty().await.unwrap(), [entry(2)]);
}

#[tokio::test]
async fn a_commitment_stays_until_there_is_a_result() {
    let store = Services::embedded(1).job_results;
    for bits in [2, 1] {
        store.create_committing(commitment(bits)).await.unwrap();
    }
    assert_eq!(store.committing().await.unwrap().good, [commitment(1), commitment(2)]);
    let other = Commitment { start_time_ms: 9, ..commitment(1) };
    assert!(matches!(store.create_committing(other).await, Err(Error::Transition { .. })));
    store.create_dirty(entry(1)).await.unwrap();
    assert_eq!(store.committing().await.unwrap().good, [commitment(2)]);
}

#[tokio::test(start_paused = true)]
async fn the_only_contender_leads_at_once_and_only_under_its_session() {
    let mut election = Services::embedded(7).dispatcher_election;
    assert_eq!(election.next().await, Leadership::Granted { session: 7 });
    assert_eq!(election.confirm(7, "embedded:dispatcher").await, Ok(()));
    assert_eq!(election.confirm(8, "embedded:dispatcher").await, Err(Error::NotLeader { session: 8 }));
    let more = tokio::time::timeout(std::time::Duration::from_secs(3600), election.next()).await;
    assert!(more.is_err(), "nothing changes any more");
}
