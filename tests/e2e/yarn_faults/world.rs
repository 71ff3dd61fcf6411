//! A real YARN whose processes may be killed and started again, and the
//! containers that run on it. One test at a time.

use heddle_tests::{Heddle, Run, counts, example, published_lines, signal, wait_until};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Records of a job that lasts some seconds, and its keys.
const RECORDS: u64 = 250_000_000;
const KEYS: u64 = 50;

static ALONE: Mutex<()> = Mutex::new(());

pub struct Yarn {
    conf: OsString,
    /// Of the servers.
    folder: PathBuf,
    pub home: tempfile::TempDir,
    _alone: MutexGuard<'static, ()>,
}

/// A process of Heddle in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    pub pid: u32,
    pub application: String,
    pub id: String,
    /// Of its NodeManager: `nodemanager-1`.
    pub node: String,
}

impl Container {
    pub fn kill(&self) {
        signal(self.pid, Signal::KILL);
    }

    /// Whether it is one of those, and has computed for a while since it was
    /// looked at.
    pub fn computes_on(&self, before: &[(Container, Duration)]) -> bool {
        before.iter().all(|(one, time)| one != self || self.computed() >= *time + Duration::from_millis(300))
    }

    /// User time so far.
    pub fn computed(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        // Behind the name, which may have spaces: state is the first field.
        let fields = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
        let ticks: u64 = fields.split_whitespace().nth(11).and_then(|ticks| ticks.parse().ok()).unwrap_or(0);
        Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
    }
}

/// A server that was killed.
pub struct Dead {
    name: String,
    command: Vec<OsString>,
}

