//! One sample of each thing that travels, with every optional part in it.

use heddle_model::element::{Column, ElementType};
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::{
    AllocationId, BlobKey, DatasetId, ExecutionAttemptId, JobId, OperatorId, ResourceId, ResultPartitionId,
    SlotId, VertexId,
};
use heddle_model::job_graph::{
    ChainEdge, ChainedOperator, Distribution, ExecutionConfig, JobEdge, JobGraph, JobOutput, JobVertex,
    OutputTarget,
};
use heddle_model::job_status::{ExecutionState, JobStatus};
use heddle_model::memory::ResourceProfile;
use heddle_model::plan::{ConnectorSpec, Partitioner, Program};
use heddle_model::restart::RestartStrategy;
use heddle_model::stream_graph::OperatorKind;
use heddle_model::task::{
    Committable, DataAddress, InputChannelDescriptor, InputGateDescriptor, JobInformation,
    ResultPartitionDescriptor, TaskDeploymentDescriptor, TaskExecutionState, TaskMetrics,
};
use heddle_rpc::{
    Address, ClusterOverview, JobDetails, JobFailure, JobOverview, JobResult, ResourceOverview, SlotReport,
    SlotStatus, SubtaskDetails, TaskExecutorHeartbeat, TaskExecutorOverview, VertexDetails,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub const JOB: JobId = JobId(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
pub const ALLOCATION: AllocationId = AllocationId(u128::MAX);

pub fn profile() -> ResourceProfile {
    ResourceProfile { task_memory: 1, managed_memory: u64::MAX, network_memory: 3 }
}

pub fn failure() -> Failure {
    Failure::new(ErrorCode::OperatorTrap, "operator `größer` trapped").with_details("at a.rs:1\nat b.rs:2")
}

pub fn attempt() -> ExecutionAttemptId {
    ExecutionAttemptId { job_id: JOB, vertex_id: VertexId(7), subtask: 3, attempt: u32::MAX }
}

pub fn slot() -> SlotId {
    SlotId { resource_id: ResourceId("worker-1".into()), slot_number: 9 }
}

fn element() -> ElementType {
    ElementType {
        codec: "postcard".into(),
        schema: "(str, u64)".into(),
        columns: vec![Column::Fixed(8), Column::Bytes, Column::Utf8],
    }
}

fn partition() -> ResultPartitionId {
    ResultPartitionId { dataset_id: DatasetId(5), producer: attempt() }
}

pub fn vertex() -> JobVertex {
    let kinds = [
        OperatorKind::ConnectorSource(ConnectorSpec {
            name: "text-files".into(),
            options: vec![("path".into(), "/data".into())],
        }),
        OperatorKind::OneInput,
        OperatorKind::ConnectorSink(ConnectorSpec { name: "print".into(), options: vec![] }),
    ];
    let operators = kinds.into_iter().enumerate().map(|(position, kind)| ChainedOperator {
        id: OperatorId(position as u128),
        transformation: position as u32,
        name: format!("operator {position}"),
        kind,
        keyed: position == 1,
    });
    JobVertex {
        id: VertexId(7),
        name: "words → counts".into(),
        parallelism: 4,
        max_parallelism: 128,
        slot_sharing_group: "default".into(),
        operators: operators.collect(),
        chain_edges: vec![ChainEdge { producer: 0, side_output: Some("late".into()), consumer: 1 }],
        inputs: vec![JobEdge {
            dataset: DatasetId(5),
            producer: VertexId(6),
            distribution: Distribution::AllToAll,
            partitioner: Partitioner::KeyGroups(element()),
            operator: 1,
            port: 0,
            element: element(),
        }],
        outputs: vec![
            JobOutput {
                operator: 1,
                side_output: None,
                partitioner: Partitioner::Custom("mine".into()),
                partition: Some(2),
                element: element(),
                target: OutputTarget::Dataset {
                    dataset: DatasetId(8),
                    consumer: VertexId(9),
                    distribution: Distribution::Pointwise,
                    consumer_max_parallelism: 128,
                },
            },
            JobOutput {
                operator: 1,
                side_output: Some("late".into()),
                partitioner: Partitioner::Forward,
                partition: None,
                element: ElementType::text(),
                target: OutputTarget::Sink { transformation: 2 },
            },
        ],
    }
}

fn program() -> Program {
    Program {
        arguments: vec!["--input".into(), "/data".into()],
        configuration: vec![("parallelism.default".into(), "4".into())],
        submitted_at_ms: 1_700_000_000_000,
        plan_fingerprint: "0123456789abcdef".into(),
    }
}

fn execution() -> ExecutionConfig {
    ExecutionConfig {
        grants: vec!["network".into()],
        restart_strategy: RestartStrategy::ExponentialDelay {
            initial_backoff: Duration::from_nanos(1),
            max_backoff: Duration::from_secs(60),
            backoff_multiplier: 1.5,
            reset_backoff_threshold: Duration::from_secs(3600),
            jitter_factor: 0.1,
            attempts_before_reset_backoff: Some(3),
        },
        ..ExecutionConfig::default()
    }
}

pub fn job_graph() -> JobGraph {
    JobGraph {
        job_id: JOB,
        name: "word count".into(),
        component: BlobKey::of(b"component"),
        program: program(),
        execution: execution(),
        vertices: vec![vertex()],
    }
}

pub fn job_information() -> JobInformation {
    JobInformation {
        job_id: JOB,
        job_name: "word count".into(),
        component: BlobKey::of(b"component"),
        program: program(),
        execution: execution(),
    }
}

/// Two subtasks of one vertex, and one of another.
pub fn tasks() -> Vec<TaskDeploymentDescriptor> {
    let shared = Arc::new(vertex());
    let other = Arc::new(JobVertex { id: VertexId(70), ..vertex() });
    let task = |subtask, vertex: &Arc<JobVertex>| TaskDeploymentDescriptor {
        attempt: ExecutionAttemptId { vertex_id: vertex.id, subtask, ..attempt() },
        allocation_id: ALLOCATION,
        vertex: Arc::clone(vertex),
        inputs: vec![InputGateDescriptor {
            channels: vec![InputChannelDescriptor {
                partition: partition(),
                subpartition: subtask,
                producer: ResourceId("worker-2".into()),
            }],
            data_addresses: BTreeMap::from([(ResourceId("worker-2".into()), DataAddress("b:2".into()))]),
        }],
        outputs: vec![ResultPartitionDescriptor { output: 0, partition: partition(), subpartitions: 4 }],
    };
    vec![task(0, &shared), task(0, &other), task(1, &shared)]
}

fn metrics() -> TaskMetrics {
    TaskMetrics { records_in: 1, first_sink_record_at_ms: Some(2), ..TaskMetrics::default() }
}

fn accumulators() -> BTreeMap<String, i64> {
    BTreeMap::from([("words".to_owned(), i64::MIN), ("lines".to_owned(), 7)])
}

pub fn task_state() -> TaskExecutionState {
    TaskExecutionState {
        attempt: attempt(),
        state: ExecutionState::Failed,
        failure: Some(failure()),
        metrics: metrics(),
        accumulators: accumulators(),
        committables: vec![Committable { sink: 2, content: vec![0, 255] }],
    }
}

pub fn heartbeat() -> TaskExecutorHeartbeat {
    TaskExecutorHeartbeat { tasks: vec![(attempt(), metrics(), accumulators())], slots: vec![ALLOCATION] }
}

pub fn slot_report() -> SlotReport {
    let status = |allocation| SlotStatus { slot_id: slot(), profile: profile(), allocation };
    SlotReport { slots: vec![status(None), status(Some((ALLOCATION, JOB)))] }
}

pub fn job_overview() -> JobOverview {
    JobOverview {
        job_id: JOB,
        name: "word count".into(),
        status: JobStatus::Running,
        start_time_ms: 1,
        end_time_ms: Some(2),
    }
}

pub fn job_details() -> JobDetails {
    JobDetails {
        overview: job_overview(),
        restarts: 3,
        vertices: vec![VertexDetails {
            vertex_id: VertexId(7),
            name: "words".into(),
            parallelism: 2,
            states: BTreeMap::from([("RUNNING".to_owned(), 2)]),
            subtasks: vec![
                SubtaskDetails {
                    state: ExecutionState::Running,
                    attempt: 2,
                    task_executor: Some(ResourceId("worker-1".into())),
                    metrics: metrics(),
                },
                SubtaskDetails {
                    state: ExecutionState::Created,
                    attempt: 0,
                    task_executor: None,
                    metrics: TaskMetrics::default(),
                },
            ],
            metrics: metrics(),
        }],
        accumulators: accumulators(),
        failure: Some(failure()),
        failures: vec![JobFailure { at_ms: 4, failure: failure() }],
    }
}

pub fn resource_overview() -> ResourceOverview {
    ResourceOverview {
        task_executors: vec![TaskExecutorOverview {
            resource_id: ResourceId("worker-1".into()),
            address: Address("heddle://a:1/taskexecutor/worker-1".into()),
            slots: 4,
            free_slots: 1,
            silent_ms: 250,
        }],
        coming_workers: 1,
        waiting_requests: 2,
        stale_messages: 3,
    }
}

pub fn cluster_overview() -> ClusterOverview {
    ClusterOverview {
        resources: resource_overview(),
        jobs_running: 1,
        jobs_finished: 2,
        jobs_canceled: 3,
        jobs_failed: 4,
        rpc: BTreeMap::from([("bad_connections".to_owned(), 5)]),
    }
}

pub fn job_result() -> JobResult {
    JobResult {
        job_id: JOB,
        status: JobStatus::Finished,
        failure: None,
        runtime_ms: 12,
        first_record_ms: Some(3),
        accumulators: accumulators(),
        collected: BTreeMap::from([("sink".to_owned(), vec!["a".to_owned(), String::new()])]),
    }
}
