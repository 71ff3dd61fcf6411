//! The job master's slot pool: which slots the job asked for, which
//! TaskExecutors offered, and who uses them.
//!
//! Pure. Does not know what runs in a slot: the scheduler owns a request by
//! its id and hears what became of it. Allocation ids are drawn by the caller.

use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::{AllocationId, ResourceId, SlotRequestId};
use heddle_model::memory::ResourceProfile;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Time limits of the pool.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// `slot.request.timeout`: how long a request may stay unserved.
    pub request_timeout: Duration,
    /// `slot.idle.timeout`: how long a slot that nobody uses is kept.
    pub idle_timeout: Duration,
}

/// A slot that the scheduler wants, with the allocation id drawn for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewRequest {
    pub id: SlotRequestId,
    pub allocation_id: AllocationId,
    pub profile: ResourceProfile,
}

/// A slot as a TaskExecutor offers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    pub allocation_id: AllocationId,
    pub slot_number: u32,
    pub profile: ResourceProfile,
}

/// A request that has got its slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fulfilled {
    pub request: SlotRequestId,
    pub allocation_id: AllocationId,
    pub resource_id: ResourceId,
}

#[derive(Clone, Debug)]
pub enum Event {
    Request(Vec<NewRequest>),
    /// The scheduler no longer wants these, served or not.
    Release {
        requests: Vec<SlotRequestId>,
        cause: Failure,
    },
    /// The same, but something may still run in the slots: no other request
    /// gets them.
    Abandon {
        requests: Vec<SlotRequestId>,
        cause: Failure,
    },
    ResourceManagerConnected,
    ResourceManagerDisconnected,
    TaskExecutorRegistered(ResourceId),
    TaskExecutorLost {
        resource_id: ResourceId,
        cause: Failure,
    },
    /// Answered by exactly one [`Action::AnswerOffer`], the first action.
    Offered {
        resource_id: ResourceId,
        offers: Vec<Offer>,
    },
    /// The slots that a TaskExecutor believes to be the job's.
    SlotsReported {
        resource_id: ResourceId,
        allocations: Vec<AllocationId>,
    },
    /// A slot is gone, says its TaskExecutor.
    SlotFailed {
        resource_id: ResourceId,
        allocation_id: AllocationId,
        cause: Failure,
    },
    /// A requested slot will not come, says the resource manager.
    AllocationFailed {
        allocation_id: AllocationId,
        cause: Failure,
    },
    /// The job is over: everything goes back.
    ReleaseAll {
        cause: Failure,
    },
    TimePassed,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// To the TaskExecutor that offered: these were accepted.
    AnswerOffer { accepted: Vec<AllocationId> },
    /// To the resource manager.
    RequestSlot { allocation_id: AllocationId, profile: ResourceProfile },
    /// To the resource manager.
    CancelSlotRequest { allocation_id: AllocationId },
    /// To the TaskExecutor.
    FreeSlot { resource_id: ResourceId, allocation_id: AllocationId, cause: Failure },
    /// To the scheduler.
    Fulfilled(Vec<Fulfilled>),
    /// To the scheduler: these are not served, or no longer.
    Failed { requests: Vec<SlotRequestId>, cause: Failure },
}

#[derive(Clone, Debug)]
struct PendingRequest {
    allocation_id: AllocationId,
    profile: ResourceProfile,
    deadline: Duration,
}

#[derive(Clone, Debug)]
struct Slot {
    resource_id: ResourceId,
    slot_number: u32,
    profile: ResourceProfile,
    /// None: it is kept for a later request.
    user: Option<SlotRequestId>,
}

/// The pool of one job.
#[derive(Debug)]
pub struct SlotPool {
    options: Options,
    connected: bool,
    task_executors: BTreeSet<ResourceId>,
    pending: BTreeMap<SlotRequestId, PendingRequest>,
    pending_by_allocation: BTreeMap<AllocationId, SlotRequestId>,
    pending_by_deadline: BTreeSet<(Duration, SlotRequestId)>,
    slots: BTreeMap<AllocationId, Slot>,
    slot_by_request: BTreeMap<SlotRequestId, AllocationId>,
    /// Slots that nobody uses, and until when.
    kept: BTreeMap<AllocationId, Duration>,
}

