//! The brain: matches requests with slots, and asks for as many workers as the
//! unmatched requests need.
//!
//! Requests are served in the order of their arrival. A request that no free
//! slot serves counts against the slots of workers that are coming; only if
//! those do not suffice another worker is asked for.

use crate::event::{Action, Event, ReportedSlot, SlotRequest};
use crate::options::Options;
use crate::requests::Requests;
use crate::shortage::{self, Numbers};
use crate::slots::{Change, SlotInput, SlotState, Slots};
use crate::workers::Workers;
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::{AllocationId, InstanceId, JobId, ResourceId, SlotId};
use heddle_model::memory::ResourceProfile;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The slot manager in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overview {
    pub task_executors: usize,
    /// Asked for and not registered yet.
    pub coming_workers: u32,
    pub slots: usize,
    pub free_slots: usize,
    /// Requests without a slot.
    pub waiting_requests: usize,
}

/// See the crate's description.
#[derive(Clone, Debug)]
pub struct SlotManager {
    options: Options,
    slots: Slots,
    requests: Requests,
    workers: Workers,
    last_step: Duration,
}

fn fits(offered: ResourceProfile, wanted: ResourceProfile) -> bool {
    offered.task_memory >= wanted.task_memory
        && offered.managed_memory >= wanted.managed_memory
        && offered.network_memory >= wanted.network_memory
}

impl SlotManager {
    pub fn new(options: Options) -> Self {
        Self {
            options,
            slots: Slots::default(),
            requests: Requests::default(),
            workers: Workers::default(),
            last_step: Duration::ZERO,
        }
    }

    pub fn overview(&self) -> Overview {
        Overview {
            task_executors: self.slots.executors().count(),
            coming_workers: self.workers.coming(),
            slots: self.slots.total(),
            free_slots: self.slots.free().len(),
            waiting_requests: self.requests.waiting_len(),
        }
    }

    /// Each registered TaskExecutor with its slots, and those of them that are
    /// free.
    pub fn task_executors(&self) -> impl Iterator<Item = (&ResourceId, usize, usize)> {
        self.slots
            .executors()
            .map(|(resource_id, executor)| (resource_id, executor.slots.len(), executor.free_slots()))
    }

    /// Whether the worker was told to end: it is not to register again.
    pub fn is_releasing(&self, resource_id: &ResourceId) -> bool {
        self.workers.is_releasing(resource_id)
    }

    /// Takes what happened and gives what is to be done. `now` never decreases.
    pub fn step(&mut self, now: Duration, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        self.last_step = now;
        match event {
            Event::Report { instance, resource_id, slots } => {
                self.report(now, instance, resource_id, &slots, &mut actions);
            }
            Event::TaskExecutorGone { instance, reason, release } => {
                if let Some(resource_id) = self.slots.resource_of(instance).cloned() {
                    // One that somebody else started may come back.
                    if release && self.owns_workers() {
                        self.release(&resource_id, reason.clone(), &mut actions);
                    }
                    self.lose(&resource_id, &reason, &mut actions);
                }
            }
            Event::SlotAvailable { instance, slot_id, allocation_id } => {
                self.apply(now, instance, &slot_id, SlotInput::Available(allocation_id), None);
            }
            Event::Request(request) => self.request(now, request, &mut actions),
            Event::Cancel { allocation_id } => {
                self.requests.remove(allocation_id);
            }
            Event::JobGone { job_id } => {
                for allocation_id in self.requests.of_job(job_id) {
                    self.requests.remove(allocation_id);
                }
            }
            Event::Assigned { instance, slot_id, allocation_id } => {
                self.apply(now, instance, &slot_id, SlotInput::Assigned(allocation_id), None);
            }
            Event::Refused { instance, slot_id, allocation_id, reason } => {
                self.apply(now, instance, &slot_id, SlotInput::Refused(allocation_id), Some(reason));
            }
            Event::WorkerStarted { resource_id } => {
                let known =
                    self.slots.executor(&resource_id).is_some() || self.workers.is_releasing(&resource_id);
                self.workers.started(now, resource_id, known);
            }
            Event::WorkerStartFailed { reason } => {
                self.workers.start_failed();
                self.workers.failed(now, reason, &self.options);
            }
            Event::WorkerTerminated { resource_id, reason } => {
                if self.workers.ended(&resource_id) {
                    // As wanted.
                } else if self.workers.take_starting(&resource_id) {
                    let reason = format!("worker {resource_id} ended before it registered: {reason}");
                    self.workers.failed(now, reason, &self.options);
                } else {
                    self.lose(&resource_id, &reason, &mut actions);
                }
            }
            Event::Tick => {}
        }
        self.end_overdue_workers(now, &mut actions);
        self.serve(now, &mut actions);
        self.start_workers(now, &mut actions);
        self.refuse(now, &mut actions);
        self.release_idle(now, &mut actions);
        actions
    }

