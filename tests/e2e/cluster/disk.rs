//! Disks that are full: what cannot be written is told with its folder,
//! nothing is lost, and all goes on once there is room.

use crate::harness::Cluster;
use heddle_tests::{counts, example, published_lines, wait_until};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Room for one component beside a few small files, and not for two.
const ONE_COMPONENT: &str = "6m";

/// A small disk of its own under a folder.
struct Disk(PathBuf);

impl Disk {
    /// None, and a word about it, where this user may not mount.
    fn mount(folder: PathBuf, size: &str) -> Option<Self> {
        std::fs::create_dir_all(&folder).expect("a folder");
        let size = format!("size={size},mode=0700");
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "heddle-test"]).arg(&folder).output();
        let why = match mount {
            Ok(output) if output.status.success() => return Some(Self(folder)),
            Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(error) => error.to_string(),
        };
        // Past the test's own output, which nobody sees when it passes.
        let _ = writeln!(std::io::stderr(), "SKIPPED, no small disk can be mounted: {why}");
        None
    }

    fn resize(&self, size: &str) {
        let size = format!("remount,size={size}");
        let mount = Command::new("mount").args(["-o", &size]).arg(&self.0).status();
        assert!(mount.is_ok_and(|status| status.success()), "it can be given another size");
    }

    /// Takes all room that is left.
    fn fill(&self) {
        let mut file = std::fs::File::create(self.filler()).expect("a file");
        while file.write_all(&[1; 4096]).is_ok() {}
    }

    fn make_room(&self) {
        std::fs::remove_file(self.filler()).expect("a file");
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A word count of one line.
#[track_caller]
fn submit(cluster: &Cluster, job: usize) {
    std::fs::write(cluster.path("few.txt"), "one two two\n").expect("an input");
    cluster.submit_few(job);
}

#[track_caller]
fn is_exact(cluster: &Cluster, job: usize) {
    let counted = counts(&published_lines(&cluster.path(&format!("few-{job}"))));
    assert_eq!(counted, [("one".to_owned(), 1), ("two".to_owned(), 2)].into());
}

fn all_finish(cluster: &Cluster, jobs: usize) {
    wait_until("all have finished", || {
        let statuses = cluster.statuses();
        statuses.len() == jobs && statuses.iter().all(|status| status == "FINISHED")
    });
}

fn blob_folder(folder: &Path) -> String {
    format!("-Dblob.storage.directory={}", folder.display())
}

#[test]
fn a_full_disk_under_a_blob_cache_is_told_and_the_job_goes_on_once_there_is_room() {
    let cluster = Cluster::new(&[("restart-strategy.fixed-delay.attempts", "1000")]);
    let Some(disk) = Disk::mount(cluster.path("small"), "1m") else { return };
    let mut job_manager = cluster.job_manager(&[]);
    let mut task_executor = cluster.task_executor_apart(&[&blob_folder(&disk.0)]);
    submit(&cluster, 0);
    job_manager.says_times("the disk of the blob folder", 2);
    for words in [disk.0.to_str().expect("a path in UTF-8"), "is full; make room", "blob.storage.directory"] {
        assert!(job_manager.log().contains(words), "`{words}` expected in:\n{}", job_manager.log());
    }
    disk.resize(ONE_COMPONENT);
    all_finish(&cluster, 1);
    is_exact(&cluster, 0);
    // Now what nobody needs gives way.
    let output = cluster.path("totals");
    let run = cluster.heddle(&["run", "-q", "-t", "remote"]).arg(example("running-total"));
    run.args(["--records", "1000", "--output"]).arg(&output).run().expect_success();
    task_executor.says("unneeded blobs removed to make room");
    all_finish(&cluster, 2);
}

#[test]
fn a_full_disk_under_the_blob_server_refuses_a_component_until_there_is_room() {
    let cluster = Cluster::new(&[]);
    let Some(disk) = Disk::mount(cluster.path("small"), "1m") else { return };
    let _job_manager = cluster.job_manager(&[&blob_folder(&disk.0)]);
    let _task_executor = cluster.task_executor(&[]);
    let run = || {
        let run = cluster.heddle(&["run", "-q", "-t", "remote"]).arg(example("running-total"));
        run.args(["--records", "1000", "--output"]).arg(cluster.path("totals")).run()
    };
    run().expect_error("H3201", &[disk.0.to_str().expect("a path in UTF-8"), "is full; make room"]);
    assert_eq!(cluster.statuses(), [""; 0]);
    disk.resize(ONE_COMPONENT);
    run().expect_success();
}

#[test]
fn a_full_disk_under_the_high_availability_folder_refuses_new_jobs_and_keeps_the_others() {
    let cluster = Cluster::highly_available(&[]);
    let Some(disk) = Disk::mount(cluster.path("ha"), "32m") else { return };
    let mut job_manager = cluster.job_manager(&[]);
    // It waits for slots.
    submit(&cluster, 0);
    disk.fill();
    let run = cluster.heddle(&["run", "-q", "-t", "remote", "-d"]).arg(example("running-total"));
    let refused = run.arg("--output").arg(cluster.path("totals")).run();
    refused.expect_error("H3401", &[disk.0.to_str().expect("a path in UTF-8"), "free some space there"]);
    assert_eq!(cluster.statuses().len(), 1, "{:?}", cluster.statuses());
    // It computes, and its end cannot be stored yet.
    let _task_executor = cluster.task_executor(&[]);
    job_manager.says("storing what is to be published failed");
    assert_ne!(cluster.statuses(), ["FINISHED"], "nobody hears of an end that is not stored");
    disk.make_room();
    all_finish(&cluster, 1);
    is_exact(&cluster, 0);
    job_manager.says("cleaned up");
    submit(&cluster, 1);
    all_finish(&cluster, 2);
    is_exact(&cluster, 1);
    // All is there for a successor.
    job_manager.kill();
    let _successor = cluster.job_manager(&[]);
    all_finish(&cluster, 2);
}

#[test]
fn a_job_manager_that_finds_its_disk_full_leads_once_there_is_room() {
    let cluster = Cluster::highly_available(&[]);
    let Some(disk) = Disk::mount(cluster.path("ha"), "32m") else { return };
    let job_manager = cluster.job_manager(&[]);
    submit(&cluster, 0);
    disk.fill();
    job_manager.kill();
    let mut successor = cluster.job_manager(&[]);
    successor.says("the election does not go on; trying again");
    let leader = disk.0.join("default/leader.json");
    for words in [leader.to_str().expect("a path in UTF-8"), "nothing was lost, free some space there"] {
        assert!(successor.log().contains(words), "`{words}` expected in:\n{}", successor.log());
    }
    assert!(!successor.log().contains("leadership granted"), "{}", successor.log());
    disk.make_room();
    successor.says("recovering a job");
    let _task_executor = cluster.task_executor(&[]);
    all_finish(&cluster, 1);
    is_exact(&cluster, 0);
}
