//! The TaskExecutor's side of its job masters: registration with back-off,
//! state updates in order, numbers, and their loss.

use super::{Event, Service};
use crate::job_connection::{self, JobConnection};
use crate::task::TaskRunner;
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::{JobId, JobMasterId};
use heddle_model::task::TaskExecutionState;
use heddle_rpc::TaskExecutorHeartbeat;
use std::sync::Arc;
use std::time::Duration;
use tracing::{debug, warn};

impl<R: TaskRunner> Service<R> {
    pub(super) fn check_job_master(
        &mut self,
        job_id: JobId,
        token: JobMasterId,
    ) -> heddle_rpc::Result<&mut JobConnection> {
        match self.jobs.get_mut(&job_id) {
            Some(job) if job.token == token => Ok(job),
            Some(job) => {
                Err(heddle_rpc::Error::Fenced { expected: job.token.to_string(), got: token.to_string() })
            }
            None => Err(heddle_rpc::Error::Fenced { expected: "none".into(), got: token.to_string() }),
        }
    }

    pub(super) fn register_at_job_master(&mut self, job_id: JobId, delay: Duration) {
        let Some(job) = self.jobs.get_mut(&job_id) else { return };
        let (token, address) = (job.token, job.address.clone());
        let rpc = Arc::clone(&self.rpc);
        let (resource_id, own_address) = (self.options.resource_id.clone(), self.options.address.clone());
        let data_address = self.options.data_address.clone();
        job.registering(self.calls.spawn(async move {
            tokio::time::sleep(delay).await;
            let result = match rpc.job_master(&address) {
                Ok(gateway) => {
                    gateway.register_task_executor(token, resource_id, own_address, data_address).await
                }
                Err(error) => Err(error),
            };
            Event::RegisteredAtJobMaster { job_id, token, result }
        }));
    }

    pub(super) fn registered_at_job_master(
        &mut self,
        job_id: JobId,
        token: JobMasterId,
        result: heddle_rpc::Result<()>,
    ) {
        let Some(job) = self.jobs.get_mut(&job_id).filter(|job| job.token == token) else { return };
        match result {
            Ok(()) => {
                debug!(%job_id, "registered at the job master");
                job.registered();
                let updates = job.open_outbox();
                if let Ok(gateway) = self.rpc.job_master(&job.address) {
                    self.calls.spawn(job_connection::deliver(gateway, token, updates));
                }
                self.offer_slots(job_id);
            }
            Err(error) => {
                let delay = job.next_backoff();
                debug!(%error, %job_id, ?delay, "registration at the job master refused, trying again");
                self.register_at_job_master(job_id, delay);
            }
        }
    }

    pub(super) fn tell_job_master(&mut self, state: TaskExecutionState) {
        let job_id = state.attempt.job_id;
        let Some(job) = self.jobs.get_mut(&job_id) else { return };
        if !job.tell(state) {
            let cause = Failure::new(ErrorCode::WorkerLost, "the job master does not take state updates");
            warn!(%job_id, "too many state updates wait for the job master");
            self.drop_job(job_id, &cause);
        }
    }

    pub(super) fn report_metrics(&mut self, job_id: JobId) {
        let Some(job) = self.jobs.get(&job_id) else { return };
        let Ok(gateway) = self.rpc.job_master(&job.address) else { return };
        let running = self
            .running
            .iter()
            .filter(|(attempt, _)| attempt.job_id == job_id)
            .map(|(attempt, task)| (*attempt, task.metrics.snapshot(), task.metrics.accumulators()));
        let ended = job.undelivered().into_iter();
        let tasks = ended.map(|(attempt, (metrics, sums))| (attempt, metrics, sums)).chain(running).collect();
        let (token, resource_id) = (job.token, self.options.resource_id.clone());
        let slots = self.slots.active_of(job_id);
        self.calls.spawn(async move {
            let payload = TaskExecutorHeartbeat { tasks, slots };
            if let Err(error) = gateway.heartbeat_from_task_executor(token, resource_id, payload).await {
                debug!(%error, %job_id, "the job master did not take the heartbeat");
            }
            Event::Told
        });
    }

    /// The job master is silent: its tasks end, its slots wait for a new one
    /// until they expire.
    pub(super) fn lose_job_master(&mut self, job_id: JobId) {
        let message = format!("the job master was silent for {:?}", self.options.heartbeat_timeout);
        warn!(%job_id, "{message}");
        let cause = Failure::new(ErrorCode::WorkerLost, message);
        for (attempt, task) in &mut self.running {
            if attempt.job_id == job_id {
                task.fail(cause.clone());
            }
        }
        let now = self.now();
        for allocation_id in self.slots.allocations_of(job_id) {
            if let Err(error) = self.slots.mark_inactive(now, allocation_id) {
                debug!(%error, "the slot is gone");
            }
        }
        if let Some(job) = self.jobs.get_mut(&job_id) {
            job.lost();
            self.register_at_job_master(job_id, Duration::ZERO);
        }
    }

    /// Ends everything of a job here.
    pub(super) fn drop_job(&mut self, job_id: JobId, cause: &Failure) {
        for allocation_id in self.slots.allocations_of(job_id) {
            self.free_slot(allocation_id, cause);
        }
        self.forget_job_without_slots(job_id);
    }

    pub(super) fn forget_job_without_slots(&mut self, job_id: JobId) {
        if self.slots.allocations_of(job_id).is_empty() && self.jobs.remove(&job_id).is_some() {
            debug!(%job_id, "no slot of the job is left here");
            self.release_job(job_id);
        }
    }

    /// Gives back what the process holds for the job, if nobody else in it
    /// serves the job.
    pub(super) fn release_job(&mut self, job_id: JobId) {
        if !self.runner.jobs().leave(job_id) {
            return;
        }
        let release = self.runner.release_job(job_id);
        self.calls.spawn(async move {
            release.await;
            Event::Told
        });
    }
}
