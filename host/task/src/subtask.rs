//! One subtask, from its deployment to its end: it wires partitions, gates,
//! connectors, state and the guest, runs the mailbox, and tells its states.

use crate::gates::Gates;
use crate::host::{Host, Output, Target};
use crate::mailbox::{Consumer, Mailbox, SharedSink};
use crate::shared::{Shared, SlotMemory};
use heddle_connectors::{SinkWriter, SourceReader};
use heddle_exchange::ResultPartition;
use heddle_model::element::ElementType;
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::job_graph::{JobVertex, OutputTarget};
use heddle_model::job_status::ExecutionState;
use heddle_model::key_group::key_groups_of;
use heddle_model::plan::{Partitioner, TransformationId};
use heddle_model::stream_graph::OperatorKind;
use heddle_model::task::Committable;
use heddle_state::KeyedStateBackend;
use heddle_task_executor::{Activity, Ended, TaskContext, TaskOutcome};
use heddle_wasm::{ChainEdge, Grants, InstanceLimits, TaskInput, TaskOutput};
use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long a consumer waits for its producers to come up.
const PARTITION_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a task whose peer is gone waits to be cancelled.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(10);

/// Everything that a task needs from outside of itself.
struct Context {
    shared: Shared,
    slot: SlotMemory,
    task: TaskContext,
}

impl Deref for Context {
    type Target = TaskContext;

    fn deref(&self) -> &TaskContext {
        &self.task
    }
}

/// Runs a subtask to its end.
pub(crate) async fn run(shared: Shared, slot: SlotMemory, context: TaskContext) -> TaskOutcome {
    let context = Context { shared, slot, task: context };
    let attempt = context.descriptor.attempt;
    // Dropping the work ends it wherever it waits: a guest that computes gives
    // way at the next epoch tick.
    let result = tokio::select! {
        biased;
        () = context.cancel.cancelled() => Err(None),
        result = work(&context) => match result {
            Ok(committables) => Ok(committables),
            Err(failure) => Err(Some(unless_cancelled(failure, &context.cancel).await)),
        },
    };
    match result {
        Ok(committables) => {
            // Consumers still read what it produced; the job's end releases it.
            TaskOutcome { attempt, result: Ended::Finished, committables }
        }
        Err(failure) => {
            context.shared.partitions.release_attempt(attempt);
            let result = failure.map_or(Ended::Canceled, Ended::Failed);
            TaskOutcome { attempt, result, committables: Vec::new() }
        }
    }
}

/// A task whose peer is gone is fine itself: the peer's own failure says why,
/// and the job master is about to cancel this one. Waiting for that keeps the
/// consequence from hiding the cause.
async fn unless_cancelled(failure: Failure, cancel: &CancellationToken) -> Failure {
    if failure.code == ErrorCode::PeerGone {
        let _ = tokio::time::timeout(CANCEL_TIMEOUT, cancel.cancelled()).await;
    }
    failure
}

/// The failure that an error of the exchange means for the task that met it.
pub(crate) fn exchange_failure(error: heddle_exchange::Error) -> Failure {
    if error.is_consequence() {
        return Failure::new(ErrorCode::PeerGone, error.to_string());
    }
    error.into()
}

async fn work(context: &Context) -> Result<Vec<Committable>, Failure> {
    let descriptor = &context.descriptor;
    let vertex = descriptor.vertex.as_ref();
    context.tell(ExecutionState::Initializing).await;

    let partitions = register_partitions(context)?;
    let sinks = open_sinks(context).await?;
    let has_guest_sink = vertex.operators.iter().any(|op| op.kind == OperatorKind::GuestSink);
    let consumer = match sinks.first() {
        Some((_, sink)) if !vertex.has_guest() => Consumer::Sink(Arc::clone(sink)),
        _ => Consumer::Guest(Box::new(open_guest(context, &partitions, &sinks).await?)),
    };
    let buffer_timeout = context.job.execution.buffer_timeout;
    let mut mailbox = Mailbox::new(consumer, context.metrics.clone(), buffer_timeout, has_guest_sink);

    if let Some((operator, spec)) = vertex.connector_source() {
        let mut reader = SourceReader::open(spec, context.job.execution.batch_size, &context.shared.files)?;
        let job_master = context
            .rpc
            .job_master(&context.job_master)
            .map_err(|error| unreachable(&operator.name, &error))?;
        context.tell(ExecutionState::Running).await;
        loop {
            let split = job_master
                .request_next_input_split(context.job_master_id, descriptor.attempt)
                .await
                .map_err(|error| unreachable(&operator.name, &error))?;
            let Some(split) = split else { break };
            let _reading = context.metrics.clock.during(Activity::Busy);
            reader.start(&split).await?;
            while let Some(batch) = reader.next_batch().await? {
                mailbox.process(0, batch).await?;
            }
        }
    } else if vertex.inputs.is_empty() {
        context.tell(ExecutionState::Running).await;
        mailbox.run_source().await?;
    } else {
        let (partitions, execution) = (&context.shared.partitions, &context.job.execution);
        let mut gates = Gates::connect(partitions, descriptor, execution, PARTITION_TIMEOUT).await?;
        context.tell(ExecutionState::Running).await;
        mailbox.run_gates(&mut gates).await?;
    }

    mailbox.finish().await?;
    // The guest holds the other references to the sinks.
    drop(mailbox);
    for partition in partitions.values() {
        partition.finish();
    }
    let mut committables = Vec::new();
    for (_, sink) in sinks {
        let sink = Arc::try_unwrap(sink)
            .map_err(|_| Failure::new(ErrorCode::Internal, "a sink is still in use at the end"))?;
        committables.push(sink.into_inner().finish().await?);
    }
    Ok(committables)
}

