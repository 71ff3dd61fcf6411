//! A node of the stream graph and the edges that lead to it, from an operator
//! of the plan.

use crate::element::ElementType;
use crate::failure::{ErrorCode, Failure};
use crate::graph_check::{CheckedPlan, invalid, label, quoted};
use crate::key_group::{MAX_PARALLELISM_LIMIT, default_max_parallelism};
use crate::plan::{Partitioner, Transformation, TransformationId, TransformationKind};
use crate::stream_graph::{
    DEFAULT_SLOT_SHARING_GROUP, GraphSettings, OperatorKind, StreamEdge, StreamGraph, StreamNode,
};
use std::collections::BTreeMap;

/// Most edges, counted before and after virtual nodes are folded: unions of
/// unions multiply.
pub(crate) const MAX_EDGES: usize = 100_000;
/// Most bytes that the element types of all edges may have together: a type is
/// copied to each edge.
const MAX_EDGE_BYTES: usize = 64 * 1024 * 1024;

/// What a transformation reads, once virtual nodes are folded.
#[derive(Clone, Copy)]
pub(crate) struct Origin {
    pub source: TransformationId,
    /// The last `partition` on the way.
    pub partition: Option<TransformationId>,
    pub side_output: Option<TransformationId>,
}

pub(crate) fn parallelism_invalid(message: String) -> Failure {
    Failure::new(ErrorCode::ParallelismInvalid, message)
}

pub(crate) struct Builder<'a> {
    plan: &'a CheckedPlan<'a>,
    settings: &'a GraphSettings,
    /// Index of each node.
    index: BTreeMap<TransformationId, usize>,
    /// The first side output that read a tag of an operator.
    tags: BTreeMap<(TransformationId, &'a str), &'a Transformation>,
    /// The first node of each co-location group.
    co_located: BTreeMap<&'a str, usize>,
    edge_bytes: usize,
}

impl<'a> Builder<'a> {
    pub fn new(plan: &'a CheckedPlan<'a>, settings: &'a GraphSettings) -> Self {
        Self {
            plan,
            settings,
            index: BTreeMap::new(),
            tags: BTreeMap::new(),
            co_located: BTreeMap::new(),
            edge_bytes: 0,
        }
    }

    /// Adds the node of an operator and the edges that lead to it. Those that
    /// it reads are there.
    pub fn add(
        &mut self,
        graph: &mut StreamGraph,
        transformation: &'a Transformation,
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
        self.check_co_location(transformation, &graph.nodes, &node)?;
        self.index.insert(node.id, graph.nodes.len());
        graph.nodes.push(node);
        Ok(())
    }

    /// Slots are shared by number within a slot sharing group, which is what
    /// co-location asks for; so one of the one kind lies in one of the other.
    fn check_co_location(
        &mut self,
        transformation: &'a Transformation,
        nodes: &[StreamNode],
        node: &StreamNode,
    ) -> Result<(), Failure> {
        let Some(group) = &transformation.co_location_group else { return Ok(()) };
        let first = *self.co_located.entry(group).or_insert(nodes.len());
        match nodes.get(first) {
            Some(first) if first.slot_sharing_group != node.slot_sharing_group => {
                let why = format_args!(
                    "is in the co-location group {} with {}, but in the slot sharing group {} and that in {}; \
                     subtasks share a slot only within one slot sharing group, so set the same",
                    quoted(group),
                    label(self.plan.by_id[&first.id]),
                    quoted(&node.slot_sharing_group),
                    quoted(&first.slot_sharing_group),
                );
                Err(invalid(transformation, why))
            }
            _ => Ok(()),
        }
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
