//! Plans as JSON, with Flink's fields: `plan_json` is what its REST API gives
//! for a job (`/jobs/:jobid/plan`), `stream_plan_json` what `flink info`
//! prints.

use crate::job_graph::{JobGraph, JobVertex};
use crate::plan::TransformationId;
use crate::stream_graph::{OperatorKind, StreamGraph};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The chains of a job and how they are connected.
pub fn plan_json(graph: &JobGraph) -> Value {
    let nodes: Vec<Value> = graph
        .vertices
        .iter()
        .map(|vertex| {
            let inputs: Vec<Value> = vertex
                .inputs
                .iter()
                .enumerate()
                .map(|(num, input)| {
                    json!({
                        "num": num,
                        "id": input.producer.to_string(),
                        "ship_strategy": input.partitioner.ship_strategy(),
                        "exchange": "pipelined_bounded",
                    })
                })
                .collect();
            let mut node = json!({
                "id": vertex.id.to_string(),
                "parallelism": vertex.parallelism,
                "operator": "",
                "operator_strategy": "",
                "description": description(vertex),
                "optimizer_properties": {},
            });
            // As in Flink, a source has no such field.
            if !inputs.is_empty() {
                node["inputs"] = Value::Array(inputs);
            }
            node
        })
        .collect();
    json!({
        "jid": graph.job_id.to_string(),
        "name": graph.name,
        "type": if graph.execution.batch_mode { "BATCH" } else { "STREAMING" },
        "nodes": nodes,
    })
}

/// The operators of a job and how they are connected, before chaining.
pub fn stream_plan_json(graph: &StreamGraph) -> Value {
    let mut predecessors: BTreeMap<TransformationId, Vec<Value>> = BTreeMap::new();
    for edge in &graph.edges {
        let all = predecessors.entry(edge.target).or_default();
        all.push(json!({
            "id": edge.source,
            "ship_strategy": edge.partitioner.ship_strategy(),
            "side": if edge.port == 0 { "first" } else { "second" },
        }));
    }
    // Flink's order: by id, sinks last.
    let mut nodes: Vec<_> = graph.nodes.iter().collect();
    nodes.sort_by_key(|node| (node.kind.is_sink(), node.id));
    let nodes: Vec<Value> = nodes
        .into_iter()
        .map(|node| {
            let pact = match &node.kind {
                kind if kind.is_source() => "Data Source",
                kind if kind.is_sink() => "Data Sink",
                _ => "Operator",
            };
            let mut value = json!({
                "id": node.id,
                "type": node.name,
                "pact": pact,
                "contents": contents(&node.name, &node.kind),
                "parallelism": node.parallelism,
            });
            if let Some(inputs) = predecessors.remove(&node.id) {
                value["predecessors"] = Value::Array(inputs);
            }
            value
        })
        .collect();
    json!({ "nodes": nodes })
}

/// What an operator does, in a few words: a connector with its options.
fn contents(name: &str, kind: &OperatorKind) -> String {
    match kind {
        OperatorKind::ConnectorSource(spec) | OperatorKind::ConnectorSink(spec) => {
            let options: Vec<_> =
                spec.options.iter().map(|(key, value)| format!(", {key}={value}")).collect();
            format!("{name} [{}{}]", spec.name, options.concat())
        }
        _ => name.to_owned(),
    }
}

/// The chain as a tree in HTML, as Flink's web pages expect it.
fn description(vertex: &JobVertex) -> String {
    let mut lines = vec![];
    let names: BTreeMap<_, _> =
        vertex.operators.iter().map(|operator| (operator.transformation, operator)).collect();
    let mut behind: BTreeMap<TransformationId, Vec<TransformationId>> = BTreeMap::new();
    for edge in &vertex.chain_edges {
        behind.entry(edge.producer).or_default().push(edge.consumer);
    }
    // The operator, what stands before its name, and before those behind it.
    let head = vertex.operators.first().map(|head| (head.transformation, String::new(), String::new()));
    let mut stack: Vec<_> = head.into_iter().collect();
    while let Some((id, own, indent)) = stack.pop() {
        let operator = names[&id];
        lines.push(format!("{own}{}<br/>", escaped(&contents(&operator.name, &operator.kind))));
        let children = behind.get(&id).map(Vec::as_slice).unwrap_or_default();
        for (index, child) in children.iter().enumerate().rev() {
            let (mark, next) = if index + 1 == children.len() { ("+- ", "   ") } else { (":- ", ":  ") };
            // Deep chains stay readable, and the text stays short.
            let flat = indent.len() >= MAX_INDENT;
            let next = if flat { indent.clone() } else { format!("{indent}{next}") };
            stack.push((*child, format!("{indent}{mark}"), next));
        }
    }
    lines.concat()
}

/// Most characters of indentation in a tree.
const MAX_INDENT: usize = 60;

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\\' => out.push_str("&#92;"),
            '\n' => out.push_str("<br/>"),
            c => out.push(c),
        }
    }
    out
}
