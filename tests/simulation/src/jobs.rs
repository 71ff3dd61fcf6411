//! Random jobs.

use crate::random::Random;
use crate::world::JobKind;
use heddle_model::element::ElementType;
use heddle_model::id::{BlobKey, DatasetId, JobId, OperatorId, VertexId};
use heddle_model::job_graph::{
    ChainedOperator, Distribution, ExecutionConfig, JobEdge, JobGraph, JobOutput, JobVertex, OutputTarget,
};
use heddle_model::plan::{ConnectorSpec, Partitioner, Program};
use heddle_model::restart::RestartStrategy;
use heddle_model::stream_graph::OperatorKind;
use std::time::Duration;

/// One to three vertices in a row, the first a source, the last with a sink.
pub fn job(number: u32, random: &mut Random) -> (JobGraph, JobKind) {
    let streaming = random.permille(400);
    let kind = JobKind {
        splits: random.number(0..30),
        streaming,
        failures: if random.permille(300) { 20 } else { 0 },
        cancel_ms_max: *random.pick(&[0, 100, 5_000, 20_000]).unwrap_or(&0),
        work_ms_max: *random.pick(&[10, 1_000, 20_000]).unwrap_or(&10),
    };
    let mut graph = JobGraph {
        job_id: JobId(u128::from(number)),
        name: format!("job-{number}"),
        component: BlobKey([0; 32]),
        program: Program::default(),
        execution: ExecutionConfig { restart_strategy: restart_strategy(random), ..Default::default() },
        vertices: Vec::new(),
    };
    let length = random.number(1..4);
    let parallelism = random.number(1..5);
    for index in 0..length {
        let pointwise = random.permille(500);
        let parallelism = if pointwise { parallelism } else { random.number(1..5) };
        let apart = random.permille(150);
        graph.vertices.push(vertex(index, parallelism, if apart { "apart" } else { "default" }));
        if index > 0 {
            let same = graph.vertices[index as usize - 1].parallelism == parallelism;
            let distribution =
                if pointwise && same { Distribution::Pointwise } else { Distribution::AllToAll };
            connect(&mut graph, index as usize, distribution);
        }
    }
    let last = graph.vertices.len() - 1;
    graph.vertices[0].operators.insert(0, operator(100, OperatorKind::ConnectorSource(connector("splits"))));
    graph.vertices[last].operators.push(operator(200, OperatorKind::ConnectorSink(connector("ledger"))));
    (graph, kind)
}

fn restart_strategy(random: &mut Random) -> RestartStrategy {
    match random.below(10) {
        0 => RestartStrategy::None,
        1 => RestartStrategy::FailureRate {
            max_failures_per_interval: 5,
            failure_rate_interval: Duration::from_secs(60),
            delay: Duration::from_secs(1),
        },
        2..5 => RestartStrategy::ExponentialDelay {
            initial_backoff: Duration::from_secs(1),
            max_backoff: Duration::from_secs(30),
            backoff_multiplier: 1.5,
            reset_backoff_threshold: Duration::from_secs(300),
            jitter_factor: 0.1,
            attempts_before_reset_backoff: None,
        },
        _ => RestartStrategy::FixedDelay { attempts: 10_000, delay: Duration::from_secs(1) },
    }
}

fn connector(name: &str) -> ConnectorSpec {
    ConnectorSpec { name: name.to_owned(), options: Vec::new() }
}

fn operator(transformation: u32, kind: OperatorKind) -> ChainedOperator {
    ChainedOperator {
        id: OperatorId(u128::from(transformation)),
        transformation,
        name: format!("o{transformation}"),
        kind,
        keyed: false,
    }
}

pub fn vertex(index: u32, parallelism: u32, group: &str) -> JobVertex {
    JobVertex {
        id: VertexId(u128::from(index)),
        name: format!("v{index}"),
        parallelism,
        max_parallelism: 128.max(parallelism),
        slot_sharing_group: group.to_owned(),
        operators: vec![operator(index, OperatorKind::OneInput)],
        chain_edges: Vec::new(),
        inputs: Vec::new(),
        outputs: Vec::new(),
    }
}

/// Lets a vertex read the one before it.
pub fn connect(graph: &mut JobGraph, consumer: usize, distribution: Distribution) {
    let dataset = DatasetId(consumer as u128);
    let [from, to] = &mut graph.vertices[consumer - 1..=consumer] else { return };
    from.outputs.push(JobOutput {
        operator: consumer as u32 - 1,
        side_output: None,
        partitioner: Partitioner::Rebalance,
        partition: None,
        element: ElementType::text(),
        target: OutputTarget::Dataset {
            dataset,
            consumer: to.id,
            distribution,
            consumer_max_parallelism: to.max_parallelism,
        },
    });
    to.inputs.push(JobEdge {
        dataset,
        producer: from.id,
        distribution,
        partitioner: Partitioner::Rebalance,
        operator: consumer as u32,
        port: 0,
        element: ElementType::text(),
    });
}
