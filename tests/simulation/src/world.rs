//! What a run knows of itself from outside of all processes: which tasks run
//! where, what they hold, what is stored, and what went wrong.
//!
//! The roles under test never read it; only the simulated connectors, the
//! stores that outlive processes, and the checks do.

use crate::script::Script;
use crate::signal::Signal;
use heddle_model::id::{AllocationId, ExecutionAttemptId, JobId, JobMasterId, ResultPartitionId, VertexId};
use heddle_model::job_graph::JobGraph;
use heddle_model::job_status::JobStatus;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio_util::sync::CancellationToken;

/// A task that runs.
#[derive(Clone, Debug)]
pub struct Running {
    pub attempt: ExecutionAttemptId,
    pub token: JobMasterId,
    pub allocation: AllocationId,
    /// Number of its process.
    pub process: u64,
    pub host: String,
    /// Cancelled once it is to end.
    pub cancel: CancellationToken,
}

/// What a task wrote for others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Partition {
    /// Its producer runs in this process.
    Open { process: u64 },
    /// Complete: the splits whose records are in it.
    Finished { process: u64, splits: Vec<u32> },
}

#[derive(Default)]
pub struct State {
    next_task: u64,
    pub running: BTreeMap<u64, Running>,
    /// Slots' resources that are held.
    pub slots: usize,
    /// Jobs of which a process holds something.
    pub held: BTreeSet<(u64, JobId)>,
    pub partitions: BTreeMap<(ResultPartitionId, JobMasterId), Partition>,
    /// The store of job graphs, and that of results: they outlive JobManagers.
    pub graphs: BTreeMap<JobId, JobGraph>,
    pub results: BTreeMap<JobId, JobStatus>,
    pub published: BTreeSet<JobId>,
    pub violations: Vec<String>,
}

pub struct World {
    pub script: Arc<Script>,
    pub seed: u64,
    pub jobs: BTreeMap<JobId, JobKind>,
    state: Mutex<State>,
    /// How often partitions have changed.
    pub partitions_changed: Signal<u64>,
}

/// What the tasks of a job do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobKind {
    pub splits: u32,
    /// Without an end, even when all splits are read.
    pub streaming: bool,
    /// How often of a thousand a split makes its task fail.
    pub failures: u32,
    /// How long a task may take to end when it is cancelled.
    pub cancel_ms_max: u64,
    pub work_ms_max: u64,
}

impl World {
    pub fn new(script: Arc<Script>, seed: u64, jobs: BTreeMap<JobId, JobKind>) -> Arc<Self> {
        Arc::new(Self { script, seed, jobs, state: Mutex::default(), partitions_changed: Signal::new(0) })
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics while it holds the world")
    }

    pub fn violation(&self, what: impl Into<String>) {
        let what = what.into();
        self.script.note(format_args!("VIOLATION {what}"));
        self.state().violations.push(what);
    }

    pub fn task_started(
        &self,
        attempt: ExecutionAttemptId,
        token: JobMasterId,
        allocation: AllocationId,
        process: (u64, &str),
        cancel: CancellationToken,
    ) -> u64 {
        let mut state = self.state();
        let twice = state.running.values().find(|other| {
            other.process == process.0
                && !other.cancel.is_cancelled()
                && other.token == token
                && subtask(&other.attempt) == subtask(&attempt)
        });
        let twice = twice.cloned();
        let foreign = state.running.values().find(|other| {
            other.allocation == allocation && other.process == process.0 && other.token != token
        });
        let foreign = foreign.cloned();
        state.next_task += 1;
        let id = state.next_task;
        let host = process.1.to_owned();
        let running = Running { attempt, token, allocation, process: process.0, host, cancel };
        state.running.insert(id, running);
        drop(state);
        self.script.note(format_args!("{} starts {} of {}", process.1, short(&attempt), token_text(token)));
        if let Some(other) = twice {
            self.violation(format!(
                "{} runs {} while it still runs {} of the same job master",
                process.1,
                short(&attempt),
                short(&other.attempt)
            ));
        }
        if let Some(other) = foreign {
            self.violation(format!(
                "slot {allocation} is owned twice: {} starts {} in it, {} runs {} of {} in it",
                process.1,
                short(&attempt),
                other.host,
                short(&other.attempt),
                token_text(other.token)
            ));
        }
        id
    }

    pub fn task_ended(&self, id: u64) {
        let ended = self.state().running.remove(&id);
        if let Some(ended) = ended {
            self.script.note(format_args!("{} ended {}", ended.host, short(&ended.attempt)));
        }
    }

    pub fn process_died(&self, process: u64) {
        let mut state = self.state();
        state.partitions.retain(|_, partition| match partition {
            Partition::Open { process: of } | Partition::Finished { process: of, .. } => *of != process,
        });
        state.held.retain(|(of, _)| *of != process);
        drop(state);
        self.partitions_changed.happen();
    }
}

pub fn subtask(attempt: &ExecutionAttemptId) -> (JobId, VertexId, u32) {
    (attempt.job_id, attempt.vertex_id, attempt.subtask)
}

/// `job-1 v0[2]#3`.
pub fn short(attempt: &ExecutionAttemptId) -> String {
    let ExecutionAttemptId { job_id, vertex_id, subtask, attempt } = attempt;
    format!("job-{} v{}[{subtask}]#{attempt}", job_id.0, vertex_id.0)
}

pub fn token_text(token: JobMasterId) -> String {
    format!("master {:06x}", token.0 >> 104)
}
