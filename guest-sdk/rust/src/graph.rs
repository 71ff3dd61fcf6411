//! The transformations that `main` makes, each with what builds its operator.
//! Streams add to it; the runtime takes the plan or the builders out of it.

use crate::counter::Counters;
use crate::element::{Element, element_type};
use crate::error::{Error, Result};
use crate::operator::side_output::SideOutputs;
use crate::output;
use crate::push::{AnyNext, Next, Typed, fan_out};
use crate::runtime::bindings::types::{
    Chaining, Partitioner, TaskOutput, Transformation, TransformationKind,
};
use crate::runtime::head::Head;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::rc::Rc;

/// Builds an operator on top of its outputs.
pub(crate) type BuildFn = Box<dyn FnOnce(&mut Build<'_>) -> Result<Box<dyn Head>>>;

/// Builds the end of a chain that encodes for an output.
pub(crate) type EncodeFn = Rc<dyn Fn(&Channels) -> Result<Box<dyn AnyNext>>>;

/// An output of the task, as an encoder needs it.
pub(crate) struct Channels {
    /// Index of the output.
    pub(crate) index: u32,
    pub(crate) output: TaskOutput,
    pub(crate) batch_size: usize,
    pub(crate) subtask: u32,
}

/// What all operators of a subtask may know of it.
pub struct SubtaskInfo {
    /// Index of the subtask, from 0.
    pub subtask: u32,
    pub parallelism: u32,
    pub max_parallelism: u32,
    /// From 0; grows by one at each restart.
    pub attempt: u32,
    /// Such as `Source: lines -> Flat Map (1/4)`.
    pub task_name: String,
    pub(crate) batch_mode: bool,
    pub(crate) state_cache_size: u64,
    pub(crate) restored: bool,
    pub(crate) counters: Counters,
}

/// What an operator is built from.
pub(crate) struct Build<'b> {
    pub(crate) operator: u32,
    pub(crate) name: &'b str,
    pub(crate) info: Rc<SubtaskInfo>,
    /// The readers of the operator's output and of its side outputs.
    pub(crate) readers: BTreeMap<Option<String>, Vec<Box<dyn AnyNext>>>,
}

impl Build<'_> {
    /// What reads the operator's output.
    pub(crate) fn output<U: Element>(&mut self) -> Result<Next<U>> {
        self.take(None)
    }

    /// What reads each of the operator's side outputs.
    pub(crate) fn side_outputs(&mut self) -> SideOutputs {
        let readers = std::mem::take(&mut self.readers);
        SideOutputs::new(readers.into_iter().filter_map(|(tag, readers)| Some((tag?, readers))).collect())
    }

    fn take<U: Element>(&mut self, tag: Option<String>) -> Result<Next<U>> {
        typed(self.readers.remove(&tag).unwrap_or_default(), self.name)
    }
}

/// One operator out of readers of `U`.
pub(crate) fn typed<U: Element>(readers: Vec<Box<dyn AnyNext>>, name: &str) -> Result<Next<U>> {
    let readers: Vec<Next<U>> = readers
        .into_iter()
        .map(|reader| reader.into_any().downcast::<Typed<U>>().map(|typed| typed.0))
        .collect::<Result<_, _>>()
        .map_err(|_| {
            Error::new(format_args!("the stream behind `{name}` is read as another element type"))
        })?;
    Ok(fan_out(readers))
}

pub(crate) struct Node {
    pub(crate) transformation: Transformation,
    pub(crate) build: Option<BuildFn>,
    /// Encodes what the transformation gives out; for a partition, by its key
    /// or function.
    pub(crate) encode: Option<EncodeFn>,
    /// Whether it can give out to side outputs.
    pub(crate) sides: bool,
}

/// The graph that `main` makes.
#[derive(Default)]
pub(crate) struct Graph {
    pub(crate) nodes: Vec<Node>,
    pub(crate) job_name: Option<String>,
    pub(crate) configuration: Vec<(String, String)>,
    pub(crate) counters: Counters,
    /// The first mistake that the program made.
    pub(crate) error: Option<Error>,
}

/// The graph as the environment and all streams share it.
#[derive(Clone, Default)]
pub(crate) struct SharedGraph(Rc<RefCell<Graph>>);

/// A transformation before it is added.
pub(crate) struct NewNode {
    name: String,
    kind: TransformationKind,
    inputs: Vec<u32>,
    keyed: bool,
    sides: bool,
    parallelism: Option<u32>,
    build: Option<BuildFn>,
}

