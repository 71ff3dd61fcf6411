//! Processes to test with.

use bytes::Bytes;
use heddle_exchange::{
    Counts, Error, GateBuffers, GateEvent, InputGate, NetworkOptions, NetworkService, PartitionManager,
    ResultPartition,
};
use heddle_model::config::value::PortRange;
use heddle_model::id::{DatasetId, ExecutionAttemptId, JobId, ResourceId, ResultPartitionId, VertexId};
use heddle_model::task::{DataAddress, InputChannelDescriptor, InputGateDescriptor};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub const MEMORY: u64 = 64 << 20;
pub const BATCH: u32 = 1024;
pub const BUFFERS: u32 = 4;
pub const GATE: GateBuffers = GateBuffers { per_channel: BUFFERS, floating: 0, batch_size: BATCH };
pub const SOON: Duration = Duration::from_secs(20);

pub fn attempt(subtask: u32, attempt: u32) -> ExecutionAttemptId {
    ExecutionAttemptId { job_id: JobId(7), vertex_id: VertexId(1), subtask, attempt }
}

pub fn id(subtask: u32) -> ResultPartitionId {
    ResultPartitionId { dataset_id: DatasetId(3), producer: attempt(subtask, 0) }
}

pub fn options(name: &str) -> NetworkOptions {
    NetworkOptions {
        cluster_id: "test".into(),
        resource_id: ResourceId(name.into()),
        bind_host: "127.0.0.1".into(),
        host: "127.0.0.1".into(),
        ports: PortRange::from(0),
        backoff_initial: Duration::from_millis(10),
        backoff_max: Duration::from_millis(40),
        heartbeat_interval: Duration::from_secs(10),
        heartbeat_timeout: Duration::from_secs(50),
        greeting_timeout: Duration::from_secs(5),
    }
}

/// A process: its partitions and its network.
pub struct Process {
    pub name: ResourceId,
    pub address: DataAddress,
    pub manager: PartitionManager,
    pub stop: CancellationToken,
    pub service: JoinSet<()>,
    counts: Box<dyn Fn() -> Counts>,
}

impl Process {
    pub async fn start(name: &str) -> Self {
        Self::with(options(name)).await
    }

    pub async fn with(options: NetworkOptions) -> Self {
        let manager = PartitionManager::new(MEMORY);
        let name = options.resource_id.clone();
        let service = NetworkService::bind(options, &manager).await.unwrap();
        let (address, counts) = (service.data_address(), Box::new(service.counts()));
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(service.run(stop.clone()));
        Self { name, address, manager, stop, service: tasks, counts }
    }

    pub fn register(&self, subtask: u32, subpartitions: u32) -> ResultPartition {
        self.manager.register(id(subtask), subpartitions, BUFFERS, BATCH).unwrap()
    }

    pub async fn connect(&self, gate: &InputGateDescriptor) -> Result<InputGate, Error> {
        self.manager.connect(gate, GATE, SOON).await
    }

    pub fn counts(&self) -> Counts {
        (self.counts)()
    }

    /// Nothing is left of any job: no partition, no memory in use.
    pub async fn is_clean(&self) {
        until("everything is freed", || {
            self.manager.partitions() == 0 && self.manager.available_memory() == MEMORY
        })
        .await;
    }

    pub async fn stop(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.service.join_next().await {
            ended.unwrap();
        }
    }
}

/// A gate over one subpartition of partitions, each in its process.
pub fn gate(producers: &[(&Process, ResultPartitionId)], subpartition: u32) -> InputGateDescriptor {
    let channels = producers.iter().map(|(process, partition)| InputChannelDescriptor {
        partition: *partition,
        subpartition,
        producer: process.name.clone(),
    });
    let addresses = producers.iter().map(|(process, _)| (process.name.clone(), process.address.clone()));
    InputGateDescriptor { channels: channels.collect(), data_addresses: addresses.collect() }
}

/// A gate over one channel of a TaskExecutor at an address.
pub fn gate_at(name: &str, address: impl ToString, partition: ResultPartitionId) -> InputGateDescriptor {
    let producer = ResourceId(name.into());
    InputGateDescriptor {
        data_addresses: BTreeMap::from([(producer.clone(), DataAddress(address.to_string()))]),
        channels: vec![InputChannelDescriptor { partition, subpartition: 0, producer }],
    }
}

pub fn batch(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// Two processes, a producer in the first, its consumer in the second.
pub async fn pair() -> (Process, ResultPartition, Process, InputGate) {
    let (there, here) = (Process::start("there").await, Process::start("here").await);
    let producer = there.register(0, 1);
    let gate = here.connect(&gate(&[(&there, id(0))], 0)).await.unwrap();
    (there, producer, here, gate)
}

pub async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(SOON, future).await {
        Ok(output) => output,
        Err(_) => panic!("not within {SOON:?}: {what}"),
    }
}

/// Waits for a condition that other tasks bring about.
pub async fn until(what: &str, condition: impl Fn() -> bool) {
    soon(what, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

/// The text of the next batch; anything else is a failure of the test.
pub async fn next_text(gate: &mut InputGate) -> String {
    match soon("a batch", gate.next()).await {
        Ok(GateEvent::Batch { batch, .. }) => String::from_utf8(batch.to_vec()).unwrap(),
        other => panic!("expected a batch, got {other:?}"),
    }
}

pub async fn next_error(gate: &mut InputGate) -> Error {
    soon("an error", async {
        loop {
            if let Err(error) = gate.next().await {
                return error;
            }
        }
    })
    .await
}

/// Nobody waits for the first subtask's partition any more: it can be read.
pub async fn the_request_was_withdrawn(there: &Process, here: &Process) {
    // A connection is in order: once this request has its answer, what was
    // sent before it has had its effect.
    let other = there.register(1, 1);
    let other_gate = here.connect(&gate(&[(there, id(1))], 0)).await.unwrap();
    let producer = there.register(0, 1);
    let mut gate = here.connect(&gate(&[(there, id(0))], 0)).await.unwrap();
    producer.try_send(0, batch("1")).unwrap();
    assert_eq!(next_text(&mut gate).await, "1");
    drop((other, other_gate, producer, gate));
    there.is_clean().await;
    here.is_clean().await;
}

/// Reads what a peer says in one piece.
pub async fn read_some(stream: &mut TcpStream) {
    let read = stream.read(&mut [0; 4096]).await.unwrap();
    assert!(read > 0, "it closed the connection");
}
