//! The slots of a TaskExecutor and who holds them: a pure brain. It knows no
//! task code, no gateway, no clock; the service acts on what it answers.
//!
//! A slot goes FREE → ALLOCATED (promised to a job) → ACTIVE (the job master
//! took the offer) → RELEASING (its tasks are being ended) → FREE.

use heddle_model::id::{AllocationId, ExecutionAttemptId, JobId, ResourceId, SlotId};
use heddle_model::memory::ResourceProfile;
use heddle_rpc::{SlotOffer, SlotReport, SlotStatus};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotState {
    Allocated,
    Active,
    Releasing,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskSlot {
    pub slot_number: u32,
    pub job_id: JobId,
    pub allocation_id: AllocationId,
    pub profile: ResourceProfile,
    pub state: SlotState,
    pub tasks: BTreeSet<ExecutionAttemptId>,
    /// When an ALLOCATED slot that no job master took is given up.
    expires_at: Duration,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("there is no slot {slot_number}: this TaskExecutor has {slots}")]
    NoSuchSlot { slot_number: u32, slots: u32 },
    #[error("slot {slot_number} is held by allocation {holder} of job {job_id}")]
    Occupied { slot_number: u32, holder: AllocationId, job_id: JobId },
    #[error("allocation {allocation_id} is already at slot {slot_number}")]
    AllocatedElsewhere { allocation_id: AllocationId, slot_number: u32 },
    #[error("a slot offers {offered:?}, {wanted:?} is asked for")]
    ProfileTooLarge { offered: ResourceProfile, wanted: ResourceProfile },
    #[error("no slot is allocated as {allocation_id}")]
    UnknownAllocation { allocation_id: AllocationId },
    #[error("the slot of {allocation_id} is not active")]
    NotActive { allocation_id: AllocationId },
}

/// What freeing a slot came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Freed {
    /// It is free again.
    Now(TaskSlot),
    /// These tasks must end first; `remove_task` then tells.
    WhenEnded(Vec<ExecutionAttemptId>),
}

pub struct SlotTable {
    resource_id: ResourceId,
    slots: u32,
    profile: ResourceProfile,
    /// How long an allocation may wait for its job master.
    allocation_timeout: Duration,
    by_allocation: BTreeMap<AllocationId, TaskSlot>,
}

impl SlotTable {
    pub fn new(
        resource_id: ResourceId,
        slots: u32,
        profile: ResourceProfile,
        allocation_timeout: Duration,
    ) -> Self {
        Self { resource_id, slots, profile, allocation_timeout, by_allocation: BTreeMap::new() }
    }

    /// Promises a slot to a job. The same request again changes nothing.
    pub fn allocate(
        &mut self,
        now: Duration,
        slot_number: u32,
        job_id: JobId,
        allocation_id: AllocationId,
        profile: ResourceProfile,
    ) -> Result<(), Error> {
        if slot_number >= self.slots {
            return Err(Error::NoSuchSlot { slot_number, slots: self.slots });
        }
        if let Some(slot) = self.by_allocation.get(&allocation_id) {
            return if slot.slot_number == slot_number && slot.job_id == job_id {
                Ok(())
            } else {
                Err(Error::AllocatedElsewhere { allocation_id, slot_number: slot.slot_number })
            };
        }
        if let Some(holder) = self.by_allocation.values().find(|slot| slot.slot_number == slot_number) {
            return Err(Error::Occupied { slot_number, holder: holder.allocation_id, job_id: holder.job_id });
        }
        if profile.task_memory > self.profile.task_memory
            || profile.managed_memory > self.profile.managed_memory
            || profile.network_memory > self.profile.network_memory
        {
            return Err(Error::ProfileTooLarge { offered: self.profile, wanted: profile });
        }
        self.by_allocation.insert(
            allocation_id,
            TaskSlot {
                slot_number,
                job_id,
                allocation_id,
                profile: self.profile,
                state: SlotState::Allocated,
                tasks: BTreeSet::new(),
                expires_at: now + self.allocation_timeout,
            },
        );
        Ok(())
    }

    /// Whose an allocation is.
    pub fn job_of(&self, allocation_id: AllocationId) -> Option<JobId> {
        self.by_allocation.get(&allocation_id).map(|slot| slot.job_id)
    }

    /// Refuses an allocation that is not the job's.
    pub fn check_job(&self, allocation_id: AllocationId, job_id: JobId) -> Result<(), Error> {
        match self.by_allocation.get(&allocation_id) {
            Some(slot) if slot.job_id == job_id => Ok(()),
            _ => Err(Error::UnknownAllocation { allocation_id }),
        }
    }