impl NewNode {
    pub(crate) fn new(name: &str, kind: TransformationKind, inputs: &[u32]) -> Self {
        Self {
            name: name.to_string(),
            kind,
            inputs: inputs.to_vec(),
            keyed: false,
            sides: false,
            parallelism: None,
            build: None,
        }
    }

    pub(crate) fn keyed(mut self) -> Self {
        self.keyed = true;
        self
    }

    /// The operator can give out to side outputs.
    pub(crate) fn with_side_outputs(mut self) -> Self {
        self.sides = true;
        self
    }

    pub(crate) fn parallelism(mut self, parallelism: u32) -> Self {
        self.parallelism = Some(parallelism);
        self
    }

    pub(crate) fn build(
        mut self,
        build: impl FnOnce(&mut Build<'_>) -> Result<Box<dyn Head>> + 'static,
    ) -> Self {
        self.build = Some(Box::new(build));
        self
    }
}

impl SharedGraph {
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut Graph) -> R) -> R {
        f(&mut self.0.borrow_mut())
    }

    /// Adds a transformation that gives out elements of `U`.
    pub(crate) fn add<U: Element>(&self, node: NewNode) -> u32 {
        let encode: EncodeFn = match &node.kind {
            TransformationKind::Partition(Partitioner::KeyGroups(_) | Partitioner::Custom(_)) => {
                unreachable!("added by `add_partition`")
            }
            _ => Rc::new(|channels| output::encoder::<U>(channels)),
        };
        self.insert(node, Some(element_type::<U>()), Some(encode))
    }

    /// Adds a partition whose encoder is its own.
    pub(crate) fn add_partition<U: Element>(
        &self,
        node: NewNode,
        encode: impl Fn(&Channels) -> Result<Box<dyn AnyNext>> + 'static,
    ) -> u32 {
        self.insert(node, Some(element_type::<U>()), Some(Rc::new(encode)))
    }

    /// Adds a sink.
    pub(crate) fn add_sink(&self, node: NewNode) -> u32 {
        self.insert(node, None, None)
    }

    fn insert(
        &self,
        node: NewNode,
        output: Option<crate::runtime::bindings::types::ElementType>,
        encode: Option<EncodeFn>,
    ) -> u32 {
        self.with(|graph| {
            let id = graph.nodes.len() as u32 + 1;
            graph.nodes.push(Node {
                transformation: Transformation {
                    id,
                    name: node.name,
                    uid: None,
                    kind: node.kind,
                    inputs: node.inputs,
                    output,
                    keyed: node.keyed,
                    parallelism: node.parallelism,
                    max_parallelism: None,
                    slot_sharing_group: None,
                    co_location_group: None,
                    chaining: Chaining::Always,
                },
                build: node.build,
                encode,
                sides: node.sides,
            });
            id
        })
    }

    /// Changes a transformation that is an operator; `what` names the method,
    /// for the message if it is not one.
    pub(crate) fn configure(&self, id: u32, what: &str, change: impl FnOnce(&mut Transformation)) {
        self.with(|graph| {
            let transformation = &mut graph.nodes[id as usize - 1].transformation;
            let virtual_node = match &transformation.kind {
                TransformationKind::Partition(_) => "a partitioned stream",
                TransformationKind::Union => "a union",
                TransformationKind::SideOutput(_) => "a side output",
                _ => return change(transformation),
            };
            graph.fail(format!("`{what}` belongs behind an operator, not behind {virtual_node}"));
        });
    }
}

impl Graph {
    /// The same for the same transformations, in Wasm and natively.
    pub(crate) fn fingerprint(&self) -> String {
        let mut hasher = Fnv(0xCBF2_9CE4_8422_2325);
        for node in &self.nodes {
            node.transformation.hash(&mut hasher);
        }
        format!("{:016x}", hasher.finish())
    }

    /// Remembers the first mistake.
    pub(crate) fn fail(&mut self, message: String) {
        self.error.get_or_insert_with(|| Error::new(message));
    }

    pub(crate) fn node(&self, id: u32) -> Option<&Node> {
        self.nodes.get((id as usize).checked_sub(1)?)
    }

    pub(crate) fn node_mut(&mut self, id: u32) -> Option<&mut Node> {
        self.nodes.get_mut((id as usize).checked_sub(1)?)
    }
}

/// FNV-1a, with lengths that are as wide on every machine.
struct Fnv(u64);

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn write_isize(&mut self, number: isize) {
        self.write_i64(number as i64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
