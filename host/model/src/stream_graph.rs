//! The stream graph: transformations with their virtual nodes (partitions,
//! side outputs, unions) folded into edges, and parallelism inherited.

use crate::element::ElementType;
use crate::plan::{ChainingStrategy, ConnectorSpec, Partitioner, TransformationId};
use serde::{Deserialize, Serialize};

/// Name of the slot sharing group of operators that set none.
pub const DEFAULT_SLOT_SHARING_GROUP: &str = "default";

/// What a node runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OperatorKind {
    GuestSource { bounded: bool },
    ConnectorSource(ConnectorSpec),
    OneInput,
    TwoInput,
    GuestSink,
    ConnectorSink(ConnectorSpec),
}

impl OperatorKind {
    pub fn is_source(&self) -> bool {
        matches!(self, OperatorKind::GuestSource { .. } | OperatorKind::ConnectorSource(_))
    }

    pub fn is_sink(&self) -> bool {
        matches!(self, OperatorKind::GuestSink | OperatorKind::ConnectorSink(_))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamNode {
    pub id: TransformationId,
    /// With `Source: ` or `Sink: ` in front where it is one.
    pub name: String,
    pub uid: Option<String>,
    pub kind: OperatorKind,
    pub output: Option<ElementType>,
    pub keyed: bool,
    pub parallelism: u32,
    pub max_parallelism: u32,
    pub slot_sharing_group: String,
    pub chaining: ChainingStrategy,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamEdge {
    pub source: TransformationId,
    pub target: TransformationId,
    /// 0, or 1 for the second input of a two-input operator.
    pub port: u32,
    pub partitioner: Partitioner,
    /// The `partition` transformation that set the partitioner.
    pub partition: Option<TransformationId>,
    pub side_output: Option<String>,
    pub element: ElementType,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamGraph {
    pub job_name: String,
    /// Upstream first.
    pub nodes: Vec<StreamNode>,
    /// By target in the order of `nodes`, then by port, then in the order of a
    /// union's inputs.
    pub edges: Vec<StreamEdge>,
    /// Whether every source is bounded.
    pub bounded: bool,
    /// Whether operators may be fused at all.
    pub chaining_enabled: bool,
}

/// What the configuration says where a plan says nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphSettings {
    /// `parallelism.default`.
    pub default_parallelism: u32,
    /// `pipeline.max-parallelism`; none: from each operator's parallelism.
    pub default_max_parallelism: Option<u32>,
    /// Name of a job that gives itself none.
    pub job_name: String,
    /// `pipeline.operator-chaining.enabled`.
    pub chaining_enabled: bool,
}

impl Default for GraphSettings {
    fn default() -> Self {
        Self {
            default_parallelism: 1,
            default_max_parallelism: None,
            job_name: "Heddle Streaming Job".into(),
            chaining_enabled: true,
        }
    }
}

impl StreamGraph {
    pub fn node(&self, id: TransformationId) -> Option<&StreamNode> {
        self.nodes.iter().find(|node| node.id == id)
    }
}