    /// The job master took the offer. Taking it twice changes nothing.
    pub fn mark_active(&mut self, allocation_id: AllocationId) -> Result<(), Error> {
        let slot = self.get_mut(allocation_id)?;
        match slot.state {
            SlotState::Allocated | SlotState::Active => {
                slot.state = SlotState::Active;
                Ok(())
            }
            SlotState::Releasing => Err(Error::NotActive { allocation_id }),
        }
    }

    /// The job master is gone: the slot waits for a new one.
    pub fn mark_inactive(&mut self, now: Duration, allocation_id: AllocationId) -> Result<(), Error> {
        let expires_at = now + self.allocation_timeout;
        let slot = self.get_mut(allocation_id)?;
        if slot.state == SlotState::Active {
            slot.state = SlotState::Allocated;
            slot.expires_at = expires_at;
        }
        Ok(())
    }

    pub fn add_task(&mut self, allocation_id: AllocationId, task: ExecutionAttemptId) -> Result<(), Error> {
        let slot = self.get_mut(allocation_id)?;
        if slot.state != SlotState::Active {
            return Err(Error::NotActive { allocation_id });
        }
        slot.tasks.insert(task);
        Ok(())
    }

    pub fn has_task(&self, task: ExecutionAttemptId) -> bool {
        self.by_allocation.values().any(|slot| slot.tasks.contains(&task))
    }

    /// A task has ended. Gives the slot if that was what its release waited for.
    pub fn remove_task(&mut self, task: ExecutionAttemptId) -> Option<TaskSlot> {
        let slot = self.by_allocation.values_mut().find(|slot| slot.tasks.contains(&task))?;
        slot.tasks.remove(&task);
        if slot.state == SlotState::Releasing && slot.tasks.is_empty() {
            let allocation_id = slot.allocation_id;
            return self.by_allocation.remove(&allocation_id);
        }
        None
    }

    pub fn free(&mut self, allocation_id: AllocationId) -> Result<Freed, Error> {
        let slot = self.get_mut(allocation_id)?;
        if slot.tasks.is_empty() {
            let slot = self.by_allocation.remove(&allocation_id);
            return Ok(Freed::Now(slot.ok_or(Error::UnknownAllocation { allocation_id })?));
        }
        slot.state = SlotState::Releasing;
        Ok(Freed::WhenEnded(slot.tasks.iter().copied().collect()))
    }

    /// Allocations that no job master took in time.
    pub fn expired(&self, now: Duration) -> Vec<AllocationId> {
        self.by_allocation
            .values()
            .filter(|slot| slot.state == SlotState::Allocated && slot.expires_at <= now)
            .map(|slot| slot.allocation_id)
            .collect()
    }

    /// What is to be offered to the job's master.
    pub fn offers(&self, job_id: JobId) -> Vec<SlotOffer> {
        self.by_allocation
            .values()
            .filter(|slot| slot.job_id == job_id && slot.state == SlotState::Allocated)
            .map(|slot| SlotOffer {
                allocation_id: slot.allocation_id,
                slot_number: slot.slot_number,
                profile: slot.profile,
            })
            .collect()
    }

    /// What the job's master has taken.
    pub fn active_of(&self, job_id: JobId) -> Vec<AllocationId> {
        self.by_allocation
            .values()
            .filter(|slot| slot.job_id == job_id && slot.state == SlotState::Active)
            .map(|slot| slot.allocation_id)
            .collect()
    }

    pub fn allocations_of(&self, job_id: JobId) -> Vec<AllocationId> {
        self.by_allocation.values().filter(|s| s.job_id == job_id).map(|s| s.allocation_id).collect()
    }

    #[cfg(test)]
    fn get(&self, allocation_id: AllocationId) -> Option<&TaskSlot> {
        self.by_allocation.get(&allocation_id)
    }

    pub fn report(&self) -> SlotReport {
        let slots = (0..self.slots).map(|slot_number| SlotStatus {
            slot_id: SlotId { resource_id: self.resource_id.clone(), slot_number },
            profile: self.profile,
            allocation: self
                .by_allocation
                .values()
                .find(|slot| slot.slot_number == slot_number)
                .map(|slot| (slot.allocation_id, slot.job_id)),
        });
        SlotReport { slots: slots.collect() }
    }

