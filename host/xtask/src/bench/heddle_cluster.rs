//! Heddle's standalone cluster: a JobManager and TaskExecutors of one slot
//! each, processes on loopback, as `heddle cluster start` has them.

use crate::bench::flink_cluster::free_port;
use crate::bench::folders::{Folders, fresh};
use crate::bench::process::Process;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const START: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

pub struct HeddleCluster {
    /// `host:port` of the JobManager.
    pub address: String,
    job_manager: Process,
    task_executors: Vec<Process>,
}

/// A job of which all subtasks run. Times in milliseconds since the epoch.
pub struct Running {
    pub seen_ms: f64,
    /// When the JobManager knew of the last failure.
    pub last_failure_ms: Option<f64>,
}

/// Of a worker.
fn name(index: u32) -> String {
    format!("worker-{index}")
}

fn now_ms() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64() * 1e3
}

fn subtasks(job: &Value) -> impl Iterator<Item = &Value> {
    let vertices = job["vertices"].as_array().into_iter().flatten();
    vertices.flat_map(|vertex| vertex["subtasks"].as_array().into_iter().flatten())
}

impl HeddleCluster {
    pub fn start(folders: &Folders, heddle: &Path, task_executors: u32) -> Result<Self> {
        let folder = fresh(&folders.bench.join("heddle-cluster"))?;
        let port = free_port()?;
        let process = |kind: &str, name: &str| -> Result<Process> {
            let mut command = Command::new(heddle);
            command
                .args([kind, "start-foreground"])
                .arg("-Djobmanager.rpc.address=127.0.0.1")
                .arg(format!("-Djobmanager.rpc.port={port}"))
                .arg("-Dtaskmanager.host=127.0.0.1")
                .arg(format!("-Dtaskmanager.resource-id={name}"))
                .arg("-Dheartbeat.interval=1 s")
                .arg(format!("-Dio.tmp.dirs={}", folder.display()))
                .current_dir(&folder);
            Process::start(&mut command).with_context(|| format!("Heddle's {kind}"))
        };
        let job_manager = process("jobmanager", "none")?;
        let task_executors = (0..task_executors)
            .map(|index| process("taskexecutor", &name(index)))
            .collect::<Result<Vec<_>>>()?;
        let cluster = Self { address: format!("127.0.0.1:{port}"), job_manager, task_executors };
        cluster.wait_until_it_answers(heddle)?;
        Ok(cluster)
    }

    /// TaskExecutors may still be on their way: a job waits for them.
    fn wait_until_it_answers(&self, heddle: &Path) -> Result<()> {
        let began = Instant::now();
        while began.elapsed() < START {
            let mut list = Command::new(heddle);
            list.args(["list", "-m", &self.address]).stdout(Stdio::null()).stderr(Stdio::null());
            if list.status().context("heddle list")?.success() {
                return Ok(());
            }
            std::thread::sleep(POLL);
        }
        bail!("Heddle's cluster at {} did not answer within {START:?}", self.address)
    }

    /// Submits a job that is restarted at once if it fails; gives its id.
    pub fn submit(&self, heddle: &Path, job: &Path, arguments: &[&str], parallelism: u32) -> Result<String> {
        let mut command = Command::new(heddle);
        command.args(["run", "-d", "-m", &self.address, "-p", &parallelism.to_string()]);
        command.args(["-Drestart-strategy.type=fixed-delay", "-Drestart-strategy.fixed-delay.delay=0 s"]);
        let finished = Process::start(command.arg(job).args(arguments))?.finish(START)?;
        finished.lines.last().map(|(_, line)| line.trim().to_owned()).context("`heddle run -d` named no job")
    }

    fn job(&self, heddle: &Path, id: &str) -> Result<Value> {
        let mut info = Command::new(heddle);
        let output = info
            .args(["info", "--json", "--average", "-m", &self.address, id])
            .output()
            .context("heddle info")?;
        serde_json::from_slice(&output.stdout).with_context(|| {
            format!("`heddle info` of the job: {}", String::from_utf8_lossy(&output.stderr).trim())
        })
    }

    /// Until all subtasks run and the job has been restarted so often.
    pub fn wait_until_it_runs(&self, heddle: &Path, id: &str, restarts: u64) -> Result<Running> {
        let began = Instant::now();
        loop {
            let job = self.job(heddle, id)?;
            let seen_ms = now_ms();
            let all = subtasks(&job).all(|subtask| subtask["state"] == "RUNNING");
            if all && job["restarts"].as_u64() >= Some(restarts) {
                let failures = job["failures"].as_array();
                let last_failure_ms = failures.and_then(|all| all.last()?["at_ms"].as_f64());
                return Ok(Running { seen_ms, last_failure_ms });
            }
            if began.elapsed() > START {
                bail!("the job does not run within {START:?}: {job}");
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Kills a worker that has a subtask of the job; gives when.
    pub fn kill_a_worker_of(&mut self, heddle: &Path, id: &str) -> Result<f64> {
        let job = self.job(heddle, id)?;
        let worker = subtasks(&job).find_map(|subtask| subtask["task_executor"].as_str());
        let worker = worker.context("no worker has a subtask")?;
        let index = (0..).zip(&mut self.task_executors).find(|(index, _)| name(*index) == worker);
        let (_, process) = index.with_context(|| format!("no process is {worker}"))?;
        process.kill();
        Ok(now_ms())
    }

    /// Of all its processes.
    pub fn resident_bytes(&self) -> Result<u64> {
        let mut sum = self.job_manager.resident_bytes()?;
        for process in &self.task_executors {
            sum += process.resident_bytes()?;
        }
        Ok(sum)
    }

    /// CPU time of all its processes so far.
    pub fn cpu(&self) -> Duration {
        let all = std::iter::once(&self.job_manager).chain(&self.task_executors);
        all.filter_map(Process::cpu).sum()
    }
}
