//! Plans as short scripts, and graphs as short texts, for tests.
//!
//! A line of a script is `ID KIND NAME [< INPUT…] [KEY=VALUE…]`; a name of
//! more words is written with underscores. Kinds: `source`, `endless`, `text`
//! (connector source), `one`, `two`, `sink`, `out` (connector sink), `union`,
//! `side` (its name is the tag), `key`, `custom` and the partitioners. Keys:
//! `p`, `max`, `uid`, `group`, `chain`, `type`, `keytype`; `keyed` stands alone.

use heddle_model::element::{Column, ElementType};
use heddle_model::failure::Failure;
use heddle_model::id::{BlobKey, JobId};
use heddle_model::job_graph::{Distribution, ExecutionConfig, JobGraph, OutputTarget};
use heddle_model::plan::{
    ChainingStrategy, ConnectorSpec, JobPlan, Partitioner, Program, Transformation, TransformationKind,
};
use heddle_model::stream_graph::{GraphSettings, StreamGraph};
use std::fmt::Write;

pub fn plan(script: &str) -> JobPlan {
    let lines = script.lines().map(str::trim).filter(|line| !line.is_empty());
    JobPlan { transformations: lines.map(transformation).collect(), ..Default::default() }
}

/// `text`, or a type of one column of 8 bytes.
pub fn element_type(schema: &str) -> ElementType {
    match schema {
        "str" => ElementType::text(),
        _ => ElementType { codec: "columns".into(), schema: schema.into(), columns: vec![Column::Fixed(8)] },
    }
}

fn transformation(line: &str) -> Transformation {
    let mut words = line.split_whitespace();
    let id = words.next().and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("no id in `{line}`"));
    let kind = words.next().unwrap_or_else(|| panic!("no kind in `{line}`"));
    let name = words.next().unwrap_or_else(|| panic!("no name in `{line}`")).replace('_', " ");
    let words: Vec<&str> = words.collect();
    let option = |key: &str| {
        words.iter().find_map(|word| word.split_once('=').filter(|(k, _)| *k == key)).map(|(_, value)| value)
    };
    let number = |key: &str| option(key).map(|value| value.parse().expect("a number"));
    let connector = |connector: &str| ConnectorSpec {
        name: connector.into(),
        options: vec![("path".into(), "/data".into())],
    };
    let kind = match kind {
        "source" => TransformationKind::Source { bounded: true },
        "endless" => TransformationKind::Source { bounded: false },
        "text" => TransformationKind::ConnectorSource(connector("text-files")),
        "one" => TransformationKind::OneInput,
        "two" => TransformationKind::TwoInput,
        "sink" => TransformationKind::Sink,
        "out" => TransformationKind::ConnectorSink(connector("text-files")),
        "union" => TransformationKind::Union,
        "side" => TransformationKind::SideOutput(name.clone()),
        "key" => TransformationKind::Partition(Partitioner::KeyGroups(element_type(
            option("keytype").unwrap_or("str"),
        ))),
        "custom" => TransformationKind::Partition(Partitioner::Custom(name.clone())),
        "forward" => TransformationKind::Partition(Partitioner::Forward),
        "rebalance" => TransformationKind::Partition(Partitioner::Rebalance),
        "rescale" => TransformationKind::Partition(Partitioner::Rescale),
        "shuffle" => TransformationKind::Partition(Partitioner::Shuffle),
        "broadcast" => TransformationKind::Partition(Partitioner::Broadcast),
        "global" => TransformationKind::Partition(Partitioner::Global),
        other => panic!("unknown kind `{other}`"),
    };
    let is_sink = matches!(kind, TransformationKind::Sink | TransformationKind::ConnectorSink(_));
    let inputs = words.iter().skip_while(|word| **word != "<").skip(1);
    Transformation {
        id,
        name,
        uid: option("uid").map(str::to_owned),
        kind,
        inputs: inputs.map_while(|word| word.parse().ok()).collect(),
        output: (!is_sink).then(|| element_type(option("type").unwrap_or("str"))),
        keyed: words.contains(&"keyed"),
        parallelism: number("p"),
        max_parallelism: number("max"),
        slot_sharing_group: option("group").map(str::to_owned),
        co_location_group: option("with").map(str::to_owned),
        chaining: match option("chain") {
            None => ChainingStrategy::Always,
            Some("head") => ChainingStrategy::Head,
            Some("never") => ChainingStrategy::Never,
            Some(other) => panic!("unknown chaining `{other}`"),
        },
    }
}

