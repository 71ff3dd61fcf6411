//! Processes that are killed, stalled and replaced while a job runs. Its output
//! is exact after each.

use crate::harness::{APART, Cluster};
use heddle_tests::example;
use rustix::process::Signal;
use std::time::Duration;

/// A job has begun when a TaskExecutor has computed for so long.
const BEGUN: Duration = Duration::from_millis(400);

#[test]
fn a_task_executor_is_killed_and_the_job_goes_on_at_another() {
    let cluster = Cluster::new(&[]);
    let mut job_manager = cluster.job_manager(&[]);
    let first = cluster.task_executor(&[]);
    let output = cluster.path("totals");
    cluster.submit_totals(&output);
    first.computes(BEGUN);
    let _second = cluster.task_executor(&[]);
    assert_eq!(cluster.statuses(), ["RUNNING"]);
    first.kill();
    job_manager.says("task executor is gone");
    cluster.totals_are_exact(&output);
}

#[test]
fn the_job_manager_is_killed_and_its_successor_recovers_the_job() {
    let cluster = Cluster::highly_available(&[]);
    let job_manager = cluster.job_manager(&[]);
    let mut task_executor = cluster.task_executor(&[]);
    let output = cluster.path("totals");
    cluster.submit_totals(&output);
    task_executor.computes(BEGUN);
    assert_eq!(cluster.statuses(), ["RUNNING"]);
    job_manager.kill();
    let mut successor = cluster.job_manager(&[]);
    successor.says("recovering a job");
    task_executor.says_times("registered at the resource manager", 2);
    cluster.totals_are_exact(&output);
    // What has ended stays known to the next one.
    successor.says("cleaned up");
    successor.kill();
    let _third = cluster.job_manager(&[]);
    cluster.totals_are_exact(&output);
}

#[test]
fn a_second_job_manager_stands_by_and_takes_over() {
    let cluster = Cluster::highly_available(&[]);
    let leader = cluster.job_manager(&["-Djobmanager.rpc.port=0"]);
    let mut task_executor = cluster.task_executor(&[]);
    let mut standby = cluster.job_manager(&[]);
    assert!(!standby.log().contains("leadership granted"), "{}", standby.log());
    leader.kill();
    standby.says("leadership granted");
    task_executor.says_times("registered at the resource manager", 2);
    cluster.run_word_count();
}

#[test]
fn a_task_executor_that_stalls_is_replaced_and_comes_back() {
    let cluster = Cluster::new(&[]);
    let mut job_manager = cluster.job_manager(&[]);
    let mut first = cluster.task_executor(&[]);
    let output = cluster.path("totals");
    cluster.submit_totals(&output);
    first.computes(BEGUN);
    let _second = cluster.task_executor(&[]);
    assert_eq!(cluster.statuses(), ["RUNNING"]);
    first.signal(Signal::STOP);
    job_manager.says("task executor is gone");
    first.signal(Signal::CONT);
    first.says_times("registered at the resource manager", 2);
    cluster.totals_are_exact(&output);
}

#[test]
fn a_job_outlives_five_deaths() {
    let cluster = Cluster::highly_available(&[]);
    let mut job_manager = cluster.job_manager(&[]);
    let mut task_executor = cluster.task_executor(&[]);
    let output = cluster.path("totals");
    cluster.submit_totals(&output);
    for death in 0..5 {
        task_executor.computes(BEGUN);
        assert_eq!(cluster.statuses(), ["RUNNING"]);
        if death % 2 == 0 {
            let next = cluster.task_executor(&[]);
            std::mem::replace(&mut task_executor, next).kill();
        } else {
            job_manager.kill();
            job_manager = cluster.job_manager(&[]);
        }
    }
    cluster.totals_are_exact(&output);
}