    fn get_mut(&mut self, allocation_id: AllocationId) -> Result<&mut TaskSlot, Error> {
        self.by_allocation.get_mut(&allocation_id).ok_or(Error::UnknownAllocation { allocation_id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heddle_model::id::VertexId;

    const PROFILE: ResourceProfile =
        ResourceProfile { task_memory: 100, managed_memory: 50, network_memory: 10 };
    const JOB: JobId = JobId(1);
    const TIMEOUT: Duration = Duration::from_secs(10);

    fn table() -> SlotTable {
        SlotTable::new(ResourceId("worker".into()), 2, PROFILE, TIMEOUT)
    }

    fn attempt(subtask: u32) -> ExecutionAttemptId {
        ExecutionAttemptId { job_id: JOB, vertex_id: VertexId(7), subtask, attempt: 0 }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn allocation_is_idempotent_and_exclusive() {
        let mut table = table();
        let a = AllocationId(1);
        assert_eq!(table.allocate(at(0), 0, JOB, a, PROFILE), Ok(()));
        assert_eq!(table.allocate(at(1), 0, JOB, a, PROFILE), Ok(()));
        assert_eq!(
            table.allocate(at(1), 1, JOB, a, PROFILE),
            Err(Error::AllocatedElsewhere { allocation_id: a, slot_number: 0 })
        );
        assert_eq!(
            table.allocate(at(1), 0, JobId(2), AllocationId(2), PROFILE),
            Err(Error::Occupied { slot_number: 0, holder: a, job_id: JOB })
        );
        assert_eq!(
            table.allocate(at(1), 2, JOB, AllocationId(3), PROFILE),
            Err(Error::NoSuchSlot { slot_number: 2, slots: 2 })
        );
        let wanted = ResourceProfile { task_memory: 101, ..PROFILE };
        assert_eq!(
            table.allocate(at(1), 1, JOB, AllocationId(4), wanted),
            Err(Error::ProfileTooLarge { offered: PROFILE, wanted })
        );
    }

    #[test]
    fn an_allocation_that_no_master_takes_expires_and_an_active_one_does_not() {
        let mut table = table();
        let (a, b) = (AllocationId(1), AllocationId(2));
        table.allocate(at(0), 0, JOB, a, PROFILE).unwrap();
        table.allocate(at(0), 1, JOB, b, PROFILE).unwrap();
        table.mark_active(a).unwrap();
        assert_eq!(table.expired(at(9)), []);
        assert_eq!(table.expired(at(10)), [b]);
        table.mark_inactive(at(20), a).unwrap();
        assert_eq!(table.expired(at(29)), [b]);
        assert_eq!(table.expired(at(30)), [a, b]);
    }

    /// Every state, every operation: what is legal and where it leads.
    #[test]
    fn transitions() {
        #[derive(Clone, Copy, Debug, PartialEq)]
        enum State {
            Free,
            Allocated,
            Active,
            ActiveWithTask,
            Releasing,
        }
        use State::*;
        let a = AllocationId(1);
        let build = |state: State| {
            let mut table = table();
            if state != Free {
                table.allocate(at(0), 0, JOB, a, PROFILE).unwrap();
            }
            if matches!(state, Active | ActiveWithTask | Releasing) {
                table.mark_active(a).unwrap();
            }
            if matches!(state, ActiveWithTask | Releasing) {
                table.add_task(a, attempt(0)).unwrap();
            }
            if state == Releasing {
                assert_eq!(table.free(a), Ok(Freed::WhenEnded(vec![attempt(0)])));
            }
            table
        };
        let read = |table: &SlotTable| match table.get(a) {
            None => Free,
            Some(slot) => match (slot.state, slot.tasks.is_empty()) {
                (SlotState::Allocated, _) => Allocated,
                (SlotState::Active, true) => Active,
                (SlotState::Active, false) => ActiveWithTask,
                (SlotState::Releasing, _) => Releasing,
            },
        };
        type Operation = (&'static str, fn(&mut SlotTable, AllocationId) -> bool);
        let operations: [Operation; 5] = [
            ("activate", |t, a| t.mark_active(a).is_ok()),
            ("deactivate", |t, a| t.mark_inactive(Duration::ZERO, a).is_ok()),
            ("add task", |t, a| t.add_task(a, attempt(0)).is_ok()),
            ("end task", |t, _| t.remove_task(attempt(0)).is_some()),
            ("free", |t, a| t.free(a).is_ok()),
        ];
        // (from, [(result, to) for each operation in order])
        let table_of_transitions = [
            (Free, [(false, Free), (false, Free), (false, Free), (false, Free), (false, Free)]),
            (
                Allocated,
                [(true, Active), (true, Allocated), (false, Allocated), (false, Allocated), (true, Free)],
            ),
            (
                Active,
                [(true, Active), (true, Allocated), (true, ActiveWithTask), (false, Active), (true, Free)],
            ),
            (
                ActiveWithTask,
                [
                    (true, ActiveWithTask),
                    (true, Allocated),
                    (true, ActiveWithTask),
                    (false, Active),
                    (true, Releasing),
                ],
            ),
            (
                Releasing,
                [(false, Releasing), (true, Releasing), (false, Releasing), (true, Free), (true, Releasing)],
            ),
        ];
        for (from, row) in table_of_transitions {
            for ((name, operation), (result, to)) in operations.iter().zip(row) {
                let mut table = build(from);
                assert_eq!(operation(&mut table, a), result, "{name} in {from:?}");
                assert_eq!(read(&table), to, "{name} in {from:?}");
            }
        }
    }
}
