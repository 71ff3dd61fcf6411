//! Ends of jobs: the result is stored, who waits is told, what the job left is
//! cleaned up. And what a former leader left.

use super::{Done, Service, bounded};
use crate::Error;
use crate::finished::{FinishedJob, Lookup};
use crate::jobs::{Job, Phase, ended_by};
use crate::leadership::{self, State};
use crate::persistence::Recovered;
use heddle_ha::{JobResultEntry, Unreadable};
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::{JobId, ResourceManagerId};
use heddle_model::job_status::JobStatus;
use heddle_rpc::{JobDetails, JobOverview, JobResult};
use tokio::task::{Id, JoinError};
use tokio::time::Instant;
use tracing::{error, info, warn};

impl Service {
    pub(super) fn job_ended(&mut self, ended: Result<(Id, JobResult), JoinError>) {
        let (task, outcome) = match ended {
            Ok((task, result)) => (task, Ok(result)),
            Err(error) => (error.id(), Err(error)),
        };
        let Some(job_id) = self.job_of_task.remove(&task) else { return };
        let Some(job) = self.jobs.get_mut(&job_id) else { return };
        let result = match outcome {
            Ok(result) => result,
            // Dropped after the stop's time-out: suspended, as the others.
            Err(error) if error.is_cancelled() => return,
            Err(error) => {
                let reason = panic_message(error);
                error!(job = %job_id, reason, "a job master panicked");
                let message = format!("the job master of `{}` panicked: {reason}", job.name);
                let result =
                    job.result(job_id, JobStatus::Failed, Some(Failure::new(ErrorCode::Internal, message)));
                self.bury_job_master(job_id);
                result
            }
        };
        if result.status.is_globally_terminal() {
            self.end_job(result);
            return;
        }
        info!(job = %job_id, status = %result.status, "job suspended");
        if let Some(job) = self.jobs.remove(&job_id) {
            job.answer_waiters(&result);
        }
    }

    /// Has the result stored before anybody hears of it.
    fn end_job(&mut self, result: JobResult) {
        let job_id = result.job_id;
        let Some(job) = self.jobs.get_mut(&job_id) else { return };
        info!(job = %job_id, status = %result.status, runtime_ms = result.runtime_ms, "job ended");
        let known = job.details(job_id, &result);
        let last = match &job.phase {
            Phase::Running { gateway, id, .. } => Some((gateway.clone(), *id)),
            Phase::Submitting { .. } | Phase::Ending => None,
        };
        let entry = JobResultEntry {
            job_id,
            job_name: job.name.clone(),
            status: result.status,
            failure: result.failure.clone(),
            start_time_ms: job.start_time_ms,
            runtime_ms: result.runtime_ms,
            accumulators: result.accumulators.clone(),
            collected: result.collected.clone(),
        };
        job.phase = Phase::Ending;
        let (persistence, archive, stop) =
            (self.persistence.clone(), self.archive.clone(), self.stop.clone());
        let limit = self.options.rpc_timeout;
        self.steps.spawn(async move {
            let details = match last {
                Some((gateway, id)) => bounded(limit, gateway.request_job(id)).await.unwrap_or(known),
                None => known,
            };
            if persistence.store_result(entry, &stop).await {
                Done::ResultStored(archive.keep(FinishedJob { details, result }, true).await)
            } else {
                Done::ResultNotStored(job_id)
            }
        });
    }

    /// After a panic: nobody else tells the resource manager, and nothing
    /// answers at the address.
    fn bury_job_master(&mut self, job_id: JobId) {
        if let Some(Phase::Running { address, .. }) = self.jobs.get(&job_id).map(|job| &job.phase) {
            self.rpc.stop_serving(address);
        }
        let (rpc, limit) = (self.rpc.clone(), self.options.rpc_timeout);
        let (address, session) = (self.options.resource_manager.clone(), self.session());
        self.steps.spawn(async move {
            let token = ResourceManagerId(session);
            let told = async { rpc.resource_manager(&address)?.disconnect_job_master(token, job_id).await };
            if let Err(error) = bounded(limit, told).await {
                warn!(job = %job_id, %error, "the resource manager was not told of the job master's end");
            }
            Done::Answered
        });
    }