impl SlotPool {
    pub fn new(options: Options) -> Self {
        Self {
            options,
            connected: false,
            task_executors: BTreeSet::new(),
            pending: BTreeMap::new(),
            pending_by_allocation: BTreeMap::new(),
            pending_by_deadline: BTreeSet::new(),
            slots: BTreeMap::new(),
            slot_by_request: BTreeMap::new(),
            kept: BTreeMap::new(),
        }
    }

    pub fn step(&mut self, now: Duration, event: Event) -> Vec<Action> {
        match event {
            Event::Request(requests) => self.request(now, requests),
            Event::Release { requests, cause } => self.release(now, requests, cause, true),
            Event::Abandon { requests, cause } => self.release(now, requests, cause, false),
            Event::ResourceManagerConnected => self.connect(),
            Event::ResourceManagerDisconnected => {
                self.connected = false;
                Vec::new()
            }
            Event::TaskExecutorRegistered(resource_id) => {
                self.task_executors.insert(resource_id);
                Vec::new()
            }
            Event::TaskExecutorLost { resource_id, cause } => self.lose_task_executor(&resource_id, cause),
            Event::Offered { resource_id, offers } => self.offer(now, &resource_id, offers),
            Event::SlotsReported { resource_id, allocations } => self.reconcile(&resource_id, allocations),
            Event::SlotFailed { resource_id, allocation_id, cause } => match self.slots.get(&allocation_id) {
                Some(slot) if slot.resource_id == resource_id => self.lose_slots(&[allocation_id], cause),
                _ => Vec::new(),
            },
            Event::AllocationFailed { allocation_id, cause } => self.fail_allocation(allocation_id, cause),
            Event::ReleaseAll { cause } => self.release_all(cause),
            Event::TimePassed => self.time_passed(now),
        }
    }

    /// When `TimePassed` is due next.
    pub fn next_deadline(&self) -> Option<Duration> {
        let request = self.pending_by_deadline.first().map(|(deadline, _)| *deadline);
        self.kept.values().copied().chain(request).min()
    }

    /// Requests without a slot.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Slots that some request uses.
    pub fn in_use(&self) -> usize {
        self.slots.len() - self.kept.len()
    }

    /// Slots that are kept for later.
    pub fn kept(&self) -> usize {
        self.kept.len()
    }

    fn request(&mut self, now: Duration, requests: Vec<NewRequest>) -> Vec<Action> {
        let mut actions = Vec::new();
        let mut fulfilled = Vec::new();
        for NewRequest { id, allocation_id, profile } in requests {
            let kept = self.kept.keys().copied().find(|kept| self.slots[kept].profile == profile);
            if let Some(kept) = kept {
                fulfilled.push(self.use_slot(kept, id));
                continue;
            }
            let deadline = now.saturating_add(self.options.request_timeout);
            self.pending.insert(id, PendingRequest { allocation_id, profile, deadline });
            self.pending_by_allocation.insert(allocation_id, id);
            self.pending_by_deadline.insert((deadline, id));
            if self.connected {
                actions.push(Action::RequestSlot { allocation_id, profile });
            }
        }
        push_fulfilled(&mut actions, fulfilled);
        actions
    }

    fn connect(&mut self) -> Vec<Action> {
        self.connected = true;
        self.pending
            .values()
            .map(|request| Action::RequestSlot {
                allocation_id: request.allocation_id,
                profile: request.profile,
            })
            .collect()
    }

    fn offer(&mut self, now: Duration, resource_id: &ResourceId, offers: Vec<Offer>) -> Vec<Action> {
        let mut accepted = Vec::new();
        let mut fulfilled = Vec::new();
        let mut actions = Vec::new();
        // One after the other: an offer that was asked for must find its request
        // before another one, which was not, takes it.
        let known = self.task_executors.contains(resource_id);
        let (asked, unasked): (Vec<_>, Vec<_>) = offers
            .into_iter()
            .partition(|offer| self.pending_by_allocation.contains_key(&offer.allocation_id));
        for offer in asked.into_iter().chain(unasked) {
            if !known {
                continue;
            }
            if let Some(slot) = self.slots.get(&offer.allocation_id) {
                // A repeat is acknowledged again; another slot for the same
                // allocation is one too many.
                if slot.resource_id == *resource_id && slot.slot_number == offer.slot_number {
                    accepted.push(offer.allocation_id);
                }
                continue;
            }
            accepted.push(offer.allocation_id);
            self.slots.insert(
                offer.allocation_id,
                Slot {
                    resource_id: resource_id.clone(),
                    slot_number: offer.slot_number,
                    profile: offer.profile,
                    user: None,
                },
            );
            let until = now.saturating_add(self.options.idle_timeout);
            self.kept.insert(offer.allocation_id, until);
            let (done, more) = self.serve_with(offer.allocation_id);
            fulfilled.extend(done);
            actions.extend(more);
        }
        actions.insert(0, Action::AnswerOffer { accepted });
        push_fulfilled(&mut actions, fulfilled);
        actions
    }

