//! Files that a crash left, files that were damaged, disks that are full.

use crate::fixture::{Storage, commitment, entry, graph, storage_failure};
use heddle_ha::files::retrieval;
use heddle_ha::{JobGraphs, ResultState};
use heddle_model::id::JobId;
use heddle_model::job_status::JobStatus;

/// Each file as it is after the process was killed between two steps.
#[tokio::test]
async fn what_a_crash_left_half_done_does_no_harm() {
    let storage = Storage::new();
    let (services, _) = storage.lead().await;
    services.job_graphs.put(&graph(1)).await.unwrap();
    services.job_results.create_dirty(entry(2)).await.unwrap();
    drop(services);
    // Killed while writing, before the rename: a part of each kind of file.
    for name in [
        format!("job-graphs/{}.json.4711.0.tmp", JobId(1)),
        format!("job-graphs/{}.json.4711.1.tmp", JobId(3)),
        format!("job-results/{}_DIRTY.json.4711.2.tmp", JobId(1)),
        format!("job-results/{}_COMMITTING.json.4711.2.tmp", JobId(1)),
        "leader.json.4711.3.tmp".to_owned(),
    ] {
        std::fs::write(storage.file(&name), "{\"heddle\":\"job gra").unwrap();
    }
    let (services, _) = storage.lead().await;
    let found = services.job_graphs.list().await.unwrap();
    assert_eq!(found, JobGraphs { graphs: vec![graph(1)], unreadable: Vec::new() });
    assert_eq!(services.job_results.dirty().await.unwrap(), [entry(2)]);
    assert_eq!(services.job_results.state(JobId(1)).await.unwrap(), ResultState::Absent);
    assert_eq!(storage.names("job-graphs"), [format!("{}.json", JobId(1))]);
    assert_eq!(storage.names("corrupted"), Vec::<String>::new());
}

#[tokio::test]
async fn a_damaged_graph_is_named_and_set_aside_and_the_others_are_read() {
    let storage = Storage::new();
    let (services, _) = storage.lead().await;
    for bits in [1, 2, 3] {
        services.job_graphs.put(&graph(bits)).await.unwrap();
    }
    let file = storage.file(&format!("job-graphs/{}.json", JobId(2)));
    let damaged = std::fs::read_to_string(&file).unwrap().replace("job 2", "job 4");
    std::fs::write(&file, &damaged).unwrap();
    // Another job's file under a name that is not its own.
    let swapped = storage.file(&format!("job-graphs/{}.json", JobId(3)));
    std::fs::copy(storage.file(&format!("job-graphs/{}.json", JobId(1))), &swapped).unwrap();

    let found = services.job_graphs.list().await.unwrap();
    assert_eq!(found.graphs, [graph(1)]);
    let reasons: Vec<_> = found.unreadable.iter().map(|graph| graph.reason.as_str()).collect();
    assert_eq!(found.unreadable.iter().map(|graph| graph.job_id).collect::<Vec<_>>(), [JobId(2), JobId(3)]);
    assert!(reasons[0].contains(&file.display().to_string()), "{reasons:?}");
    assert!(reasons[0].contains("its checksum is"), "{reasons:?}");
    assert!(reasons[1].contains(&format!("it holds job {}", JobId(1))), "{reasons:?}");
    let aside = storage.file(&format!("corrupted/{}.json", JobId(2)));
    assert_eq!(std::fs::read_to_string(aside).unwrap(), damaged, "nothing is lost");

    // Told once; and a name that is taken there is not overwritten.
    assert_eq!(services.job_graphs.list().await.unwrap().unreadable, []);
    std::fs::write(&file, "").unwrap();
    let again = services.job_graphs.list().await.unwrap();
    assert!(again.unreadable[0].reason.contains("it is empty"), "{again:?}");
    assert_eq!(storage.names("corrupted").len(), 3);
}

#[tokio::test]
async fn a_job_whose_result_is_damaged_has_ended_all_the_same() {
    let storage = Storage::new();
    let (services, _) = storage.lead().await;
    services.job_results.create_dirty(entry(1)).await.unwrap();
    let file = storage.file(&format!("job-results/{}_DIRTY.json", JobId(1)));
    std::fs::write(&file, "\0\0\0").unwrap();

    let dirty = services.job_results.dirty().await.unwrap();
    assert_eq!((dirty[0].job_id, dirty[0].status), (JobId(1), JobStatus::Failed));
    let failure = dirty[0].failure.clone().unwrap();
    assert!(failure.message.contains(&file.display().to_string()), "{failure}");
    let aside = storage.file(&format!("corrupted/{}_DIRTY.json", JobId(1)));
    assert_eq!(std::fs::read(aside).unwrap(), b"\0\0\0");
    assert_eq!(services.job_results.dirty().await.unwrap(), dirty, "it is whole again");
    services.job_results.mark_clean(JobId(1)).await.unwrap();

    std::fs::write(storage.file(&format!("job-results/{}.json", JobId(1))), "x").unwrap();
    assert_eq!(services.job_results.clean(10).await.unwrap(), []);
    assert_eq!(services.job_results.state(JobId(1)).await.unwrap(), ResultState::Clean);
}