    pub(super) async fn done(&mut self, done: Done) -> Result<(), Error> {
        match done {
            Done::Recovered(Ok(recovered)) => self.recovered(recovered).await?,
            Done::Recovered(Err(error)) => {
                error!(%error, "the jobs of the former leader could not be recovered");
                self.stop.cancel();
                return Err(Error::Recovery(error));
            }
            Done::TakenIn(graph, outcome) => self.taken_in(*graph, outcome),
            Done::ResultStored(kept) => {
                let job_id = kept.job.result.job_id;
                if let Some(ended) = self.jobs.remove(&job_id) {
                    ended.answer_waiters(&kept.job.result);
                }
                let removed = self.finished.insert(kept, Instant::now());
                self.remove_finished(removed);
                self.clean_up(job_id);
            }
            Done::ResultNotStored(job_id) => {
                // The next leader runs the job again.
                if let Some(ended) = self.jobs.remove(&job_id) {
                    ended.suspended(job_id);
                }
            }
            Done::CleanedUp | Done::Answered => {}
        }
        Ok(())
    }

    /// Removes files that the store needs no more.
    pub(super) fn remove_finished(&mut self, jobs: Vec<JobId>) {
        if !jobs.is_empty() {
            let archive = self.archive.clone();
            self.steps.spawn(async move {
                archive.remove(jobs).await;
                Done::Answered
            });
        }
    }

    fn clean_up(&mut self, job_id: JobId) {
        let (persistence, stop) = (self.persistence.clone(), self.stop.clone());
        self.steps.spawn(async move {
            persistence.clean_up(job_id, &stop).await;
            Done::CleanedUp
        });
    }

    /// Dirty results first, then the jobs that have none.
    async fn recovered(&mut self, recovered: Recovered) -> Result<(), Error> {
        if !matches!(self.state, State::Created { .. }) {
            return Ok(());
        }
        info!(
            dirty = recovered.dirty.len(),
            jobs = recovered.graphs.len(),
            unreadable = recovered.unreadable.len(),
            "recovered what the former leader left"
        );
        for entry in recovered.clean {
            self.keep_result(entry, false).await;
        }
        for entry in recovered.dirty {
            info!(job = %entry.job_id, status = %entry.status, "cleaning up after a job of the former leader");
            let job_id = entry.job_id;
            self.keep_result(entry, true).await;
            self.clean_up(job_id);
        }
        for graph in recovered.unreadable {
            self.fail_unreadable(graph);
        }
        let mut commitments = recovered.commitments;
        for graph in recovered.graphs {
            let kept = commitments.remove(&graph.job_id);
            let finished = kept.is_some();
            info!(job = %graph.job_id, name = graph.name, finished, "recovering a job");
            self.start_job(graph, kept);
        }
        self.leadership(leadership::Input::Recovered).await
    }

    /// Makes the result of a job that ended under a former leader readable.
    async fn keep_result(&mut self, entry: JobResultEntry, to_archive: bool) {
        if self.finished.get(entry.job_id) == Lookup::Unknown {
            let kept = self.archive.keep(finished_of(entry), to_archive).await;
            let removed = self.finished.insert(kept, Instant::now());
            self.remove_finished(removed);
        }
    }

    /// A job that cannot be run again, because its graph is lost or what it
    /// is to publish, has failed.
    fn fail_unreadable(&mut self, Unreadable { job_id, reason }: Unreadable) {
        let message = format!("job {job_id} could not be recovered: {reason}; submit it again");
        let failure = Failure::new(ErrorCode::HighAvailability, message);
        let job = Job::recovered("(unknown)".to_owned(), super::now_ms());
        let result = job.result(job_id, JobStatus::Failed, Some(failure));
        self.jobs.insert(job_id, job);
        self.end_job(result);
    }
}

fn finished_of(entry: JobResultEntry) -> FinishedJob {
    let overview = JobOverview {
        job_id: entry.job_id,
        name: entry.job_name,
        status: entry.status,
        start_time_ms: entry.start_time_ms,
        end_time_ms: Some(entry.start_time_ms + entry.runtime_ms),
    };
    let details = JobDetails {
        overview,
        restarts: 0,
        vertices: Vec::new(),
        accumulators: entry.accumulators.clone(),
        failure: entry.failure.clone(),
        failures: ended_by(Some(entry.start_time_ms + entry.runtime_ms), entry.failure.as_ref()),
    };
    let result = JobResult {
        job_id: entry.job_id,
        status: entry.status,
        failure: entry.failure,
        runtime_ms: entry.runtime_ms,
        first_record_ms: None,
        accumulators: entry.accumulators,
        collected: entry.collected,
    };
    FinishedJob { details, result }
}

fn panic_message(error: JoinError) -> String {
    match error.try_into_panic() {
        Ok(panic) => panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_else(|| "without a message".to_owned()),
        Err(error) => error.to_string(),
    }
}
