//! The processes of one server: planned, started, watched until they are
//! ready, ended. `processes.json` in its folder says what runs. Knows no
//! server.

use crate::servers::process::{self, Identity};
use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

const READY: Duration = Duration::from_secs(180);
/// For a clean end; what is still there after that is killed.
const END: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(100);

/// One process to be.
pub struct Process {
    pub name: String,
    /// Program and arguments.
    pub command: Vec<String>,
}

/// What is to be started.
pub struct Plan {
    /// Run to their ends, one after the other.
    pub first: Vec<Process>,
    pub processes: Vec<Process>,
    /// Whether the server can be used; an error means not yet.
    pub ready: Box<dyn Fn() -> Result<bool>>,
    /// What a user must know: addresses, files.
    pub notes: Vec<String>,
}

pub struct Set {
    folder: PathBuf,
}

struct Started {
    name: String,
    identity: Identity,
}

impl Set {
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn name(&self) -> String {
        self.folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Whether all its processes run.
    pub fn is_up(&self) -> Result<bool> {
        let (started, _) = self.load()?;
        Ok(!started.is_empty() && started.iter().all(|process| process.identity.is_alive()))
    }

    /// Starts what is planned; its files are in the folder already. If that
    /// does not come about, nothing is left running.
    pub fn up(&self, plan: Plan) -> Result<()> {
        let result = self.start(plan);
        if result.is_err() {
            self.end()?;
        }
        result
    }

    fn start(&self, plan: Plan) -> Result<()> {
        let began = Instant::now();
        let logs = self.folder.join("logs");
        fs::create_dir_all(&logs).with_context(|| format!("cannot make {}", logs.display()))?;
        let mut started = Vec::new();
        for process in &plan.first {
            let log = self.log(&process.name);
            let identity = process::start(&process.command, &self.folder, &log)?;
            started.push(Started { name: process.name.clone(), identity });
            self.save(&started, &plan.notes)?;
            while identity.is_alive() {
                if began.elapsed() > READY {
                    bail!("{} did not end within {READY:?}", process.name);
                }
                sleep(POLL);
            }
        }
        started.clear();
        for process in &plan.processes {
            let identity = process::start(&process.command, &self.folder, &self.log(&process.name))?;
            started.push(Started { name: process.name.clone(), identity });
            self.save(&started, &plan.notes)?;
        }
        loop {
            if let Some(dead) = started.iter().find(|process| !process.identity.is_alive()) {
                bail!("{} ended:\n{}", dead.name, process::last_lines(&self.log(&dead.name)));
            }
            let ready = (plan.ready)();
            match ready {
                Ok(true) => break,
                Ok(false) | Err(_) if began.elapsed() < READY => sleep(POLL),
                Ok(false) => bail!("{} is not ready after {READY:?}; see {}", self.name(), logs.display()),
                Err(error) => return Err(error.context(format!("not ready after {READY:?}"))),
            }
        }
        eprintln!("{} is ready after {:.1} s", self.name(), began.elapsed().as_secs_f64());
        Ok(())
    }

    /// Ends all its processes, and whatever else works in its folder, and
    /// deletes the folder but for its logs.
    pub fn down(&self) -> Result<()> {
        let ended = self.end()?;
        if ended > 0 {
            eprintln!("{}: {ended} processes ended", self.name());
        }
        if !self.folder.exists() {
            return Ok(());
        }
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            if entry.file_name() == "logs" {
                continue;
            }
            let is_folder = entry.file_type()?.is_dir();
            let path = entry.path();
            let removed = if is_folder { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.with_context(|| format!("cannot delete {}", path.display()))?;
        }
        Ok(())
    }

    fn end(&self) -> Result<usize> {
        let (started, _) = self.load()?;
        let recorded: Vec<Identity> =
            started.iter().map(|process| process.identity).filter(|process| process.is_alive()).collect();
        let all = || -> Result<Vec<Identity>> {
            let mut all = if self.folder.exists() {
                process::inside(&self.folder.canonicalize()?)?
            } else {
                Vec::new()
            };
            for process in &recorded {
                if process.is_alive() && !all.contains(process) {
                    all.push(*process);
                }
            }
            Ok(all)
        };
        let first = all()?;
        let began = Instant::now();
        first.iter().for_each(|process| process.signal(Signal::TERM));
        loop {
            let left = all()?;
            if left.is_empty() {
                return Ok(first.len());
            }
            if began.elapsed() > END * 2 {
                let left: Vec<String> = left.iter().map(|process| process.pid().to_string()).collect();
                bail!("{}: cannot end the processes {}", self.name(), left.join(", "));
            }
            if began.elapsed() > END {
                left.iter().for_each(|process| process.signal(Signal::KILL));
            }
            sleep(POLL);
        }
    }

    /// Prints what runs; an error unless all of it does.
    pub fn status(&self) -> Result<()> {
        let (started, notes) = self.load()?;
        if started.is_empty() {
            bail!("{} is down", self.name());
        }
        for process in &started {
            let state = if process.identity.is_alive() { "alive" } else { "ended" };
            println!("{:<18} {:>7} {state}", process.name, process.identity.pid());
        }
        for note in &notes {
            println!("{note}");
        }
        match started.iter().filter(|process| !process.identity.is_alive()).count() {
            0 => Ok(()),
            count => bail!("{count} of {} processes of {} ended", started.len(), self.name()),
        }
    }

    fn log(&self, name: &str) -> PathBuf {
        self.folder.join("logs").join(format!("{name}.log"))
    }

    fn record(&self) -> PathBuf {
        self.folder.join("processes.json")
    }

    fn save(&self, started: &[Started], notes: &[String]) -> Result<()> {
        let processes: Vec<Value> = started
            .iter()
            .map(|process| json!({ "name": process.name, "process": process.identity.to_json() }))
            .collect();
        let text = serde_json::to_vec_pretty(&json!({ "processes": processes, "notes": notes }))?;
        fs::write(self.record(), text).with_context(|| format!("cannot write {}", self.record().display()))
    }

    fn load(&self) -> Result<(Vec<Started>, Vec<String>)> {
        let Ok(text) = fs::read(self.record()) else { return Ok((Vec::new(), Vec::new())) };
        let record: Value = serde_json::from_slice(&text)
            .with_context(|| format!("{} is damaged", self.record().display()))?;
        let processes = record["processes"].as_array().into_iter().flatten();
        let started = processes.filter_map(|process| {
            let name = process["name"].as_str()?.to_owned();
            Some(Started { name, identity: Identity::from_json(&process["process"])? })
        });
        let notes = record["notes"].as_array().into_iter().flatten();
        let notes = notes.filter_map(|note| note.as_str().map(str::to_owned));
        Ok((started.collect(), notes.collect()))
    }
}
