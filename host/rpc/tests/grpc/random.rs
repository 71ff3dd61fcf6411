//! Things that travel, made up at random: every variant of every enum, texts of
//! any characters, numbers of any size.

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
    ResultPartitionDescriptor, TaskExecutionState, TaskMetrics,
};
use heddle_rpc::{
    Address, ClusterOverview, JobDetails, JobFailure, JobOverview, JobResult, ResourceOverview, SlotReport,
    SlotStatus, SubtaskDetails, TaskExecutorHeartbeat, TaskExecutorOverview, VertexDetails,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// Bytes that decide; zeros once they are used up.
pub struct Dice<'a>(pub &'a [u8]);

impl Dice<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn number(&mut self) -> u64 {
        // Small ones, large ones, and those at the edges.
        match self.byte() % 4 {
            0 => self.byte().into(),
            1 => u64::MAX - u64::from(self.byte()),
            2 => 1 << (self.byte() % 64),
            _ => (0..8).fold(0, |number, _| number << 8 | u64::from(self.byte())),
        }
    }

    fn small(&mut self) -> u32 {
        self.number() as u32
    }

    fn id(&mut self) -> u128 {
        u128::from(self.number()) << 64 | u128::from(self.number())
    }

    fn yes(&mut self) -> bool {
        self.byte().is_multiple_of(2)
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.yes().then(|| make(self))
    }

    fn list<T>(&mut self, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.byte() % 4).map(|_| make(self)).collect()
    }

    fn one_of<T: Clone>(&mut self, all: &[T]) -> T {
        all[usize::from(self.byte()) % all.len()].clone()
    }

    fn text(&mut self) -> String {
        let characters = ['a', 'Z', '0', ' ', '\n', '\0', 'ß', '→', '🦀', '"'];
        self.list(|dice| dice.one_of(&characters)).into_iter().collect()
    }

    fn pairs(&mut self) -> Vec<(String, String)> {
        self.list(|dice| (dice.text(), dice.text()))
    }

    fn duration(&mut self) -> Duration {
        Duration::new(self.number(), self.small() % 1_000_000_000)
    }

    fn element(&mut self) -> ElementType {
        let column = |dice: &mut Self| match dice.byte() % 3 {
            0 => Column::Fixed(dice.byte()),
            1 => Column::Bytes,
            _ => Column::Utf8,
        };
        ElementType { codec: self.text(), schema: self.text(), columns: self.list(column) }
    }

    fn partitioner(&mut self) -> Partitioner {
        match self.byte() % 8 {
            0 => Partitioner::Forward,
            1 => Partitioner::Rebalance,
            2 => Partitioner::Rescale,
            3 => Partitioner::Shuffle,
            4 => Partitioner::Broadcast,
            5 => Partitioner::Global,
            6 => Partitioner::KeyGroups(self.element()),
            _ => Partitioner::Custom(self.text()),
        }
    }

    fn connector(&mut self) -> ConnectorSpec {
        ConnectorSpec { name: self.text(), options: self.pairs() }
    }

    fn operator(&mut self) -> ChainedOperator {
        let kind = match self.byte() % 6 {
            0 => OperatorKind::GuestSource { bounded: self.yes() },
            1 => OperatorKind::ConnectorSource(self.connector()),
            2 => OperatorKind::OneInput,
            3 => OperatorKind::TwoInput,
            4 => OperatorKind::GuestSink,
            _ => OperatorKind::ConnectorSink(self.connector()),
        };
        ChainedOperator {
            id: OperatorId(self.id()),
            transformation: self.small(),
            name: self.text(),
            kind,
            keyed: self.yes(),
        }
    }

    fn distribution(&mut self) -> Distribution {
        self.one_of(&[Distribution::AllToAll, Distribution::Pointwise])
    }

    fn edge(&mut self) -> JobEdge {
        JobEdge {
            dataset: DatasetId(self.id()),
            producer: VertexId(self.id()),
            distribution: self.distribution(),
            partitioner: self.partitioner(),
            operator: self.small(),
            port: self.small(),
            element: self.element(),
        }
    }

    fn output(&mut self) -> JobOutput {
        let target = if self.yes() {
            OutputTarget::Sink { transformation: self.small() }
        } else {
            OutputTarget::Dataset {
                dataset: DatasetId(self.id()),
                consumer: VertexId(self.id()),
                distribution: self.distribution(),
                consumer_max_parallelism: self.small(),
            }
        };
        JobOutput {
            operator: self.small(),
            side_output: self.maybe(Self::text),
            partitioner: self.partitioner(),
            partition: self.maybe(Self::small),
            element: self.element(),
            target,
        }
    }

    fn chain_edge(&mut self) -> ChainEdge {
        ChainEdge { producer: self.small(), side_output: self.maybe(Self::text), consumer: self.small() }
    }

    pub fn vertex(&mut self) -> JobVertex {
        JobVertex {
            id: VertexId(self.id()),
            name: self.text(),
            parallelism: self.small(),
            max_parallelism: self.small(),
            slot_sharing_group: self.text(),
            operators: self.list(Self::operator),
            chain_edges: self.list(Self::chain_edge),
            inputs: self.list(Self::edge),
            outputs: self.list(Self::output),
        }
    }

    fn restart_strategy(&mut self) -> RestartStrategy {
        match self.byte() % 4 {
            0 => RestartStrategy::None,
            1 => RestartStrategy::FixedDelay { attempts: self.small(), delay: self.duration() },
            2 => RestartStrategy::ExponentialDelay {
                initial_backoff: self.duration(),
                max_backoff: self.duration(),
                backoff_multiplier: self.number() as f64 / 3.0,
                reset_backoff_threshold: self.duration(),
                jitter_factor: f64::from(self.byte()) / 255.0,
                attempts_before_reset_backoff: self.maybe(Self::small),
            },
            _ => RestartStrategy::FailureRate {
                max_failures_per_interval: self.small(),
                failure_rate_interval: self.duration(),
                delay: self.duration(),
            },
        }
    }

    fn execution(&mut self) -> ExecutionConfig {
        ExecutionConfig {
            batch_mode: self.yes(),
            buffer_timeout: self.duration(),
            batch_size: self.small(),
            buffers_per_channel: self.small(),
            floating_buffers: self.small(),
            state_cache_size: self.number(),
            call_timeout: self.duration(),
            log_lines_per_second: self.small(),
            grants: self.list(Self::text),
            max_stack_size: self.number(),
            restart_strategy: self.restart_strategy(),
        }
    }

    fn program(&mut self) -> Program {
        Program {
            arguments: self.list(Self::text),
            configuration: self.pairs(),
            submitted_at_ms: self.number(),
            plan_fingerprint: self.text(),
        }
    }

    fn blob_key(&mut self) -> BlobKey {
        BlobKey(std::array::from_fn(|_| self.byte()))
    }

    pub fn job_graph(&mut self) -> JobGraph {
        JobGraph {
            job_id: JobId(self.id()),
            name: self.text(),
            component: self.blob_key(),
            program: self.program(),
            execution: self.execution(),
            vertices: self.list(Self::vertex),
        }
    }

    pub fn job_information(&mut self) -> JobInformation {
        JobInformation {
            job_id: JobId(self.id()),
            job_name: self.text(),
            component: self.blob_key(),
            program: self.program(),
            execution: self.execution(),
        }
    }

    fn attempt(&mut self) -> ExecutionAttemptId {
        ExecutionAttemptId {
            job_id: JobId(self.id()),
            vertex_id: VertexId(self.id()),
            subtask: self.small(),
            attempt: self.small(),
        }
    }

    fn resource_id(&mut self) -> ResourceId {
        ResourceId(self.text())
    }

    fn partition(&mut self) -> ResultPartitionId {
        ResultPartitionId { dataset_id: DatasetId(self.id()), producer: self.attempt() }
    }

    pub fn input(&mut self) -> InputGateDescriptor {
        let channel = |dice: &mut Self| InputChannelDescriptor {
            partition: dice.partition(),
            subpartition: dice.small(),
            producer: dice.resource_id(),
        };
        let address = |dice: &mut Self| (dice.resource_id(), DataAddress(dice.text()));
        InputGateDescriptor {
            channels: self.list(channel),
            data_addresses: self.list(address).into_iter().collect(),
        }
    }

    pub fn result_partition(&mut self) -> ResultPartitionDescriptor {
        ResultPartitionDescriptor {
            output: self.small(),
            partition: self.partition(),
            subpartitions: self.small(),
        }
    }

    fn failure(&mut self) -> Failure {
        let failure = Failure::new(self.one_of(ErrorCode::ALL), self.text());
        Failure { details: self.maybe(Self::text), ..failure }
    }

    fn metrics(&mut self) -> TaskMetrics {
        TaskMetrics {
            records_in: self.number(),
            records_out: self.number(),
            bytes_in: self.number(),
            bytes_out: self.number(),
            busy_ms: self.number(),
            back_pressured_ms: self.number(),
            idle_ms: self.number(),
            first_sink_record_at_ms: self.maybe(Self::number),
        }
    }

    fn accumulators(&mut self) -> BTreeMap<String, i64> {
        self.list(|dice| (dice.text(), dice.number() as i64)).into_iter().collect()
    }

    pub fn task_state(&mut self) -> TaskExecutionState {
        let committable =
            |dice: &mut Self| Committable { sink: dice.small(), content: dice.list(Self::byte) };
        TaskExecutionState {
            attempt: self.attempt(),
            state: self.one_of(&ExecutionState::ALL),
            failure: self.maybe(Self::failure),
            metrics: self.metrics(),
            accumulators: self.accumulators(),
            committables: self.list(committable),
        }
    }

    pub fn heartbeat(&mut self) -> TaskExecutorHeartbeat {
        let task = |dice: &mut Self| (dice.attempt(), dice.metrics(), dice.accumulators());
        let slot = |dice: &mut Self| AllocationId(dice.id());
        TaskExecutorHeartbeat { tasks: self.list(task), slots: self.list(slot) }
    }

    pub fn slot_report(&mut self) -> SlotReport {
        let status = |dice: &mut Self| SlotStatus {
            slot_id: SlotId { resource_id: dice.resource_id(), slot_number: dice.small() },
            profile: ResourceProfile {
                task_memory: dice.number(),
                managed_memory: dice.number(),
                network_memory: dice.number(),
            },
            allocation: dice.maybe(|dice| (AllocationId(dice.id()), JobId(dice.id()))),
        };
        SlotReport { slots: self.list(status) }
    }

    pub fn job_overview(&mut self) -> JobOverview {
        JobOverview {
            job_id: JobId(self.id()),
            name: self.text(),
            status: self.one_of(&JobStatus::ALL),
            start_time_ms: self.number(),
            end_time_ms: self.maybe(Self::number),
        }
    }

    pub fn job_details(&mut self) -> JobDetails {
        let vertex = |dice: &mut Self| VertexDetails {
            vertex_id: VertexId(dice.id()),
            name: dice.text(),
            parallelism: dice.small(),
            states: dice.list(|dice| (dice.text(), dice.small())).into_iter().collect(),
            subtasks: dice.list(|dice| SubtaskDetails {
                state: dice.one_of(&ExecutionState::ALL),
                attempt: dice.small(),
                task_executor: dice.maybe(Self::resource_id),
                metrics: dice.metrics(),
            }),
            metrics: dice.metrics(),
        };
        JobDetails {
            overview: self.job_overview(),
            restarts: self.small(),
            vertices: self.list(vertex),
            accumulators: self.accumulators(),
            failure: self.maybe(Self::failure),
            failures: self.list(|dice| JobFailure { at_ms: dice.number(), failure: dice.failure() }),
        }
    }

    pub fn cluster_overview(&mut self) -> ClusterOverview {
        let task_executor = |dice: &mut Self| TaskExecutorOverview {
            resource_id: dice.resource_id(),
            address: Address(dice.text()),
            slots: dice.small(),
            free_slots: dice.small(),
            silent_ms: dice.number(),
        };
        ClusterOverview {
            resources: ResourceOverview {
                task_executors: self.list(task_executor),
                coming_workers: self.small(),
                waiting_requests: self.small(),
                stale_messages: self.number(),
            },
            jobs_running: self.small(),
            jobs_finished: self.small(),
            jobs_canceled: self.small(),
            jobs_failed: self.small(),
            rpc: self.list(|dice| (dice.text(), dice.number())).into_iter().collect(),
        }
    }

    pub fn job_result(&mut self) -> JobResult {
        JobResult {
            job_id: JobId(self.id()),
            status: self.one_of(&JobStatus::ALL),
            failure: self.maybe(Self::failure),
            runtime_ms: self.number(),
            first_record_ms: self.maybe(Self::number),
            accumulators: self.accumulators(),
            collected: self.list(|dice| (dice.text(), dice.list(Self::text))).into_iter().collect(),
        }
    }
}
