//! Which chains a plan makes: virtual transformations folded into edges,
//! operators fused by the rules of the host. Small, for tests only.

use crate::element::element_type;
use crate::element::text::Str;
use crate::error::{Error, Result};
use crate::runtime::bindings::types::{
    ChainEdge, Chaining, Connector, ElementType, JobPlan, Partitioner, TaskInput, TaskOutput, Transformation,
    TransformationKind,
};
use std::collections::BTreeMap;

/// An edge between two operators.
#[derive(Clone)]
struct Edge {
    producer: u32,
    consumer: u32,
    port: u32,
    partitioner: Partitioner,
    partition: Option<u32>,
    side_output: Option<String>,
    element: ElementType,
    chained: bool,
}

/// Where an output of a chain goes.
#[derive(Clone)]
pub(super) enum Target {
    /// An input of another chain.
    Chain { chain: usize, input: u32 },
    /// A connector sink.
    Sink(Connector),
}

/// Operators that run in one instance.
pub(super) struct Chain {
    pub(super) parallelism: u32,
    pub(super) operators: Vec<u32>,
    pub(super) edges: Vec<ChainEdge>,
    pub(super) inputs: Vec<TaskInput>,
    pub(super) outputs: Vec<(TaskOutput, Target)>,
    /// The connector source at its head.
    pub(super) source: Option<Connector>,
    pub(super) is_source: bool,
}

fn is_virtual(kind: &TransformationKind) -> bool {
    use TransformationKind::{Partition, SideOutput, Union};
    matches!(kind, Union | Partition(_) | SideOutput(_))
}

struct Plan<'p> {
    by_id: BTreeMap<u32, &'p Transformation>,
    parallelism: u32,
}

impl Plan<'_> {
    fn get(&self, id: u32) -> Result<&Transformation> {
        self.by_id.get(&id).copied().ok_or_else(|| Error::new(format_args!("no transformation {id}")))
    }

    fn parallelism(&self, id: u32) -> Result<u32> {
        let own = self.get(id)?;
        // A sink of the host runs beside its producer here.
        Ok(own.parallelism.unwrap_or(self.parallelism))
    }

    /// The edges from the operators behind `id` to `consumer`.
    fn edges(&self, id: u32, consumer: u32, port: u32, found: &mut Edge, to: &mut Vec<Edge>) -> Result<()> {
        let from = self.get(id)?;
        let inputs = from.inputs.clone();
        match &from.kind {
            TransformationKind::Union => {
                for input in inputs {
                    self.edges(input, consumer, port, &mut found.clone(), to)?;
                }
                return Ok(());
            }
            TransformationKind::Partition(partitioner) => {
                if found.partition.is_none() {
                    found.partitioner = partitioner.clone();
                    found.partition = Some(id);
                }
                return self.edges(inputs[0], consumer, port, found, to);
            }
            TransformationKind::SideOutput(tag) => {
                found.side_output = Some(tag.clone());
                return self.edges(inputs[0], consumer, port, found, to);
            }
            _ => {}
        }
        let mut edge = Edge { producer: id, consumer, port, ..found.clone() };
        if edge.partition.is_none() && self.parallelism(id)? != self.parallelism(consumer)? {
            edge.partitioner = Partitioner::Rebalance;
        }
        to.push(edge);
        Ok(())
    }
}

