//! Small job graphs.

use heddle_model::element::ElementType;
use heddle_model::id::{BlobKey, DatasetId, JobId, OperatorId, VertexId};
use heddle_model::job_graph::{
    ChainedOperator, Distribution, ExecutionConfig, JobEdge, JobGraph, JobOutput, JobVertex, OutputTarget,
};
use heddle_model::plan::{ConnectorSpec, Partitioner, Program};
use heddle_model::restart::RestartStrategy;
use heddle_model::stream_graph::OperatorKind;
use std::sync::Arc;
use std::time::Duration;

pub const JOB: JobId = JobId::from_bits(7);

pub fn vertex_id(number: u32) -> VertexId {
    VertexId::from_bits(u128::from(number) + 1)
}

/// Builds a job whose vertices are numbered in the order in which they are
/// added.
pub struct JobBuilder {
    job: JobGraph,
}

impl JobBuilder {
    pub fn new() -> Self {
        Self {
            job: JobGraph {
                job_id: JOB,
                name: "sample".into(),
                component: BlobKey([0; 32]),
                program: Program::default(),
                execution: ExecutionConfig::default(),
                vertices: Vec::new(),
            },
        }
    }

    pub fn restart(mut self, strategy: RestartStrategy) -> Self {
        self.job.execution.restart_strategy = strategy;
        self
    }

    pub fn fixed_delay(self, attempts: u32) -> Self {
        self.restart(RestartStrategy::FixedDelay { attempts, delay: Duration::from_secs(1) })
    }

    pub fn vertex(mut self, parallelism: u32, kind: OperatorKind) -> Self {
        let number = self.job.vertices.len() as u32;
        self.job.vertices.push(JobVertex {
            id: vertex_id(number),
            name: format!("v{number}"),
            parallelism,
            max_parallelism: 128,
            slot_sharing_group: "default".into(),
            operators: vec![ChainedOperator {
                id: OperatorId::from_bits(u128::from(number)),
                transformation: number,
                name: format!("v{number}"),
                kind,
                keyed: false,
            }],
            chain_edges: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
        });
        self
    }

    pub fn source(self, parallelism: u32) -> Self {
        self.vertex(parallelism, OperatorKind::ConnectorSource(connector("numbers")))
    }

    pub fn sink(self, parallelism: u32) -> Self {
        self.vertex(parallelism, OperatorKind::ConnectorSink(connector("files")))
    }

    pub fn map(self, parallelism: u32) -> Self {
        self.vertex(parallelism, OperatorKind::OneInput)
    }

    /// Puts the vertex that was added last into a slot sharing group.
    pub fn group(mut self, group: &str) -> Self {
        if let Some(vertex) = self.job.vertices.last_mut() {
            vertex.slot_sharing_group = group.into();
        }
        self
    }

    pub fn edge(mut self, producer: usize, consumer: usize, distribution: Distribution) -> Self {
        let dataset = DatasetId::from_bits((producer * 100 + consumer) as u128);
        let element = ElementType::text();
        let partitioner = Partitioner::Rebalance;
        let (producer_id, consumer_id) = (self.job.vertices[producer].id, self.job.vertices[consumer].id);
        self.job.vertices[producer].outputs.push(JobOutput {
            operator: producer as u32,
            side_output: None,
            partitioner: partitioner.clone(),
            partition: None,
            element: element.clone(),
            target: OutputTarget::Dataset {
                dataset,
                consumer: consumer_id,
                distribution,
                consumer_max_parallelism: 128,
            },
        });
        self.job.vertices[consumer].inputs.push(JobEdge {
            dataset,
            producer: producer_id,
            distribution,
            partitioner,
            operator: consumer as u32,
            port: 0,
            element,
        });
        self
    }

    pub fn build(self) -> Arc<JobGraph> {
        Arc::new(self.job)
    }
}

fn connector(name: &str) -> ConnectorSpec {
    ConnectorSpec { name: name.into(), options: Vec::new() }
}