    /// When to step with [`Event::Tick`] at the latest.
    pub fn next_deadline(&self) -> Option<Duration> {
        let options = &self.options;
        let idle = self
            .slots
            .executors()
            .filter_map(|(_, executor)| executor.idle_since.filter(|_| self.owns_workers()))
            .map(|since| since.saturating_add(options.idle_timeout));
        let limited = self.capacity().is_some();
        let waiting = self.requests.waiting().flat_map(|pending| {
            let timeout = pending.arrived.saturating_add(options.request_timeout);
            // What was not refused when its grace ended waits for a slot.
            let grace = pending.arrived.saturating_add(options.limit_grace);
            [Some(timeout), Some(grace).filter(|at| limited && *at > self.last_step)]
        });
        let overdue = self.workers.first_overdue(options.worker_start_timeout);
        let paused =
            Some(self.workers.paused_until()).filter(|at| *at > self.last_step && self.missing_slots() > 0);
        idle.chain(waiting.flatten()).chain(overdue).chain(paused).min()
    }

    fn report(
        &mut self,
        now: Duration,
        instance: InstanceId,
        resource_id: ResourceId,
        report: &[ReportedSlot],
        actions: &mut Vec<Action>,
    ) {
        if self.slots.resource_of(instance) == Some(&resource_id) {
            for state in self.slots.reconcile(now, &resource_id, report) {
                self.settle(&Change { before: state, after: SlotState::Unclear }, None);
            }
            for slot in report {
                let slot_id = SlotId { resource_id: resource_id.clone(), slot_number: slot.slot_number };
                self.apply(now, instance, &slot_id, SlotInput::Reported(slot.allocation), None);
            }
            return;
        }
        if self.workers.is_releasing(&resource_id) {
            let reason = "it was released before".to_owned();
            actions.push(Action::ReleaseWorker { resource_id, reason });
            return;
        }
        let replaced = self.slots.remove(&resource_id);
        let awaited = replaced.is_some() || self.count_off(now, &resource_id, report);
        if !awaited && self.exceeds_limit(report.len()) {
            let reason = format!(
                "its {} slots exceed slotmanager.number-of-slots.max or the most workers",
                report.len()
            );
            self.release(&resource_id, reason, actions);
            return;
        }
        self.slots.register(now, instance, resource_id.clone(), report);
        // What the former instance was asked and did not answer is asked again,
        // unless the new one knows of it.
        let unanswered = replaced.into_iter().flat_map(|executor| executor.slots.into_values());
        for slot in unanswered {
            self.settle(&Change { before: slot.state, after: SlotState::Unclear }, None);
        }
        for slot in report {
            if let Some((allocation_id, _)) = slot.allocation {
                self.requests.remove(allocation_id);
            }
        }
    }

    /// Counts a worker that is coming off for the one that registers; false if
    /// none was coming that matches.
    fn count_off(&mut self, now: Duration, resource_id: &ResourceId, report: &[ReportedSlot]) -> bool {
        let wanted = self.options.worker;
        let exact = report.len() == wanted.slots as usize && report.iter().all(|s| s.profile == wanted.slot);
        if self.workers.take_starting(resource_id) {
            if !exact {
                // Were this no failure, workers that fit no request would be
                // started without end.
                let reason = format!(
                    "worker {resource_id} registered with other slots than were asked for ({} instead of {})",
                    report.len(),
                    wanted.slots
                );
                self.workers.failed(now, reason, &self.options);
            }
            return true;
        }
        exact && self.workers.take_early(resource_id)
    }

    fn request(&mut self, now: Duration, request: SlotRequest, actions: &mut Vec<Action>) {
        let allocation_id = request.allocation_id;
        if self.requests.contains(allocation_id) || self.slots.has_allocation(allocation_id) {
            return;
        }
        let offered = self.options.worker.slot;
        let startable = self.owns_workers();
        let anywhere = || {
            self.slots.executors().any(|(_, e)| e.slots.values().any(|s| fits(s.profile, request.profile)))
        };
        if startable && !fits(offered, request.profile) && !anywhere() {
            let failure = shortage::profile_too_large(request.profile, offered);
            actions.push(Action::RefuseRequest { job_id: request.job_id, allocation_id, failure });
            return;
        }
        self.requests.add(now, request);
    }

