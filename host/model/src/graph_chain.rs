//! Makes the job graph of a stream graph: fuses operators to chains by Flink's
//! rules and connects the chains.

use crate::graph_ids::{dataset_id, operator_ids};
use crate::id::{BlobKey, JobId, OperatorId, VertexId};
use crate::job_graph::{
    ChainEdge, ChainedOperator, Distribution, ExecutionConfig, JobEdge, JobGraph, JobOutput, JobVertex,
    OutputTarget,
};
use crate::plan::{ChainingStrategy, Partitioner, Program, TransformationId};
use crate::stream_graph::{OperatorKind, StreamEdge, StreamGraph, StreamNode};
use std::collections::BTreeMap;

/// Most characters of a vertex's name.
const MAX_VERTEX_NAME_CHARS: usize = 2_000;

impl JobGraph {
    /// The job graph of a stream graph. Its ids depend on the program only.
    pub fn build(
        stream: &StreamGraph,
        job_id: JobId,
        component: BlobKey,
        program: Program,
        execution: ExecutionConfig,
    ) -> JobGraph {
        let chains = Chains::new(stream);
        JobGraph {
            job_id,
            name: stream.job_name.clone(),
            component,
            program,
            execution,
            vertices: chains.vertices(),
        }
    }
}

impl Distribution {
    /// How a partitioner connects subtasks.
    pub fn of(partitioner: &Partitioner) -> Distribution {
        match partitioner {
            Partitioner::Forward | Partitioner::Rescale => Distribution::Pointwise,
            _ => Distribution::AllToAll,
        }
    }
}

struct Chains<'a> {
    stream: &'a StreamGraph,
    ids: BTreeMap<TransformationId, OperatorId>,
    nodes: BTreeMap<TransformationId, &'a StreamNode>,
    /// Indices of edges, by their source.
    outgoing: BTreeMap<TransformationId, Vec<usize>>,
    /// Whether an edge lies within a chain.
    chained: Vec<bool>,
    /// How many edges before this one are alike.
    ordinals: Vec<u32>,
    /// First operator of each operator's chain.
    heads: BTreeMap<TransformationId, TransformationId>,
}

impl<'a> Chains<'a> {
    fn new(stream: &'a StreamGraph) -> Self {
        let nodes: BTreeMap<_, _> = stream.nodes.iter().map(|node| (node.id, node)).collect();
        let mut outgoing: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        let mut incoming: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        let mut alike: BTreeMap<_, u32> = BTreeMap::new();
        let mut ordinals = Vec::with_capacity(stream.edges.len());
        for (index, edge) in stream.edges.iter().enumerate() {
            outgoing.entry(edge.source).or_default().push(index);
            incoming.entry(edge.target).or_default().push(index);
            let ordinal = alike.entry((edge.source, edge.target, edge.port, &edge.side_output)).or_default();
            ordinals.push(*ordinal);
            *ordinal += 1;
        }
        let chained = stream
            .edges
            .iter()
            .map(|edge| {
                let alone = incoming[&edge.target].len() == 1;
                alone && stream.chaining_enabled && may_chain(nodes[&edge.source], nodes[&edge.target], edge)
            })
            .collect::<Vec<_>>();
        let mut heads = BTreeMap::new();
        for node in &stream.nodes {
            let inner = incoming.get(&node.id).into_iter().flatten().find(|index| chained[**index]);
            let head = inner.map_or(node.id, |index| heads[&stream.edges[*index].source]);
            heads.insert(node.id, head);
        }
        Self { stream, ids: operator_ids(stream), nodes, outgoing, chained, ordinals, heads }
    }

    fn vertices(&self) -> Vec<JobVertex> {
        let mut members: BTreeMap<TransformationId, Vec<&StreamNode>> = BTreeMap::new();
        for node in &self.stream.nodes {
            members.entry(self.heads[&node.id]).or_default().push(node);
        }
        let mut inputs: BTreeMap<TransformationId, Vec<JobEdge>> = BTreeMap::new();
        for (index, edge) in self.stream.edges.iter().enumerate() {
            if !self.chained[index] {
                inputs.entry(self.heads[&edge.target]).or_default().push(self.input(index, edge));
            }
        }
        let heads = self.stream.nodes.iter().filter(|node| self.heads[&node.id] == node.id);
        heads
            .map(|head| self.vertex(head, &members[&head.id], inputs.remove(&head.id).unwrap_or_default()))
            .collect()
    }

