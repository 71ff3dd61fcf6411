//! Between the contract's generated types and plain data, both ways. What
//! comes from a guest is checked for its size here; its meaning is checked by
//! the graphs that are made of it.

use crate::bindings::{job, types};
use crate::fault::MESSAGE_MAX;
use crate::guest_log::{clean, cut};
use crate::task::{ChainEdge, PollStatus, Task, TaskInput, TaskOutput};
use heddle_model::element::{Column, ElementType};
use heddle_model::plan::{
    ChainingStrategy, ConnectorSpec, JobPlan, Partitioner, Program, Transformation, TransformationKind,
};

/// Limits on the answer of `plan`. A graph beyond them is not drawn by hand.
const TRANSFORMATIONS_MAX: usize = 10_000;
const INPUTS_MAX: usize = 1_000;
const COLUMNS_MAX: usize = 256;
const OPTIONS_MAX: usize = 1_000;
/// Bytes of a name, and of a value.
const NAME_MAX: usize = 1 << 10;
const VALUE_MAX: usize = 64 << 10;

// ---- to the guest ----------------------------------------------------------

pub(crate) fn program(program: &Program) -> types::Program {
    types::Program { arguments: program.arguments.clone(), configuration: program.configuration.clone() }
}

pub(crate) fn task(task: &Task) -> types::Task {
    types::Task {
        program: program(&task.program),
        subtask: task.subtask,
        parallelism: task.parallelism,
        max_parallelism: task.max_parallelism,
        attempt: task.attempt,
        task_name: task.task_name.clone(),
        operators: task.operators.clone(),
        edges: task.edges.iter().map(edge).collect(),
        inputs: task.inputs.iter().map(input).collect(),
        outputs: task.outputs.iter().map(output).collect(),
        batch_mode: task.batch_mode,
        batch_size: task.batch_size,
        state_cache_size: task.state_cache_size,
        restored: task.restored,
        plan_fingerprint: task.program.plan_fingerprint.clone(),
    }
}

fn edge(edge: &ChainEdge) -> types::ChainEdge {
    types::ChainEdge {
        producer: edge.producer,
        side_output: edge.side_output.clone(),
        consumer: edge.consumer,
    }
}

fn input(input: &TaskInput) -> types::TaskInput {
    types::TaskInput { operator: input.operator, port: input.port, element: element(&input.element) }
}

fn output(output: &TaskOutput) -> types::TaskOutput {
    types::TaskOutput {
        operator: output.operator,
        side_output: output.side_output.clone(),
        partitioner: partitioner(&output.partitioner),
        partition: output.partition,
        channels: output.channels,
        max_parallelism: output.max_parallelism,
        element: element(&output.element),
    }
}

fn element(element: &ElementType) -> types::ElementType {
    let columns = element.columns.iter().map(|column| match column {
        Column::Fixed(width) => types::Column::Fixed(*width),
        Column::Bytes => types::Column::Bytes,
        Column::Utf8 => types::Column::Utf8,
    });
    types::ElementType {
        codec: element.codec.clone(),
        schema: element.schema.clone(),
        columns: columns.collect(),
    }
}

fn partitioner(partitioner: &Partitioner) -> types::Partitioner {
    match partitioner {
        Partitioner::Forward => types::Partitioner::Forward,
        Partitioner::Rebalance => types::Partitioner::Rebalance,
        Partitioner::Rescale => types::Partitioner::Rescale,
        Partitioner::Shuffle => types::Partitioner::Shuffle,
        Partitioner::Broadcast => types::Partitioner::Broadcast,
        Partitioner::Global => types::Partitioner::Global,
        Partitioner::KeyGroups(key) => types::Partitioner::KeyGroups(element(key)),
        Partitioner::Custom(name) => types::Partitioner::Custom(name.clone()),
    }
}

// ---- from the guest --------------------------------------------------------

/// What of a plan is too large or of no known form.
pub(crate) type Refusal = String;

pub(crate) fn poll_status(status: job::PollStatus) -> PollStatus {
    match status {
        job::PollStatus::More => PollStatus::More,
        job::PollStatus::Idle(ms) => PollStatus::Idle { ms },
        job::PollStatus::Finished => PollStatus::Finished,
    }
}

/// The message of an error that the program returned, and its operator.
pub(crate) fn failure(failure: job::Failure) -> (String, Option<String>) {
    let operator = failure.operator.map(|operator| clean(&cut(&operator, NAME_MAX)));
    (clean(&cut(&failure.message, MESSAGE_MAX)), operator)
}

pub(crate) fn job_plan(plan: job::JobPlan) -> Result<JobPlan, Refusal> {
    at_most("transformations", plan.transformations.len(), TRANSFORMATIONS_MAX)?;
    Ok(JobPlan {
        name: plan.name.map(|text| name("the job's name", text)).transpose()?,
        transformations: plan.transformations.into_iter().map(transformation).collect::<Result<_, _>>()?,
        configuration: pairs("the configuration", plan.configuration)?,
        fingerprint: name("its fingerprint", plan.fingerprint)?,
    })
}

