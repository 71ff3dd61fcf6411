//! What an instance is to run: the contract's record `task` as plain data.

use heddle_model::element::ElementType;
use heddle_model::plan::{Partitioner, Program, TransformationId};

/// An input of the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskInput {
    /// The operator that consumes it.
    pub operator: TransformationId,
    /// 0, or 1 for the second input of two.
    pub port: u32,
    pub element: ElementType,
}

/// An output of the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskOutput {
    /// The operator that produces it.
    pub operator: TransformationId,
    pub side_output: Option<String>,
    pub partitioner: Partitioner,
    /// The `partition` transformation that set the partitioner, if one did.
    pub partition: Option<TransformationId>,
    pub channels: u32,
    /// Max parallelism of the consumer.
    pub max_parallelism: u32,
    pub element: ElementType,
}

/// An edge inside the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainEdge {
    pub producer: TransformationId,
    pub side_output: Option<String>,
    pub consumer: TransformationId,
}

/// One subtask, as its instance sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    pub program: Program,
    pub subtask: u32,
    pub parallelism: u32,
    pub max_parallelism: u32,
    pub attempt: u32,
    pub task_name: String,
    /// Upstream first.
    pub operators: Vec<TransformationId>,
    pub edges: Vec<ChainEdge>,
    pub inputs: Vec<TaskInput>,
    pub outputs: Vec<TaskOutput>,
    pub batch_mode: bool,
    /// Bytes.
    pub batch_size: u32,
    /// Bytes.
    pub state_cache_size: u64,
    pub restored: bool,
}

/// What a source did in one `poll`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PollStatus {
    /// There is more now.
    More,
    /// Nothing now; ask again in this many milliseconds.
    Idle { ms: u32 },
    /// Bounded, and at its end.
    Finished,
}
