//! A vertex of the job graph as what the SDK is told to run.

use heddle::native::types::{
    ChainEdge, Column, ElementType, Partitioner, Program, Task, TaskInput, TaskOutput,
};
use heddle_model::element;
use heddle_model::job_graph::{JobGraph, JobVertex, OutputTarget};
use heddle_model::plan;

/// The only subtask of a vertex.
pub fn of(graph: &JobGraph, vertex: &JobVertex) -> Task {
    let outputs = vertex.outputs.iter().map(|output| TaskOutput {
        operator: output.operator,
        side_output: output.side_output.clone(),
        partitioner: partitioner(&output.partitioner),
        partition: output.partition,
        channels: 1,
        max_parallelism: match &output.target {
            OutputTarget::Dataset { consumer_max_parallelism, .. } => *consumer_max_parallelism,
            OutputTarget::Sink { .. } => vertex.max_parallelism,
        },
        element: element_type(&output.element),
    });
    Task {
        program: Program {
            arguments: graph.program.arguments.clone(),
            configuration: graph.program.configuration.clone(),
        },
        subtask: 0,
        parallelism: 1,
        max_parallelism: vertex.max_parallelism,
        attempt: 0,
        task_name: vertex.name.clone(),
        operators: vertex.operators.iter().map(|op| op.transformation).collect(),
        edges: vertex
            .chain_edges
            .iter()
            .map(|edge| ChainEdge {
                producer: edge.producer,
                side_output: edge.side_output.clone(),
                consumer: edge.consumer,
            })
            .collect(),
        inputs: vertex
            .inputs
            .iter()
            .map(|edge| TaskInput {
                operator: edge.operator,
                port: edge.port,
                element: element_type(&edge.element),
            })
            .collect(),
        outputs: outputs.collect(),
        batch_mode: graph.execution.batch_mode,
        batch_size: graph.execution.batch_size,
        state_cache_size: graph.execution.state_cache_size,
        restored: false,
        plan_fingerprint: graph.program.plan_fingerprint.clone(),
    }
}

fn element_type(element: &element::ElementType) -> ElementType {
    let column = |column: &element::Column| match column {
        element::Column::Fixed(width) => Column::Fixed(*width),
        element::Column::Bytes => Column::Bytes,
        element::Column::Utf8 => Column::Utf8,
    };
    ElementType {
        codec: element.codec.clone(),
        schema: element.schema.clone(),
        columns: element.columns.iter().map(column).collect(),
    }
}

fn partitioner(partitioner: &plan::Partitioner) -> Partitioner {
    match partitioner {
        plan::Partitioner::Forward => Partitioner::Forward,
        plan::Partitioner::Rebalance => Partitioner::Rebalance,
        plan::Partitioner::Rescale => Partitioner::Rescale,
        plan::Partitioner::Shuffle => Partitioner::Shuffle,
        plan::Partitioner::Broadcast => Partitioner::Broadcast,
        plan::Partitioner::Global => Partitioner::Global,
        plan::Partitioner::KeyGroups(key) => Partitioner::KeyGroups(element_type(key)),
        plan::Partitioner::Custom(name) => Partitioner::Custom(name.clone()),
    }
}
