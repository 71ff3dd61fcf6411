//! What clients ask of jobs: lists, details, results, cancellation. A job
//! master that does not answer holds up nobody.

use super::{Done, Service, bounded};
use crate::finished::{FinishedJob, Lookup};
use crate::jobs::Phase;
use crate::message::Reply;
use crate::submission;
use heddle_model::failure::Failure;
use heddle_model::id::{JobId, ResourceManagerId};
use heddle_model::job_status::JobStatus;
use heddle_rpc::{ClusterOverview, JobDetails, JobOverview, JobResult, ResourceOverview};
use tokio::task::JoinSet;
use tracing::info;

impl Service {
    fn unknown(&self, job_id: JobId) -> Failure {
        let finished = self.finished.overviews().map(|job| job.job_id);
        submission::unknown_job(job_id, self.jobs.keys().copied().chain(finished))
    }

    pub(super) fn list(&mut self, reply: Reply<Vec<JobOverview>>) {
        let mut jobs: Vec<_> = self.finished.overviews().cloned().collect();
        let mut asked: JoinSet<JobOverview> = JoinSet::new();
        for (job_id, job) in &self.jobs {
            let known = job.overview(*job_id);
            let Phase::Running { gateway, id, .. } = &job.phase else {
                jobs.push(known);
                continue;
            };
            let (gateway, id, limit) = (gateway.clone(), *id, self.options.rpc_timeout);
            asked.spawn(async move {
                match bounded(limit, gateway.request_job(id)).await {
                    Ok(details) => unless_ended(details.overview, known),
                    Err(_) => known,
                }
            });
        }
        self.steps.spawn(async move {
            while let Some(answer) = asked.join_next().await {
                jobs.extend(answer.ok());
            }
            jobs.sort_by_key(|job| (job.start_time_ms, job.job_id));
            let _ = reply.send(Ok(jobs));
            Done::Answered
        });
    }

    pub(super) fn details(&mut self, job_id: JobId, reply: Reply<JobDetails>) {
        let Some(job) = self.jobs.get(&job_id) else {
            self.answer_finished(job_id, reply, |job| job.details.clone());
            return;
        };
        let known = job.details_without_master(job_id);
        let Phase::Running { gateway, id, .. } = &job.phase else {
            let _ = reply.send(Ok(known));
            return;
        };
        let (gateway, id, limit) = (gateway.clone(), *id, self.options.rpc_timeout);
        self.steps.spawn(async move {
            // What the job master says, or what is known without it.
            let details = match bounded(limit, gateway.request_job(id)).await {
                Ok(details) => {
                    JobDetails { overview: unless_ended(details.overview, known.overview), ..details }
                }
                Err(_) => known,
            };
            let _ = reply.send(Ok(details));
            Done::Answered
        });
    }

    pub(super) fn result(&mut self, job_id: JobId, reply: Reply<JobResult>) {
        match self.jobs.get_mut(&job_id) {
            Some(job) => job.wait_for_result(reply),
            None => self.answer_finished(job_id, reply, |job| job.result.clone()),
        }
    }

    /// Answers from memory, else from the job's file.
    fn answer_finished<T: Send + 'static>(
        &mut self,
        job_id: JobId,
        reply: Reply<T>,
        part: impl FnOnce(&FinishedJob) -> T + Send + 'static,
    ) {
        match self.finished.get(job_id) {
            Lookup::Cached(job) => drop(reply.send(Ok(part(&job)))),
            Lookup::Unknown => drop(reply.send(Err(self.unknown(job_id).into()))),
            Lookup::OnDisk => {
                let archive = self.archive.clone();
                self.steps.spawn(async move {
                    let read = archive.read(job_id).await;
                    let _ = reply.send(read.map(|job| part(&job)).map_err(Into::into));
                    Done::Answered
                });
            }
        }
    }

    /// The resource manager tells what it has; the jobs are counted here.
    pub(super) fn overview(&mut self, reply: Reply<ClusterOverview>) {
        let ended = |status| self.finished.overviews().filter(|job| job.status == status).count() as u32;
        let overview = ClusterOverview {
            resources: ResourceOverview::default(),
            jobs_running: self.jobs.len() as u32,
            jobs_finished: ended(JobStatus::Finished),
            jobs_canceled: ended(JobStatus::Canceled),
            jobs_failed: ended(JobStatus::Failed),
            rpc: self.rpc.counters().into_iter().map(|(name, count)| (name.to_owned(), count)).collect(),
        };
        let (rpc, limit) = (self.rpc.clone(), self.options.rpc_timeout);
        let (address, token) = (self.options.resource_manager.clone(), ResourceManagerId(self.session()));
        self.steps.spawn(async move {
            let asked = async { rpc.resource_manager(&address)?.request_overview(token).await };
            let resources = bounded(limit, asked).await;
            let _ = reply.send(resources.map(|resources| ClusterOverview { resources, ..overview }));
            Done::Answered
        });
    }

    pub(super) fn cancel(&mut self, job_id: JobId, reply: Reply<()>) {
        let Some(job) = self.jobs.get_mut(&job_id) else {
            let _ = reply.send(match self.finished.overview(job_id).map(|job| job.status) {
                Some(JobStatus::Canceled) => Ok(()),
                Some(status) => Err(submission::not_cancellable(job_id, status).into()),
                None => Err(self.unknown(job_id).into()),
            });
            return;
        };
        match &job.phase {
            Phase::Submitting { .. } => {
                job.cancel_when_running = true;
                let _ = reply.send(Ok(()));
            }
            Phase::Ending => {
                let _ = reply.send(Ok(()));
            }
            Phase::Running { gateway, id, .. } => {
                info!(job = %job_id, "cancelling a job");
                let (gateway, id, limit) = (gateway.clone(), *id, self.options.rpc_timeout);
                self.steps.spawn(async move {
                    let _ = reply.send(bounded(limit, gateway.cancel(id)).await);
                    Done::Answered
                });
            }
        }
    }
}

/// The end of a job is told once it is stored: who has heard of it finds it so
/// at the next leader, too.
fn unless_ended(told: JobOverview, known: JobOverview) -> JobOverview {
    if told.status.is_globally_terminal() { known } else { told }
}
