//! What a job master tells a TaskExecutor to run, and what it hears back.

use crate::failure::Failure;
use crate::id::{AllocationId, BlobKey, ExecutionAttemptId, JobId, ResourceId, ResultPartitionId};
use crate::job_graph::{ExecutionConfig, JobVertex};
use crate::job_status::ExecutionState;
use crate::plan::{Program, TransformationId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// What all tasks of a job share; sent once with a group of tasks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobInformation {
    pub job_id: JobId,
    pub job_name: String,
    pub component: BlobKey,
    pub program: Program,
    pub execution: ExecutionConfig,
}

/// One channel of an input gate: which subpartition it reads, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputChannelDescriptor {
    pub partition: ResultPartitionId,
    pub subpartition: u32,
    /// The TaskExecutor that runs the producer.
    pub producer: ResourceId,
}

/// Where a TaskExecutor serves its result partitions: `host:port`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DataAddress(pub String);

impl fmt::Display for DataAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One input gate; its position is that of the vertex's `inputs`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputGateDescriptor {
    pub channels: Vec<InputChannelDescriptor>,
    /// Where the producers' TaskExecutors serve; one that is not named runs in
    /// the consumer's process.
    pub data_addresses: BTreeMap<ResourceId, DataAddress>,
}

/// The partition that a subtask writes for one output of its vertex.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultPartitionDescriptor {
    /// Index into the vertex's `outputs`; its target is a dataset.
    pub output: u32,
    pub partition: ResultPartitionId,
    pub subpartitions: u32,
}

/// One subtask to run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskDeploymentDescriptor {
    pub attempt: ExecutionAttemptId,
    pub allocation_id: AllocationId,
    pub vertex: Arc<JobVertex>,
    pub inputs: Vec<InputGateDescriptor>,
    pub outputs: Vec<ResultPartitionDescriptor>,
}

/// What a connector sink leaves behind when its subtask finishes; published
/// by the job master when the whole job has finished. Only `connectors` reads
/// the content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committable {
    pub sink: TransformationId,
    pub content: Vec<u8>,
}

/// What a job whose tasks have all finished is to publish, and what its result
/// tells of them. Stored before anything is published: who finds it publishes
/// the rest, and does not run the job again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commitment {
    pub job_id: JobId,
    /// Milliseconds since the epoch.
    pub start_time_ms: u64,
    /// Milliseconds since the epoch.
    pub first_sink_record_at_ms: Option<u64>,
    pub accumulators: BTreeMap<String, i64>,
    /// In the order of vertices and subtasks.
    pub committables: Vec<Committable>,
}

/// Numbers of one subtask since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskMetrics {
    pub records_in: u64,
    pub records_out: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub busy_ms: u64,
    pub back_pressured_ms: u64,
    pub idle_ms: u64,
    /// When the first record reached a sink of this subtask, milliseconds
    /// since the epoch.
    pub first_sink_record_at_ms: Option<u64>,
}

/// A change of an attempt's state, told to the job master.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskExecutionState {
    pub attempt: ExecutionAttemptId,
    pub state: ExecutionState,
    /// Why, if it failed.
    pub failure: Option<Failure>,
    pub metrics: TaskMetrics,
    /// Sums so far; final once the state is terminal.
    pub accumulators: BTreeMap<String, i64>,
    /// With `Finished` only.
    pub committables: Vec<Committable>,
}

/// A piece of a source's input; only `connectors` reads the content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputSplit {
    pub index: u32,
    pub content: Vec<u8>,
}
