//! The execution graph: each vertex of the job graph expanded to its subtasks
//! with their attempts, the intermediate results between them, and the
//! pipelined regions.
//!
//! Pure data with the physical wiring; decides nothing. `scheduler` moves it.

use crate::region::RegionBuilder;
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::graph_wiring::{consumed_partitions, subpartition_count};
use heddle_model::id::{
    AllocationId, DatasetId, ExecutionAttemptId, ResourceId, ResultPartitionId, VertexId,
};
use heddle_model::job_graph::{Distribution, JobGraph, JobVertex, OutputTarget};
use heddle_model::job_status::ExecutionState;
use heddle_model::task::{
    Committable, InputChannelDescriptor, InputGateDescriptor, ResultPartitionDescriptor,
    TaskDeploymentDescriptor, TaskMetrics,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A subtask's place in the graph's list of all subtasks, vertex by vertex.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubtaskIndex(pub usize);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RegionIndex(pub usize);

/// Where an attempt runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssignedSlot {
    pub allocation_id: AllocationId,
    pub resource_id: ResourceId,
}

/// One try to run one subtask.
#[derive(Clone, Debug)]
pub struct Execution {
    pub attempt: u32,
    pub state: ExecutionState,
    /// Set once the attempt is deployed.
    pub slot: Option<AssignedSlot>,
    /// How many reports of its TaskExecutor in a row did not name it; none
    /// until the TaskExecutor has taken it.
    pub(crate) missed_reports: Option<u32>,
    pub failure: Option<Failure>,
    pub metrics: TaskMetrics,
    pub accumulators: BTreeMap<String, i64>,
    /// Of a finished attempt, until they are published or the attempt is
    /// superseded.
    pub committables: Vec<Committable>,
}

impl Execution {
    fn new(attempt: u32) -> Self {
        Self {
            attempt,
            state: ExecutionState::Created,
            slot: None,
            missed_reports: None,
            failure: None,
            metrics: TaskMetrics::default(),
            accumulators: BTreeMap::new(),
            committables: Vec::new(),
        }
    }
}

/// A subtask with its current attempt.
#[derive(Clone, Debug)]
pub struct ExecutionVertex {
    /// Index of its vertex in the graph's list.
    pub vertex: usize,
    pub subtask: u32,
    pub region: RegionIndex,
    pub current: Execution,
}

/// The data that a vertex produces for one edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntermediateResult {
    pub dataset: DatasetId,
    /// Indices of vertices.
    pub producer: usize,
    pub consumer: usize,
    /// Index into the producer's `outputs`.
    pub output: u32,
    pub distribution: Distribution,
}

/// A vertex and where its subtasks are.
#[derive(Clone, Debug)]
pub struct ExecutionJobVertex {
    pub vertex: Arc<JobVertex>,
    first: usize,
    /// For each input, its index in the list of intermediate results.
    inputs: Vec<usize>,
    outputs: Vec<usize>,
}

impl ExecutionJobVertex {
    pub fn subtasks(&self) -> impl Iterator<Item = SubtaskIndex> + use<> {
        (self.first..self.first + self.vertex.parallelism as usize).map(SubtaskIndex)
    }
}

#[derive(Clone, Debug)]
pub struct ExecutionGraph {
    job: Arc<JobGraph>,
    vertices: Vec<ExecutionJobVertex>,
    subtasks: Vec<ExecutionVertex>,
    results: Vec<IntermediateResult>,
    regions: Vec<Vec<SubtaskIndex>>,
    vertex_by_id: BTreeMap<VertexId, usize>,
}

