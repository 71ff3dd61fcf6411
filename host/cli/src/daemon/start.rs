//! Starts a process of a cluster behind the terminal, and waits until it says
//! that it listens, or ends.

use super::{Daemon, PidFile, find, invalid, log_folder, log_name};
use crate::rolling_file::roll;
use heddle_model::config::{Configuration, options as o};
use heddle_model::failure::{ErrorCode, Failure};
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

/// How long a process may take until it listens. One that waits for a
/// JobManager to say who leads goes on after it.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// Lines of a failed start that are shown.
const OUTPUT_LINES: usize = 20;

/// Starts one more. `arguments` come behind `start-foreground`.
pub fn start(
    configuration: &Configuration,
    command: &str,
    daemon: Daemon,
    arguments: &[OsString],
) -> Result<ExitCode, Failure> {
    let mut file = PidFile::open(configuration, daemon)?;
    let host = heddle_entrypoint::host_name();
    let running = file.pids().iter().filter(|pid| find(**pid).is_some()).count();
    if running > 0 {
        println!("[INFO] {running} instance(s) of {daemon} are already running on {host}.");
    }
    println!("Starting {daemon} daemon on host {host}.");
    let instance = file.pids().len().to_string();
    let folder = log_folder(configuration);
    let output = folder.join(log_name(daemon, &instance)).with_extension("out");
    let failed = |error: std::io::Error| {
        invalid(format!(
            "no output of the process can be written to {}: {error}; set `{}` or HEDDLE_LOG_DIR",
            output.display(),
            o::LOG_DIR.key(),
        ))
    };
    std::fs::create_dir_all(&folder).map_err(failed)?;
    roll(&output, configuration.get(&o::LOG_FILES_MAX)).map_err(failed)?;
    let out = File::create(&output).map_err(failed)?;
    let errors = out.try_clone().map_err(failed)?;
    let internal = |error: std::io::Error| {
        Failure::new(ErrorCode::Internal, format!("{daemon} cannot be started: {error}"))
    };
    let (ours, theirs) = UnixStream::pair().map_err(internal)?;
    let program = std::env::current_exe().map_err(internal)?;
    let mut child = Command::new(program)
        .args([command, "start-foreground", "--instance", &instance])
        .args(arguments)
        .env("HEDDLE_LOG_DIR", &folder)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(out)
        .stderr(errors)
        .spawn()
        .map_err(internal)?;
    let pid = child.id();
    file.add(pid)?;
    match word(ours) {
        Word::Ready(line) => {
            println!("{daemon} (pid: {pid}) {line}");
            Ok(ExitCode::SUCCESS)
        }
        Word::Ended => {
            // Its end of the socket is closed a moment before it can be waited for.
            let status = child.wait().map_err(internal)?;
            file.forget_last()?;
            show_end_of(&output);
            eprintln!("{daemon} (pid: {pid}) ended at once, {status}; see {}", output.display());
            Ok(ExitCode::FAILURE)
        }
        Word::None => {
            println!("{daemon} (pid: {pid}) is still starting; see {}", folder.display());
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// What a process says of itself.
enum Word {
    Ready(String),
    /// It ends: standard input, which only it holds, is closed.
    Ended,
    /// It takes too long.
    None,
}

fn word(stream: UnixStream) -> Word {
    let mut line = String::new();
    let waited = stream.set_read_timeout(Some(START_TIMEOUT));
    match waited.and_then(|()| BufReader::new(stream).read_line(&mut line)) {
        Ok(0) => Word::Ended,
        Ok(_) => Word::Ready(line.trim_end().to_owned()),
        Err(_) => Word::None,
    }
}

fn show_end_of(output: &Path) {
    let text = std::fs::read_to_string(output).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    for line in &lines[lines.len().saturating_sub(OUTPUT_LINES)..] {
        eprintln!("{line}");
    }
}

/// The other end: a process tells whoever started it that it listens.
pub struct Readiness(Option<UnixStream>);

impl Readiness {
    /// `started_by_daemon`: standard input is the way to whoever started it.
    /// The process leaves the terminal.
    pub fn of_process(started_by_daemon: bool) -> Self {
        if !started_by_daemon {
            return Self(None);
        }
        // It fails for the leader of a group, who has no terminal to leave.
        let _ = rustix::process::setsid();
        Self(std::io::stdin().as_fd().try_clone_to_owned().ok().map(UnixStream::from))
    }

    /// Who started it may have gone away.
    pub fn tell(self, line: &str) {
        if let Some(mut stream) = self.0 {
            let _ = writeln!(stream, "{line}");
            // The other end reads no more; standard input still holds it.
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}