/// The chains of a plan, upstream first.
pub(super) fn chains(
    plan: &JobPlan,
    parallelism: u32,
    max_parallelism: u32,
    chaining: bool,
) -> Result<Vec<Chain>> {
    let plan = Plan { by_id: plan.transformations.iter().map(|t| (t.id, t)).collect(), parallelism };
    let operators: Vec<&Transformation> =
        plan.by_id.values().copied().filter(|t| !is_virtual(&t.kind)).collect();
    let mut edges = Vec::new();
    for operator in &operators {
        for (port, &input) in operator.inputs.iter().enumerate() {
            let element = plan.get(input)?.output.clone().unwrap_or_else(element_type::<Str>);
            let mut found = Edge {
                producer: input,
                consumer: operator.id,
                port: port as u32,
                partitioner: Partitioner::Forward,
                partition: None,
                side_output: None,
                element,
                chained: false,
            };
            plan.edges(input, operator.id, port as u32, &mut found, &mut edges)?;
        }
    }
    let is_sink = |id: u32| matches!(plan.by_id[&id].kind, TransformationKind::ConnectorSink(_));
    for index in 0..edges.len() {
        let edge = &edges[index];
        let consumer = plan.get(edge.consumer)?;
        let only = edges.iter().filter(|e| e.consumer == edge.consumer).count() == 1;
        let fits = only
            && edge.partitioner == Partitioner::Forward
            && consumer.kind != TransformationKind::TwoInput
            && consumer.chaining == Chaining::Always
            && plan.get(edge.producer)?.chaining != Chaining::Never
            && plan.parallelism(edge.producer)? == plan.parallelism(edge.consumer)?;
        edges[index].chained = chaining && fits && !is_sink(edge.consumer);
    }

    // Ids grow along every edge, so that heads come before what is behind them.
    let mut chain_of = BTreeMap::<u32, usize>::new();
    let mut chains = Vec::<Chain>::new();
    for operator in operators.iter().filter(|t| !is_sink(t.id)) {
        if let Some(edge) = edges.iter().find(|e| e.consumer == operator.id && e.chained) {
            let chain = chain_of[&edge.producer];
            chain_of.insert(operator.id, chain);
            chains[chain].operators.push(operator.id);
            chains[chain].edges.push(ChainEdge {
                producer: edge.producer,
                side_output: edge.side_output.clone(),
                consumer: operator.id,
            });
            continue;
        }
        chain_of.insert(operator.id, chains.len());
        let source = match &operator.kind {
            TransformationKind::ConnectorSource(connector) => Some(connector.clone()),
            _ => None,
        };
        let mut inputs: Vec<TaskInput> = Vec::new();
        if source.is_some() {
            let element = operator.output.clone().unwrap_or_else(element_type::<Str>);
            inputs.push(TaskInput { operator: operator.id, port: 0, element });
        }
        for edge in edges.iter().filter(|e| e.consumer == operator.id) {
            inputs.push(TaskInput { operator: operator.id, port: edge.port, element: edge.element.clone() });
        }
        chains.push(Chain {
            parallelism: plan.parallelism(operator.id)?,
            operators: vec![operator.id],
            edges: Vec::new(),
            inputs,
            outputs: Vec::new(),
            is_source: source.is_some() || matches!(operator.kind, TransformationKind::Source(_)),
            source,
        });
    }
    for edge in edges.iter().filter(|e| !e.chained) {
        let (target, channels) = match &plan.get(edge.consumer)?.kind {
            TransformationKind::ConnectorSink(connector) => (Target::Sink(connector.clone()), 1),
            _ => {
                let chain = chain_of[&edge.consumer];
                let same = |e: &&Edge| e.consumer == edge.consumer;
                let input = edges.iter().filter(same).position(|e| std::ptr::eq(e, edge)).expect("its own");
                let channels = chains[chain].parallelism;
                (Target::Chain { chain, input: input as u32 }, channels)
            }
        };
        let to_sink = matches!(target, Target::Sink(_));
        let forward = edge.partitioner == Partitioner::Forward || to_sink;
        let output = TaskOutput {
            operator: edge.producer,
            side_output: edge.side_output.clone(),
            partitioner: if to_sink { Partitioner::Forward } else { edge.partitioner.clone() },
            partition: if to_sink { None } else { edge.partition },
            channels: if forward { 1 } else { channels },
            max_parallelism,
            element: edge.element.clone(),
        };
        let producer = chain_of[&edge.producer];
        chains[producer].outputs.push((output, target));
    }
    Ok(chains)
}
