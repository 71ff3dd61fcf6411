//! The job graph: chains of operators as vertices, as it is submitted,
//! persisted and scheduled.

use crate::element::ElementType;
use crate::id::{BlobKey, DatasetId, JobId, OperatorId, VertexId};
use crate::plan::{ConnectorSpec, Partitioner, Program, TransformationId};
use crate::restart::RestartStrategy;
use crate::stream_graph::OperatorKind;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Which subtasks of a producer a subtask of a consumer reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Distribution {
    AllToAll,
    /// Each consumer reads a group of producers, or the other way round.
    Pointwise,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainedOperator {
    pub id: OperatorId,
    pub transformation: TransformationId,
    pub name: String,
    pub kind: OperatorKind,
    pub keyed: bool,
}

/// An edge inside a chain. Those to a connector sink stand here and, as what
/// the guest emits to, in the vertex's outputs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainEdge {
    pub producer: TransformationId,
    pub side_output: Option<String>,
    pub consumer: TransformationId,
}

/// An input of a vertex: one gate in each of its subtasks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobEdge {
    pub dataset: DatasetId,
    pub producer: VertexId,
    pub distribution: Distribution,
    pub partitioner: Partitioner,
    /// The operator of this vertex that consumes it, and on which port.
    pub operator: TransformationId,
    pub port: u32,
    pub element: ElementType,
}

/// Where an output of a chain goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OutputTarget {
    /// To another vertex.
    Dataset {
        dataset: DatasetId,
        consumer: VertexId,
        distribution: Distribution,
        consumer_max_parallelism: u32,
    },
    /// To a connector sink of the same vertex.
    Sink { transformation: TransformationId },
}

/// An output of a chain; its position is the guest's output index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobOutput {
    pub operator: TransformationId,
    pub side_output: Option<String>,
    pub partitioner: Partitioner,
    pub partition: Option<TransformationId>,
    pub element: ElementType,
    pub target: OutputTarget,
}

/// A chain of operators.
///
/// Either the first operator is a source, or `inputs` is not empty. A vertex
/// that is a lone connector sink has no guest: its batches go to the sink as
/// they come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobVertex {
    pub id: VertexId,
    pub name: String,
    pub parallelism: u32,
    pub max_parallelism: u32,
    pub slot_sharing_group: String,
    /// Upstream first.
    pub operators: Vec<ChainedOperator>,
    pub chain_edges: Vec<ChainEdge>,
    pub inputs: Vec<JobEdge>,
    pub outputs: Vec<JobOutput>,
}

impl JobVertex {
    /// The connector source at the head of the chain.
    pub fn connector_source(&self) -> Option<(&ChainedOperator, &ConnectorSpec)> {
        self.operators.iter().find_map(|op| match &op.kind {
            OperatorKind::ConnectorSource(spec) => Some((op, spec)),
            _ => None,
        })
    }

    /// The connector sinks of the chain.
    pub fn connector_sinks(&self) -> impl Iterator<Item = (&ChainedOperator, &ConnectorSpec)> {
        self.operators.iter().filter_map(|op| match &op.kind {
            OperatorKind::ConnectorSink(spec) => Some((op, spec)),
            _ => None,
        })
    }

    /// Whether a subtask needs an instance of the component.
    pub fn has_guest(&self) -> bool {
        self.operators.iter().any(|op| !matches!(op.kind, OperatorKind::ConnectorSink(_)))
    }
}

/// What every task of a job must know of the job's configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExecutionConfig {
    /// `execution.runtime-mode` is BATCH (or AUTOMATIC over bounded sources).
    pub batch_mode: bool,
    /// `execution.buffer-timeout`.
    pub buffer_timeout: Duration,
    /// `taskmanager.memory.segment-size`: target length of a batch in bytes.
    pub batch_size: u32,
    /// `taskmanager.network.memory.buffers-per-channel`: batches that a
    /// channel holds before its producer waits.
    pub buffers_per_channel: u32,
    /// `taskmanager.network.memory.floating-buffers-per-gate`: batches more
    /// that the channels of a result partition share, and those of an input
    /// that come from other TaskExecutors.
    pub floating_buffers: u32,
    /// `taskmanager.wasm.state-cache-size`: cached state in a guest, in bytes.
    pub state_cache_size: u64,
    /// `taskmanager.wasm.call-timeout`: guest time that one call may take.
    pub call_timeout: Duration,
    /// `taskmanager.wasm.log-rate`: log lines a second and subtask.
    pub log_lines_per_second: u32,
    /// `taskmanager.wasm.grants`: what the component may use.
    pub grants: Vec<String>,
    /// `taskmanager.wasm.max-stack-size`, in bytes.
    pub max_stack_size: u64,
    pub restart_strategy: RestartStrategy,
}

impl Default for ExecutionConfig {
    fn default() -> Self {
        Self {
            batch_mode: false,
            buffer_timeout: Duration::from_millis(100),
            batch_size: 32 * 1024,
            buffers_per_channel: 4,
            floating_buffers: 8,
            state_cache_size: 64 * 1024 * 1024,
            call_timeout: Duration::from_secs(60),
            log_lines_per_second: 100,
            grants: Vec::new(),
            max_stack_size: 512 * 1024,
            restart_strategy: RestartStrategy::None,
        }
    }
}

/// A job as it is submitted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobGraph {
    pub job_id: JobId,
    pub name: String,
    /// The component's content address at the blob server.
    pub component: BlobKey,
    /// What `main` runs with, in every instance.
    pub program: Program,
    pub execution: ExecutionConfig,
    /// Upstream first.
    pub vertices: Vec<JobVertex>,
}

impl JobGraph {
    pub fn vertex(&self, id: VertexId) -> Option<&JobVertex> {
        self.vertices.iter().find(|v| v.id == id)
    }

    /// Slots that the job needs to run at once: for each slot sharing group the
    /// largest parallelism of its vertices.
    pub fn required_slots(&self) -> u32 {
        let mut groups = std::collections::BTreeMap::<&str, u32>::new();
        for vertex in &self.vertices {
            let most = groups.entry(&vertex.slot_sharing_group).or_default();
            *most = (*most).max(vertex.parallelism);
        }
        groups.values().sum()
    }
}
