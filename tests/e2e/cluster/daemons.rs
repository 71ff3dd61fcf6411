//! Processes behind the terminal: `heddle cluster`, pid files, and machines that
//! are reached by ssh.

use crate::harness::Cluster;
use heddle_tests::Heddle;
use rustix::process::Signal;
use std::os::unix::fs::PermissionsExt;

/// Stops what a test that failed has left.
struct Stopped<'a>(&'a Cluster);

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        for role in ["taskexecutor", "jobmanager"] {
            for pid in pids(self.0, role) {
                if let Some(pid) = rustix::process::Pid::from_raw(pid as i32) {
                    let _ = rustix::process::kill_process(pid, Signal::KILL);
                }
            }
        }
    }
}

/// What the pid files say.
fn pids(cluster: &Cluster, role: &str) -> Vec<u32> {
    let name = if role == "jobmanager" { "standalonesession" } else { role };
    let files =
        std::fs::read_dir(cluster.path("pid")).expect("a folder").map(|file| file.expect("a file").path());
    let mut of_role = files.filter(|file| file.to_string_lossy().ends_with(&format!("-{name}.pid")));
    let text =
        of_role.next().map(|file| std::fs::read_to_string(file).unwrap_or_default()).unwrap_or_default();
    text.lines().map(|line| line.parse().expect("a process id")).collect()
}

#[test]
fn a_cluster_starts_on_its_machines_and_stops() {
    let cluster = Cluster::new(&[("env.ssh.opts", "-o BatchMode=yes")]);
    let _stopped = Stopped(&cluster);
    std::fs::write(cluster.path("conf/workers"), "localhost\nanother # by ssh\n").expect("a file");
    // Another machine is this one, by another way.
    let bin = cluster.path("bin");
    std::fs::create_dir(&bin).expect("a folder");
    let ssh = bin.join("ssh");
    let log = cluster.path("ssh.log");
    let script = format!(
        "#!/bin/sh\nprintf '%s\\n' \"$*\" >> {}\nwhile [ \"$1\" != -- ]; do shift; done\nshift\nexec sh -c \"$*\"\n",
        log.display()
    );
    std::fs::write(&ssh, script).expect("a file");
    std::fs::set_permissions(&ssh, std::fs::Permissions::from_mode(0o755)).expect("a program");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    let heddle = |arguments: &[&str]| cluster.heddle(arguments).env("PATH", &path);

    let run = heddle(&["cluster", "start"]).run().expect_success();
    assert_eq!(run.stdout.matches("Starting taskexecutor daemon").count(), 2, "{}", run.stdout);
    assert!(run.stdout.contains("1 instance(s) of taskexecutor are already running"), "{}", run.stdout);
    let asked = std::fs::read_to_string(&log).expect("ssh was called");
    assert!(asked.starts_with("-n -o BatchMode=yes another -- HEDDLE_CONF_DIR="), "{asked}");
    assert!(asked.trim_end().ends_with("bin/heddle taskexecutor start"), "{asked}");
    assert_eq!((pids(&cluster, "jobmanager").len(), pids(&cluster, "taskexecutor").len()), (1, 2));

    let run = heddle(&["cluster", "status"]).run().expect_success();
    // Its address ends with its session.
    let leader = run.stdout.lines().find(|line| line.contains(" leads (session ")).unwrap_or_default();
    assert!(
        leader.starts_with(&format!("heddle://127.0.0.1:{}/dispatcher/", cluster.port)),
        "{}",
        run.stdout
    );
    cluster.run_word_count();

    let run = heddle(&["cluster", "stop"]).run().expect_success();
    assert_eq!(run.stdout.matches("Stopping taskexecutor daemon").count(), 2, "{}", run.stdout);
    assert_eq!((pids(&cluster, "jobmanager").len(), pids(&cluster, "taskexecutor").len()), (0, 0));
    let run = heddle(&["cluster", "status"]).run();
    assert_eq!(run.code(), 1, "{}", run.stdout);
    let run = heddle(&["cluster", "stop"]).run().expect_success();
    assert!(run.stdout.contains("No standalonesession daemon to stop"), "{}", run.stdout);
    let logs = std::fs::read_dir(cluster.path("log")).expect("a folder").map(|file| file.expect("a file"));
    let names: Vec<String> = logs.map(|file| file.file_name().to_string_lossy().into_owned()).collect();
    let of = |daemon: &str| names.iter().filter(|name| name.contains(daemon)).count();
    assert_eq!(
        (of("-standalonesession-0-"), of("-taskexecutor-")),
        (2, 4),
        "a log and the output of each: {names:?}"
    );
}

#[test]
fn stop_says_that_it_waits_and_an_ended_process_is_forgotten() {
    let cluster = Cluster::new(&[]);
    let _stopped = Stopped(&cluster);
    for _ in 0..2 {
        cluster.heddle(&["taskexecutor", "start"]).run().expect_success();
    }
    let [first, last] = pids(&cluster, "taskexecutor")[..] else { panic!("two are started") };
    heddle_tests::signal(last, Signal::STOP);
    let mut stop = cluster.start(&["taskexecutor", "stop"]);
    stop.says(&format!("Waiting for taskexecutor daemon (pid: {last}) to end."));
    heddle_tests::signal(last, Signal::CONT);
    let (status, said) = stop.ended();
    assert!(status.success() && said.contains("ended after"), "{said}");
    assert_eq!(pids(&cluster, "taskexecutor"), [first]);
    heddle_tests::signal(first, Signal::KILL);
    heddle_tests::wait_until("it is gone", || {
        std::fs::read(format!("/proc/{first}/cmdline")).unwrap_or_default().is_empty()
    });
    let run = cluster.heddle(&["taskexecutor", "stop-all"]).run().expect_success();
    assert!(run.stdout.contains("is running anymore"), "{}", run.stdout);
    assert!(pids(&cluster, "taskexecutor").is_empty());
}

#[test]
fn a_start_that_fails_is_told_at_once() {
    let cluster = Cluster::new(&[]);
    let _stopped = Stopped(&cluster);
    let _taken = std::net::TcpListener::bind(("127.0.0.1", cluster.port)).expect("the port is free");
    let run = cluster.heddle(&["jobmanager", "start"]).run();
    assert_eq!(run.code(), 1, "{}", run.stdout);
    assert!(run.stderr.contains("error[H3306]") && run.stderr.contains("ended at once"), "{}", run.stderr);
    assert!(pids(&cluster, "jobmanager").is_empty());
}

#[test]
fn names_of_daemons() {
    let refused = |name: &str| Heddle::new().args(["jobmanager", "start", name]).run();
    for name in ["historyserver", "zookeeper"] {
        refused(name).expect_error("H1201", &[name, "a later one has it"]);
    }
    refused("jobmaster").expect_error(
        "H1201",
        &[
            "unknown daemon `jobmaster`",
            "standalonesession, standalonejob, taskexecutor, historyserver, zookeeper",
        ],
    );
    refused("standalonejob").expect_error("H1201", &["needs a job"]);
}
