//! Which processes of a kind were started on this machine: a file with a line
//! each, the latest last, as Flink's. Who has it open has it alone.

use super::{Daemon, invalid, user};
use heddle_model::config::{Configuration, options as o};
use heddle_model::failure::Failure;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

/// What a process of a cluster has among its arguments.
const FOREGROUND: &str = "start-foreground";

pub struct PidFile {
    path: PathBuf,
    pids: Vec<u32>,
    /// Held as long as this is.
    _lock: File,
}

impl PidFile {
    /// Waits until nobody else has it open.
    ///
    /// # Errors
    /// H1201: it cannot be read or made.
    pub fn open(configuration: &Configuration, daemon: Daemon) -> Result<Self, Failure> {
        let folder = configuration.get(&o::PID_DIR).map_or_else(std::env::temp_dir, PathBuf::from);
        let path = folder.join(format!("heddle-{}-{daemon}.pid", user()));
        let failed = |error: std::io::Error| unusable(&path, &error);
        std::fs::create_dir_all(&folder).map_err(failed)?;
        let lock = path.with_extension("pid.lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(lock).map_err(failed)?;
        lock.lock().map_err(failed)?;
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(failed(error)),
        };
        let pids = text.lines().filter_map(|line| line.trim().parse().ok()).collect();
        Ok(Self { path, pids, _lock: lock })
    }

    pub fn pids(&self) -> &[u32] {
        &self.pids
    }

    pub fn add(&mut self, pid: u32) -> Result<(), Failure> {
        self.pids.push(pid);
        self.write()
    }

    pub fn forget_last(&mut self) -> Result<(), Failure> {
        self.pids.pop();
        self.write()
    }

    fn write(&self) -> Result<(), Failure> {
        let written = if self.pids.is_empty() {
            match std::fs::remove_file(&self.path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            }
        } else {
            let text: String = self.pids.iter().map(|pid| format!("{pid}\n")).collect();
            let fresh = self.path.with_extension("pid.new");
            std::fs::write(&fresh, text).and_then(|()| std::fs::rename(&fresh, &self.path))
        };
        written.map_err(|error| unusable(&self.path, &error))
    }
}

fn unusable(path: &Path, error: &std::io::Error) -> Failure {
    invalid(format!(
        "the pid file {} cannot be used: {error}; set `{}` or HEDDLE_PID_DIR to a folder that can be written",
        path.display(),
        o::PID_DIR.key(),
    ))
}

/// A process that lives.
pub struct Running(Pid);

impl Running {
    pub fn pid(&self) -> i32 {
        self.0.as_raw_nonzero().get()
    }

    pub fn terminate(&self) -> std::io::Result<()> {
        Ok(kill_process(self.0, Signal::TERM)?)
    }

    pub fn lives(&self) -> bool {
        find(self.pid().unsigned_abs()).is_some()
    }
}

/// The process, unless it has ended, or is another one by now.
pub fn find(pid: u32) -> Option<Running> {
    let process = Pid::from_raw(i32::try_from(pid).ok()?)?;
    rustix::process::test_kill_process(process).ok()?;
    // A zombie has no arguments any more.
    let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    arguments.split(|byte| *byte == 0).any(|word| word == FOREGROUND.as_bytes()).then_some(Running(process))
}