    /// Gives a slot that nobody uses to the request it was allocated for, else
    /// to another that it fits; that one's own allocation is then not needed.
    fn serve_with(&mut self, allocation_id: AllocationId) -> (Option<Fulfilled>, Option<Action>) {
        if let Some(&request) = self.pending_by_allocation.get(&allocation_id) {
            self.remove_pending(request);
            return (Some(self.use_slot(allocation_id, request)), None);
        }
        let Some(profile) = self.slots.get(&allocation_id).map(|slot| slot.profile) else {
            return (None, None);
        };
        let fitting = self.pending.iter().find(|(_, request)| request.profile == profile);
        let Some((&request, _)) = fitting else { return (None, None) };
        let orphan = self.remove_pending(request).map(|request| request.allocation_id);
        let cancel = orphan
            .filter(|_| self.connected)
            .map(|allocation_id| Action::CancelSlotRequest { allocation_id });
        (Some(self.use_slot(allocation_id, request)), cancel)
    }

    fn remove_pending(&mut self, request: SlotRequestId) -> Option<PendingRequest> {
        let pending = self.pending.remove(&request)?;
        self.pending_by_allocation.remove(&pending.allocation_id);
        self.pending_by_deadline.remove(&(pending.deadline, request));
        Some(pending)
    }

    fn remove_slot(&mut self, allocation_id: AllocationId) -> Option<Slot> {
        let slot = self.slots.remove(&allocation_id)?;
        self.kept.remove(&allocation_id);
        if let Some(request) = slot.user {
            self.slot_by_request.remove(&request);
        }
        Some(slot)
    }

    fn use_slot(&mut self, allocation_id: AllocationId, request: SlotRequestId) -> Fulfilled {
        let slot = self.slots.get_mut(&allocation_id).expect("the caller found the slot in the pool");
        slot.user = Some(request);
        self.kept.remove(&allocation_id);
        self.slot_by_request.insert(request, allocation_id);
        Fulfilled { request, allocation_id, resource_id: slot.resource_id.clone() }
    }

    fn release(
        &mut self,
        now: Duration,
        requests: Vec<SlotRequestId>,
        cause: Failure,
        reusable: bool,
    ) -> Vec<Action> {
        let mut actions = Vec::new();
        let mut fulfilled = Vec::new();
        // All requests first: a slot must not go to one that is released, too.
        for request in &requests {
            if let Some(pending) = self.remove_pending(*request)
                && self.connected
            {
                actions.push(Action::CancelSlotRequest { allocation_id: pending.allocation_id });
            }
        }
        for request in requests {
            let Some(allocation_id) = self.slot_by_request.remove(&request) else { continue };
            let slot = self.slots.get_mut(&allocation_id).expect("both maps name the same slots");
            slot.user = None;
            self.kept.insert(allocation_id, now);
            if reusable {
                let (done, cancel) = self.serve_with(allocation_id);
                actions.extend(cancel);
                if let Some(done) = done {
                    fulfilled.push(done);
                    continue;
                }
            }
            actions.extend(self.free(allocation_id, &cause));
        }
        push_fulfilled(&mut actions, fulfilled);
        actions
    }

    fn free(&mut self, allocation_id: AllocationId, cause: &Failure) -> Option<Action> {
        let slot = self.remove_slot(allocation_id)?;
        Some(Action::FreeSlot { resource_id: slot.resource_id, allocation_id, cause: cause.clone() })
    }

    fn release_all(&mut self, cause: Failure) -> Vec<Action> {
        let pending = std::mem::take(&mut self.pending);
        let slots = std::mem::take(&mut self.slots);
        self.pending_by_allocation.clear();
        self.pending_by_deadline.clear();
        self.slot_by_request.clear();
        self.kept.clear();
        let cancelled = pending
            .into_values()
            .filter(|_| self.connected)
            .map(|request| Action::CancelSlotRequest { allocation_id: request.allocation_id });
        let freed = slots.into_iter().map(|(allocation_id, slot)| Action::FreeSlot {
            resource_id: slot.resource_id,
            allocation_id,
            cause: cause.clone(),
        });
        cancelled.chain(freed).collect()
    }