    /// Applies a message of a TaskExecutor to one of its slots. Messages of a
    /// former instance are late and change nothing.
    fn apply(
        &mut self,
        now: Duration,
        instance: InstanceId,
        slot_id: &SlotId,
        input: SlotInput,
        refusal: Option<String>,
    ) {
        if self.slots.resource_of(instance) != Some(&slot_id.resource_id) {
            return;
        }
        if let Some(change) = self.slots.apply(now, slot_id, input) {
            self.settle(&change, refusal);
        }
    }

    /// What a slot's change means for the requests.
    fn settle(&mut self, change: &Change, refusal: Option<String>) {
        if change.before == change.after {
            return;
        }
        // An allocation that a TaskExecutor has made fulfils its request,
        // whichever slot was asked for it.
        if let SlotState::Allocated((allocation_id, _)) = change.after {
            self.requests.remove(allocation_id);
        }
        if let SlotState::Assigning((allocation_id, _)) = change.before {
            match change.after {
                // Given and freed again before the answer came.
                SlotState::Free => {
                    self.requests.remove(allocation_id);
                }
                SlotState::Unclear | SlotState::Allocated(_) => self.requests.requeue(allocation_id, refusal),
                SlotState::Assigning(_) => {}
            }
        }
    }

    /// A TaskExecutor is lost: its jobs are told, its unanswered requests wait
    /// again.
    fn lose(&mut self, resource_id: &ResourceId, reason: &str, actions: &mut Vec<Action>) {
        let Some(executor) = self.slots.remove(resource_id) else { return };
        let mut jobs = BTreeSet::new();
        for slot in executor.slots.values() {
            if let SlotState::Allocated((_, job_id)) = slot.state {
                jobs.insert(job_id);
            }
            self.settle(&Change { before: slot.state, after: SlotState::Unclear }, Some(reason.to_owned()));
        }
        actions.extend(jobs.into_iter().map(|job_id| {
            let message = format!("worker {resource_id} is lost: {reason}");
            Action::WorkerLost {
                job_id,
                resource_id: resource_id.clone(),
                failure: Failure::new(ErrorCode::WorkerLost, message),
            }
        }));
    }

    /// Whether workers are started and ended from here, and not by somebody else.
    fn owns_workers(&self) -> bool {
        self.options.max_workers != Some(0)
    }

    fn release(&mut self, resource_id: &ResourceId, reason: String, actions: &mut Vec<Action>) {
        self.workers.release(resource_id.clone());
        actions.push(Action::ReleaseWorker { resource_id: resource_id.clone(), reason });
    }

    fn end_overdue_workers(&mut self, now: Duration, actions: &mut Vec<Action>) {
        let timeout = self.options.worker_start_timeout;
        for resource_id in self.workers.overdue(now, timeout) {
            self.workers.take_starting(&resource_id);
            let reason = format!("worker {resource_id} did not register within {} s", timeout.as_secs_f64());
            self.workers.failed(now, reason.clone(), &self.options);
            self.release(&resource_id, reason, actions);
        }
    }

    /// Gives free slots to waiting requests, oldest request first.
    fn serve(&mut self, now: Duration, actions: &mut Vec<Action>) {
        let mut matches: Vec<(SlotRequest, SlotId)> = Vec::new();
        let mut taken = BTreeSet::new();
        for pending in self.requests.waiting() {
            if taken.len() == self.slots.free().len() {
                break;
            }
            let wanted = pending.request.profile;
            let slot = self.slots.free().iter().find(|slot_id| {
                !taken.contains(*slot_id) && self.slots.profile(slot_id).is_some_and(|p| fits(p, wanted))
            });
            if let Some(slot_id) = slot {
                taken.insert(slot_id);
                matches.push((pending.request.clone(), slot_id.clone()));
            }
        }
        for (request, slot_id) in matches {
            let Some(executor) = self.slots.executor(&slot_id.resource_id) else { continue };
            let instance = executor.instance;
            self.requests.assign(request.allocation_id);
            self.slots.apply(now, &slot_id, SlotInput::Assign((request.allocation_id, request.job_id)));
            actions.push(Action::Assign { instance, slot_id, request });
        }
    }

    /// Waiting requests that the slots of coming workers do not cover.
    fn missing_slots(&self) -> usize {
        let offered = self.options.worker.slot;
        let wanted = self.requests.waiting().filter(|p| fits(offered, p.request.profile)).count();
        wanted.saturating_sub(self.coming_slots())
    }

