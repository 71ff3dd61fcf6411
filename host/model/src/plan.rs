//! What a program asked for: the transformations of a job, as `plan` of the
//! contract gives them. Mirrors `types` of `proto/wit/operator.wit`, where
//! each field is described.

use crate::element::ElementType;
use crate::id::BlobKey;
use serde::{Deserialize, Serialize};

/// Id of a transformation within its plan.
pub type TransformationId = u32;

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Partitioner {
    Forward,
    Rebalance,
    Rescale,
    Shuffle,
    Broadcast,
    Global,
    /// By key group; the element type is the key's.
    KeyGroups(ElementType),
    Custom(String),
}

impl Partitioner {
    /// Flink's word for it in a plan's `ship_strategy`.
    pub fn ship_strategy(&self) -> &'static str {
        match self {
            Partitioner::Forward => "FORWARD",
            Partitioner::Rebalance => "REBALANCE",
            Partitioner::Rescale => "RESCALE",
            Partitioner::Shuffle => "SHUFFLE",
            Partitioner::Broadcast => "BROADCAST",
            Partitioner::Global => "GLOBAL",
            Partitioner::KeyGroups(_) => "HASH",
            Partitioner::Custom(_) => "CUSTOM",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ChainingStrategy {
    Always,
    Head,
    Never,
}

/// A source or a sink that the host implements.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ConnectorSpec {
    pub name: String,
    pub options: Vec<(String, String)>,
}

impl ConnectorSpec {
    pub fn option(&self, key: &str) -> Option<&str> {
        self.options.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TransformationKind {
    Source { bounded: bool },
    ConnectorSource(ConnectorSpec),
    OneInput,
    TwoInput,
    Sink,
    ConnectorSink(ConnectorSpec),
    Union,
    Partition(Partitioner),
    SideOutput(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transformation {
    pub id: TransformationId,
    pub name: String,
    pub uid: Option<String>,
    pub kind: TransformationKind,
    pub inputs: Vec<TransformationId>,
    /// None for a sink.
    pub output: Option<ElementType>,
    pub keyed: bool,
    pub parallelism: Option<u32>,
    pub max_parallelism: Option<u32>,
    pub slot_sharing_group: Option<String>,
    pub co_location_group: Option<String>,
    pub chaining: ChainingStrategy,
}

/// The whole answer of `plan`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobPlan {
    pub name: Option<String>,
    pub transformations: Vec<Transformation>,
    /// Configuration that the program set.
    pub configuration: Vec<(String, String)>,
    /// By what the guest knows this graph again.
    pub fingerprint: String,
}

/// What `main` may depend on, and the graph that it made of it; the same in
/// every instance of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    pub arguments: Vec<String>,
    pub configuration: Vec<(String, String)>,
    /// When the job was submitted, milliseconds since the epoch: where the
    /// clocks of its guests stand still.
    pub submitted_at_ms: u64,
    /// [`JobPlan::fingerprint`] of the submission; empty before.
    pub plan_fingerprint: String,
}

impl Program {
    /// Where the random sequence of each instance starts that is not granted
    /// real randomness. It depends on the job's code and arguments alone, so
    /// that a `main` that iterates over a hash map builds the same graph each
    /// time, and a failure can be seen again. (FNV-1a.)
    pub fn random_seed(&self, component: &BlobKey) -> u64 {
        let lengths = self.arguments.iter().flat_map(|argument| (argument.len() as u64).to_le_bytes());
        let bytes = component.0.iter().copied().chain(self.arguments.iter().flat_map(|text| text.bytes()));
        bytes.chain(lengths).fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
        })
    }
}
