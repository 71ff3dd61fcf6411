//! The two processes: the one that measures starts the other, which says where
//! it listens and ends by itself.

use anyhow::{Context, Result, bail};
use heddle_exchange::{GateBuffers, NetworkOptions, NetworkService, PartitionManager};
use heddle_model::config::value::PortRange;
use heddle_model::id::{DatasetId, ExecutionAttemptId, JobId, ResourceId, ResultPartitionId, VertexId};
use heddle_model::task::{DataAddress, InputChannelDescriptor, InputGateDescriptor};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

/// The default of `taskmanager.network.memory.buffers-per-channel`.
pub const BUFFERS: u32 = 4;
/// How long a gate waits for its producers.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Threads of the network; `HEDDLE_BENCH_NETWORK_THREADS`, 0: it shares those
/// of the tasks.
const NETWORK_THREADS: usize = 1;
const MEMORY: u64 = 8 << 30;

/// The other process; killed when dropped.
pub struct Other {
    child: Child,
    pub address: String,
}

impl Other {
    pub fn start(arguments: &[&str]) -> Result<Self> {
        let program = std::env::current_exe().context("the name of this program")?;
        let mut child = Command::new(program).args(arguments).stdout(Stdio::piped()).spawn()?;
        let Some(output) = child.stdout.take() else { bail!("the other process has no output") };
        let mut address = String::new();
        BufReader::new(output).read_line(&mut address)?;
        Ok(Self { child, address: address.trim().to_owned() })
    }
}

impl Other {
    /// Processor time of both processes so far, seconds.
    pub fn processor_time(&self) -> Result<f64> {
        Ok(processor_time("self")? + processor_time(&self.child.id().to_string())?)
    }
}

/// Of a process with all its threads, in its own code and in the kernel.
fn processor_time(process: &str) -> Result<f64> {
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name, in parentheses, may have spaces.
    let fields = stat.rsplit_once(") ").context("no name")?.1.split(' ');
    let ticks = fields.skip(11).take(2).map(|field| field.parse::<f64>().context("no number"));
    Ok(ticks.sum::<Result<f64>>()? / TICKS_PER_SECOND)
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Says where this process listens.
pub fn announce(address: impl std::fmt::Display) -> Result<()> {
    println!("{address}");
    Ok(std::io::stdout().flush()?)
}

/// A TaskExecutor's data plane: workers for tasks, threads for the network.
pub struct Process {
    pub workers: Runtime,
    _network: Option<Runtime>,
    pub partitions: PartitionManager,
    pub address: DataAddress,
}

impl Process {
    pub fn start(name: &str) -> Result<Self> {
        let threads = |name: &str, default: usize| {
            std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
        };
        let available = std::thread::available_parallelism().map_or(1, usize::from);
        let runtime = |threads| Builder::new_multi_thread().worker_threads(threads).enable_all().build();
        let workers = runtime(threads("HEDDLE_BENCH_WORKERS", available))?;
        let network = match threads("HEDDLE_BENCH_NETWORK_THREADS", NETWORK_THREADS) {
            0 => None,
            threads => Some(runtime(threads)?),
        };
        let partitions = PartitionManager::new(MEMORY);
        let options = NetworkOptions {
            cluster_id: "bench".into(),
            resource_id: ResourceId(name.into()),
            bind_host: "127.0.0.1".into(),
            host: "127.0.0.1".into(),
            ports: PortRange::from(0),
            backoff_initial: Duration::from_millis(10),
            backoff_max: Duration::from_secs(1),
            heartbeat_interval: Duration::from_secs(10),
            heartbeat_timeout: Duration::from_secs(50),
            greeting_timeout: Duration::from_secs(10),
        };
        let on = network.as_ref().unwrap_or(&workers);
        let service = on.block_on(NetworkService::bind(options, &partitions))?;
        let address = service.data_address();
        on.spawn(service.run(CancellationToken::new()));
        Ok(Self { workers, _network: network, partitions, address })
    }
}

pub const PRODUCER: &str = "producer";

pub fn partition(subtask: u32) -> ResultPartitionId {
    let producer = ExecutionAttemptId { job_id: JobId(1), vertex_id: VertexId(1), subtask, attempt: 0 };
    ResultPartitionId { dataset_id: DatasetId(1), producer }
}

/// The default of `taskmanager.network.memory.floating-buffers-per-gate`.
pub const FLOATING: u32 = 8;

/// The defaults of the gate's options.
pub fn buffers(batch_size: usize) -> GateBuffers {
    GateBuffers { per_channel: BUFFERS, floating: FLOATING, batch_size: batch_size as u32 }
}

/// The gate of a consumer over all producers of the other process.
pub fn gate(address: &str, producers: u32, consumer: u32) -> InputGateDescriptor {
    let producer = ResourceId(PRODUCER.into());
    let channels = (0..producers).map(|subtask| InputChannelDescriptor {
        partition: partition(subtask),
        subpartition: consumer,
        producer: producer.clone(),
    });
    InputGateDescriptor {
        channels: channels.collect(),
        data_addresses: [(producer.clone(), DataAddress(address.to_owned()))].into(),
    }
}