/// Its job must not run again, so it stays until the job has a result.
#[tokio::test]
async fn a_damaged_commitment_is_told_and_copied_aside() {
    let storage = Storage::new();
    let (services, _) = storage.lead().await;
    for bits in [1, 2, 3] {
        services.job_results.create_committing(commitment(bits)).await.unwrap();
    }
    let file = |bits| storage.file(&format!("job-results/{}_COMMITTING.json", JobId(bits)));
    let damaged = std::fs::read_to_string(file(2)).unwrap().replace("-3", "-4");
    std::fs::write(file(2), &damaged).unwrap();
    std::fs::copy(file(1), file(3)).unwrap();
    let found = services.job_results.committing().await.unwrap();
    assert_eq!(found.good, [commitment(1)]);
    assert_eq!(found.unreadable.iter().map(|lost| lost.job_id).collect::<Vec<_>>(), [JobId(2), JobId(3)]);
    let reasons: Vec<_> = found.unreadable.iter().map(|lost| lost.reason.as_str()).collect();
    assert!(reasons[0].contains(&file(2).display().to_string()), "{reasons:?}");
    assert!(reasons[0].contains("its checksum is"), "{reasons:?}");
    assert!(reasons[1].contains(&format!("it holds job {}", JobId(1))), "{reasons:?}");
    let aside = storage.file(&format!("corrupted/{}_COMMITTING.json", JobId(2)));
    assert_eq!(std::fs::read_to_string(&aside).unwrap(), damaged);

    assert_eq!(services.job_results.state(JobId(2)).await.unwrap(), ResultState::Committing);
    services.job_results.create_dirty(entry(2)).await.unwrap();
    services.job_results.mark_clean(JobId(2)).await.unwrap();
    assert!(!file(2).exists() && aside.exists(), "what is aside is not lost");
}

#[tokio::test]
async fn a_damaged_leader_file_never_lowers_the_epoch() {
    let storage = Storage::new();
    for _ in 0..3 {
        drop(storage.lead().await);
    }
    std::fs::write(storage.file("leader.json"), "{").unwrap();
    let looking = retrieval(&storage.options()).unwrap();
    storage_failure(looking.current().await, &storage.file("leader.json"));
    let (_services, session) = storage.lead().await;
    assert!(session >> 64 > 1_000_000_000, "{}", session >> 64);
    assert_eq!(storage.names("corrupted"), ["leader.json"]);
}

/// A place where nothing can be written, as on a disk that is full. The tests
/// of whole processes use a real one.
#[tokio::test]
async fn a_file_that_cannot_be_written_is_named_and_the_former_stays() {
    let storage = Storage::new();
    let (services, _) = storage.lead().await;
    services.job_graphs.put(&graph(1)).await.unwrap();
    let file = storage.file(&format!("job-graphs/{}.json", JobId(2)));
    // A folder in the way of the rename.
    std::fs::create_dir_all(file.join("in-the-way")).unwrap();
    storage_failure(services.job_graphs.put(&graph(2)).await, &file);
    std::fs::remove_dir_all(&file).unwrap();
    assert_eq!(storage.names("job-graphs"), [format!("{}.json", JobId(1))]);
    services.job_graphs.put(&graph(2)).await.unwrap();
    assert_eq!(services.job_graphs.list().await.unwrap().graphs, [graph(1), graph(2)]);
}

/// Skips itself where a tmpfs cannot be mounted.
#[tokio::test]
async fn a_full_disk_loses_nothing_and_is_told() {
    let storage = Storage::new();
    std::fs::create_dir_all(storage.folder()).unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"])
        .arg(storage.folder())
        .stderr(std::process::Stdio::null())
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no tmpfs can be mounted here");
        return;
    }
    let _unmount = Unmount(storage.folder());
    let (services, _) = storage.lead().await;
    services.job_graphs.put(&graph(1)).await.unwrap();
    services.job_results.create_dirty(entry(2)).await.unwrap();
    let mut large = graph(3);
    large.name = "x".repeat(200 << 10);
    services.job_graphs.put(&large).await.unwrap();
    let mut larger = graph(4);
    larger.name = "x".repeat(100 << 10);
    let file = storage.file(&format!("job-graphs/{}.json", JobId(4)));
    let reason = storage_failure(services.job_graphs.put(&larger).await, &file);
    assert!(reason.contains("free some space"), "{reason}");

    // What is there is whole, and going on needs no space.
    services.job_results.mark_clean(JobId(2)).await.unwrap();
    assert_eq!(services.job_graphs.list().await.unwrap().graphs, [graph(1), large]);
    services.job_graphs.remove(JobId(3)).await.unwrap();
    services.job_graphs.put(&larger).await.unwrap();
}

struct Unmount(std::path::PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
