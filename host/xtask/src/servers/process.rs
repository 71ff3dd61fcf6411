//! Processes that outlive the command that started them: their identity, their
//! end, and what runs in a folder. Linux only, by way of `/proc`.

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A process by its id and its start, because ids are used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    pid: u32,
    /// In ticks since the machine started.
    started: u64,
}

impl Identity {
    /// Of a process that is alive.
    pub fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, in brackets, may hold blanks; the state comes first behind
        // it, the start is the 20th.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let state = fields.next()?;
        let started = fields.nth(18)?.parse().ok()?;
        (state != "Z" && state != "X").then_some(Self { pid, started })
    }

    pub fn pid(self) -> u32 {
        self.pid
    }

    pub fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    pub fn signal(self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw)
            && self.is_alive()
        {
            // It may end at this very moment.
            let _ = kill_process(pid, signal);
        }
    }

    pub fn to_json(self) -> Value {
        json!({ "pid": self.pid, "started": self.started })
    }

    pub fn from_json(value: &Value) -> Option<Self> {
        Some(Self { pid: value["pid"].as_u64()?.try_into().ok()?, started: value["started"].as_u64()? })
    }
}

/// Starts a command that goes on when this process ends; its output is
/// appended to a file.
pub fn start(command: &[String], folder: &Path, log: &Path) -> Result<Identity> {
    let (program, arguments) = command.split_first().context("an empty command")?;
    let output = File::options()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("cannot write {}", log.display()))?;
    let child = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .spawn()
        .with_context(|| format!("cannot start {program}"))?;
    let last = last_lines(log);
    Identity::of(child.id()).with_context(|| format!("{program} ended at once\n{last}"))
}

/// Processes that work in a folder or below, such as containers.
pub fn inside(folder: &Path) -> Result<Vec<Identity>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // Processes come and go, and those of other users are not shown.
        let cwd: Option<PathBuf> = fs::read_link(entry.path().join("cwd")).ok();
        if pid != std::process::id() && cwd.is_some_and(|cwd| cwd.starts_with(folder)) {
            found.extend(Identity::of(pid));
        }
    }
    Ok(found)
}

/// The end of a log, for a message.
pub fn last_lines(log: &Path) -> String {
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = &lines[lines.len().saturating_sub(12)..];
    format!("  {}\n  (see {})", last.join("\n  "), log.display())
}

#[cfg(test)]
mod tests {
    use super::{Identity, inside, start};
    use rustix::process::Signal;
    use std::time::Duration;

    #[test]
    fn a_process_is_found_in_its_folder_and_ends_by_its_identity() {
        let folder = std::env::temp_dir().join(format!("heddle-servers-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let folder = folder.canonicalize().unwrap();
        let command = ["sleep", "1000"].map(str::to_owned);
        let process = start(&command, &folder, &folder.join("log")).unwrap();
        assert_eq!(inside(&folder).unwrap(), [process]);
        assert_eq!(Identity::from_json(&process.to_json()), Some(process));
        let other = Identity { started: process.started + 1, ..process };
        other.signal(Signal::KILL);
        assert!(process.is_alive() && !other.is_alive());
        process.signal(Signal::KILL);
        while process.is_alive() {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
