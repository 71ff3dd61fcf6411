//! What the job master does with the job's inputs and outputs outside of tasks:
//! enumerates splits, prepares, publishes and discards sinks.
//!
//! All of it may block on a disk or a network and runs on blocking threads.
//! Does not know what a split or a committable holds.

use heddle_connectors::{Published, Reservation};
use heddle_filesystem::FileSystems;
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::{JobId, VertexId};
use heddle_model::job_graph::JobGraph;
use heddle_model::plan::{ConnectorSpec, TransformationId};
use heddle_model::task::{Committable, InputSplit};
use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::{Mutex, PoisonError};

/// The connectors, as far as a job master needs them.
pub trait Outputs: Send + Sync + 'static {
    /// Whether the functions below wait for a disk or a network, and so must run
    /// on threads of their own.
    fn may_block(&self) -> bool {
        true
    }

    fn enumerate_splits(&self, source: &ConnectorSpec, parallelism: u32) -> Result<Vec<InputSplit>, Failure>;
    fn prepare_sink(&self, sink: &ConnectorSpec, job: JobId) -> Result<(), Failure>;
    fn publish_sink(
        &self,
        sink: &ConnectorSpec,
        job: JobId,
        committables: &[Committable],
    ) -> Result<Published, Failure>;
    /// Also removes what tasks left that were never reported.
    fn discard_sink(&self, sink: &ConnectorSpec, job: JobId) -> Result<(), Failure>;
}

/// The connectors of the host, for one job.
pub(crate) struct HostOutputs {
    files: FileSystems,
    /// What the job's sinks write to is its own until the job master ends.
    reserved: Mutex<Vec<Reservation>>,
}

impl HostOutputs {
    pub(crate) fn new(files: FileSystems) -> Self {
        Self { files, reserved: Mutex::default() }
    }
}

impl Outputs for HostOutputs {
    fn enumerate_splits(&self, source: &ConnectorSpec, parallelism: u32) -> Result<Vec<InputSplit>, Failure> {
        heddle_connectors::enumerate_splits(source, parallelism, &self.files)
    }

    fn prepare_sink(&self, sink: &ConnectorSpec, job: JobId) -> Result<(), Failure> {
        let reservation = heddle_connectors::prepare_sink(sink, job, &self.files)?;
        self.reserved.lock().unwrap_or_else(PoisonError::into_inner).push(reservation);
        Ok(())
    }

    fn publish_sink(
        &self,
        sink: &ConnectorSpec,
        job: JobId,
        committables: &[Committable],
    ) -> Result<Published, Failure> {
        heddle_connectors::publish_sink(sink, job, committables, &self.files)
    }

    fn discard_sink(&self, sink: &ConnectorSpec, job: JobId) -> Result<(), Failure> {
        heddle_connectors::discard_sink(sink, job, &self.files)
    }
}

/// The splits of each connector source, and the sinks that were prepared: also
/// in the case of a failure, these are to be discarded.
pub(crate) struct Prepared {
    pub result: Result<BTreeMap<VertexId, Vec<InputSplit>>, Failure>,
    pub sinks: BTreeSet<TransformationId>,
}

/// Inputs first: an input that does not exist leaves no trace at the outputs.
pub(crate) fn prepare(outputs: &dyn Outputs, job: &JobGraph) -> Prepared {
    let mut sinks = BTreeSet::new();
    let result = guarded("preparing the inputs and outputs", || {
        let mut splits = BTreeMap::new();
        for vertex in &job.vertices {
            if let Some((_, source)) = vertex.connector_source() {
                splits.insert(vertex.id, outputs.enumerate_splits(source, vertex.parallelism)?);
            }
        }
        for (transformation, sink) in sinks_of(job) {
            outputs.prepare_sink(sink, job.job_id)?;
            sinks.insert(transformation);
        }
        Ok(splits)
    });
    Prepared { result, sinks }
}

/// Gives what `collect` sinks gathered.
pub(crate) fn publish(
    outputs: &dyn Outputs,
    job: &JobGraph,
    committables: &[Committable],
) -> Result<BTreeMap<String, Vec<String>>, Failure> {
    let mut by_sink: BTreeMap<TransformationId, Vec<Committable>> = BTreeMap::new();
    for committable in committables {
        by_sink.entry(committable.sink).or_default().push(committable.clone());
    }
    guarded("publishing the outputs", || {
        let mut collected: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (transformation, sink) in sinks_of(job) {
            let committables = by_sink.remove(&transformation).unwrap_or_default();
            let published = outputs.publish_sink(sink, job.job_id, &committables)?;
            if let Some((name, lines)) = published.collected {
                collected.entry(name).or_default().extend(lines);
            }
        }
        match by_sink.keys().next() {
            None => Ok(collected),
            Some(unknown) => Err(Failure::new(
                ErrorCode::Internal,
                format!("a task reported output of {unknown}, which is no sink of job `{}`", job.name),
            )),
        }
    })
}

/// Gives the failures; each sink is tried.
pub(crate) fn discard(
    outputs: &dyn Outputs,
    job: &JobGraph,
    sinks: &BTreeSet<TransformationId>,
) -> Vec<Failure> {
    sinks_of(job)
        .filter(|(transformation, _)| sinks.contains(transformation))
        .filter_map(|(_, sink)| {
            guarded("discarding the outputs", || outputs.discard_sink(sink, job.job_id)).err()
        })
        .collect()
}

/// Of a job whose tasks have run, each was prepared.
pub(crate) fn all_sinks(job: &JobGraph) -> BTreeSet<TransformationId> {
    sinks_of(job).map(|(transformation, _)| transformation).collect()
}

fn sinks_of(job: &JobGraph) -> impl Iterator<Item = (TransformationId, &ConnectorSpec)> {
    job.vertices
        .iter()
        .flat_map(|vertex| vertex.connector_sinks())
        .map(|(operator, sink)| (operator.transformation, sink))
}

/// A panic of a connector fails the job, not the process.
fn guarded<T>(doing: &str, work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    std::panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let message = format!("{doing} panicked: {}", panic_message(panic.as_ref()));
        Err(Failure::new(ErrorCode::Internal, message))
    })
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message")
}
