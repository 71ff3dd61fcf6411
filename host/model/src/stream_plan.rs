//! The stream graph of a plan: what each transformation reads is found through
//! virtual nodes, and the operators become nodes, one after the other.

use crate::failure::Failure;
use crate::graph_check::{CheckedPlan, invalid, is_virtual, label, quoted};
use crate::key_group::MAX_PARALLELISM_LIMIT;
use crate::plan::{JobPlan, Partitioner, Transformation, TransformationId, TransformationKind};
use crate::stream_graph::{GraphSettings, StreamEdge, StreamGraph};
use crate::stream_node::{Builder, MAX_EDGES, Origin, parallelism_invalid};
use std::collections::BTreeMap;

/// Most subtasks of a job, before chaining.
const MAX_SUBTASKS: u64 = 1_000_000;
/// Most channels between subtasks, before chaining: each costs memory where
/// the job is scheduled.
const MAX_CHANNELS: u64 = 16_777_216;

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
        let mut builder = Builder::new(&plan, settings);
        for id in &plan.order {
            let transformation = plan.by_id[id];
            if !is_virtual(transformation) {
                builder.add(&mut graph, transformation, &origins)?;
            }
        }
        check_size(&graph, &plan)?;
        Ok(graph)
    }
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
