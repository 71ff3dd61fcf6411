//! A cluster of real processes: each test has a folder, a configuration and a
//! port of its own, and kills what it started.

use heddle_tests::{Heddle, Run, dist, example, published_lines, signal, wait_until};
use rustix::process::Signal;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// A process that is told to end has this long.
const END_MAX: Duration = Duration::from_secs(60);

/// A job on the way may take this long on a busy machine.
const JOB_MAX: Duration = Duration::from_secs(240);

/// Records of a job that lasts some seconds, and its keys.
const RECORDS: u64 = 60_000_000;
const KEYS: u64 = 50;

/// Below the ports that systems give to those who ask for any: nobody else gets
/// one of these by chance.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let span = PORTS.end - PORTS.start;
    let first = (std::process::id() % u32::from(span)) as u16;
    loop {
        let port = PORTS.start + (first + NEXT.fetch_add(1, Ordering::Relaxed) % span) % span;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// The folder of what [`Cluster::task_executor_apart`] compiles.
pub const APART: &str = "compiled-apart";

pub struct Cluster {
    home: tempfile::TempDir,
    pub port: u16,
    /// Processes and outputs so far, for their names.
    started: Cell<u32>,
}

impl Cluster {
    pub fn new(further: &[(&str, &str)]) -> Self {
        let home = tempfile::tempdir().expect("a folder");
        let cluster = Self { home, port: free_port(), started: Cell::new(0) };
        for folder in ["conf", "log", "pid", "tmp"] {
            std::fs::create_dir(cluster.path(folder)).expect("a folder");
        }
        let own = |name: &str| cluster.path(name).display().to_string();
        let mut options: BTreeMap<&str, String> = BTreeMap::from([
            ("jobmanager.rpc.address", "127.0.0.1".to_owned()),
            ("jobmanager.rpc.port", cluster.port.to_string()),
            ("taskmanager.numberOfTaskSlots", "2".to_owned()),
            ("taskmanager.slot.timeout", "3 s".to_owned()),
            ("taskmanager.wasm.max-instances", "64".to_owned()),
            ("taskmanager.wasm.cache-dir", own("compiled")),
            ("heartbeat.interval", "500 ms".to_owned()),
            ("heartbeat.timeout", "4 s".to_owned()),
            ("restart-strategy.type", "fixed-delay".to_owned()),
            ("restart-strategy.fixed-delay.attempts", "20".to_owned()),
            ("restart-strategy.fixed-delay.delay", "200 ms".to_owned()),
            ("execution.runtime-mode", "BATCH".to_owned()),
            ("io.tmp.dirs", own("tmp")),
        ]);
        options.extend(further.iter().map(|(key, value)| (*key, (*value).to_owned())));
        let text: String = options.iter().map(|(key, value)| format!("{key}: {value}\n")).collect();
        std::fs::write(cluster.path("conf/config.yaml"), text).expect("a configuration");
        cluster
    }

    /// With what outlives a JobManager.
    pub fn highly_available(further: &[(&str, &str)]) -> Self {
        let cluster = Self::new(further);
        let config = cluster.path("conf/config.yaml");
        let text = std::fs::read_to_string(&config).expect("a configuration");
        let storage = cluster.path("ha").display().to_string();
        std::fs::write(
            &config,
            format!("{text}high-availability.type: filesystem\nhigh-availability.storageDir: {storage}\n"),
        )
        .expect("a configuration");
        cluster
    }

    fn number(&self) -> u32 {
        self.started.set(self.started.get() + 1);
        self.started.get()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// A command to be, with this cluster's configuration.
    pub fn heddle<S: AsRef<std::ffi::OsStr>>(&self, arguments: &[S]) -> Heddle {
        Heddle::new()
            .env("HEDDLE_CONF_DIR", self.path("conf"))
            .env("HEDDLE_LOG_DIR", self.path("log"))
            .env("HEDDLE_PID_DIR", self.path("pid"))
            .limit(JOB_MAX)
            .args(arguments)
    }

    /// A process in front of this test.
    pub fn start(&self, arguments: &[&str]) -> Process {
        let log = self.path(&format!("log/{}-{}.txt", arguments[0], self.number()));
        let out = std::fs::File::create(&log).expect("a log");
        let child = Command::new(dist().join("bin/heddle"))
            .args(arguments)
            .env("HEDDLE_CONF_DIR", self.path("conf"))
            .env("HEDDLE_PID_DIR", self.path("pid"))
            .env_remove("HEDDLE_LOG_DIR")
            .stdin(Stdio::null())
            .stdout(out.try_clone().expect("a log"))
            .stderr(out)
            .spawn()
            .expect("heddle starts");
        Process { child, log }
    }

    /// A JobManager that answers.
    pub fn job_manager(&self, options: &[&str]) -> Process {
        let mut arguments = vec!["jobmanager", "start-foreground"];
        arguments.extend(options);
        let mut process = self.start(&arguments);
        process.says("JobManager started");
        process
    }

    /// A TaskExecutor that is registered.
    pub fn task_executor(&self, options: &[&str]) -> Process {
        let mut process = self.task_executor_to_be(options);
        process.says("registered at the resource manager");
        process
    }

    /// One that has none of the components that this machine compiled, so that
    /// it fetches them.
    pub fn task_executor_apart(&self, options: &[&str]) -> Process {
        let cache = format!("-Dtaskmanager.wasm.cache-dir={}", self.path(APART).display());
        let mut options = options.to_vec();
        options.push(&cache);
        self.task_executor(&options)
    }

    pub fn task_executor_to_be(&self, options: &[&str]) -> Process {
        let mut arguments = vec!["taskexecutor", "start-foreground"];
        arguments.extend(options);
        self.start(&arguments)
    }

    /// The same for another thread.
    pub fn shared(&self) -> SharedCluster<'_> {
        SharedCluster { home: self.home.path(), port: self.port }
    }

    pub fn submit_few(&self, job: usize) {
        self.shared().submit_few(job);
    }

    pub fn cancel(&self, job: &str) -> Run {
        self.heddle(&["cancel", "-m", &self.remote(), job]).run()
    }

    /// Where clients find its JobManager.
    pub fn remote(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Counts the words of a file on the cluster, and compares.
    #[track_caller]
    pub fn run_word_count(&self) {
        self.run_word_count_of(1_000);
    }

    /// The same, of a file of so many lines; gives how long the job took.
    #[track_caller]
    pub fn run_word_count_of(&self, lines: usize) -> Duration {
        let (input, output) = (self.path("words.txt"), self.path(&format!("counts-{}", self.number())));
        let text = "to be or not to be, that is the question\n".repeat(lines);
        std::fs::write(&input, &text).expect("an input");
        let began = Instant::now();
        self.heddle(&["run", "-m", &self.remote(), "-p", "2"])
            .arg(example("word-count"))
            .arg("--input")
            .arg(&input)
            .arg("--output")
            .arg(&output)
            .run()
            .expect_success();
        let took = began.elapsed();
        let counted = heddle_tests::counts(&published_lines(&output));
        assert_eq!(counted, heddle_tests::count_words(text.as_bytes()));
        took
    }

    /// Submits a job that lasts some seconds, detached.
    pub fn submit_totals(&self, output: &Path) -> Run {
        self.heddle(&["run", "-m", &self.remote(), "-d", "-p", "2"])
            .arg(example("running-total"))
            .args(["--records", &RECORDS.to_string(), "--keys", &KEYS.to_string(), "--output"])
            .arg(output)
            .run()
            .expect_success()
    }

    /// The status of each job.
    pub fn statuses(&self) -> Vec<String> {
        let run = self.heddle(&["list", "-m", &self.remote(), "-a", "--json"]).run();
        if !run.status.success() {
            return Vec::new();
        }
        let jobs: serde_json::Value = serde_json::from_str(&run.stdout).expect("JSON");
        let jobs = jobs.as_array().expect("a list");
        jobs.iter().map(|job| job["status"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// What the processes warned of.
    fn troubles(&self) -> String {
        let logs =
            std::fs::read_dir(self.path("log")).expect("a folder").map(|log| log.expect("a log").path());
        let mut lines = Vec::new();
        for log in logs {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            let bad =
                text.lines().filter(|line| [" WARN ", " ERROR ", " job "].iter().any(|w| line.contains(w)));
            lines.extend(bad.map(|line| format!("{}: {line}", log.display())));
        }
        lines.join("\n")
    }

    /// Waits for the end of the only job, and compares its output with sums that
    /// are computed here.
    #[track_caller]
    pub fn totals_are_exact(&self, output: &Path) {
        let began = Instant::now();
        loop {
            let statuses = self.statuses();
            if statuses == ["FINISHED"] {
                break;
            }
            let going = statuses.iter().all(|status| !["FAILED", "CANCELED"].contains(&status.as_str()));
            let late = began.elapsed() > JOB_MAX;
            assert!(going && !late, "after {:?}: {statuses:?}\n{}", began.elapsed(), self.troubles());
            std::thread::sleep(Duration::from_millis(100));
        }
        let expected: BTreeMap<String, u64> = (0..KEYS)
            .map(|key| {
                let count = (RECORDS - key).div_ceil(KEYS);
                (key.to_string(), count * key + KEYS * (count * (count - 1) / 2))
            })
            .collect();
        assert_eq!(heddle_tests::counts(&published_lines(output)), expected);
    }
}

/// A cluster as a client sees it.
#[derive(Clone, Copy)]
pub struct SharedCluster<'a> {
    home: &'a Path,
    port: u16,
}

impl SharedCluster<'_> {
    /// Submits a job that counts the words of `few.txt` into `few-JOB`.
    #[track_caller]
    pub fn submit_few(self, job: usize) {
        Heddle::new()
            .env("HEDDLE_CONF_DIR", self.home.join("conf"))
            .args(["run", "-m", &format!("127.0.0.1:{}", self.port), "-d"])
            .arg(example("word-count"))
            .arg("--input")
            .arg(self.home.join("few.txt"))
            .arg("--output")
            .arg(self.home.join(format!("few-{job}")))
            .run()
            .expect_success();
    }
}

/// A process of the cluster; it is killed when the test is done with it.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has written.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until its log has the text.
    #[track_caller]
    pub fn says(&mut self, text: &str) {
        self.says_times(text, 1);
    }

    #[track_caller]
    pub fn says_times(&mut self, text: &str, times: usize) {
        let began = Instant::now();
        while self.log().matches(text).count() < times {
            let ended = self.child.try_wait().expect("it can be waited for");
            let late = began.elapsed() > Duration::from_secs(90);
            assert!(ended.is_none() && !late, "no `{text}` ({ended:?}) in:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn signal(&self, which: Signal) {
        signal(self.id(), which);
    }

    pub fn kill(mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it can be waited for");
    }

    /// Waits for its end; its exit code, and what it wrote.
    #[track_caller]
    pub fn ended(mut self) -> (ExitStatus, String) {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                return (status, self.log());
            }
            assert!(began.elapsed() < END_MAX, "it has not ended:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until it has computed for so long.
    #[track_caller]
    pub fn computes(&self, time: Duration) {
        let until = processor_time(self.id()) + time;
        wait_until("a TaskExecutor computes", || processor_time(self.id()) >= until);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// User time of a process so far.
fn processor_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Behind the name, which may have spaces: state is the first field.
    let fields = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
    let ticks: u64 = fields.split_whitespace().nth(11).and_then(|ticks| ticks.parse().ok()).unwrap_or(0);
    Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
}