pub fn settings() -> GraphSettings {
    GraphSettings { default_parallelism: 2, job_name: "test".into(), ..Default::default() }
}

pub fn stream(script: &str) -> Result<StreamGraph, Failure> {
    StreamGraph::from_plan(&plan(script), &settings())
}

pub fn job(stream: &StreamGraph) -> JobGraph {
    let (job, blob) = (JobId(7), BlobKey([0; 32]));
    JobGraph::build(stream, job, blob, Program::default(), ExecutionConfig::default())
}

pub fn job_of(script: &str) -> JobGraph {
    job(&stream(script).unwrap_or_else(|failure| panic!("{failure}")))
}

/// A stream graph, or why there is none, as text.
pub fn show_stream(graph: &Result<StreamGraph, Failure>) -> String {
    let graph = match graph {
        Ok(graph) => graph,
        Err(failure) => return format!("{} {}\n", failure.code, failure.message),
    };
    let mut out = String::new();
    for node in &graph.nodes {
        write!(out, "{} {} p={}/{}", node.id, node.name, node.parallelism, node.max_parallelism).unwrap();
        writeln!(out, " group={}{}", node.slot_sharing_group, if node.keyed { " keyed" } else { "" })
            .unwrap();
    }
    for edge in &graph.edges {
        write!(out, "{} → {}.{}", edge.source, edge.target, edge.port).unwrap();
        write!(out, " {}", edge.partitioner.ship_strategy()).unwrap();
        if let Some(partition) = edge.partition {
            write!(out, " of {partition}").unwrap();
        }
        if let Some(tag) = &edge.side_output {
            write!(out, " side={tag}").unwrap();
        }
        writeln!(out, " {}", edge.element.schema).unwrap();
    }
    out
}

/// The chains of a job graph as text, without ids.
pub fn show_job(graph: &JobGraph) -> String {
    let index = |id| graph.vertices.iter().position(|v| v.id == id).expect("a vertex of the graph");
    let ways = |distribution| match distribution {
        Distribution::AllToAll => "all-to-all",
        Distribution::Pointwise => "pointwise",
    };
    let mut out = String::new();
    for (number, vertex) in graph.vertices.iter().enumerate() {
        writeln!(out, "[{number}] {} p={}/{}", vertex.name, vertex.parallelism, vertex.max_parallelism)
            .unwrap();
        for edge in &vertex.chain_edges {
            let tag = edge.side_output.as_ref().map(|tag| format!(" side={tag}")).unwrap_or_default();
            writeln!(out, "    chains {} → {}{tag}", edge.producer, edge.consumer).unwrap();
        }
        for input in &vertex.inputs {
            let (producer, way) = (index(input.producer), ways(input.distribution));
            write!(out, "    input {}.{} from [{producer}]", input.operator, input.port).unwrap();
            writeln!(out, " {} {way}", input.partitioner.ship_strategy()).unwrap();
        }
        for output in &vertex.outputs {
            let tag = output.side_output.as_ref().map(|tag| format!(" side={tag}")).unwrap_or_default();
            write!(out, "    output {}{tag} ", output.operator).unwrap();
            match &output.target {
                OutputTarget::Sink { transformation } => writeln!(out, "to sink {transformation}").unwrap(),
                OutputTarget::Dataset { consumer, distribution, consumer_max_parallelism, .. } => {
                    let (consumer, way) = (index(*consumer), ways(*distribution));
                    writeln!(out, "to [{consumer}] {way} max={consumer_max_parallelism}").unwrap();
                }
            }
        }
    }
    out
}
