//! The stream graph: transformations with their virtual nodes (partitions,
//! side outputs, unions) folded into edges, and parallelism inherited.

use crate::element::ElementType;
use crate::failure::{ErrorCode, Failure};
use crate::graph_check::{CheckedPlan, invalid, is_virtual, label, quoted};
use crate::key_group::{MAX_PARALLELISM_LIMIT, default_max_parallelism};
use crate::plan::{
    ChainingStrategy, ConnectorSpec, JobPlan, Partitioner, Transformation, TransformationId,
    TransformationKind,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Name of the slot sharing group of operators that set none.
pub const DEFAULT_SLOT_SHARING_GROUP: &str = "default";

/// Most edges, counted before and after virtual nodes are folded: unions of
/// unions multiply.
const MAX_EDGES: usize = 100_000;
/// Most bytes that the element types of all edges may have together: a type is
/// copied to each edge.
const MAX_EDGE_BYTES: usize = 64 * 1024 * 1024;
/// Most subtasks of a job, before chaining.
const MAX_SUBTASKS: u64 = 1_000_000;
/// Most channels between subtasks, before chaining: each costs memory where
/// the job is scheduled.
const MAX_CHANNELS: u64 = 16_777_216;

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

/// What a transformation reads, once virtual nodes are folded.
#[derive(Clone, Copy)]
struct Origin {
    source: TransformationId,
    /// The last `partition` on the way.
    partition: Option<TransformationId>,
    side_output: Option<TransformationId>,
}

impl StreamGraph {
    /// Makes the graph of a plan. It does not depend on the order in which the
    /// plan names its transformations.
    ///
    /// # Errors
    /// H1102, H1103 (element types) and H1104 (parallelism). The plan is taken
    /// as hostile: whatever is in it, the answer is a graph or a failure.
    pub fn from_plan(plan: &JobPlan, settings: &GraphSettings) -> Result<StreamGraph, Failure> {
        check_settings(settings)?;
        let plan_name = plan.name.as_ref();
        let plan = CheckedPlan::new(plan)?;
        let origins = fold(&plan)?;
        let mut graph = StreamGraph {
            job_name: plan_name.unwrap_or(&settings.job_name).clone(),
            nodes: Vec::new(),
            edges: Vec::new(),
            bounded: true,
            chaining_enabled: settings.chaining_enabled,
        };
        let mut builder =
            Builder { plan: &plan, settings, index: BTreeMap::new(), tags: BTreeMap::new(), edge_bytes: 0 };
        for id in &plan.order {
            let transformation = plan.by_id[id];
            if !is_virtual(transformation) {
                builder.add(&mut graph, transformation, &origins)?;
            }
        }
        check_size(&graph, &plan)?;
        Ok(graph)
    }

    pub fn node(&self, id: TransformationId) -> Option<&StreamNode> {
        self.nodes.iter().find(|node| node.id == id)
    }
}

fn parallelism_invalid(message: String) -> Failure {
    Failure::new(ErrorCode::ParallelismInvalid, message)
}

fn check_settings(settings: &GraphSettings) -> Result<(), Failure> {
    let range = |what: &str, value: u32| match value {
        1..=MAX_PARALLELISM_LIMIT => Ok(()),
        _ => {
            Err(parallelism_invalid(format!("{what} is {value}; it has to be 1 to {MAX_PARALLELISM_LIMIT}")))
        }
    };
    range("the default parallelism", settings.default_parallelism)?;
    settings.default_max_parallelism.map_or(Ok(()), |max| range("the default max parallelism", max))
}

/// For each transformation that is read, what reading it means.
fn fold(plan: &CheckedPlan<'_>) -> Result<BTreeMap<TransformationId, Vec<Origin>>, Failure> {
    let mut origins: BTreeMap<TransformationId, Vec<Origin>> = BTreeMap::new();
    let mut count = 0;
    for id in &plan.order {
        let transformation = plan.by_id[id];
        let mut own = Vec::new();
        if !is_virtual(transformation) {
            own.push(Origin { source: *id, partition: None, side_output: None });
        } else {
            for input in &transformation.inputs {
                for origin in &origins[input] {
                    own.push(through(transformation, *origin, plan)?);
                    if count + own.len() > MAX_EDGES {
                        let why = format_args!("makes the graph too large: more than {MAX_EDGES} edges");
                        return Err(invalid(transformation, why));
                    }
                }
            }
        }
        count += own.len();
        origins.insert(*id, own);
    }
    Ok(origins)
}

/// A virtual node on the way from an origin to its reader.
fn through(
    transformation: &Transformation,
    origin: Origin,
    plan: &CheckedPlan<'_>,
) -> Result<Origin, Failure> {
    match &transformation.kind {
        TransformationKind::Partition(_) => Ok(Origin { partition: Some(transformation.id), ..origin }),
        TransformationKind::SideOutput(_) => {
            if let Some(first) = origin.side_output {
                let why = format_args!(
                    "belongs to {}; only an operator has side outputs, so read it from the operator",
                    label(plan.by_id[&first])
                );
                return Err(invalid(transformation, why));
            }
            let source = plan.by_id[&origin.source];
            if matches!(source.kind, TransformationKind::ConnectorSource(_)) {
                let why = format_args!("belongs to {}, and a connector has no side outputs", label(source));
                return Err(invalid(transformation, why));
            }
            Ok(Origin { side_output: Some(transformation.id), ..origin })
        }
        _ => Ok(origin),
    }
}

struct Builder<'a> {
    plan: &'a CheckedPlan<'a>,
    settings: &'a GraphSettings,
    /// Index of each node.
    index: BTreeMap<TransformationId, usize>,
    /// The first side output that read a tag of an operator.
    tags: BTreeMap<(TransformationId, &'a str), &'a Transformation>,
    edge_bytes: usize,
}

impl<'a> Builder<'a> {
    fn add(
        &mut self,
        graph: &mut StreamGraph,
        transformation: &Transformation,
        origins: &BTreeMap<TransformationId, Vec<Origin>>,
    ) -> Result<(), Failure> {
        let inputs = || {
            let by_port = transformation.inputs.iter().enumerate();
            by_port.flat_map(|(port, input)| origins[input].iter().map(move |origin| (port as u32, *origin)))
        };
        let mut groups =
            inputs().map(|(_, origin)| &graph.nodes[self.index[&origin.source]].slot_sharing_group);
        let group = match (&transformation.slot_sharing_group, groups.next()) {
            (Some(own), _) => own.clone(),
            (None, Some(first)) if groups.all(|other| other == first) => first.clone(),
            _ => DEFAULT_SLOT_SHARING_GROUP.into(),
        };
        let (parallelism, max_parallelism) = self.parallelism(transformation)?;
        let (kind, prefix) = operator_kind(&transformation.kind);
        graph.bounded &= !matches!(kind, OperatorKind::GuestSource { bounded: false });
        let node = StreamNode {
            id: transformation.id,
            name: prefixed(prefix, &transformation.name),
            uid: transformation.uid.clone(),
            kind,
            output: transformation.output.clone(),
            keyed: transformation.keyed,
            parallelism,
            max_parallelism,
            slot_sharing_group: group,
            chaining: transformation.chaining,
        };
        let first = graph.edges.len();
        for (port, origin) in inputs() {
            if graph.edges.len() == MAX_EDGES {
                let why = format_args!("makes the graph too large: more than {MAX_EDGES} edges");
                return Err(invalid(transformation, why));
            }
            let source = &graph.nodes[self.index[&origin.source]];
            let edge = self.edge(source, &node, port, origin)?;
            graph.edges.push(edge);
        }
        self.check_keys(transformation, &graph.edges[first..])?;
        self.index.insert(node.id, graph.nodes.len());
        graph.nodes.push(node);
        Ok(())
    }

    fn parallelism(&self, transformation: &Transformation) -> Result<(u32, u32), Failure> {
        let limit = MAX_PARALLELISM_LIMIT;
        let refuse = |why: String| Err(parallelism_invalid(format!("{} {why}", label(transformation))));
        if let Some(max) = transformation.max_parallelism
            && !(1..=limit).contains(&max)
        {
            return refuse(format!("has max parallelism {max}; it has to be 1 to {limit}"));
        }
        let parallelism = transformation.parallelism.unwrap_or(self.settings.default_parallelism);
        if parallelism == 0 {
            return refuse(format!("has parallelism 0; it has to be 1 to {limit}"));
        }
        let (max, origin) = match (transformation.max_parallelism, self.settings.default_max_parallelism) {
            (Some(own), _) => (own, "its max parallelism"),
            (None, Some(default)) => (default, "the default max parallelism"),
            (None, None) => (default_max_parallelism(parallelism), "the largest max parallelism"),
        };
        if parallelism > max {
            return refuse(format!("has parallelism {parallelism}, above {origin} of {max}"));
        }
        Ok((parallelism, max))
    }

    fn edge(
        &mut self,
        source: &StreamNode,
        target: &StreamNode,
        port: u32,
        origin: Origin,
    ) -> Result<StreamEdge, Failure> {
        let (from, to) = (self.plan.by_id[&source.id], self.plan.by_id[&target.id]);
        let side = origin.side_output.map(|id| self.plan.by_id[&id]);
        let element = side.unwrap_or(from).output.clone().expect("whatever is read has an element type");
        let partition = origin.partition.map(|id| self.plan.by_id[&id]);
        let partitioner = match partition.map(|partition| &partition.kind) {
            Some(TransformationKind::Partition(partitioner)) => partitioner.clone(),
            _ if source.parallelism == target.parallelism => Partitioner::Forward,
            _ => Partitioner::Rebalance,
        };
        if partitioner == Partitioner::Forward && source.parallelism != target.parallelism {
            let why = format_args!(
                "has parallelism {} and forwards to {} of parallelism {}; forward needs the same on both \
                 sides, use rebalance or rescale instead",
                source.parallelism,
                label(to),
                target.parallelism
            );
            return Err(invalid(from, why));
        }
        if let (Some(partition), Partitioner::KeyGroups(_) | Partitioner::Custom(_)) =
            (partition, &partitioner)
            && partition.output.as_ref() != Some(&element)
        {
            // Its function takes the elements that it was written for.
            let message = format!(
                "{} spreads {}, but {} reads a side output of {element} through it; partition the side output",
                label(partition),
                partition.output.as_ref().map(ElementType::to_string).unwrap_or_default(),
                label(to),
            );
            return Err(Failure::new(ErrorCode::SchemaMismatch, message));
        }
        self.edge_bytes += size_of_type(&element);
        if let Partitioner::KeyGroups(key) = &partitioner {
            self.edge_bytes += size_of_type(key);
        }
        if self.edge_bytes > MAX_EDGE_BYTES {
            let why = format_args!("makes the graph too large: {MAX_EDGE_BYTES} bytes of element types");
            return Err(invalid(to, why));
        }
        let mut side_output = None;
        if let Some((side, TransformationKind::SideOutput(tag))) = side.map(|side| (side, &side.kind)) {
            side_output = Some(tag.clone());
            let first = *self.tags.entry((source.id, tag)).or_insert(side);
            if first.output != side.output {
                let message = format!(
                    "{} reads {element}, but {} reads the same tag {} of {} as {}; give the tag one type",
                    label(side),
                    label(first),
                    quoted(tag),
                    label(from),
                    first.output.as_ref().map(ElementType::to_string).unwrap_or_default(),
                );
                return Err(Failure::new(ErrorCode::SchemaMismatch, message));
            }
        }
        Ok(StreamEdge {
            source: source.id,
            target: target.id,
            port,
            partitioner,
            partition: origin.partition,
            side_output,
            element,
        })
    }

    /// A keyed operator sees only its own keys; the second input may be a
    /// broadcast to all, as Flink's keyed broadcast.
    fn check_keys(&self, transformation: &Transformation, edges: &[StreamEdge]) -> Result<(), Failure> {
        if !transformation.keyed {
            return Ok(());
        }
        let mut key: Option<&ElementType> = None;
        for edge in edges {
            match &edge.partitioner {
                Partitioner::KeyGroups(this) if *key.get_or_insert(this) == this => {}
                Partitioner::KeyGroups(this) => {
                    let other = key.unwrap_or(this);
                    let why = format_args!("has inputs with different keys: {other} and {this}");
                    let message = format!("{} {why}", label(transformation));
                    return Err(Failure::new(ErrorCode::SchemaMismatch, message));
                }
                Partitioner::Broadcast if transformation.kind == TransformationKind::TwoInput => {}
                other => {
                    let why = format_args!(
                        "is keyed, but its input from {} is spread by {}; put key_by between them",
                        label(self.plan.by_id[&edge.source]),
                        other.ship_strategy()
                    );
                    return Err(invalid(transformation, why));
                }
            }
        }
        match key {
            Some(_) => Ok(()),
            None => Err(invalid(transformation, "is keyed, but none of its inputs is; put key_by before it")),
        }
    }
}

fn size_of_type(element: &ElementType) -> usize {
    size_of::<StreamEdge>() + element.schema.len() + element.codec.len() + 2 * element.columns.len()
}

fn operator_kind(kind: &TransformationKind) -> (OperatorKind, &'static str) {
    match kind {
        TransformationKind::Source { bounded } => {
            (OperatorKind::GuestSource { bounded: *bounded }, "Source: ")
        }
        TransformationKind::ConnectorSource(spec) => {
            (OperatorKind::ConnectorSource(spec.clone()), "Source: ")
        }
        TransformationKind::TwoInput => (OperatorKind::TwoInput, ""),
        TransformationKind::Sink => (OperatorKind::GuestSink, "Sink: "),
        TransformationKind::ConnectorSink(spec) => (OperatorKind::ConnectorSink(spec.clone()), "Sink: "),
        TransformationKind::OneInput
        | TransformationKind::Union
        | TransformationKind::Partition(_)
        | TransformationKind::SideOutput(_) => (OperatorKind::OneInput, ""),
    }
}

fn prefixed(prefix: &str, name: &str) -> String {
    if name.starts_with(prefix) { name.to_owned() } else { format!("{prefix}{name}") }
}

/// What the graph will need where it is scheduled.
fn check_size(graph: &StreamGraph, plan: &CheckedPlan<'_>) -> Result<(), Failure> {
    let parallelism: BTreeMap<_, _> =
        graph.nodes.iter().map(|node| (node.id, u64::from(node.parallelism))).collect();
    let subtasks: u64 = parallelism.values().sum();
    if subtasks > MAX_SUBTASKS {
        let most = graph.nodes.iter().max_by_key(|node| node.parallelism).map_or("", |node| &node.name);
        return Err(parallelism_invalid(format!(
            "the job has {subtasks} subtasks, the limit is {MAX_SUBTASKS}; lower the parallelism, for example \
             of {}",
            quoted(most)
        )));
    }
    let channels = |edge: &StreamEdge| {
        let (from, to) = (parallelism[&edge.source], parallelism[&edge.target]);
        match edge.partitioner {
            Partitioner::Forward | Partitioner::Rescale => from.max(to),
            _ => from * to,
        }
    };
    let total: u64 = graph.edges.iter().map(channels).sum();
    if total <= MAX_CHANNELS {
        return Ok(());
    }
    let widest = graph.edges.iter().max_by_key(|edge| channels(edge));
    let place = widest.map_or(String::new(), |edge| {
        let (from, to) = (plan.by_id[&edge.source], plan.by_id[&edge.target]);
        format!(", for example of {} and {}", label(from), label(to))
    });
    Err(parallelism_invalid(format!(
        "the job has {total} channels between its subtasks, the limit is {MAX_CHANNELS}; lower the \
         parallelism{place}"
    )))
}