impl Yarn {
    /// None, loudly, if there are no servers.
    pub fn real() -> Option<Self> {
        let Some(conf) = std::env::var_os("HEDDLE_TEST_YARN") else {
            eprintln!(
                "SKIPPED: HEDDLE_TEST_YARN names no real YARN; `cargo xtask servers up yarn --nodemanagers 2` \
                 starts one"
            );
            return None;
        };
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = Path::new(&conf).parent().expect("the servers' folder").to_owned();
        let yarn = Self { conf, folder, home: tempfile::tempdir().expect("a folder"), _alone: alone };
        wait_until("no container of an earlier test is left", || yarn.containers("").is_empty());
        Some(yarn)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub fn heddle(&self, arguments: &[&str]) -> Heddle {
        Heddle::new().env("HADOOP_CONF_DIR", &self.conf).limit(Duration::from_secs(180)).args(arguments)
    }

    /// A job in a cluster of its own, while something is done to it.
    pub fn totals(&self, target: &str, options: &[&str], meddle: impl FnOnce()) -> Run {
        wait_until("no container of an earlier job is left", || self.containers("").is_empty());
        self.job(target, options, RECORDS, "totals").run_while(|_| meddle())
    }

    /// A job that does not end by itself.
    pub fn endless(&self, target: &str, options: &[&str]) -> Heddle {
        self.job(target, options, u64::MAX, "endless")
    }

    /// The job of `totals`, beside others.
    pub fn job_of_totals(&self, target: &str, options: &[&str]) -> Heddle {
        self.job(target, options, RECORDS, "totals")
    }

    fn job(&self, target: &str, options: &[&str], records: u64, output: &str) -> Heddle {
        let run = self.heddle(&["run", "-v", "-t", target, "-p", "2"]).args([
            "-Djobmanager.memory.process.size=256m",
            "-Dtaskmanager.memory.process.size=512m",
            "-Dtaskmanager.numberOfTaskSlots=1",
            "-Dtaskmanager.slot.timeout=3 s",
            "-Dheartbeat.interval=500 ms",
            "-Dheartbeat.timeout=6 s",
            "-Drestart-strategy.type=fixed-delay",
            "-Drestart-strategy.fixed-delay.attempts=20",
            "-Drestart-strategy.fixed-delay.delay=200 ms",
            "-Dexecution.runtime-mode=BATCH",
        ]);
        run.args(options)
            .arg(example("running-total"))
            .args(["--records", &records.to_string(), "--keys", &KEYS.to_string(), "--output"])
            .arg(self.path(output))
    }

    /// Compares the job's output with sums that are computed here.
    #[track_caller]
    pub fn totals_are_exact(&self) {
        let expected: BTreeMap<String, u64> = (0..KEYS)
            .map(|key| {
                let count = (RECORDS - key).div_ceil(KEYS);
                (key.to_string(), count * key + KEYS * (count * (count - 1) / 2))
            })
            .collect();
        assert_eq!(counts(&published_lines(&self.path("totals"))), expected);
    }

    /// The containers in which this command of Heddle runs; all for ``.
    pub fn containers(&self, command: &str) -> Vec<Container> {
        let data = self.folder.join("data").canonicalize().expect("the servers' data");
        let mut found = Vec::new();
        for process in fs::read_dir("/proc").expect("/proc").flatten() {
            let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            // Processes come and go.
            let Ok(place) = fs::read_link(process.path().join("cwd")) else { continue };
            let Ok(place) = place.strip_prefix(&data) else { continue };
            let words = fs::read(process.path().join("cmdline")).unwrap_or_default();
            let words: Vec<_> = words.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
            let is_it = words.first().is_some_and(|program| program.ends_with("/heddle"))
                && words.get(1).is_some_and(|word| command.is_empty() || word == command);
            let part = |start: &str| {
                let parts = place.iter().filter_map(|part| part.to_str());
                parts.into_iter().find(|part| part.starts_with(start)).map(str::to_owned)
            };
            if let (true, Some(node), Some(application), Some(id)) =
                (is_it, part("nodemanager-"), part("application_"), part("container_"))
            {
                found.push(Container { pid, application, id, node });
            }
        }
        found.sort_by(|a, b| a.id.cmp(&b.id));
        found
    }

    /// Both TaskExecutors, once they compute.
    #[track_caller]
    pub fn computing(&self) -> Vec<Container> {
        self.so_many_computing(2)
    }

    #[track_caller]
    pub fn so_many_computing(&self, count: usize) -> Vec<Container> {
        let mut found = Vec::new();
        wait_until("the TaskExecutors compute", || {
            found = self.containers("taskexecutor");
            found.len() == count && found.iter().all(|one| one.computed() >= Duration::from_millis(500))
        });
        found
    }

    #[track_caller]
    pub fn master(&self) -> Container {
        let mut masters = self.containers("jobmanager");
        assert_eq!(masters.len(), 1, "{masters:?}");
        masters.remove(0)
    }

    /// The NodeManagers that run, once the ResourceManager knows no others.
    #[track_caller]
    pub fn nodes(&self) -> usize {
        let nodes = fs::read_dir(self.folder.join("conf-nodes")).expect("the nodes").flatten();
        let runs = |node: &fs::DirEntry| self.server(&node.file_name().to_string_lossy()).is_some();
        let count = nodes.filter(runs).count();
        wait_until("the ResourceManager has heard of each node's end", || {
            self.rest("GET", "/ws/v1/cluster/metrics", "").contains(&format!("\"activeNodes\":{count},"))
        });
        count
    }

    /// Kills a server: `resourcemanager`, `nodemanager-1`.
    #[track_caller]
    pub fn kill(&self, name: &str) -> Dead {
        let (pid, words) = self.server(name).expect("a server that runs");
        signal(pid, Signal::KILL);
        wait_until("a server is gone", || self.is_gone(pid));
        let command = words.into_iter().filter(|word| !word.is_empty()).map(OsString::from).collect();
        Dead { name: name.to_owned(), command }
    }

    /// The process of a server, and its command.
    fn server(&self, name: &str) -> Option<(u32, Vec<String>)> {
        let conf = if name.starts_with("nodemanager") {
            self.folder.join("conf-nodes").join(name)
        } else {
            PathBuf::from(&self.conf)
        };
        let class_path = format!("{}:", conf.display());
        let class = match name.split('-').next() {
            Some("nodemanager") => ".NodeManager",
            _ => ".ResourceManager",
        };
        for process in fs::read_dir("/proc").expect("/proc").flatten() {
            let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let words = fs::read(process.path().join("cmdline")).unwrap_or_default();
            let words: Vec<String> = words
                .split(|byte| *byte == 0)
                .map(|word| String::from_utf8_lossy(word).into_owned())
                .collect();
            if words.iter().any(|word| word.starts_with(&class_path))
                && words.iter().any(|word| word.ends_with(class))
            {
                return Some((pid, words));
            }
        }
        None
    }

    fn is_gone(&self, pid: u32) -> bool {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z ")
    }

    /// Starts it again as it was.
    pub fn start(&self, dead: Dead) {
        let log = self.folder.join("logs").join(format!("{}.log", dead.name));
        let log = File::options().append(true).create(true).open(log).expect("a log");
        let (program, arguments) = dead.command.split_first().expect("a command");
        let started = Command::new(program)
            .args(arguments)
            .current_dir(&self.folder)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn();
        // It goes on when this process ends.
        drop(started.expect("a server starts"));
    }

    /// What the ResourceManager's REST service answers; nothing if it does not.
    pub fn rest(&self, method: &str, path: &str, body: &str) -> String {
        let site = fs::read_to_string(Path::new(&self.conf).join("yarn-site.xml")).expect("yarn-site.xml");
        let start = "<name>yarn.resourcemanager.webapp.address</name><value>";
        let rest = site.split_once(start).expect("an address").1;
        let address = rest.split_once('<').expect("an address").0.to_owned();
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(&address)?;
            stream.set_read_timeout(Some(Duration::from_secs(20)))?;
            write!(
                stream,
                "{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nAccept: \
                 application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            )?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        ask().unwrap_or_default()
    }
}
