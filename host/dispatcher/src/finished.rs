//! The jobs that ended: a bounded number stays readable, for a bounded time,
//! in bounded memory. What does not fit into memory is read from its file.
//!
//! Pure: who reads and writes the files is `archive`.

use heddle_model::id::JobId;
use heddle_rpc::{JobDetails, JobOverview, JobResult};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct FinishedJob {
    pub(crate) details: JobDetails,
    pub(crate) result: JobResult,
}

/// A job that ended, and whether its file is there.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) job: Arc<FinishedJob>,
    /// Of its text form; what it takes in memory is about that.
    pub(crate) size: u64,
    pub(crate) on_disk: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) capacity: usize,
    pub(crate) expiration: Duration,
    /// Bytes of content in memory. The latest job stays whatever its size.
    pub(crate) cache_size: u64,
}

#[derive(Debug)]
struct Entry {
    overview: JobOverview,
    since: Instant,
    size: u64,
    on_disk: bool,
    content: Option<Arc<FinishedJob>>,
}

/// Where a finished job is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Lookup {
    Cached(Arc<FinishedJob>),
    /// In its file.
    OnDisk,
    Unknown,
}

#[derive(Debug)]
pub(crate) struct FinishedJobs {
    limits: Limits,
    jobs: BTreeMap<JobId, Entry>,
    /// In the order in which they ended.
    order: VecDeque<JobId>,
    cached: u64,
}

