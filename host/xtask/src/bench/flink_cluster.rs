//! Flink's standalone cluster: a JobManager and TaskManagers of one slot each,
//! processes on loopback.

use crate::bench::flink::JVM_OPTIONS;
use crate::bench::folders::{Folders, fresh};
use crate::bench::process::Process;
use anyhow::{Context, Result, bail};
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const START: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(100);

pub struct FlinkCluster {
    /// `host:port` of its REST endpoint.
    pub address: String,
    /// Where sinks show their counts.
    pub counts: PathBuf,
    job_manager: Process,
    task_managers: Vec<Process>,
}

/// A port that was free a moment ago.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

impl FlinkCluster {
    /// `lib` has Flink's jars, `heap` is the heap of a TaskManager in MB.
    pub fn start(folders: &Folders, lib: &Path, task_managers: u32, heap: u32) -> Result<Self> {
        let folder = fresh(&folders.bench.join("flink-cluster"))?;
        let counts = folder.join("counts");
        fs::create_dir_all(&counts)?;
        let rest = free_port()?;
        write_configuration(&folder, rest, heap)?;
        let daemon = |name: &str, class: &str, heap: String| -> Result<Process> {
            let mut command = Command::new("java");
            command
                .args([format!("-Xms{heap}"), format!("-Xmx{heap}")])
                .args(JVM_OPTIONS)
                .arg("-cp")
                .arg(format!("{}:{}/*", folder.display(), lib.display()))
                .args([class, "--configDir"])
                .arg(&folder)
                .current_dir(&folder);
            Process::start(&mut command).with_context(|| format!("Flink's {name}"))
        };
        let job_manager = daemon(
            "JobManager",
            "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint",
            "1024m".to_owned(),
        )?;
        let task_managers = (0..task_managers)
            .map(|_| {
                daemon(
                    "TaskManager",
                    "org.apache.flink.runtime.taskexecutor.TaskManagerRunner",
                    format!("{heap}m"),
                )
            })
            .collect::<Result<Vec<_>>>()?;
        let cluster = Self { address: format!("127.0.0.1:{rest}"), counts, job_manager, task_managers };
        cluster.wait_for_slots(cluster.task_managers.len())?;
        Ok(cluster)
    }

    fn wait_for_slots(&self, slots: usize) -> Result<()> {
        let wanted = format!("\"slots-available\":{slots},");
        let began = Instant::now();
        while began.elapsed() < START {
            if get(&self.address, "/overview").is_ok_and(|body| body.contains(&wanted)) {
                return Ok(());
            }
            std::thread::sleep(POLL);
        }
        bail!("Flink's cluster had no {slots} slots within {START:?}")
    }

    /// Of all its processes.
    pub fn resident_bytes(&self) -> Result<u64> {
        let mut sum = self.job_manager.resident_bytes()?;
        for process in &self.task_managers {
            sum += process.resident_bytes()?;
        }
        Ok(sum)
    }
}

/// The body of what HTTP gives for a path.
fn get(address: &str, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// What the scripts of Flink's distribution would work out from
/// `taskmanager.memory.process.size` is written down here.
fn write_configuration(folder: &Path, rest: u16, heap: u32) -> Result<()> {
    let rpc = free_port()?;
    let text = format!(
        "\
jobmanager.rpc.address: 127.0.0.1
jobmanager.rpc.port: {rpc}
jobmanager.bind-host: 127.0.0.1
rest.address: 127.0.0.1
rest.bind-address: 127.0.0.1
rest.port: {rest}
taskmanager.host: 127.0.0.1
taskmanager.bind-host: 127.0.0.1
taskmanager.numberOfTaskSlots: 1
taskmanager.cpu.cores: 1.0
taskmanager.memory.framework.heap.size: 128m
taskmanager.memory.framework.off-heap.size: 128m
taskmanager.memory.task.heap.size: {task_heap}m
taskmanager.memory.task.off-heap.size: 0m
taskmanager.memory.managed.size: 0m
taskmanager.memory.network.min: 128m
taskmanager.memory.network.max: 128m
taskmanager.memory.jvm-metaspace.size: 256m
taskmanager.memory.jvm-overhead.min: 192m
taskmanager.memory.jvm-overhead.max: 192m
",
        task_heap = heap.saturating_sub(128),
    );
    Ok(fs::write(folder.join("config.yaml"), text)?)
}
