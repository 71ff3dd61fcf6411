//! Tasks: started in the slots of their job, cancelled, and told of when they
//! end.

use super::Service;
use crate::task::{self, RunningTask, TaskContext, TaskOutcome, TaskRunner};
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::{ExecutionAttemptId, JobId, JobMasterId};
use heddle_model::job_status::ExecutionState;
use heddle_model::task::{JobInformation, TaskDeploymentDescriptor, TaskExecutionState};
use std::sync::Arc;
use tracing::{debug, info};

impl<R: TaskRunner> Service<R> {
    pub(super) fn submit_tasks(
        &mut self,
        token: JobMasterId,
        job: &Arc<JobInformation>,
        tasks: Vec<TaskDeploymentDescriptor>,
    ) -> heddle_rpc::Result<()> {
        if !self.check_job_master(job.job_id, token)?.is_registered() {
            // Sent before this TaskExecutor counted the job master as lost.
            let message = format!("the TaskExecutor is not registered at the master of job {}", job.job_id);
            return Err(Failure::new(ErrorCode::Fenced, message).into());
        }
        for (taken, descriptor) in tasks.iter().enumerate() {
            if let Err(failure) = self.take_task(job.job_id, descriptor) {
                // All or none.
                for descriptor in &tasks[..taken] {
                    self.slots.remove_task(descriptor.attempt);
                }
                return Err(failure.into());
            }
        }
        for descriptor in tasks {
            self.start_task(token, job, descriptor);
        }
        Ok(())
    }

    /// Puts a task into its slot.
    fn take_task(&mut self, job_id: JobId, descriptor: &TaskDeploymentDescriptor) -> Result<(), Failure> {
        if self.slots.has_task(descriptor.attempt) {
            let message = format!("attempt {} is running here already", descriptor.attempt);
            return Err(Failure::new(ErrorCode::Internal, message));
        }
        let newest = self.jobs.get(&job_id).and_then(|job| job.superseded_by(&descriptor.attempt));
        if let Some(newest) = newest {
            let message =
                format!("attempt {} comes after attempt {newest} of the same subtask", descriptor.attempt);
            return Err(Failure::new(ErrorCode::Fenced, message));
        }
        // The job master's word that it has the slot may overtake its answer to
        // the offer.
        self.slots
            .check_job(descriptor.allocation_id, job_id)
            .and_then(|()| self.slots.check_job(descriptor.allocation_id, descriptor.attempt.job_id))
            .and_then(|()| self.slots.mark_active(descriptor.allocation_id))
            .and_then(|()| self.slots.add_task(descriptor.allocation_id, descriptor.attempt))
            .map_err(|error| Failure::new(ErrorCode::NoResources, error.to_string()))
    }

    pub(super) fn start_task(
        &mut self,
        token: JobMasterId,
        job: &Arc<JobInformation>,
        descriptor: TaskDeploymentDescriptor,
    ) {
        let attempt = descriptor.attempt;
        let Some(connection) = self.jobs.get_mut(&job.job_id) else { return };
        if let Some(task) = connection.supersede(&attempt).and_then(|former| self.running.get(&former)) {
            // Its cancellation was lost, or comes late.
            task.cancel();
        }
        let Some(slot) = self.resources.get(&descriptor.allocation_id).cloned() else { return };
        let task = RunningTask::new();
        let context = TaskContext {
            job: Arc::clone(job),
            descriptor,
            metrics: task.metrics.clone(),
            cancel: task.cancel.clone(),
            states: self.task_events_sender.clone(),
            rpc: Arc::clone(&self.rpc),
            job_master: connection.address.clone(),
            job_master_id: token,
        };
        debug!(task = %attempt, "task starts");
        self.running.insert(attempt, task);
        let spawned = self.tasks.spawn_on(self.runner.run(slot, context), self.runner.workers());
        self.attempts_by_task.insert(spawned.id(), attempt);
    }

    pub(super) fn cancel_tasks(
        &mut self,
        token: JobMasterId,
        attempts: &[ExecutionAttemptId],
    ) -> heddle_rpc::Result<()> {
        for attempt in attempts {
            self.check_job_master(attempt.job_id, token)?;
            match self.running.get(attempt) {
                Some(task) => task.cancel(),
                // It has ended, and its last state may have been lost.
                None => debug!(task = %attempt, "nothing to cancel"),
            }
        }
        Ok(())
    }

    pub(super) fn task_ended(&mut self, outcome: TaskOutcome) {
        let attempt = outcome.attempt;
        // States told before the end must arrive before it.
        while let Ok(state) = self.task_events.try_recv() {
            self.tell_job_master(state);
        }
        let Some(task) = self.running.remove(&attempt) else { return };
        let (state, failure) = match (outcome.result, task.failed_from_outside) {
            (task::Ended::Finished, _) => (ExecutionState::Finished, None),
            (task::Ended::Failed(failure), _) => (ExecutionState::Failed, Some(failure)),
            (task::Ended::Canceled, Some(cause)) => (ExecutionState::Failed, Some(cause)),
            (task::Ended::Canceled, None) => (ExecutionState::Canceled, None),
        };
        match &failure {
            Some(failure) => info!(task = %attempt, code = %failure.code, error = %failure, "task failed"),
            None => debug!(task = %attempt, %state, "task ended"),
        }
        self.tell_job_master(TaskExecutionState {
            attempt,
            state,
            failure,
            metrics: task.metrics.snapshot(),
            accumulators: task.metrics.accumulators(),
            committables: outcome.committables,
        });
        if let Some(slot) = self.slots.remove_task(attempt) {
            self.slot_freed(slot);
        }
    }
}
