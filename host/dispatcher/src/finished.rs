//! The jobs that ended: a bounded number stays readable.

use heddle_model::id::JobId;
use heddle_rpc::{JobDetails, JobResult};
use std::collections::{BTreeMap, VecDeque};

#[derive(Clone, Debug)]
pub(crate) struct FinishedJob {
    pub(crate) details: JobDetails,
    pub(crate) result: JobResult,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct FinishedJobs {
    capacity: usize,
    jobs: BTreeMap<JobId, FinishedJob>,
    /// In the order in which they ended.
    order: VecDeque<JobId>,
}

impl FinishedJobs {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, ..Self::default() }
    }

    pub(crate) fn insert(&mut self, job: FinishedJob) {
        let job_id = job.result.job_id;
        if self.jobs.insert(job_id, job).is_none() {
            self.order.push_back(job_id);
        }
        while self.order.len() > self.capacity {
            if let Some(oldest) = self.order.pop_front() {
                self.jobs.remove(&oldest);
            }
        }
    }

    pub(crate) fn get(&self, job_id: JobId) -> Option<&FinishedJob> {
        self.jobs.get(&job_id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &FinishedJob> {
        self.jobs.values()
    }
}