    /// Gives back what the pool does not have: its release was lost on the way,
    /// or the TaskExecutor was counted as lost in between.
    fn reconcile(&self, resource_id: &ResourceId, allocations: Vec<AllocationId>) -> Vec<Action> {
        let is_mine = |allocation_id: &AllocationId| {
            self.slots.get(allocation_id).is_some_and(|slot| slot.resource_id == *resource_id)
        };
        allocations
            .into_iter()
            .filter(|allocation_id| !is_mine(allocation_id))
            .map(|allocation_id| Action::FreeSlot {
                resource_id: resource_id.clone(),
                allocation_id,
                cause: Failure::new(ErrorCode::Internal, "the job does not have the slot"),
            })
            .collect()
    }

    fn lose_task_executor(&mut self, resource_id: &ResourceId, cause: Failure) -> Vec<Action> {
        self.task_executors.remove(resource_id);
        let lost: Vec<_> = self
            .slots
            .iter()
            .filter(|(_, slot)| slot.resource_id == *resource_id)
            .map(|(allocation_id, _)| *allocation_id)
            .collect();
        self.lose_slots(&lost, cause)
    }

    /// The slots are gone; one answer for all, since they have one cause.
    fn lose_slots(&mut self, lost: &[AllocationId], cause: Failure) -> Vec<Action> {
        let requests: Vec<_> =
            lost.iter().filter_map(|allocation_id| self.remove_slot(*allocation_id)?.user).collect();
        if requests.is_empty() { Vec::new() } else { vec![Action::Failed { requests, cause }] }
    }

    fn fail_allocation(&mut self, allocation_id: AllocationId, cause: Failure) -> Vec<Action> {
        if self.slots.contains_key(&allocation_id) {
            return self.lose_slots(&[allocation_id], cause);
        }
        let Some(&request) = self.pending_by_allocation.get(&allocation_id) else { return Vec::new() };
        let cause = match cause.code {
            ErrorCode::NoResources => {
                Failure { details: cause.details, ..self.no_resources(1, &cause.message) }
            }
            _ => cause,
        };
        self.remove_pending(request);
        vec![Action::Failed { requests: vec![request], cause }]
    }

    fn time_passed(&mut self, now: Duration) -> Vec<Action> {
        let mut actions = Vec::new();
        let overdue: Vec<_> = self
            .pending_by_deadline
            .iter()
            .take_while(|(deadline, _)| *deadline <= now)
            .map(|(_, request)| *request)
            .collect();
        if !overdue.is_empty() {
            let reason = if self.connected {
                format!("no more came within {:?}", self.options.request_timeout)
            } else {
                format!("the resource manager was not reached within {:?}", self.options.request_timeout)
            };
            let cause = self.no_resources(overdue.len(), &reason);
            for request in &overdue {
                if let Some(pending) = self.remove_pending(*request)
                    && self.connected
                {
                    actions.push(Action::CancelSlotRequest { allocation_id: pending.allocation_id });
                }
            }
            actions.push(Action::Failed { requests: overdue, cause });
        }
        let idle: Vec<_> = self
            .kept
            .iter()
            .filter(|(_, until)| **until <= now)
            .map(|(allocation_id, _)| *allocation_id)
            .collect();
        let cause = Failure::new(ErrorCode::Internal, "the job does not use the slot");
        for allocation_id in idle {
            actions.extend(self.free(allocation_id, &cause));
        }
        actions
    }

    fn no_resources(&self, missing: usize, reason: &str) -> Failure {
        let there = self.in_use();
        let needed = there + self.pending.len();
        Failure::new(
            ErrorCode::NoResources,
            format!(
                "not enough slots: the job needs {needed}, {there} are there, {missing} could not be had \
                 ({reason}); start more TaskExecutors, raise `taskmanager.numberOfTaskSlots`, or lower the \
                 parallelism (-p)"
            ),
        )
    }
}

fn push_fulfilled(actions: &mut Vec<Action>, fulfilled: Vec<Fulfilled>) {
    if !fulfilled.is_empty() {
        actions.push(Action::Fulfilled(fulfilled));
    }
}
