//! Ids of operators and data sets: the same at every submission of the same
//! program, so that state finds its operator again.
//!
//! An operator with a uid has the hash of the uid. Any other has the hash of
//! what it is and of what it reads; names, arguments and whatever reads it do
//! not count, so a branch that is added behind or beside it changes nothing.

use crate::id::{DatasetId, OperatorId};
use crate::plan::{Partitioner, TransformationId};
use crate::stream_graph::{OperatorKind, StreamEdge, StreamGraph, StreamNode};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// The id of each operator.
pub fn operator_ids(graph: &StreamGraph) -> BTreeMap<TransformationId, OperatorId> {
    let mut inputs: BTreeMap<TransformationId, Vec<&StreamEdge>> = BTreeMap::new();
    for edge in &graph.edges {
        inputs.entry(edge.target).or_default().push(edge);
    }
    let mut ids = BTreeMap::new();
    // How many operators of the same structure came before; they are told
    // apart by their order in the program.
    let mut twins: BTreeMap<u128, u64> = BTreeMap::new();
    for node in &graph.nodes {
        let id = match &node.uid {
            Some(uid) => Hash::new("uid").text(uid).finish(),
            None => {
                let edges = inputs.get(&node.id).map(Vec::as_slice).unwrap_or_default();
                let structure = structure_of(node, edges, &ids);
                let ordinal = twins.entry(structure).or_default();
                let id = Hash::new("operator").number(structure).number(u128::from(*ordinal)).finish();
                *ordinal += 1;
                id
            }
        };
        ids.insert(node.id, OperatorId(id));
    }
    ids
}

fn structure_of(
    node: &StreamNode,
    edges: &[&StreamEdge],
    ids: &BTreeMap<TransformationId, OperatorId>,
) -> u128 {
    let hash = Hash::new("structure").text(kind_of(&node.kind)).number(u128::from(node.keyed));
    // The order within a union does not matter.
    let mut inputs: Vec<u128> = edges
        .iter()
        .map(|edge| {
            Hash::new("input")
                .number(u128::from(edge.port))
                .number(ids[&edge.source].0)
                .text(partitioner_of(&edge.partitioner))
                .option(edge.side_output.as_deref())
                .finish()
        })
        .collect();
    inputs.sort_unstable();
    inputs.into_iter().fold(hash, Hash::number).finish()
}

fn kind_of(kind: &OperatorKind) -> &str {
    match kind {
        OperatorKind::GuestSource { .. } => "source",
        OperatorKind::ConnectorSource(spec) | OperatorKind::ConnectorSink(spec) => &spec.name,
        OperatorKind::OneInput => "one-input",
        OperatorKind::TwoInput => "two-input",
        OperatorKind::GuestSink => "sink",
    }
}

/// Forward and rebalance are one: which of them it is follows from the
/// parallelism, and state outlives a change of that.
fn partitioner_of(partitioner: &Partitioner) -> &'static str {
    match partitioner {
        Partitioner::Forward | Partitioner::Rebalance => "",
        other => other.ship_strategy(),
    }
}

/// The id of the data of an edge. `ordinal` tells edges apart that are alike
/// in everything else.
pub fn dataset_id(
    producer: OperatorId,
    consumer: OperatorId,
    port: u32,
    side_output: Option<&str>,
    ordinal: u32,
) -> DatasetId {
    let hash = Hash::new("dataset").number(producer.0).number(consumer.0);
    let hash = hash.number(u128::from(port)).option(side_output).number(u128::from(ordinal));
    DatasetId(hash.finish())
}

/// Half of a SHA-256 over parts that cannot run into each other.
struct Hash(Sha256);

impl Hash {
    fn new(domain: &str) -> Self {
        Hash(Sha256::new()).text("heddle").text(domain)
    }

    fn text(mut self, text: &str) -> Self {
        self.0.update((text.len() as u64).to_le_bytes());
        self.0.update(text);
        self
    }

    fn option(self, text: Option<&str>) -> Self {
        match text {
            Some(text) => self.number(1).text(text),
            None => self.number(0),
        }
    }

    fn number(mut self, number: u128) -> Self {
        self.0.update(number.to_le_bytes());
        self
    }

    fn finish(self) -> u128 {
        let digest = self.0.finalize();
        digest.iter().take(16).fold(0, |bits, byte| bits << 8 | u128::from(*byte))
    }
}