fn unreachable(operator: &str, error: &heddle_rpc::Error) -> Failure {
    let message = format!("the job master gives no input to '{operator}': {error}");
    Failure::new(ErrorCode::WorkerLost, message)
}

/// The partitions of the subtask, by output index.
fn register_partitions(context: &Context) -> Result<HashMap<u32, Arc<ResultPartition>>, Failure> {
    let execution = &context.job.execution;
    let register = |descriptor: &heddle_model::task::ResultPartitionDescriptor| {
        let shared = execution.floating_buffers / descriptor.subpartitions.max(1);
        let partition = context.shared.partitions.register(
            descriptor.partition,
            descriptor.subpartitions,
            execution.buffers_per_channel + shared,
            execution.batch_size,
        )?;
        Ok((descriptor.output, Arc::new(partition)))
    };
    context.descriptor.outputs.iter().map(register).collect()
}

async fn open_sinks(context: &Context) -> Result<Vec<(TransformationId, SharedSink)>, Failure> {
    let descriptor = &context.descriptor;
    let mut sinks = Vec::new();
    for (operator, spec) in descriptor.vertex.connector_sinks() {
        let writer = SinkWriter::open(
            spec,
            operator.transformation,
            descriptor.vertex.parallelism,
            descriptor.attempt,
            Arc::clone(&context.shared.console),
            &context.shared.files,
        )
        .await?;
        sinks.push((operator.transformation, Arc::new(tokio::sync::Mutex::new(writer))));
    }
    Ok(sinks)
}

/// A client grants its job no more than the process that runs it does.
fn check_grants(wanted: Grants, granted: Grants) -> Result<(), Failure> {
    let (wanted, granted) = (wanted.names(), granted.names());
    if wanted.iter().all(|name| granted.contains(name)) {
        return Ok(());
    }
    let granted = if granted.is_empty() { "nothing".to_owned() } else { format!("`{}`", granted.join(";")) };
    let message = format!(
        "the client grants the job `{}`, and this TaskExecutor grants {granted}; set `taskmanager.wasm.grants` \
         alike for both",
        wanted.join(";"),
    );
    Err(Failure::new(ErrorCode::ComponentImport, message))
}

async fn open_guest(
    context: &Context,
    partitions: &HashMap<u32, Arc<ResultPartition>>,
    sinks: &[(TransformationId, SharedSink)],
) -> Result<heddle_wasm::Instance, Failure> {
    let (job, descriptor) = (&context.job, &context.descriptor);
    let vertex = descriptor.vertex.as_ref();
    let wasm = &context.shared.wasm;
    let grants: Grants =
        job.execution.grants.join(",").parse().map_err(|error: heddle_wasm::UnknownGrant| {
            Failure::new(ErrorCode::ConfigurationInvalid, error.to_string())
        })?;
    check_grants(grants, context.shared.grants)?;
    let blobs = &context.shared.blobs;
    let fetch =
        async || blobs.get(job.job_id, job.component).await.map_err(|error| Failure::from(error).into());
    let component =
        wasm.load_fetched(job.component, &grants, fetch).await.map_err(|error| error.failure())?;
    let task = guest_task(context, partitions);
    let limits = InstanceLimits {
        memory: Arc::clone(&context.slot.task_memory),
        call_timeout: job.execution.call_timeout,
        log_lines_per_second: job.execution.log_lines_per_second,
        grants,
        task_name: task.task_name.clone(),
        random_seed: job.program.random_seed(&job.component),
        cancel: Default::default(),
        wall_clock_ms: job.program.submitted_at_ms,
    };
    let subtask = descriptor.attempt.subtask;
    let key_groups = key_groups_of(subtask, vertex.parallelism, vertex.max_parallelism);
    let host = Host {
        task_name: task.task_name.clone(),
        outputs: outputs(vertex, partitions, sinks)?,
        state: KeyedStateBackend::new(
            key_groups,
            vertex.max_parallelism,
            Arc::clone(&context.slot.managed_memory),
        ),
        operators: vertex.operators.iter().map(|op| (op.transformation, op.id)).collect(),
        metrics: context.metrics.clone(),
    };
    let mut guest =
        wasm.instantiate(&component, Box::new(host), limits).await.map_err(|error| error.failure())?;
    guest.open(&task).await.map_err(|error| error.failure())?;
    Ok(guest)
}

