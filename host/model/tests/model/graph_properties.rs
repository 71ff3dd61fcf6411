//! Properties of graphs that hold for any program.

use crate::plan_script::{element_type, job, settings};
use heddle_model::graph_ids::operator_ids;
use heddle_model::job_graph::OutputTarget;
use heddle_model::plan::{
    ChainingStrategy, ConnectorSpec, JobPlan, Partitioner, Transformation, TransformationKind,
};
use heddle_model::plan_json::{plan_json, stream_plan_json};
use heddle_model::plan_picture::{plan_picture, plan_picture_within};
use heddle_model::stream_graph::StreamGraph;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// A choice for each field; what it means depends on what came before.
type Choices = (u8, u16, u16, u8, u8, bool);

fn kind(choice: u8) -> TransformationKind {
    match choice % 14 {
        0 => TransformationKind::Source { bounded: true },
        1 => TransformationKind::TwoInput,
        2 => TransformationKind::Union,
        3 => TransformationKind::Partition(Partitioner::Rebalance),
        4 => TransformationKind::Partition(Partitioner::KeyGroups(element_type("str"))),
        5 => TransformationKind::Partition(Partitioner::Broadcast),
        6 => TransformationKind::Partition(Partitioner::Rescale),
        7 => TransformationKind::SideOutput("late".into()),
        8 => TransformationKind::Sink,
        9 => TransformationKind::ConnectorSink(ConnectorSpec { name: "print".into(), options: vec![] }),
        _ => TransformationKind::OneInput,
    }
}

fn transformation(id: u32, choices: &Choices, readable: &[u32]) -> Transformation {
    let (kind_choice, first, second, parallelism, chaining, _) = *choices;
    let pick = |choice: u16| readable[usize::from(choice) % readable.len()];
    let kind = if readable.is_empty() { kind(0) } else { kind(kind_choice) };
    let inputs = match kind {
        TransformationKind::Source { .. } => vec![],
        TransformationKind::TwoInput | TransformationKind::Union => vec![pick(first), pick(second)],
        _ => vec![pick(first)],
    };
    let is_sink = matches!(kind, TransformationKind::Sink | TransformationKind::ConnectorSink(_));
    Transformation {
        id,
        name: format!("t{id}"),
        uid: None,
        output: (!is_sink).then(|| element_type("str")),
        kind,
        inputs,
        keyed: false,
        parallelism: Some(1 + u32::from(parallelism % 3)),
        max_parallelism: None,
        slot_sharing_group: None,
        co_location_group: None,
        chaining: match chaining % 6 {
            0 => ChainingStrategy::Head,
            1 => ChainingStrategy::Never,
            _ => ChainingStrategy::Always,
        },
    }
}

/// Plans that are valid but for side outputs of side outputs.
fn any_plan() -> impl Strategy<Value = JobPlan> {
    proptest::collection::vec(any::<Choices>(), 1..30).prop_map(|all| {
        let mut transformations: Vec<Transformation> = Vec::new();
        let mut readable = Vec::new();
        for (index, choices) in all.iter().enumerate() {
            let next = transformation(index as u32 + 1, choices, &readable);
            if next.output.is_some() {
                readable.push(next.id);
            }
            transformations.push(next);
        }
        let mut last = transformation(1000, &(8, 0, 0, 0, 5, false), &readable);
        last.inputs = vec![*readable.last().expect("the first is a source")];
        transformations.push(last);
        JobPlan { transformations, ..Default::default() }
    })
}

fn any_graph() -> impl Strategy<Value = (JobPlan, StreamGraph)> {
    any_plan().prop_filter_map("a side output of a side output", |plan| {
        let graph = StreamGraph::from_plan(&plan, &settings()).ok()?;
        Some((plan, graph))
    })
}

/// Plans of which nothing is right.
fn wild_plan() -> impl Strategy<Value = JobPlan> {
    let id = || 0u32..8;
    let element = || proptest::option::weighted(0.8, prop_oneof![Just("str"), Just("str"), Just("u64")]);
    let one = (
        id(),
        any::<u8>(),
        proptest::collection::vec(id(), 0..4),
        element(),
        any::<bool>(),
        proptest::option::of(prop_oneof![Just(0u32), 1u32..5, Just(32_768), Just(u32::MAX)]),
        proptest::option::of(prop_oneof![Just(0u32), 1u32..9, Just(32_768), Just(u32::MAX)]),
        proptest::option::weighted(0.2, "[ab]"),
    );
    proptest::collection::vec(one, 0..9).prop_map(|all| {
        let mut transformations = Vec::new();
        for (id, kind_choice, inputs, element, keyed, parallelism, max_parallelism, uid) in all {
            let kind = match kind_choice % 16 {
                14 => TransformationKind::Partition(Partitioner::Custom("f".into())),
                15 => TransformationKind::Partition(Partitioner::Forward),
                _ => kind(kind_choice),
            };
            transformations.push(Transformation {
                id,
                name: String::new(),
                uid,
                kind,
                inputs,
                output: element.map(element_type),
                keyed,
                parallelism,
                max_parallelism,
                slot_sharing_group: None,
                co_location_group: None,
                chaining: ChainingStrategy::Always,
            });
        }
        JobPlan { transformations, ..Default::default() }
    })
}