impl ExecutionGraph {
    /// Expands a job graph. Fails if its edges do not fit together.
    pub fn new(job: Arc<JobGraph>) -> Result<Self, Failure> {
        let vertex_by_id: BTreeMap<_, _> = job.vertices.iter().enumerate().map(|(i, v)| (v.id, i)).collect();
        if vertex_by_id.len() != job.vertices.len() {
            return Err(invalid(&job, "two vertices have the same id"));
        }
        if job.vertices.is_empty() {
            return Err(invalid(&job, "it has no vertex"));
        }
        if let Some(vertex) = job.vertices.iter().find(|v| v.parallelism == 0) {
            return Err(Failure::new(
                ErrorCode::ParallelismInvalid,
                format!("`{}` of job `{}` has parallelism 0; it needs at least 1", vertex.name, job.name),
            ));
        }
        let results = intermediate_results(&job, &vertex_by_id)?;
        let mut vertices = Vec::with_capacity(job.vertices.len());
        let mut first = 0;
        for (index, vertex) in job.vertices.iter().enumerate() {
            let mut inputs = Vec::with_capacity(vertex.inputs.len());
            for edge in &vertex.inputs {
                let result = results.iter().position(|result| {
                    result.dataset == edge.dataset
                        && result.consumer == index
                        && job.vertices[result.producer].id == edge.producer
                        && result.distribution == edge.distribution
                });
                inputs.push(result.ok_or_else(|| {
                    invalid(&job, &format!("no vertex produces an input of `{}`", vertex.name))
                })?);
            }
            let outputs = (0..results.len()).filter(|i| results[*i].producer == index).collect();
            vertices.push(ExecutionJobVertex { vertex: Arc::new(vertex.clone()), first, inputs, outputs });
            first += vertex.parallelism as usize;
        }
        let (regions, region_of) = regions(&vertices, &results, first);
        let subtasks = vertices
            .iter()
            .enumerate()
            .flat_map(|(vertex, v)| (0..v.vertex.parallelism).map(move |subtask| (vertex, subtask)))
            .zip(region_of)
            .map(|((vertex, subtask), region)| ExecutionVertex {
                vertex,
                subtask,
                region,
                current: Execution::new(0),
            })
            .collect();
        Ok(Self { job, vertices, subtasks, results, regions, vertex_by_id })
    }

    pub fn job(&self) -> &Arc<JobGraph> {
        &self.job
    }

    /// In the order of the job graph.
    pub fn vertices(&self) -> &[ExecutionJobVertex] {
        &self.vertices
    }

    pub fn subtasks(&self) -> &[ExecutionVertex] {
        &self.subtasks
    }

    pub fn subtask(&self, index: SubtaskIndex) -> &ExecutionVertex {
        &self.subtasks[index.0]
    }

    pub(crate) fn current_mut(&mut self, index: SubtaskIndex) -> &mut Execution {
        &mut self.subtasks[index.0].current
    }

    pub fn results(&self) -> &[IntermediateResult] {
        &self.results
    }

    /// The subtasks of each region.
    pub fn regions(&self) -> &[Vec<SubtaskIndex>] {
        &self.regions
    }

    pub fn attempt_id(&self, index: SubtaskIndex) -> ExecutionAttemptId {
        let subtask = &self.subtasks[index.0];
        ExecutionAttemptId {
            job_id: self.job.job_id,
            vertex_id: self.vertices[subtask.vertex].vertex.id,
            subtask: subtask.subtask,
            attempt: subtask.current.attempt,
        }
    }

    /// The subtask whose current attempt this is; none for an older attempt or
    /// another job's.
    pub fn current_subtask(&self, attempt: &ExecutionAttemptId) -> Option<SubtaskIndex> {
        let vertex = &self.vertices[*self.vertex_by_id.get(&attempt.vertex_id)?];
        if attempt.job_id != self.job.job_id || attempt.subtask >= vertex.vertex.parallelism {
            return None;
        }
        let index = SubtaskIndex(vertex.first + attempt.subtask as usize);
        (self.subtasks[index.0].current.attempt == attempt.attempt).then_some(index)
    }

    /// The name that logs and failures show: `vertex (subtask/parallelism)`,
    /// subtasks from 1 as Flink counts them.
    pub fn subtask_name(&self, index: SubtaskIndex) -> String {
        let subtask = &self.subtasks[index.0];
        let vertex = &self.vertices[subtask.vertex].vertex;
        format!("{} ({}/{})", vertex.name, subtask.subtask + 1, vertex.parallelism)
    }

    /// Replaces the current attempt by the next one and gives the old one.
    pub(crate) fn new_attempt(&mut self, index: SubtaskIndex) -> Execution {
        let current = &mut self.subtasks[index.0].current;
        let next = Execution::new(current.attempt + 1);
        std::mem::replace(current, next)
    }

