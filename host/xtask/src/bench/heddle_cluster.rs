//! Heddle's standalone cluster: a JobManager and TaskExecutors of one slot
//! each, processes on loopback, as `heddle cluster start` has them.

use crate::bench::flink_cluster::free_port;
use crate::bench::folders::{Folders, fresh};
use crate::bench::process::Process;
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const START: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

pub struct HeddleCluster {
    /// `host:port` of the JobManager.
    pub address: String,
    job_manager: Process,
    task_executors: Vec<Process>,
}

impl HeddleCluster {
    pub fn start(folders: &Folders, heddle: &Path, task_executors: u32) -> Result<Self> {
        let folder = fresh(&folders.bench.join("heddle-cluster"))?;
        let port = free_port()?;
        let process = |kind: &str| -> Result<Process> {
            let mut command = Command::new(heddle);
            command
                .args([kind, "start-foreground"])
                .arg("-Djobmanager.rpc.address=127.0.0.1")
                .arg(format!("-Djobmanager.rpc.port={port}"))
                .arg("-Dtaskmanager.host=127.0.0.1")
                .arg(format!("-Dio.tmp.dirs={}", folder.display()))
                .current_dir(&folder);
            Process::start(&mut command).with_context(|| format!("Heddle's {kind}"))
        };
        let job_manager = process("jobmanager")?;
        let task_executors =
            (0..task_executors).map(|_| process("taskexecutor")).collect::<Result<Vec<_>>>()?;
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