proptest! {
    #[test]
    fn a_wild_plan_is_refused_or_made(plan in wild_plan()) {
        match StreamGraph::from_plan(&plan, &settings()) {
            Ok(graph) => {
                plan_picture(&job(&graph));
            }
            Err(failure) => prop_assert_eq!(failure.message.lines().count(), 1),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_order_of_the_plan_does_not_matter((plan, graph) in any_graph(), seed in any::<u64>()) {
        let mut shuffled = plan.clone();
        shuffled.transformations.sort_by_key(|t| {
            (u64::from(t.id) + 1).wrapping_mul(seed | 1).rotate_left(17).wrapping_mul(0x9E37_79B9_7F4A_7C15)
        });
        prop_assert_eq!(StreamGraph::from_plan(&shuffled, &settings()).unwrap(), graph);
    }

    #[test]
    fn upstream_stands_first((_, graph) in any_graph()) {
        let place: BTreeMap<_, _> = graph.nodes.iter().enumerate().map(|(i, n)| (n.id, i)).collect();
        prop_assert!(graph.edges.iter().all(|edge| place[&edge.source] < place[&edge.target]));
        let job = job(&graph);
        let place: BTreeMap<_, _> = job.vertices.iter().enumerate().map(|(i, v)| (v.id, i)).collect();
        for vertex in &job.vertices {
            prop_assert!(vertex.inputs.iter().all(|input| place[&input.producer] < place[&vertex.id]));
        }
    }

    #[test]
    fn every_operator_and_edge_is_in_the_job_exactly_once((_, graph) in any_graph()) {
        let job = job(&graph);
        let operators: Vec<_> =
            job.vertices.iter().flat_map(|v| v.operators.iter().map(|op| op.transformation)).collect();
        prop_assert_eq!(operators.len(), graph.nodes.len());
        prop_assert_eq!(operators.iter().collect::<BTreeSet<_>>().len(), graph.nodes.len());
        let chained: usize = job.vertices.iter().map(|v| v.chain_edges.len()).sum();
        let inputs: usize = job.vertices.iter().map(|v| v.inputs.len()).sum();
        prop_assert_eq!(chained + inputs, graph.edges.len());

        let written: BTreeSet<_> = job
            .vertices
            .iter()
            .flat_map(|v| &v.outputs)
            .filter_map(|output| match &output.target {
                OutputTarget::Dataset { dataset, .. } => Some(*dataset),
                OutputTarget::Sink { .. } => None,
            })
            .collect();
        let read: BTreeSet<_> = job.vertices.iter().flat_map(|v| &v.inputs).map(|i| i.dataset).collect();
        prop_assert_eq!(read.len(), inputs);
        prop_assert_eq!(written, read);
        for vertex in &job.vertices {
            // A chain is a tree: each operator but the head has one producer.
            prop_assert_eq!(vertex.chain_edges.len(), vertex.operators.len() - 1);
            let head = vertex.operators[0].transformation;
            prop_assert!(vertex.inputs.iter().all(|input| input.operator == head));
        }
    }

    #[test]
    fn a_program_that_grows_keeps_its_ids((plan, graph) in any_graph(), added in any_plan()) {
        let before = operator_ids(&graph);
        prop_assert_eq!(before.values().collect::<BTreeSet<_>>().len(), before.len());
        let mut grown = plan.clone();
        for mut transformation in added.transformations {
            transformation.id += 2000;
            transformation.inputs.iter_mut().for_each(|input| *input += 2000);
            grown.transformations.push(transformation);
        }
        let Ok(grown) = StreamGraph::from_plan(&grown, &settings()) else { return Ok(()) };
        let after = operator_ids(&grown);
        prop_assert!(before.iter().all(|(transformation, id)| after[transformation] == *id));
    }

    #[test]
    fn any_graph_can_be_shown((_, graph) in any_graph()) {
        let job = job(&graph);
        for width in [40, 120, 10_000] {
            let picture = plan_picture_within(&job, width);
            prop_assert!(picture.lines().all(|line| line == line.trim_end()));
        }
        let picture = plan_picture(&job);
        for operator in job.vertices.iter().flat_map(|v| &v.operators) {
            prop_assert!(picture.contains(&operator.name), "{}", picture);
        }
        prop_assert_eq!(plan_json(&job)["nodes"].as_array().unwrap().len(), job.vertices.len());
        prop_assert_eq!(stream_plan_json(&graph)["nodes"].as_array().unwrap().len(), graph.nodes.len());
    }

    /// A wide picture shows each arrow: its label and its head.
    #[test]
    fn a_picture_shows_every_arrow((_, graph) in any_graph()) {
        let job = job(&graph);
        let arrows: usize = job.vertices.iter().map(|v| v.inputs.len()).sum();
        let picture = plan_picture_within(&job, 100_000);
        prop_assert_eq!(picture.matches('▼').count(), arrows, "{}", picture);
        let labels = ["FORWARD", "REBALANCE", "RESCALE", "BROADCAST", "HASH"];
        let shown: usize = labels.iter().map(|label| picture.matches(label).count()).sum();
        prop_assert_eq!(shown, arrows, "{}", picture);
    }
}