fn transformation(from: types::Transformation) -> Result<Transformation, Refusal> {
    let id = from.id;
    let place = |refusal: Refusal| format!("transformation {id}: {refusal}");
    let convert = || -> Result<Transformation, Refusal> {
        at_most("inputs", from.inputs.len(), INPUTS_MAX)?;
        Ok(Transformation {
            id,
            name: name("its name", from.name)?,
            uid: from.uid.map(|text| name("its uid", text)).transpose()?,
            kind: kind(from.kind)?,
            inputs: from.inputs,
            output: from.output.map(element_type).transpose()?,
            keyed: from.keyed,
            parallelism: from.parallelism,
            max_parallelism: from.max_parallelism,
            slot_sharing_group: from
                .slot_sharing_group
                .map(|text| name("its slot sharing group", text))
                .transpose()?,
            co_location_group: from
                .co_location_group
                .map(|text| name("its co-location group", text))
                .transpose()?,
            chaining: match from.chaining {
                types::Chaining::Always => ChainingStrategy::Always,
                types::Chaining::Head => ChainingStrategy::Head,
                types::Chaining::Never => ChainingStrategy::Never,
            },
        })
    };
    convert().map_err(place)
}

fn kind(kind: types::TransformationKind) -> Result<TransformationKind, Refusal> {
    use types::TransformationKind as From;
    Ok(match kind {
        From::Source(bounded) => TransformationKind::Source { bounded },
        From::ConnectorSource(spec) => TransformationKind::ConnectorSource(connector(spec)?),
        From::OneInput => TransformationKind::OneInput,
        From::TwoInput => TransformationKind::TwoInput,
        From::Sink => TransformationKind::Sink,
        From::ConnectorSink(spec) => TransformationKind::ConnectorSink(connector(spec)?),
        From::Union => TransformationKind::Union,
        From::Partition(by) => TransformationKind::Partition(match by {
            types::Partitioner::Forward => Partitioner::Forward,
            types::Partitioner::Rebalance => Partitioner::Rebalance,
            types::Partitioner::Rescale => Partitioner::Rescale,
            types::Partitioner::Shuffle => Partitioner::Shuffle,
            types::Partitioner::Broadcast => Partitioner::Broadcast,
            types::Partitioner::Global => Partitioner::Global,
            types::Partitioner::KeyGroups(key) => Partitioner::KeyGroups(element_type(key)?),
            types::Partitioner::Custom(text) => Partitioner::Custom(name("its partitioner", text)?),
        }),
        From::SideOutput(tag) => TransformationKind::SideOutput(name("its tag", tag)?),
    })
}

fn connector(spec: types::Connector) -> Result<ConnectorSpec, Refusal> {
    Ok(ConnectorSpec {
        name: name("its connector", spec.name)?,
        options: pairs("its options", spec.options)?,
    })
}

fn element_type(from: types::ElementType) -> Result<ElementType, Refusal> {
    at_most("columns", from.columns.len(), COLUMNS_MAX)?;
    let column = |column| match column {
        types::Column::Fixed(width @ (1 | 2 | 4 | 8)) => Ok(Column::Fixed(width)),
        types::Column::Fixed(width) => Err(format!("a column is {width} bytes wide: expected 1, 2, 4 or 8")),
        types::Column::Bytes => Ok(Column::Bytes),
        types::Column::Utf8 => Ok(Column::Utf8),
    };
    Ok(ElementType {
        codec: name("its codec", from.codec)?,
        schema: text("its schema", from.schema, VALUE_MAX)?,
        columns: from.columns.into_iter().map(column).collect::<Result<_, _>>()?,
    })
}

fn pairs(what: &str, pairs: Vec<(String, String)>) -> Result<Vec<(String, String)>, Refusal> {
    at_most(what, pairs.len(), OPTIONS_MAX)?;
    let check = |(key, value)| Ok((name(what, key)?, text(what, value, VALUE_MAX)?));
    pairs.into_iter().map(check).collect()
}

fn name(what: &str, name: String) -> Result<String, Refusal> {
    text(what, name, NAME_MAX)
}

fn text(what: &str, text: String, max: usize) -> Result<String, Refusal> {
    if text.len() > max {
        return Err(format!("{what} has {} bytes; the limit is {max}", text.len()));
    }
    if text.contains('\0') {
        return Err(format!("{what} contains a zero byte"));
    }
    Ok(text)
}

fn at_most(what: &str, count: usize, max: usize) -> Result<(), Refusal> {
    if count > max { Err(format!("{what}: {count}; the limit is {max}")) } else { Ok(()) }
}
