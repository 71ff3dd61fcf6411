//! Processes of a cluster that run behind the terminal: how they are started,
//! found again by their pid files, and stopped.

mod pid_file;
mod start;

pub use pid_file::{PidFile, Running, find};
pub use start::{Readiness, start};

use heddle_model::config::{Configuration, options as o};
use heddle_model::failure::{ErrorCode, Failure};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How long a process may take to end before `stop` gives up.
const STOP_TIMEOUT: Duration = Duration::from_secs(120);

/// A wait that is worth a word.
const NOTICE_AFTER: Duration = Duration::from_secs(1);

/// How often a process is looked after.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// What runs behind the terminal; the names are Flink's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Daemon {
    StandaloneSession,
    StandaloneJob,
    TaskExecutor,
    /// In a container of YARN.
    YarnSession,
    YarnApplication,
    YarnJob,
}

impl Daemon {
    pub const fn name(self) -> &'static str {
        match self {
            Daemon::StandaloneSession => "standalonesession",
            Daemon::StandaloneJob => "standalonejob",
            Daemon::TaskExecutor => "taskexecutor",
            Daemon::YarnSession => "yarnsession",
            Daemon::YarnApplication => "yarnapplication",
            Daemon::YarnJob => "yarnjob",
        }
    }

    /// Whether YARN starts its workers.
    pub const fn is_on_yarn(self) -> bool {
        matches!(self, Daemon::YarnSession | Daemon::YarnApplication | Daemon::YarnJob)
    }

    /// Whether it runs one job, which its command line names.
    pub const fn has_job(self) -> bool {
        matches!(self, Daemon::StandaloneJob | Daemon::YarnApplication)
    }

    /// The one of that name.
    ///
    /// # Errors
    /// H1201: one that comes later, or an unknown one.
    pub fn named(name: &str) -> Result<Self, Failure> {
        let all = [
            Daemon::StandaloneSession,
            Daemon::StandaloneJob,
            Daemon::TaskExecutor,
            Daemon::YarnSession,
            Daemon::YarnApplication,
            Daemon::YarnJob,
        ];
        if let Some(daemon) = all.into_iter().find(|daemon| daemon.name() == name) {
            return Ok(daemon);
        }
        let known = "standalonesession, standalonejob, taskexecutor, historyserver, zookeeper";
        Err(invalid(match name {
            "historyserver" | "zookeeper" => {
                format!("daemon `{name}` is not served by this version; a later one has it")
            }
            _ => format!("unknown daemon `{name}`; the known ones are {known}"),
        }))
    }
}

impl fmt::Display for Daemon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(ErrorCode::ConfigurationInvalid, message)
}

/// Whose processes they are.
fn user() -> String {
    ["USER", "LOGNAME"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()))
        .unwrap_or_else(|| "unknown".to_owned())
}

/// The folder of logs: as configured, else `log` beside `bin`.
pub fn log_folder(configuration: &Configuration) -> PathBuf {
    if let Some(folder) = configuration.get(&o::LOG_DIR) {
        return folder.into();
    }
    let program = std::env::current_exe().unwrap_or_default();
    let home = program.parent().and_then(Path::parent);
    home.map_or_else(std::env::temp_dir, Path::to_path_buf).join("log")
}

/// `heddle-USER-DAEMON-INSTANCE-HOST`, as Flink's.
pub fn log_name(daemon: Daemon, instance: &str) -> String {
    format!("heddle-{}-{daemon}-{instance}-{}", user(), heddle_entrypoint::host_name())
}

/// Ends the process that was started last, or all.
pub fn stop(configuration: &Configuration, daemon: Daemon, all: bool) -> Result<ExitCode, Failure> {
    let mut file = PidFile::open(configuration, daemon)?;
    let host = heddle_entrypoint::host_name();
    let mut ended = ExitCode::SUCCESS;
    if file.pids().is_empty() {
        println!("No {daemon} daemon to stop on host {host}.");
    }
    while let Some(pid) = file.pids().last().copied() {
        match find(pid) {
            None => println!("No {daemon} daemon (pid: {pid}) is running anymore on {host}."),
            Some(running) => {
                println!("Stopping {daemon} daemon (pid: {pid}) on host {host}.");
                if !end(daemon, &running)? {
                    ended = ExitCode::FAILURE;
                }
            }
        }
        file.forget_last()?;
        if !all {
            break;
        }
    }
    Ok(ended)
}

/// Asks it to end, and waits. False: it did not.
fn end(daemon: Daemon, running: &Running) -> Result<bool, Failure> {
    let pid = running.pid();
    running.terminate().map_err(|error| {
        Failure::new(
            ErrorCode::Internal,
            format!("{daemon} daemon (pid: {pid}) cannot be told to end: {error}"),
        )
    })?;
    let began = Instant::now();
    let mut noticed = false;
    while running.lives() {
        if began.elapsed() > STOP_TIMEOUT {
            eprintln!(
                "{daemon} daemon (pid: {pid}) has not ended within {STOP_TIMEOUT:?}; end it with `kill -9 {pid}`"
            );
            return Ok(false);
        }
        if !noticed && began.elapsed() > NOTICE_AFTER {
            println!("Waiting for {daemon} daemon (pid: {pid}) to end.");
            noticed = true;
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
    if noticed {
        println!("{daemon} daemon (pid: {pid}) ended after {:.1} s.", began.elapsed().as_secs_f64());
    }
    Ok(true)
}

/// What runs on this machine of that kind; 1 if nothing does.
pub fn status(configuration: &Configuration, daemons: &[Daemon]) -> Result<ExitCode, Failure> {
    let host = heddle_entrypoint::host_name();
    let mut any = false;
    for daemon in daemons {
        let file = PidFile::open(configuration, *daemon)?;
        for pid in file.pids() {
            let lives = find(*pid).is_some();
            any |= lives;
            println!(
                "{daemon} (pid: {pid}) on host {host}: {}",
                if lives { "running" } else { "not running" }
            );
        }
    }
    if !any {
        println!("No {} daemon is running on host {host}.", daemons[0]);
    }
    Ok(if any { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
