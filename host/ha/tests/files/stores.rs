//! What is stored is there for the next leader.

use crate::fixture::{Storage, commitment, entry, graph};
use expect_test::expect;
use heddle_ha::{Error, ResultState};
use heddle_model::id::{BlobKey, JobId};
use heddle_model::task::Commitment;
use std::time::Duration;

#[tokio::test]
async fn the_next_leader_finds_what_the_former_stored() {
    let storage = Storage::new();
    let (services, _) = storage.lead().await;
    for bits in [u128::MAX, 1, 2] {
        services.job_graphs.put(&graph(bits)).await.unwrap();
    }
    services.job_graphs.remove(JobId(2)).await.unwrap();
    services.job_graphs.remove(JobId(2)).await.unwrap();
    services.job_results.create_dirty(entry(4)).await.unwrap();
    services.job_results.create_dirty(entry(5)).await.unwrap();
    services.job_results.mark_clean(JobId(5)).await.unwrap();
    drop(services);

    let (services, _) = storage.lead().await;
    let found = services.job_graphs.list().await.unwrap();
    assert_eq!(found.graphs, [graph(1), graph(u128::MAX)]);
    assert_eq!(found.unreadable, []);
    assert_eq!(services.job_results.dirty().await.unwrap(), [entry(4)]);
    assert_eq!(services.job_results.clean(10).await.unwrap(), [entry(5)]);
    assert_eq!(services.job_results.clean(0).await.unwrap(), []);
    for (job, state) in [(3, ResultState::Absent), (4, ResultState::Dirty), (5, ResultState::Clean)] {
        assert_eq!(services.job_results.state(JobId(job)).await.unwrap(), state);
    }
}