#[test]
fn a_component_that_is_damaged_on_a_task_executors_disk_is_fetched_again() {
    let cluster = Cluster::new(&[("restart-strategy.type", "none")]);
    let _job_manager = cluster.job_manager(&[]);
    let mut task_executor = cluster.task_executor_apart(&[]);
    // It fetches the component, and has no place for what it would compile.
    let (compiled, away) = (cluster.path(APART), cluster.path("away"));
    std::fs::rename(&compiled, &away).expect("moved");
    let run = cluster.heddle(&["run", "-q", "-t", "remote"]).arg(example("word-count"));
    let (input, output) = (cluster.path("input"), cluster.path("output"));
    std::fs::write(&input, "to be\n").expect("an input");
    let run = run.arg("--input").arg(&input).arg("--output").arg(&output).run();
    run.expect_error("H9001", &[APART]);
    std::fs::rename(&away, &compiled).expect("moved back");
    let mut damaged = 0;
    let tmp = std::fs::read_dir(cluster.path("tmp"))
        .expect("a folder")
        .map(|entry| entry.expect("a folder").path());
    for cache in tmp.map(|folder| folder.join("cache")).filter(|cache| cache.is_dir()) {
        for blob in std::fs::read_dir(cache).expect("a folder").map(|entry| entry.expect("a file").path()) {
            if let Some(byte) = std::fs::read(&blob).ok().filter(|content| !content.is_empty()) {
                let mut content = byte;
                let middle = content.len() / 2;
                content[middle] ^= 1;
                std::fs::write(&blob, content).expect("it can be damaged");
                damaged += 1;
            }
        }
    }
    assert_eq!(damaged, 1, "the component");
    cluster.run_word_count();
    task_executor.says("a cached blob is damaged, fetching it again");
}

#[test]
fn a_job_is_cancelled_at_every_stage_of_its_life() {
    let cluster = Cluster::new(&[]);
    let _job_manager = cluster.job_manager(&[]);
    let output = cluster.path("totals");
    // It waits for slots.
    let job = cluster.submit_totals(&output).stdout.trim().to_owned();
    cluster.cancel(&job).expect_success();
    assert_eq!(cluster.statuses(), ["CANCELED"]);
    assert!(!output.exists(), "nothing is left");
    // It is being deployed, it runs, and it has ended.
    let task_executor = cluster.task_executor(&[]);
    let job = cluster.submit_totals(&output).stdout.trim().to_owned();
    cluster.cancel(&job).expect_success();
    let job = cluster.submit_totals(&output).stdout.trim().to_owned();
    task_executor.computes(BEGUN);
    cluster.cancel(&job).expect_success();
    assert_eq!(cluster.statuses(), ["CANCELED", "CANCELED", "CANCELED"]);
    assert!(!output.exists(), "nothing is left");
    cluster.cancel(&job).expect_success();
    cluster.run_word_count();
}

#[test]
fn two_hundred_jobs_are_submitted_at_once() {
    const CLIENTS: usize = 10;
    const JOBS: usize = 20;
    let cluster = Cluster::new(&[("taskmanager.numberOfTaskSlots", "8")]);
    let _job_manager = cluster.job_manager(&[]);
    let _task_executor = cluster.task_executor(&[]);
    std::fs::write(cluster.path("few.txt"), "one two two\n").expect("an input");
    // Compiled once.
    cluster.submit_few(0);
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let cluster = cluster.shared();
            scope.spawn(move || (0..JOBS).for_each(|job| cluster.submit_few(1 + client * JOBS + job)));
        }
    });
    heddle_tests::wait_until("all have finished", || {
        let statuses = cluster.statuses();
        statuses.len() == 1 + CLIENTS * JOBS && statuses.iter().all(|status| status == "FINISHED")
    });
    for job in 0..=CLIENTS * JOBS {
        let counts =
            heddle_tests::counts(&heddle_tests::published_lines(&cluster.path(&format!("few-{job}"))));
        assert_eq!(counts, [("one".to_owned(), 1), ("two".to_owned(), 2)].into());
    }
}

#[test]
fn garbage_at_every_port_ends_its_connection_and_nothing_else() {
    use std::io::{Read, Write};
    let cluster = Cluster::new(&[("rpc.handshake.timeout", "1 s")]);
    let job_manager = cluster.job_manager(&[]);
    let task_executor = cluster.task_executor(&[]);
    let log = format!("{}{}", job_manager.log(), task_executor.log());
    let ports: Vec<u16> = log
        .lines()
        .filter(|line| line.contains("listening role=") || line.contains("data port is open"))
        .filter_map(|line| {
            line.split_once("127.0.0.1:")?.1.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
        })
        .collect();
    assert_eq!(ports.len(), 3, "{log}");
    for port in ports {
        let garbage: Vec<u8> =
            (0..70_000_u32).map(|byte| (byte.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for sent in
            [&b"GET / HTTP/1.1\r\n\r\n"[..], &garbage, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff"]
        {
            let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).expect("it listens");
            stream.set_read_timeout(Some(std::time::Duration::from_secs(60))).expect("a time-out");
            // The other end may have closed it already.
            let _ = stream.write_all(sent);
            let mut answer = Vec::new();
            let ended = stream.read_to_end(&mut answer);
            let reset =
                ended.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset);
            assert!(ended.is_ok() || reset, "the connection to port {port} stays: {ended:?}");
        }
    }
    cluster.run_word_count();
}
