//! What happens to the slot manager, and what it wants done.

use heddle_model::failure::Failure;
use heddle_model::id::{AllocationId, InstanceId, JobId, ResourceId, SlotId};
use heddle_model::memory::ResourceProfile;

/// One slot as its TaskExecutor reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportedSlot {
    pub slot_number: u32,
    pub profile: ResourceProfile,
    /// Who holds it, if anybody.
    pub allocation: Option<(AllocationId, JobId)>,
}

/// A job wants a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotRequest {
    pub allocation_id: AllocationId,
    pub job_id: JobId,
    pub profile: ResourceProfile,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A TaskExecutor reports its slots: first after its registration, then
    /// regularly. A new instance of a known resource replaces the older one.
    Report {
        instance: InstanceId,
        resource_id: ResourceId,
        slots: Vec<ReportedSlot>,
    },
    /// A TaskExecutor is gone. With `release` its worker is to be ended too.
    TaskExecutorGone {
        instance: InstanceId,
        reason: String,
        release: bool,
    },
    /// A TaskExecutor freed a slot.
    SlotAvailable {
        instance: InstanceId,
        slot_id: SlotId,
        allocation_id: AllocationId,
    },
    Request(SlotRequest),
    /// The job no longer wants the slot that it asked for.
    Cancel {
        allocation_id: AllocationId,
    },
    /// The job ended or its master is lost: it wants nothing any more.
    JobGone {
        job_id: JobId,
    },
    /// The TaskExecutor did as [`Action::Assign`] says.
    Assigned {
        instance: InstanceId,
        slot_id: SlotId,
        allocation_id: AllocationId,
    },
    /// The TaskExecutor refused, or did not answer.
    Refused {
        instance: InstanceId,
        slot_id: SlotId,
        allocation_id: AllocationId,
        reason: String,
    },
    /// A worker asked for by [`Action::StartWorker`] is being started and has
    /// this name from now on. It will register.
    WorkerStarted {
        resource_id: ResourceId,
    },
    /// A worker asked for by [`Action::StartWorker`] will not come.
    WorkerStartFailed {
        reason: String,
    },
    /// A worker ended, whether it was released or not.
    WorkerTerminated {
        resource_id: ResourceId,
        reason: String,
    },
    /// Time passed; see [`next_deadline`](crate::SlotManager::next_deadline).
    Tick,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask the TaskExecutor to give the slot to the job; answered by
    /// [`Event::Assigned`] or [`Event::Refused`].
    Assign { instance: InstanceId, slot_id: SlotId, request: SlotRequest },
    /// Start a worker of the configured kind; answered by
    /// [`Event::WorkerStarted`] or [`Event::WorkerStartFailed`].
    StartWorker,
    /// End a worker; answered by [`Event::WorkerTerminated`] at some time.
    ReleaseWorker { resource_id: ResourceId, reason: String },
    /// Tell the job that the slot will not come.
    RefuseRequest { job_id: JobId, allocation_id: AllocationId, failure: Failure },
    /// Tell the job that a worker which held slots of it is lost.
    WorkerLost { job_id: JobId, resource_id: ResourceId, failure: Failure },
}
