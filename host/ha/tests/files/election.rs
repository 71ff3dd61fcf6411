//! One process leads; the others stand by; a stale one is fenced off.

use crate::fixture::{Storage, commitment, entry, granted, graph};
use heddle_ha::files::{Election, FileOptions, open, remove, retrieval};
use heddle_ha::{Error, Leadership};
use heddle_model::id::{BlobKey, JobId};
use std::time::Duration;

fn epoch(session: u128) -> u64 {
    (session >> 64) as u64
}

#[tokio::test]
async fn a_second_contender_stands_by_until_the_first_is_gone() {
    let storage = Storage::new();
    let (first, one) = storage.lead().await;
    let mut second = storage.open().await;
    let waited = tokio::time::timeout(Duration::from_millis(50), second.dispatcher_election.next()).await;
    assert!(waited.is_err(), "two lead");
    drop(first);
    let two = granted(&mut second).await;
    assert_eq!((epoch(one), epoch(two)), (1, 2));
}

#[tokio::test]
async fn who_looks_for_the_leader_finds_it_once_it_is_ready() {
    let storage = Storage::new();
    let mut looking = retrieval(&storage.options()).unwrap();
    assert_eq!(looking.current().await.unwrap(), None);
    let (mut first, one) = storage.lead().await;
    assert_eq!(looking.current().await.unwrap(), None, "it has no address yet");
    first.dispatcher_election.confirm(one, "host-a:6123").await.unwrap();
    let leader = looking.next().await;
    assert_eq!((leader.session.0, leader.address.as_deref()), (one, Some("host-a:6123")));
    assert_eq!(leader.process_id, std::process::id());

    drop(first);
    assert_eq!(looking.current().await.unwrap(), None, "it has resigned");
    let (mut second, two) = storage.lead().await;
    second.dispatcher_election.confirm(two, "host-b:6123").await.unwrap();
    let leader = looking.next().await;
    assert_eq!((leader.epoch, leader.session.0), (2, two));
    assert_eq!(leader.address.as_deref(), Some("host-b:6123"));
}

#[tokio::test]
async fn only_the_leader_writes() {
    let storage = Storage::new();
    let services = storage.open().await;
    assert_eq!(services.job_graphs.put(&graph(1)).await, Err(Error::NotLeader { session: 0 }));
    assert_eq!(services.job_results.create_dirty(entry(1)).await, Err(Error::NotLeader { session: 0 }));
    let refused = services.job_results.create_committing(commitment(1)).await;
    assert_eq!(refused, Err(Error::NotLeader { session: 0 }));
    assert_eq!(storage.names("job-graphs"), Vec::<String>::new());
}

/// The lock was lost without the process noticing, as on a network file system
/// whose server restarted.
#[tokio::test]
async fn the_epoch_of_a_new_leader_fences_the_former() {
    let storage = Storage::new();
    let (mut former, one) = storage.lead().await;
    former.job_graphs.put(&graph(1)).await.unwrap();
    former.job_results.create_dirty(entry(2)).await.unwrap();
    std::fs::remove_file(storage.file("leader.lock")).unwrap();
    let (new, _) = storage.lead().await;

    let refused = Err(Error::NotLeader { session: one });
    assert_eq!(former.job_graphs.put(&graph(3)).await, refused);
    assert_eq!(former.job_graphs.remove(JobId(1)).await, refused);
    assert_eq!(former.job_results.create_dirty(entry(3)).await, refused);
    assert_eq!(former.job_results.mark_clean(JobId(2)).await, refused);
    let source = storage.file("leader.json");
    assert_eq!(former.blobs.put(JobId(3), BlobKey::of(b"x"), &source).await, refused);
    assert_eq!(former.blobs.remove(JobId(1)).await, refused);
    assert_eq!(former.dispatcher_election.confirm(one, "host-a:6123").await, refused);
    assert_eq!(former.dispatcher_election.next().await, Leadership::Revoked);

    assert_eq!(new.job_graphs.list().await.unwrap().graphs, [graph(1)]);
    assert_eq!(new.job_results.dirty().await.unwrap(), [entry(2)]);
    // The former stands by now, and leads again when the new one is gone.
    drop(new);
    assert_eq!(epoch(granted(&mut former).await), 3);
    former.job_graphs.put(&graph(3)).await.unwrap();
}

/// As YARN starts an application's attempts: the one before may still run.
#[tokio::test]
async fn who_comes_last_leads_at_once_where_order_decides() {
    let storage = Storage::new();
    let options = FileOptions { election: Election::LastComer, ..storage.options() };
    let mut first = open(&options).await.unwrap();
    let one = granted(&mut first).await;
    first.job_graphs.put(&graph(1)).await.unwrap();
    let mut second = open(&options).await.unwrap();
    let two = granted(&mut second).await;
    assert_eq!((epoch(one), epoch(two)), (1, 2));
    assert_eq!(second.job_graphs.list().await.unwrap().graphs, [graph(1)]);
    assert_eq!(first.job_graphs.put(&graph(3)).await, Err(Error::NotLeader { session: one }));
    assert_eq!(first.dispatcher_election.next().await, Leadership::Revoked);
    // It does not come back, not even when the other is gone.
    drop(second);
    let waited = tokio::time::timeout(Duration::from_millis(50), first.dispatcher_election.next()).await;
    assert!(waited.is_err(), "{waited:?}");
    remove(&options).await.unwrap();
    assert!(!storage.folder().exists());
    remove(&options).await.unwrap();
}

/// A dispatcher asks for changes beside everything else, and drops the call.
#[tokio::test]
async fn a_look_that_is_dropped_is_not_begun_again() {
    for election in [Election::Lock, Election::LastComer] {
        let storage = Storage::new();
        let options = FileOptions { election, ..storage.options() };
        let mut services = open(&options).await.unwrap();
        let session = loop {
            let next = services.dispatcher_election.next();
            if let Ok(Leadership::Granted { session }) =
                tokio::time::timeout(Duration::from_micros(50), next).await
            {
                break session;
            }
        };
        assert_eq!(epoch(session), 1, "it took over from itself");
        services.dispatcher_election.confirm(session, "host:1").await.unwrap();
        services.job_graphs.put(&graph(1)).await.unwrap();
    }
}

#[tokio::test]
async fn a_session_that_never_was_is_not_confirmed() {
    let storage = Storage::new();
    let (mut services, session) = storage.lead().await;
    let wrong = session ^ 1;
    let refused = services.dispatcher_election.confirm(wrong, "host:1").await;
    assert_eq!(refused, Err(Error::NotLeader { session: wrong }));
}
