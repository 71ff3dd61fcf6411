//! Who is registered, and who was last heard of when.

use heddle_model::id::{InstanceId, JobId, JobMasterId, ResourceId};
use heddle_rpc::{Address, Error, Result};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// Calls in a row that nobody answers before the peer counts as lost, as
/// Flink's `heartbeat.rpc-failure-threshold`: the first may be a hiccup.
const UNREACHABLE_THRESHOLD: u32 = 2;

/// When a peer was last heard of.
#[derive(Clone, Debug)]
pub(crate) struct Liveness {
    heard: Instant,
    unreachable: u32,
    /// A heartbeat is on its way; another would only queue behind it.
    pub(crate) asking: bool,
}

impl Liveness {
    pub(crate) fn new() -> Self {
        Self { heard: Instant::now(), unreachable: 0, asking: false }
    }

    pub(crate) fn hear(&mut self) {
        self.heard = Instant::now();
        self.unreachable = 0;
    }

    pub(crate) fn silent(&self) -> Duration {
        self.heard.elapsed()
    }

    /// Takes the outcome of a heartbeat.
    pub(crate) fn answered(&mut self, result: &Result<()>) {
        self.asking = false;
        match result {
            Ok(()) => self.hear(),
            Err(Error::Unreachable { .. }) => self.unreachable += 1,
            // It lives, but follows another leader; time decides.
            Err(_) => self.unreachable = 0,
        }
    }

    /// Why the peer is lost, if it is.
    pub(crate) fn lost(&self, timeout: Duration) -> Option<String> {
        if self.unreachable >= UNREACHABLE_THRESHOLD {
            return Some("nothing answers at its address any more".to_owned());
        }
        let silent = self.heard.elapsed();
        (silent >= timeout).then(|| format!("no heartbeat for {} s", silent.as_secs()))
    }
}

#[derive(Clone, Debug)]
pub(crate) struct TaskExecutor {
    pub(crate) resource_id: ResourceId,
    pub(crate) address: Address,
    pub(crate) liveness: Liveness,
    /// The former registration, until this one has reported its slots.
    pub(crate) replaces: Option<InstanceId>,
}

#[derive(Clone, Debug)]
pub(crate) struct JobMaster {
    pub(crate) id: JobMasterId,
    pub(crate) address: Address,
    pub(crate) liveness: Liveness,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Connections {
    pub(crate) task_executors: BTreeMap<InstanceId, TaskExecutor>,
    pub(crate) job_masters: BTreeMap<JobId, JobMaster>,
}

impl Connections {
    /// The current registration of a worker.
    pub(crate) fn instance_of(&self, resource_id: &ResourceId) -> Option<InstanceId> {
        self.task_executors.iter().find(|(_, e)| e.resource_id == *resource_id).map(|(instance, _)| *instance)
    }

    /// Refuses an instance that is not, or no longer, registered.
    pub(crate) fn check_instance(&mut self, instance: InstanceId) -> Result<&mut TaskExecutor> {
        self.task_executors.get_mut(&instance).ok_or_else(|| Error::Fenced {
            expected: "a registered instance".to_owned(),
            got: instance.to_string(),
        })
    }

    /// Refuses a job master that is not, or no longer, registered for the job.
    pub(crate) fn check_job_master(&self, job_id: JobId, id: JobMasterId) -> Result<()> {
        match self.job_masters.get(&job_id) {
            Some(registered) if registered.id == id => Ok(()),
            Some(registered) => {
                Err(Error::Fenced { expected: registered.id.to_string(), got: id.to_string() })
            }
            None => Err(Error::Fenced {
                expected: format!("a registered job master of job {job_id}"),
                got: id.to_string(),
            }),
        }
    }
}