    fn coming_slots(&self) -> usize {
        self.workers.coming() as usize * self.options.worker.slots as usize
    }

    /// Whether this many more slots, of one more worker, are above a limit.
    fn exceeds_limit(&self, slots: usize) -> bool {
        let all_slots = self.slots.total() + self.coming_slots() + slots;
        let all_workers = self.slots.executors().count() + self.workers.coming() as usize + 1;
        let above = |limit: Option<u32>, value: usize| limit.is_some_and(|limit| value > limit as usize);
        // With 0 workers to start, every worker comes from elsewhere.
        let workers = self.options.max_workers.filter(|max| *max > 0);
        above(self.options.max_slots, all_slots) || above(workers, all_workers)
    }

    fn start_workers(&mut self, now: Duration, actions: &mut Vec<Action>) {
        let per_worker = self.options.worker.slots as usize;
        if now < self.workers.paused_until() || !self.owns_workers() || per_worker == 0 {
            return;
        }
        for _ in 0..self.missing_slots().div_ceil(per_worker) {
            if self.exceeds_limit(per_worker) {
                break;
            }
            self.workers.request();
            actions.push(Action::StartWorker);
        }
    }

    /// Slots that there can be at most, if that is limited and known.
    fn capacity(&self) -> Option<usize> {
        let per_worker = self.options.worker.slots.max(1);
        let by_slots = self.options.max_slots.map(|max| max / per_worker);
        let workers = match (self.options.max_workers, by_slots) {
            (Some(0), _) | (None, None) => return None,
            (Some(a), Some(b)) => a.min(b),
            (Some(a), None) | (None, Some(a)) => a,
        };
        Some((workers as usize * per_worker as usize).max(self.slots.total()))
    }

    /// Refuses what waited too long and what will never be served.
    fn refuse(&mut self, now: Duration, actions: &mut Vec<Action>) {
        let options = &self.options;
        let due = |arrived: Duration, wait: Duration| arrived.saturating_add(wait) <= now;
        let waiting_too_long = |arrived: Duration| due(arrived, options.request_timeout);
        let capacity = self.capacity();
        let anything = self.requests.waiting().any(|p| {
            waiting_too_long(p.arrived) || (capacity.is_some() && due(p.arrived, options.limit_grace))
        });
        if !anything {
            return;
        }
        let held = self.slots.held();
        let waiting = self.requests.waiting_by_job();
        let of = |jobs: &BTreeMap<JobId, u32>, job_id| jobs.get(&job_id).copied().unwrap_or(0);
        let mut refused: Vec<(JobId, AllocationId, Failure)> = Vec::new();
        for pending in self.requests.waiting() {
            let SlotRequest { job_id, allocation_id, .. } = pending.request;
            let numbers = || Numbers {
                held: of(&held, job_id),
                waiting: of(&waiting, job_id),
                slots: self.slots.total(),
                free: self.slots.free().len(),
                workers: self.slots.executors().count(),
                coming: self.workers.coming(),
                slots_per_worker: options.worker.slots,
                max_slots: options.max_slots,
                max_workers: options.max_workers,
                last_start_failure: self.workers.last_failure().map(str::to_owned),
                last_refusal: pending.last_refusal.clone(),
            };
            let wanted = (of(&held, job_id) + of(&waiting, job_id)) as usize;
            if capacity.is_some_and(|most| wanted > most) && due(pending.arrived, options.limit_grace) {
                refused.push((job_id, allocation_id, numbers().above_limit()));
            } else if waiting_too_long(pending.arrived) {
                refused.push((job_id, allocation_id, numbers().timed_out(options.request_timeout)));
            }
        }
        for (job_id, allocation_id, failure) in refused {
            self.requests.remove(allocation_id);
            actions.push(Action::RefuseRequest { job_id, allocation_id, failure });
        }
    }

    fn release_idle(&mut self, now: Duration, actions: &mut Vec<Action>) {
        if !self.owns_workers() {
            return;
        }
        let timeout = self.options.idle_timeout;
        let idle: Vec<ResourceId> = self
            .slots
            .executors()
            .filter(|(_, e)| e.idle_since.is_some_and(|since| since.saturating_add(timeout) <= now))
            .map(|(resource_id, _)| resource_id.clone())
            .collect();
        for resource_id in idle {
            self.slots.remove(&resource_id);
            self.release(&resource_id, format!("idle for {} s", timeout.as_secs_f64()), actions);
        }
    }
}
