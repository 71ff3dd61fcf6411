//! The requests that are not fulfilled yet, in the order of their arrival.

use crate::event::SlotRequest;
use heddle_model::id::{AllocationId, JobId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

#[derive(Clone, Debug)]
pub(crate) struct Pending {
    pub(crate) request: SlotRequest,
    pub(crate) arrived: Duration,
    /// Why the last slot that was tried did not serve it.
    pub(crate) last_refusal: Option<String>,
    number: u64,
}

/// A request is waiting, or it is assigned to a slot whose TaskExecutor has not
/// answered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Requests {
    all: BTreeMap<AllocationId, Pending>,
    /// By arrival.
    waiting: BTreeSet<(u64, AllocationId)>,
    next_number: u64,
}

impl Requests {
    pub(crate) fn contains(&self, allocation_id: AllocationId) -> bool {
        self.all.contains_key(&allocation_id)
    }

    pub(crate) fn add(&mut self, now: Duration, request: SlotRequest) {
        let number = self.next_number;
        self.next_number += 1;
        self.waiting.insert((number, request.allocation_id));
        self.all.insert(request.allocation_id, Pending { request, arrived: now, last_refusal: None, number });
    }

    pub(crate) fn remove(&mut self, allocation_id: AllocationId) -> Option<Pending> {
        let pending = self.all.remove(&allocation_id)?;
        self.waiting.remove(&(pending.number, allocation_id));
        Some(pending)
    }

    /// It waits no longer: a slot is being asked for.
    pub(crate) fn assign(&mut self, allocation_id: AllocationId) {
        if let Some(pending) = self.all.get(&allocation_id) {
            self.waiting.remove(&(pending.number, allocation_id));
        }
    }

    /// It waits again, at its old place. Does nothing if it was given up.
    pub(crate) fn requeue(&mut self, allocation_id: AllocationId, refusal: Option<String>) {
        if let Some(pending) = self.all.get_mut(&allocation_id) {
            self.waiting.insert((pending.number, allocation_id));
            if refusal.is_some() {
                pending.last_refusal = refusal;
            }
        }
    }

    /// Oldest first.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = &Pending> {
        self.waiting.iter().filter_map(|(_, allocation_id)| self.all.get(allocation_id))
    }

    pub(crate) fn waiting_len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn of_job(&self, job_id: JobId) -> Vec<AllocationId> {
        self.all.values().filter(|p| p.request.job_id == job_id).map(|p| p.request.allocation_id).collect()
    }

    /// How many wait, by job.
    pub(crate) fn waiting_by_job(&self) -> BTreeMap<JobId, u32> {
        let mut waiting = BTreeMap::new();
        for pending in self.waiting() {
            *waiting.entry(pending.request.job_id).or_default() += 1;
        }
        waiting
    }
}
