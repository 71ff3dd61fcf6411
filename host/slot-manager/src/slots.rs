//! The registered TaskExecutors and the state of each of their slots.
//!
//! Knows nothing of requests: it tells what a message changed, the manager
//! draws the conclusions.

use crate::event::ReportedSlot;
use heddle_model::id::{AllocationId, InstanceId, JobId, ResourceId, SlotId};
use heddle_model::memory::ResourceProfile;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Who holds a slot.
pub(crate) type Holder = (AllocationId, JobId);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SlotState {
    Free,
    /// The TaskExecutor was asked to give it to the holder and has not answered.
    Assigning(Holder),
    Allocated(Holder),
    /// The TaskExecutor refused it or did not answer: nobody gets it before its
    /// next report says what it is.
    Unclear,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SlotInput {
    Assign(Holder),
    Assigned(AllocationId),
    Refused(AllocationId),
    Available(AllocationId),
    Reported(Option<Holder>),
}

impl SlotState {
    /// The one table of transitions. Input that belongs to another allocation
    /// than the current one is late and changes nothing.
    pub(crate) fn next(self, input: SlotInput) -> SlotState {
        use SlotInput::*;
        use SlotState::*;
        match (self, input) {
            (Free, Assign(holder)) => Assigning(holder),
            (Assigning(holder), Assigned(a)) if holder.0 == a => Allocated(holder),
            (Assigning(holder), Refused(a)) if holder.0 == a => Unclear,
            (Assigning(holder) | Allocated(holder), Available(a)) if holder.0 == a => Free,
            // The report was made before the TaskExecutor heard of the assignment.
            (Assigning(holder), Reported(None)) => Assigning(holder),
            (_, Reported(Some(holder))) => Allocated(holder),
            (_, Reported(None)) => Free,
            (state, _) => state,
        }
    }

    fn holder(self) -> Option<Holder> {
        match self {
            SlotState::Assigning(holder) | SlotState::Allocated(holder) => Some(holder),
            SlotState::Free | SlotState::Unclear => None,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) profile: ResourceProfile,
    pub(crate) state: SlotState,
}

#[derive(Clone, Debug)]
pub(crate) struct TaskExecutor {
    pub(crate) instance: InstanceId,
    pub(crate) slots: BTreeMap<u32, Slot>,
    free: usize,
    pub(crate) idle_since: Option<Duration>,
}

impl TaskExecutor {
    pub(crate) fn free_slots(&self) -> usize {
        self.free
    }
}

/// A slot's state before and after a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) before: SlotState,
    pub(crate) after: SlotState,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Slots {
    executors: BTreeMap<ResourceId, TaskExecutor>,
    by_instance: BTreeMap<InstanceId, ResourceId>,
    free: BTreeSet<SlotId>,
    /// Where an allocation is, assigning or allocated.
    allocations: BTreeMap<AllocationId, SlotId>,
    total: usize,
}

impl Slots {
    pub(crate) fn executors(&self) -> impl Iterator<Item = (&ResourceId, &TaskExecutor)> {
        self.executors.iter()
    }

    pub(crate) fn executor(&self, resource_id: &ResourceId) -> Option<&TaskExecutor> {
        self.executors.get(resource_id)
    }

    pub(crate) fn resource_of(&self, instance: InstanceId) -> Option<&ResourceId> {
        self.by_instance.get(&instance)
    }

    /// Free slots in a stable order that fills one TaskExecutor before the next.
    pub(crate) fn free(&self) -> &BTreeSet<SlotId> {
        &self.free
    }

    pub(crate) fn profile(&self, slot_id: &SlotId) -> Option<ResourceProfile> {
        let executor = self.executors.get(&slot_id.resource_id)?;
        Some(executor.slots.get(&slot_id.slot_number)?.profile)
    }

    pub(crate) fn total(&self) -> usize {
        self.total
    }

    pub(crate) fn has_allocation(&self, allocation_id: AllocationId) -> bool {
        self.allocations.contains_key(&allocation_id)
    }

    /// Slots that a job holds or is just given, by job.
    pub(crate) fn held(&self) -> BTreeMap<JobId, u32> {
        let mut held = BTreeMap::new();
        for slot in self.executors.values().flat_map(|e| e.slots.values()) {
            if let Some((_, job_id)) = slot.state.holder() {
                *held.entry(job_id).or_default() += 1;
            }
        }
        held
    }

    pub(crate) fn register(
        &mut self,
        now: Duration,
        instance: InstanceId,
        resource_id: ResourceId,
        report: &[ReportedSlot],
    ) {
        self.by_instance.insert(instance, resource_id.clone());
        let executor = TaskExecutor { instance, slots: BTreeMap::new(), free: 0, idle_since: Some(now) };
        self.executors.insert(resource_id.clone(), executor);
        for slot in report {
            self.add_slot(&resource_id, slot);
        }
        self.note_idleness(now, &resource_id);
    }

    /// Takes a TaskExecutor out, with the state of its slots as it was.
    pub(crate) fn remove(&mut self, resource_id: &ResourceId) -> Option<TaskExecutor> {
        let executor = self.executors.remove(resource_id)?;
        self.by_instance.remove(&executor.instance);
        for (number, slot) in &executor.slots {
            let slot_id = SlotId { resource_id: resource_id.clone(), slot_number: *number };
            self.free.remove(&slot_id);
            self.forget_allocation(slot.state, &slot_id);
        }
        self.total -= executor.slots.len();
        Some(executor)
    }

    fn add_slot(&mut self, resource_id: &ResourceId, reported: &ReportedSlot) {
        let Some(executor) = self.executors.get_mut(resource_id) else { return };
        let slot_id = SlotId { resource_id: resource_id.clone(), slot_number: reported.slot_number };
        let state = match reported.allocation {
            Some(holder) => SlotState::Allocated(holder),
            None => SlotState::Free,
        };
        let slot = Slot { profile: reported.profile, state };
        if executor.slots.insert(reported.slot_number, slot).is_none() {
            self.total += 1;
            if state == SlotState::Free {
                executor.free += 1;
                self.free.insert(slot_id.clone());
            }
            if let Some((allocation_id, _)) = reported.allocation {
                self.allocations.insert(allocation_id, slot_id);
            }
        }
    }

    /// Adds slots that a later report names for the first time and takes out
    /// those it no longer names; gives the state of the latter.
    pub(crate) fn reconcile(
        &mut self,
        now: Duration,
        resource_id: &ResourceId,
        report: &[ReportedSlot],
    ) -> Vec<SlotState> {
        let Some(executor) = self.executors.get(resource_id) else { return Vec::new() };
        let gone: Vec<u32> =
            executor.slots.keys().copied().filter(|n| !report.iter().any(|r| r.slot_number == *n)).collect();
        let new: Vec<ReportedSlot> =
            report.iter().filter(|r| !executor.slots.contains_key(&r.slot_number)).cloned().collect();
        let mut states = Vec::new();
        for number in gone {
            let slot_id = SlotId { resource_id: resource_id.clone(), slot_number: number };
            if let Some(executor) = self.executors.get_mut(resource_id)
                && let Some(slot) = executor.slots.remove(&number)
            {
                self.total -= 1;
                if slot.state == SlotState::Free {
                    executor.free -= 1;
                    self.free.remove(&slot_id);
                }
                self.forget_allocation(slot.state, &slot_id);
                states.push(slot.state);
            }
        }
        for slot in &new {
            self.add_slot(resource_id, slot);
        }
        self.note_idleness(now, resource_id);
        states
    }

    /// Applies an input to a slot. None if there is no such slot.
    pub(crate) fn apply(&mut self, now: Duration, slot_id: &SlotId, input: SlotInput) -> Option<Change> {
        let executor = self.executors.get_mut(&slot_id.resource_id)?;
        let slot = executor.slots.get_mut(&slot_id.slot_number)?;
        let before = slot.state;
        let after = before.next(input);
        if before == after {
            return Some(Change { before, after });
        }
        slot.state = after;
        if before == SlotState::Free {
            executor.free -= 1;
            self.free.remove(slot_id);
        }
        if after == SlotState::Free {
            executor.free += 1;
            self.free.insert(slot_id.clone());
        }
        self.forget_allocation(before, slot_id);
        if let Some((allocation_id, _)) = after.holder() {
            self.allocations.insert(allocation_id, slot_id.clone());
        }
        self.note_idleness(now, &slot_id.resource_id);
        Some(Change { before, after })
    }

    fn forget_allocation(&mut self, state: SlotState, slot_id: &SlotId) {
        if let Some((allocation_id, _)) = state.holder()
            && self.allocations.get(&allocation_id) == Some(slot_id)
        {
            self.allocations.remove(&allocation_id);
        }
    }

    fn note_idleness(&mut self, now: Duration, resource_id: &ResourceId) {
        if let Some(executor) = self.executors.get_mut(resource_id) {
            if executor.free < executor.slots.len() {
                executor.idle_since = None;
            } else if executor.idle_since.is_none() {
                executor.idle_since = Some(now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use std::fmt::Write;

    #[test]
    fn every_input_in_every_state() {
        const A: Holder = (AllocationId(0xa), JobId(1));
        const B: Holder = (AllocationId(0xb), JobId(1));
        let states = [
            ("free", SlotState::Free),
            ("assigning a", SlotState::Assigning(A)),
            ("allocated a", SlotState::Allocated(A)),
            ("unclear", SlotState::Unclear),
        ];
        let inputs = [
            ("assign b", SlotInput::Assign(B)),
            ("assigned a", SlotInput::Assigned(A.0)),
            ("assigned b", SlotInput::Assigned(B.0)),
            ("refused a", SlotInput::Refused(A.0)),
            ("refused b", SlotInput::Refused(B.0)),
            ("available a", SlotInput::Available(A.0)),
            ("available b", SlotInput::Available(B.0)),
            ("reported free", SlotInput::Reported(None)),
            ("reported a", SlotInput::Reported(Some(A))),
            ("reported b", SlotInput::Reported(Some(B))),
        ];
        let name = |state: SlotState| match state {
            SlotState::Free => "free".to_owned(),
            SlotState::Unclear => "unclear".to_owned(),
            SlotState::Assigning((a, _)) => format!("assigning {:x}", a.0),
            SlotState::Allocated((a, _)) => format!("allocated {:x}", a.0),
        };
        let mut table = String::new();
        for (state_name, state) in states {
            for (input_name, input) in inputs {
                let next = state.next(input);
                if next != state {
                    writeln!(table, "{state_name:<12} + {input_name:<14} -> {}", name(next)).unwrap();
                }
            }
        }
        expect![[r#"
            free         + assign b       -> assigning b
            free         + reported a     -> allocated a
            free         + reported b     -> allocated b
            assigning a  + assigned a     -> allocated a
            assigning a  + refused a      -> unclear
            assigning a  + available a    -> free
            assigning a  + reported a     -> allocated a
            assigning a  + reported b     -> allocated b
            allocated a  + available a    -> free
            allocated a  + reported free  -> free
            allocated a  + reported b     -> allocated b
            unclear      + reported free  -> free
            unclear      + reported a     -> allocated a
            unclear      + reported b     -> allocated b
        "#]]
        .assert_eq(&table);
    }
}