fn outputs(
    vertex: &JobVertex,
    partitions: &HashMap<u32, Arc<ResultPartition>>,
    sinks: &[(TransformationId, SharedSink)],
) -> Result<Vec<Output>, Failure> {
    let missing = |index: usize| {
        let message = format!("output {index} of '{}' was deployed without its target", vertex.name);
        Failure::new(ErrorCode::Internal, message)
    };
    let output = |(index, output): (usize, &heddle_model::job_graph::JobOutput)| {
        let (target, channels) = match &output.target {
            OutputTarget::Dataset { .. } => {
                let partition = partitions.get(&(index as u32)).ok_or_else(|| missing(index))?;
                (Target::Partition(Arc::clone(partition)), partition.subpartitions())
            }
            OutputTarget::Sink { transformation } => {
                let (_, sink) =
                    sinks.iter().find(|(id, _)| id == transformation).ok_or_else(|| missing(index))?;
                (Target::Sink(Arc::clone(sink)), 1)
            }
        };
        Ok(Output {
            columns: output.element.columns.clone(),
            needs_hashes: matches!(output.partitioner, Partitioner::KeyGroups(_)),
            channels,
            target,
        })
    };
    vertex.outputs.iter().enumerate().map(output).collect()
}

/// What the guest is told to run.
fn guest_task(context: &Context, partitions: &HashMap<u32, Arc<ResultPartition>>) -> heddle_wasm::Task {
    let (job, descriptor) = (&context.job, &context.descriptor);
    let vertex = descriptor.vertex.as_ref();
    let subtask = descriptor.attempt.subtask;
    let inputs = match vertex.connector_source() {
        Some((operator, _)) => {
            vec![TaskInput { operator: operator.transformation, port: 0, element: ElementType::text() }]
        }
        None => vertex
            .inputs
            .iter()
            .map(|edge| TaskInput { operator: edge.operator, port: edge.port, element: edge.element.clone() })
            .collect(),
    };
    let is_sink = |id: TransformationId| vertex.connector_sinks().any(|(op, _)| op.transformation == id);
    let outputs = vertex.outputs.iter().enumerate().map(|(index, output)| TaskOutput {
        operator: output.operator,
        side_output: output.side_output.clone(),
        partitioner: output.partitioner.clone(),
        partition: output.partition,
        channels: partitions.get(&(index as u32)).map_or(1, |partition| partition.subpartitions()),
        max_parallelism: match &output.target {
            OutputTarget::Dataset { consumer_max_parallelism, .. } => *consumer_max_parallelism,
            OutputTarget::Sink { .. } => vertex.max_parallelism,
        },
        element: output.element.clone(),
    });
    heddle_wasm::Task {
        program: job.program.clone(),
        subtask,
        parallelism: vertex.parallelism,
        max_parallelism: vertex.max_parallelism,
        attempt: descriptor.attempt.attempt,
        task_name: format!("{} ({}/{})", vertex.name, subtask + 1, vertex.parallelism),
        operators: vertex.operators.iter().map(|op| op.transformation).filter(|id| !is_sink(*id)).collect(),
        edges: vertex
            .chain_edges
            .iter()
            .filter(|edge| !is_sink(edge.consumer))
            .map(|edge| ChainEdge {
                producer: edge.producer,
                side_output: edge.side_output.clone(),
                consumer: edge.consumer,
            })
            .collect(),
        inputs,
        outputs: outputs.collect(),
        batch_mode: job.execution.batch_mode,
        batch_size: job.execution.batch_size,
        state_cache_size: job.execution.state_cache_size,
        restored: false,
    }
}