/// The same table as for every implementation.
#[tokio::test]
async fn a_result_goes_only_forward() {
    for from in ResultState::ALL {
        for to in [ResultState::Committing, ResultState::Dirty, ResultState::Clean] {
            let storage = Storage::new();
            let (services, _) = storage.lead().await;
            let store = services.job_results;
            if from == ResultState::Committing {
                store.create_committing(commitment(1)).await.unwrap();
            } else if from != ResultState::Absent {
                store.create_dirty(entry(1)).await.unwrap();
            }
            if from == ResultState::Clean {
                store.mark_clean(JobId(1)).await.unwrap();
            }
            let done = match to {
                ResultState::Committing => store.create_committing(commitment(1)).await,
                ResultState::Dirty => store.create_dirty(entry(1)).await,
                _ => store.mark_clean(JobId(1)).await,
            };
            if from == to || from.next().contains(&to) {
                assert_eq!(done, Ok(()), "{from} -> {to}");
            } else {
                assert!(matches!(done, Err(Error::Transition { .. })), "{from} -> {to}: {done:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_file_is_readable_and_names_what_it_is() {
    let storage = Storage::new();
    let (services, _) = storage.lead().await;
    services.job_results.create_dirty(entry(7)).await.unwrap();
    let file = storage.file("job-results/00000000000000000000000000000007_DIRTY.json");
    expect![[r#"
        {"heddle":"job result","format":1,"sha256":"b29ddc41ccf7acb52ad164eed1e9cbff6ef51c74a106ebc2a926b5ae7abb198a"}
        {
          "job_id": "00000000000000000000000000000007",
          "job_name": "job",
          "status": "Finished",
          "failure": null,
          "start_time_ms": 1,
          "runtime_ms": 2,
          "accumulators": {
            "words": -3
          },
          "collected": {
            "sink": [
              "a line"
            ]
          }
        }
    "#]]
    .assert_eq(&std::fs::read_to_string(file).unwrap());
}

#[tokio::test]
async fn a_commitment_is_readable_and_goes_with_the_clean_up() {
    let storage = Storage::new();
    let (services, _) = storage.lead().await;
    services.job_results.create_committing(commitment(7)).await.unwrap();
    services.job_results.create_committing(commitment(8)).await.unwrap();
    let other = Commitment { start_time_ms: 9, ..commitment(7) };
    let refused = services.job_results.create_committing(other).await;
    assert!(matches!(refused, Err(Error::Transition { .. })), "{refused:?}");
    let name = format!("{}_COMMITTING.json", JobId(7));
    let file = storage.file(&format!("job-results/{name}"));
    expect![[r#"
        {"heddle":"job commitment","format":1,"sha256":"d270a8ae06efa2583c17f326b74026912d8c8606a6e95894c1365e216a2cbafe"}
        {
          "job_id": "00000000000000000000000000000007",
          "start_time_ms": 1,
          "first_sink_record_at_ms": 2,
          "accumulators": {
            "words": -3
          },
          "committables": [
            {
              "sink": 4,
              "content": {
                "text": "{\"lines\":[\"a\"]}"
              }
            },
            {
              "sink": 5,
              "content": {
                "bytes": [
                  255,
                  0
                ]
              }
            }
          ]
        }
    "#]].assert_eq(&std::fs::read_to_string(&file).unwrap());
    drop(services);

    let (services, _) = storage.lead().await;
    let found = services.job_results.committing().await.unwrap();
    assert_eq!((found.good, found.unreadable), (vec![commitment(7), commitment(8)], Vec::new()));
    services.job_results.create_dirty(entry(7)).await.unwrap();
    assert_eq!(services.job_results.committing().await.unwrap().good, [commitment(8)]);
    assert_eq!(services.job_results.dirty().await.unwrap(), [entry(7)]);
    services.job_results.mark_clean(JobId(7)).await.unwrap();
    assert!(!file.exists());
    assert_eq!(services.job_results.clean(9).await.unwrap(), [entry(7)]);
}

#[tokio::test]
async fn copies_of_blobs_are_kept_for_each_job() {
    let storage = Storage::new();
    let (services, _) = storage.lead().await;
    let key = BlobKey::of(b"component");
    let source = storage.file("source");
    std::fs::write(&source, b"component").unwrap();
    for job in [1, 2] {
        services.blobs.put(JobId(job), key, &source).await.unwrap();
        // Repeating it changes nothing.
        services.blobs.put(JobId(job), key, &source).await.unwrap();
    }
    services.blobs.remove(JobId(1)).await.unwrap();
    services.blobs.remove(JobId(1)).await.unwrap();
    assert_eq!(services.blobs.get(JobId(1), key).await.unwrap(), None);
    // The first copy, to which the second was linked, is gone.
    let copy = services.blobs.get(JobId(2), key).await.unwrap().unwrap();
    assert_eq!(std::fs::read(copy).unwrap(), b"component");
    services.blobs.put(JobId(3), key, &source).await.unwrap();
    let copy = services.blobs.get(JobId(3), key).await.unwrap().unwrap();
    assert_eq!(std::fs::read(copy).unwrap(), b"component");
}

#[tokio::test]
async fn clean_results_are_told_the_latest_first() {
    let storage = Storage::new();
    let (services, _) = storage.lead().await;
    for (bits, age) in [(1, 20), (2, 30), (3, 10)] {
        services.job_results.create_dirty(entry(bits)).await.unwrap();
        services.job_results.mark_clean(JobId(bits)).await.unwrap();
        let file = storage.file(&format!("job-results/{}.json", JobId(bits)));
        let file = std::fs::File::options().write(true).open(file).unwrap();
        file.set_modified(std::time::SystemTime::now() - Duration::from_secs(age)).unwrap();
    }
    let ids: Vec<_> = services.job_results.clean(2).await.unwrap().iter().map(|e| e.job_id).collect();
    assert_eq!(ids, [JobId(3), JobId(1)]);
}

#[tokio::test]
async fn clusters_of_different_ids_do_not_see_each_other() {
    let storage = Storage::new();
    let (services, _) = storage.lead().await;
    services.job_graphs.put(&graph(1)).await.unwrap();
    let other = heddle_ha::files::FileOptions { cluster_id: "team-a/other".into(), ..storage.options() };
    let mut services = heddle_ha::files::open(&other).await.unwrap();
    crate::fixture::granted(&mut services).await;
    assert_eq!(services.job_graphs.list().await.unwrap().graphs, []);
    for wrong in ["", "/", "..", "a/../b", "a b", "ä", ".hidden"] {
        let wrong = heddle_ha::files::FileOptions { cluster_id: wrong.into(), ..storage.options() };
        let refused = heddle_ha::files::open(&wrong).await.err().expect("it is no name of a folder");
        assert!(refused.to_string().contains("cluster id"), "{refused}");
    }
}