    fn vertex(&self, head: &StreamNode, members: &[&StreamNode], inputs: Vec<JobEdge>) -> JobVertex {
        let mut chain_edges = Vec::new();
        let mut outputs = Vec::new();
        for node in members {
            for index in self.outgoing_of(node.id) {
                let edge = &self.stream.edges[index];
                if self.chained[index] {
                    chain_edges.push(ChainEdge {
                        producer: edge.source,
                        side_output: edge.side_output.clone(),
                        consumer: edge.target,
                    });
                }
                outputs.extend(self.output(index, edge));
            }
        }
        JobVertex {
            id: self.vertex_id(head.id),
            name: self.names(head, members),
            parallelism: head.parallelism,
            max_parallelism: head.max_parallelism,
            slot_sharing_group: head.slot_sharing_group.clone(),
            operators: members.iter().map(|node| self.operator(node)).collect(),
            chain_edges,
            inputs,
            outputs,
        }
    }

    fn operator(&self, node: &StreamNode) -> ChainedOperator {
        ChainedOperator {
            id: self.ids[&node.id],
            transformation: node.id,
            name: node.name.clone(),
            kind: node.kind.clone(),
            keyed: node.keyed,
        }
    }

    fn input(&self, index: usize, edge: &StreamEdge) -> JobEdge {
        JobEdge {
            dataset: self.dataset(index, edge),
            producer: self.vertex_id(self.heads[&edge.source]),
            distribution: Distribution::of(&edge.partitioner),
            partitioner: edge.partitioner.clone(),
            operator: edge.target,
            port: edge.port,
            element: edge.element.clone(),
        }
    }

    /// What an edge is among the outputs of its vertex, if it is one.
    fn output(&self, index: usize, edge: &StreamEdge) -> Option<JobOutput> {
        let target = if !self.chained[index] {
            OutputTarget::Dataset {
                dataset: self.dataset(index, edge),
                consumer: self.vertex_id(self.heads[&edge.target]),
                distribution: Distribution::of(&edge.partitioner),
                consumer_max_parallelism: self.nodes[&edge.target].max_parallelism,
            }
        } else if matches!(self.nodes[&edge.target].kind, OperatorKind::ConnectorSink(_)) {
            OutputTarget::Sink { transformation: edge.target }
        } else {
            return None;
        };
        Some(JobOutput {
            operator: edge.source,
            side_output: edge.side_output.clone(),
            partitioner: edge.partitioner.clone(),
            partition: edge.partition,
            element: edge.element.clone(),
            target,
        })
    }

    fn dataset(&self, index: usize, edge: &StreamEdge) -> crate::id::DatasetId {
        let (producer, consumer) = (self.ids[&edge.source], self.ids[&edge.target]);
        dataset_id(producer, consumer, edge.port, edge.side_output.as_deref(), self.ordinals[index])
    }

    fn vertex_id(&self, head: TransformationId) -> VertexId {
        VertexId(self.ids[&head].0)
    }

    fn outgoing_of(&self, id: TransformationId) -> impl Iterator<Item = usize> + '_ {
        self.outgoing.get(&id).into_iter().flatten().copied()
    }

    /// Flink's name of a chain: `a -> b`, `a -> (b, c -> d)`.
    fn names(&self, head: &StreamNode, members: &[&StreamNode]) -> String {
        let mut names: BTreeMap<TransformationId, String> = BTreeMap::new();
        // Downstream first: a name is made of those behind it.
        for node in members.iter().rev() {
            let inner = self.outgoing_of(node.id).filter(|index| self.chained[*index]);
            let behind: Vec<String> =
                inner.filter_map(|index| names.remove(&self.stream.edges[index].target)).collect();
            let name = match behind.as_slice() {
                [] => node.name.clone(),
                [one] => format!("{} -> {one}", node.name),
                many => format!("{} -> ({})", node.name, many.join(", ")),
            };
            names.insert(node.id, shortened(name));
        }
        names.remove(&head.id).unwrap_or_else(|| head.name.clone())
    }
}

/// The name of a very long chain, cut: it stands in every message of a task.
fn shortened(name: String) -> String {
    match name.char_indices().nth(MAX_VERTEX_NAME_CHARS) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name,
    }
}

/// Flink's rules, but for the number of inputs. As there, operators of
/// different max parallelism may chain; the head's counts. Keyed operators are
/// heads, so key groups are always those that the program asked for.
fn may_chain(source: &StreamNode, target: &StreamNode, edge: &StreamEdge) -> bool {
    edge.partitioner == Partitioner::Forward
        && source.parallelism == target.parallelism
        && source.slot_sharing_group == target.slot_sharing_group
        && source.chaining != ChainingStrategy::Never
        && target.chaining == ChainingStrategy::Always
}