    /// What the subtask's TaskExecutor must know to run the current attempt.
    /// None if this attempt or that of a producer has no slot yet.
    pub fn deployment(&self, index: SubtaskIndex) -> Option<TaskDeploymentDescriptor> {
        let subtask = &self.subtasks[index.0];
        let vertex = &self.vertices[subtask.vertex];
        let slot = subtask.current.slot.as_ref()?;
        let attempt = self.attempt_id(index);
        let inputs = vertex
            .inputs
            .iter()
            .map(|result| self.input_gate(&self.results[*result], subtask.subtask))
            .collect::<Option<Vec<_>>>()?;
        let outputs = vertex
            .outputs
            .iter()
            .map(|result| {
                let result = &self.results[*result];
                let consumer = &self.vertices[result.consumer].vertex;
                ResultPartitionDescriptor {
                    output: result.output,
                    partition: ResultPartitionId { dataset_id: result.dataset, producer: attempt },
                    subpartitions: subpartition_count(
                        result.distribution,
                        subtask.subtask,
                        vertex.vertex.parallelism,
                        consumer.parallelism,
                    ),
                }
            })
            .collect();
        Some(TaskDeploymentDescriptor {
            attempt,
            allocation_id: slot.allocation_id,
            vertex: vertex.vertex.clone(),
            inputs,
            outputs,
        })
    }

    fn input_gate(&self, result: &IntermediateResult, consumer_subtask: u32) -> Option<InputGateDescriptor> {
        let (producer, consumer) = (&self.vertices[result.producer], &self.vertices[result.consumer]);
        let channels = consumed_partitions(
            result.distribution,
            producer.vertex.parallelism,
            consumer.vertex.parallelism,
            consumer_subtask,
        )
        .into_iter()
        .map(|(producer_subtask, subpartition)| {
            let index = SubtaskIndex(producer.first + producer_subtask as usize);
            Some(InputChannelDescriptor {
                partition: ResultPartitionId { dataset_id: result.dataset, producer: self.attempt_id(index) },
                subpartition,
                producer: self.subtasks[index.0].current.slot.as_ref()?.resource_id.clone(),
            })
        })
        .collect::<Option<Vec<_>>>()?;
        // Addresses are known to the shell, which looks them up by `producer`.
        Some(InputGateDescriptor { channels, data_addresses: BTreeMap::new() })
    }
}

fn invalid(job: &JobGraph, what: &str) -> Failure {
    Failure::new(ErrorCode::PlanInvalid, format!("the graph of job `{}` is not valid: {what}", job.name))
}

fn intermediate_results(
    job: &JobGraph,
    vertex_by_id: &BTreeMap<VertexId, usize>,
) -> Result<Vec<IntermediateResult>, Failure> {
    let mut results = Vec::new();
    for (producer, vertex) in job.vertices.iter().enumerate() {
        for (output, job_output) in vertex.outputs.iter().enumerate() {
            let OutputTarget::Dataset { dataset, consumer, distribution, .. } = &job_output.target else {
                continue;
            };
            let consumer = *vertex_by_id.get(consumer).ok_or_else(|| {
                invalid(job, &format!("an output of `{}` goes to an unknown vertex", vertex.name))
            })?;
            results.push(IntermediateResult {
                dataset: *dataset,
                producer,
                consumer,
                output: output as u32,
                distribution: *distribution,
            });
        }
    }
    Ok(results)
}

/// The members of each region, and the region of each subtask.
fn regions(
    vertices: &[ExecutionJobVertex],
    results: &[IntermediateResult],
    subtasks: usize,
) -> (Vec<Vec<SubtaskIndex>>, Vec<RegionIndex>) {
    let mut builder = RegionBuilder::new(subtasks);
    for result in results {
        let (producer, consumer) = (&vertices[result.producer], &vertices[result.consumer]);
        for consumer_subtask in 0..consumer.vertex.parallelism {
            let consumer_index = consumer.first + consumer_subtask as usize;
            if result.distribution == Distribution::AllToAll {
                // Joined through one member each: n + m steps, not n × m.
                builder.join(producer.first, consumer_index);
                continue;
            }
            let partitions = consumed_partitions(
                result.distribution,
                producer.vertex.parallelism,
                consumer.vertex.parallelism,
                consumer_subtask,
            );
            for (producer_subtask, _) in partitions {
                builder.join(producer.first + producer_subtask as usize, consumer_index);
            }
        }
        if result.distribution == Distribution::AllToAll {
            for producer_index in producer.subtasks() {
                builder.join(producer_index.0, consumer.first);
            }
        }
    }
    let regions: Vec<Vec<SubtaskIndex>> = builder
        .regions()
        .into_iter()
        .map(|members| members.into_iter().map(SubtaskIndex).collect())
        .collect();
    let mut region_of = vec![RegionIndex(0); subtasks];
    for (region, members) in regions.iter().enumerate() {
        for member in members {
            region_of[member.0] = RegionIndex(region);
        }
    }
    (regions, region_of)
}