impl FinishedJobs {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, jobs: BTreeMap::new(), order: VecDeque::new(), cached: 0 }
    }

    /// Gives the jobs whose files are needed no more.
    #[must_use]
    pub(crate) fn insert(&mut self, kept: Kept, now: Instant) -> Vec<JobId> {
        let job_id = kept.job.result.job_id;
        self.forget(job_id);
        self.cached += kept.size;
        let entry = Entry {
            overview: kept.job.details.overview.clone(),
            since: now,
            size: kept.size,
            on_disk: kept.on_disk,
            content: Some(kept.job),
        };
        self.jobs.insert(job_id, entry);
        self.order.push_back(job_id);
        let mut removed = Vec::new();
        while self.order.len() > self.limits.capacity.max(1) {
            removed.extend(self.forget_oldest());
        }
        removed.extend(self.shrink(job_id));
        removed
    }

    /// Makes room in memory: the oldest content first.
    fn shrink(&mut self, latest: JobId) -> Vec<JobId> {
        let mut removed = Vec::new();
        for job_id in self.order.clone() {
            if self.cached <= self.limits.cache_size || job_id == latest {
                break;
            }
            let Some(entry) = self.jobs.get_mut(&job_id).filter(|entry| entry.content.is_some()) else {
                continue;
            };
            if entry.on_disk {
                entry.content = None;
                self.cached -= entry.size;
            } else {
                self.forget(job_id);
                removed.push(job_id);
            }
        }
        removed
    }

    /// Forgets what is too old; gives the jobs whose files are needed no more.
    #[must_use]
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<JobId> {
        let mut removed = Vec::new();
        while let Some(oldest) = self.order.front().and_then(|job_id| self.jobs.get(job_id)) {
            if now.duration_since(oldest.since) < self.limits.expiration {
                break;
            }
            removed.extend(self.forget_oldest());
        }
        removed
    }

    fn forget_oldest(&mut self) -> Option<JobId> {
        let oldest = *self.order.front()?;
        self.forget(oldest);
        Some(oldest)
    }

    fn forget(&mut self, job_id: JobId) {
        if let Some(entry) = self.jobs.remove(&job_id) {
            self.order.retain(|other| *other != job_id);
            if entry.content.is_some() {
                self.cached -= entry.size;
            }
        }
    }

    pub(crate) fn get(&self, job_id: JobId) -> Lookup {
        match self.jobs.get(&job_id) {
            None => Lookup::Unknown,
            Some(Entry { content: Some(job), .. }) => Lookup::Cached(Arc::clone(job)),
            Some(_) => Lookup::OnDisk,
        }
    }

    pub(crate) fn overview(&self, job_id: JobId) -> Option<&JobOverview> {
        self.jobs.get(&job_id).map(|entry| &entry.overview)
    }

    pub(crate) fn overviews(&self) -> impl Iterator<Item = &JobOverview> {
        self.jobs.values().map(|entry| &entry.overview)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heddle_model::job_status::JobStatus;

    fn kept(id: u128, size: u64, on_disk: bool) -> Kept {
        let job_id = JobId(id);
        let overview = JobOverview {
            job_id,
            name: String::new(),
            status: JobStatus::Finished,
            start_time_ms: 0,
            end_time_ms: Some(1),
        };
        let details = JobDetails {
            overview,
            restarts: 0,
            vertices: Vec::new(),
            accumulators: BTreeMap::new(),
            failure: None,
            failures: Vec::new(),
        };
        let result = JobResult {
            job_id,
            status: JobStatus::Finished,
            failure: None,
            runtime_ms: 1,
            first_record_ms: None,
            accumulators: BTreeMap::new(),
            collected: BTreeMap::new(),
        };
        Kept { job: Arc::new(FinishedJob { details, result }), size, on_disk }
    }

    fn state(jobs: &FinishedJobs, ids: std::ops::RangeInclusive<u128>) -> String {
        let one = |id| match jobs.get(JobId(id)) {
            Lookup::Cached(_) => 'c',
            Lookup::OnDisk => 'd',
            Lookup::Unknown => '-',
        };
        ids.map(one).collect()
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many() {
        let limits = Limits { capacity: 2, expiration: Duration::MAX, cache_size: 1000 };
        let mut jobs = FinishedJobs::new(limits);
        let now = Instant::now();
        assert_eq!(jobs.insert(kept(1, 1, true), now), []);
        assert_eq!(jobs.insert(kept(2, 1, true), now), []);
        // The same again takes no second place.
        assert_eq!(jobs.insert(kept(1, 1, true), now), []);
        assert_eq!(jobs.insert(kept(3, 1, true), now), [JobId(2)]);
        assert_eq!(state(&jobs, 1..=3), "c-c");
    }

    #[test]
    fn what_does_not_fit_into_memory_is_in_its_file_or_gone() {
        let limits = Limits { capacity: 10, expiration: Duration::MAX, cache_size: 100 };
        let mut jobs = FinishedJobs::new(limits);
        let now = Instant::now();
        for (id, size, on_disk) in [(1, 40, true), (2, 40, false), (3, 20, true)] {
            assert_eq!(jobs.insert(kept(id, size, on_disk), now), []);
        }
        assert_eq!(state(&jobs, 1..=3), "ccc");
        assert_eq!(jobs.insert(kept(4, 10, true), now), []);
        assert_eq!(state(&jobs, 1..=4), "dccc");
        assert_eq!(jobs.insert(kept(5, 500, true), now), [JobId(2)]);
        assert_eq!(state(&jobs, 1..=5), "d-ddc", "the latest stays whatever its size");
        assert_eq!(jobs.insert(kept(6, 1, true), now), []);
        assert_eq!(state(&jobs, 1..=6), "d-dddc");
        assert_eq!(jobs.overviews().count(), 5);
    }

    #[test]
    fn they_expire() {
        let limits = Limits { capacity: 10, expiration: Duration::from_secs(60), cache_size: 100 };
        let mut jobs = FinishedJobs::new(limits);
        let start = Instant::now();
        assert_eq!(jobs.insert(kept(1, 1, true), start), []);
        assert_eq!(jobs.insert(kept(2, 1, true), start + Duration::from_secs(30)), []);
        assert_eq!(jobs.expire(start + Duration::from_secs(59)), []);
        assert_eq!(jobs.expire(start + Duration::from_secs(60)), [JobId(1)]);
        assert_eq!(jobs.expire(start + Duration::from_secs(600)), [JobId(2)]);
        assert_eq!(state(&jobs, 1..=2), "--");
    }
}
