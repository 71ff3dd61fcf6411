//! How processes find each other, what they say when they cannot, and how they
//! end.

use crate::harness::Cluster;
use heddle_tests::{example, guest, published_lines};
use rustix::process::Signal;
use std::net::TcpListener;

#[test]
fn a_session_runs_jobs_and_ends_in_order_at_a_signal() {
    let cluster = Cluster::new(&[]);
    let mut job_manager = cluster.job_manager(&[]);
    let task_executor = cluster.task_executor(&[]);
    cluster.run_word_count();
    cluster.run_word_count();
    for line in [
        "starting standalonesession (version ",
        "arguments: jobmanager start-foreground",
        "configuration: heartbeat.interval=500 ms",
        "high-availability services",
        "blob server",
        "execution graph store",
        "dispatcher started",
        "resource manager started",
    ] {
        job_manager.says(line);
    }
    task_executor.signal(Signal::TERM);
    let (status, log) = task_executor.ended();
    assert_eq!(status.code(), Some(143), "{log}");
    assert!(log.contains("RECEIVED SIGNAL SIGTERM") && log.contains("TaskExecutor stopped"), "{log}");
    job_manager.says("the TaskExecutor stops");
    job_manager.signal(Signal::INT);
    let (status, log) = job_manager.ended();
    assert_eq!(status.code(), Some(130), "{log}");
    assert!(log.contains("JobManager stopped"), "{log}");
    let left: Vec<_> = std::fs::read_dir(cluster.path("tmp")).expect("a folder").collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn task_executors_may_start_first() {
    let cluster = Cluster::new(&[]);
    let mut task_executor = cluster.task_executor_to_be(&[]);
    task_executor.says("TaskExecutor started");
    let _job_manager = cluster.job_manager(&[]);
    task_executor.says("registered at the resource manager");
    cluster.run_word_count();
}

#[test]
fn a_task_executor_without_a_job_manager_ends_and_says_what_to_check() {
    let cluster = Cluster::new(&[("taskmanager.registration.timeout", "1 s")]);
    let (status, log) = cluster.task_executor_to_be(&[]).ended();
    assert_eq!(status.code(), Some(2), "{log}");
    let error = log.lines().find(|line| line.starts_with("error[H3307]")).unwrap_or(&log);
    for word in [&format!("127.0.0.1:{}", cluster.port), "tries in", "jobmanager.rpc.port"] {
        assert!(error.contains(word), "`{word}` expected in: {error}");
    }
}

#[test]
fn a_task_executor_of_another_cluster_is_refused_and_both_are_named() {
    let cluster = Cluster::new(&[]);
    let _job_manager = cluster.job_manager(&["-Dhigh-availability.cluster-id=ours"]);
    let (status, log) = cluster.task_executor_to_be(&["-Dhigh-availability.cluster-id=theirs"]).ended();
    assert_eq!(status.code(), Some(2), "{log}");
    let error = log.lines().find(|line| line.starts_with("error[H3302]")).unwrap_or(&log);
    assert!(error.contains("`theirs`") && error.contains("`ours`"), "{error}");
}

#[test]
fn a_port_that_is_taken_names_the_option() {
    let cluster = Cluster::new(&[]);
    let _other = TcpListener::bind(("127.0.0.1", cluster.port)).expect("the port is free");
    let (status, log) = cluster.start(&["jobmanager", "start-foreground"]).ended();
    assert_eq!(status.code(), Some(1), "{log}");
    let error = log.lines().find(|line| line.starts_with("error[H3306]")).unwrap_or(&log);
    for word in ["jobmanager.rpc.port", &cluster.port.to_string()] {
        assert!(error.contains(word), "`{word}` expected in: {error}");
    }
}

#[test]
fn storage_that_cannot_be_used_ends_the_job_manager_and_names_it() {
    let cluster = Cluster::highly_available(&[]);
    std::fs::write(cluster.path("ha"), "not a folder").expect("a file");
    let (status, log) = cluster.start(&["jobmanager", "start-foreground"]).ended();
    assert_eq!(status.code(), Some(1), "{log}");
    let error = log.lines().find(|line| line.starts_with("error[H3401]")).unwrap_or(&log);
    assert!(error.contains("high-availability.storageDir"), "{error}");
}

#[test]
fn a_standalone_job_ends_its_job_manager_with_its_status() {
    let cluster = Cluster::new(&[("restart-strategy.type", "none")]);
    let output = cluster.path("out");
    let job = |component: std::path::PathBuf, arguments: &[&str]| {
        let component = component.display().to_string();
        let mut words = vec!["jobmanager", "start-foreground", "standalonejob", &component];
        words.extend(arguments);
        let job_manager = cluster.start(&words);
        let _task_executor = cluster.task_executor(&[]);
        job_manager.ended()
    };
    let input = cluster.path("conf/config.yaml").display().to_string();
    let to = output.display().to_string();
    let (status, log) = job(example("word-count"), &["--input", &input, "--output", &to]);
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("the job of this cluster has ended") && log.contains("status=FINISHED"), "{log}");
    assert!(!published_lines(&output).is_empty());

    let (status, log) = job(guest("faulty"), &["fails"]);
    assert_eq!(status.code(), Some(163), "{log}");
    assert!(log.contains("number 1234 is refused"), "{log}");

    let (status, log) = cluster
        .start(&[
            "jobmanager",
            "start-foreground",
            "standalonejob",
            &guest("faulty").display().to_string(),
            "main-fails",
        ])
        .ended();
    assert_eq!(status.code(), Some(2), "{log}");
    assert!(log.contains("error[H1101]") && log.contains("main does not like this"), "{log}");
}
