//! A job that has not ended, as the dispatcher sees it, and who waits for it.

use crate::message::Reply;
use crate::service::now_ms;
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::{JobId, JobMasterId};
use heddle_model::job_status::JobStatus;
use heddle_rpc::{Address, JobDetails, JobFailure, JobMasterGateway, JobOverview, JobResult};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) enum Phase {
    /// It is being stored; the reply is owed to who submitted it.
    Submitting {
        reply: Option<Reply<JobId>>,
    },
    Running {
        gateway: Arc<dyn JobMasterGateway>,
        id: JobMasterId,
        address: Address,
    },
    /// Its result is being stored.
    Ending,
}

/// The failure that ended a job, as the only one that is known.
pub(crate) fn ended_by(end_time_ms: Option<u64>, failure: Option<&Failure>) -> Vec<JobFailure> {
    let at_ms = end_time_ms.unwrap_or_default();
    failure.map(|failure| JobFailure { at_ms, failure: failure.clone() }).into_iter().collect()
}

pub(crate) struct Job {
    pub(crate) name: String,
    /// Milliseconds since the epoch.
    pub(crate) start_time_ms: u64,
    pub(crate) phase: Phase,
    pub(crate) cancel_when_running: bool,
    waiters: Vec<Reply<JobResult>>,
}

impl Job {
    pub(crate) fn submitting(name: String, start_time_ms: u64, reply: Reply<JobId>) -> Self {
        let phase = Phase::Submitting { reply: Some(reply) };
        Self { name, start_time_ms, phase, cancel_when_running: false, waiters: Vec::new() }
    }

    /// Nobody submitted it: a former leader left it.
    pub(crate) fn recovered(name: String, start_time_ms: u64) -> Self {
        let phase = Phase::Submitting { reply: None };
        Self { name, start_time_ms, phase, cancel_when_running: false, waiters: Vec::new() }
    }

    /// Tells who submitted it that it is stored and will run.
    pub(crate) fn accept(&mut self, job_id: JobId) {
        if let Phase::Submitting { reply } = &mut self.phase
            && let Some(reply) = reply.take()
        {
            let _ = reply.send(Ok(job_id));
        }
    }

    /// Tells all who wait that it will not run.
    pub(crate) fn refused(self, failure: Failure) {
        if let Phase::Submitting { reply: Some(reply) } = self.phase {
            let _ = reply.send(Err(failure.clone().into()));
        }
        for waiter in self.waiters {
            let _ = waiter.send(Err(failure.clone().into()));
        }
    }

    pub(crate) fn wait_for_result(&mut self, reply: Reply<JobResult>) {
        // Those who gave up make room.
        self.waiters.retain(|waiter| !waiter.is_closed());
        self.waiters.push(reply);
    }

    pub(crate) fn answer_waiters(self, result: &JobResult) {
        for waiter in self.waiters {
            let _ = waiter.send(Ok(result.clone()));
        }
    }

    /// Tells all who wait that this leader no longer runs it.
    pub(crate) fn suspended(mut self, job_id: JobId) {
        if let Phase::Submitting { reply } = &mut self.phase
            && let Some(reply) = reply.take()
        {
            let message =
                format!("the leadership ended while job {job_id} was submitted; ask the next leader for it");
            let _ = reply.send(Err(Failure::new(ErrorCode::Fenced, message).into()));
        }
        let result = self.result(job_id, JobStatus::Suspended, None);
        self.answer_waiters(&result);
    }

    /// A result that the job master did not give.
    pub(crate) fn result(&self, job_id: JobId, status: JobStatus, failure: Option<Failure>) -> JobResult {
        JobResult {
            job_id,
            status,
            failure,
            runtime_ms: now_ms().saturating_sub(self.start_time_ms),
            first_record_ms: None,
            accumulators: BTreeMap::new(),
            collected: BTreeMap::new(),
        }
    }

    pub(crate) fn overview(&self, job_id: JobId) -> JobOverview {
        let status = match self.phase {
            Phase::Submitting { .. } => JobStatus::Initializing,
            Phase::Running { .. } | Phase::Ending => JobStatus::Running,
        };
        JobOverview {
            job_id,
            name: self.name.clone(),
            status,
            start_time_ms: self.start_time_ms,
            end_time_ms: None,
        }
    }

    /// What is known of a running job that its master does not tell.
    pub(crate) fn details_without_master(&self, job_id: JobId) -> JobDetails {
        JobDetails {
            overview: self.overview(job_id),
            restarts: 0,
            vertices: Vec::new(),
            accumulators: BTreeMap::new(),
            failure: None,
            failures: Vec::new(),
        }
    }

    /// What is known of a job that ended, without its master's last word.
    pub(crate) fn details(&self, job_id: JobId, result: &JobResult) -> JobDetails {
        let mut details = self.details_without_master(job_id);
        details.overview.status = result.status;
        details.overview.end_time_ms = Some(self.start_time_ms + result.runtime_ms);
        details.accumulators = result.accumulators.clone();
        details.failure = result.failure.clone();
        details.failures = ended_by(details.overview.end_time_ms, result.failure.as_ref());
        details
    }
}
