//! Tasks as their TaskExecutor sees them: what it gives to the runner, what it
//! keeps of a running one, and what comes back. What happens inside a task is
//! the runner's matter.

use crate::job_users::JobUsers;
use crate::metrics::Metrics;
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::{ExecutionAttemptId, JobId};
use heddle_model::job_status::ExecutionState;
use heddle_model::memory::ResourceProfile;
use heddle_model::task::{Committable, JobInformation, TaskDeploymentDescriptor, TaskExecutionState};
use heddle_rpc::{Address, RpcService};
use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Runs tasks. What it holds is shared by all TaskExecutors of a process.
pub trait TaskRunner: Send + Sync + 'static {
    /// What the tasks of one slot share, dropped with the slot's last task.
    type Slot: Clone + Send + 'static;

    fn slot(&self, profile: ResourceProfile) -> Self::Slot;

    /// Runs a subtask to its end, which is soon after `context.cancel`.
    fn run(
        &self,
        slot: Self::Slot,
        context: TaskContext,
    ) -> impl Future<Output = TaskOutcome> + Send + 'static + use<Self>;

    /// Where the tasks run.
    fn workers(&self) -> &tokio::runtime::Handle;

    /// The jobs that the TaskExecutors of the process serve.
    fn jobs(&self) -> &JobUsers;

    /// Gives back what the process holds for a job.
    fn release_job(&self, job_id: JobId) -> impl Future<Output = ()> + Send + 'static + use<Self>;
}

/// What the service keeps of a running task.
pub(crate) struct RunningTask {
    pub metrics: Metrics,
    pub cancel: CancellationToken,
    /// Why it was ended, if it was not by its job master's cancel.
    pub failed_from_outside: Option<Failure>,
}

impl RunningTask {
    pub fn new() -> Self {
        Self { metrics: Metrics::new(), cancel: CancellationToken::new(), failed_from_outside: None }
    }

    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    pub fn fail(&mut self, cause: Failure) {
        self.failed_from_outside.get_or_insert(cause);
        self.cancel.cancel();
    }
}

/// One task to run, and whom it talks to.
pub struct TaskContext {
    pub job: Arc<JobInformation>,
    pub descriptor: TaskDeploymentDescriptor,
    pub metrics: Metrics,
    pub cancel: CancellationToken,
    pub states: mpsc::Sender<TaskExecutionState>,
    pub rpc: Arc<dyn RpcService>,
    pub job_master: Address,
    pub job_master_id: heddle_model::id::JobMasterId,
}

impl TaskContext {
    /// Tells the job master a state that the task has reached before its end.
    pub async fn tell(&self, state: ExecutionState) {
        let update = TaskExecutionState {
            attempt: self.descriptor.attempt,
            state,
            failure: None,
            metrics: self.metrics.snapshot(),
            accumulators: Default::default(),
            committables: Vec::new(),
        };
        // The service is gone only when the whole TaskExecutor ends.
        let _ = self.states.send(update).await;
    }
}

pub enum Ended {
    Finished,
    Failed(Failure),
    Canceled,
}

pub struct TaskOutcome {
    pub attempt: ExecutionAttemptId,
    pub result: Ended,
    /// What its sinks left to publish; with `Finished` only.
    pub committables: Vec<Committable>,
}

/// The outcome of a joined task; one that panicked has failed.
pub(crate) fn outcome(
    joined: Result<(tokio::task::Id, TaskOutcome), tokio::task::JoinError>,
    attempts: &mut HashMap<tokio::task::Id, ExecutionAttemptId>,
) -> Option<TaskOutcome> {
    match joined {
        Ok((id, outcome)) => {
            attempts.remove(&id);
            Some(outcome)
        }
        Err(error) => {
            let attempt = attempts.remove(&error.id())?;
            tracing::error!(task = %attempt, %error, "a task panicked in the host");
            let message = format!("the host code of a task panicked: {error}");
            let result = Ended::Failed(Failure::new(ErrorCode::Internal, message));
            Some(TaskOutcome { attempt, result, committables: Vec::new() })
        }
    }
}
