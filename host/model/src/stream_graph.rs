//! The stream graph: transformations with their virtual nodes (partitions,
//! side outputs, unions) folded into edges, and parallelism inherited.

use crate::element::ElementType;
use crate::plan::{ChainingStrategy, ConnectorSpec, Partitioner, TransformationId};
use serde::{Deserialize, Serialize};

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
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamNode {
    pub id: TransformationId,
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
    pub edges: Vec<StreamEdge>,
    /// Whether every source is bounded.
    pub bounded: bool,
}
