//! States of jobs and of execution attempts, and the one table of their legal
//! transitions (Flink's).

use serde::{Deserialize, Serialize};
use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum JobStatus {
    Initializing,
    Created,
    Running,
    Failing,
    Failed,
    Cancelling,
    Canceled,
    Finished,
    Restarting,
    Suspended,
    Reconciling,
}

impl JobStatus {
    pub const ALL: [JobStatus; 11] = [
        JobStatus::Initializing,
        JobStatus::Created,
        JobStatus::Running,
        JobStatus::Failing,
        JobStatus::Failed,
        JobStatus::Cancelling,
        JobStatus::Canceled,
        JobStatus::Finished,
        JobStatus::Restarting,
        JobStatus::Suspended,
        JobStatus::Reconciling,
    ];

    /// The legal next states.
    pub const fn next(self) -> &'static [JobStatus] {
        use JobStatus::*;
        match self {
            Initializing => &[Created, Failed, Cancelling, Canceled, Suspended],
            Created => &[Running, Failing, Failed, Cancelling, Canceled, Suspended],
            Running => &[Failing, Cancelling, Finished, Restarting, Suspended],
            Failing => &[Failed, Cancelling, Suspended],
            Restarting => &[Running, Created, Failing, Cancelling, Suspended],
            Cancelling => &[Canceled, Failed, Suspended],
            Reconciling => &[Running, Failing, Finished, Suspended],
            Failed | Canceled | Finished | Suspended => &[],
        }
    }

    pub fn may_become(self, next: JobStatus) -> bool {
        self.next().contains(&next)
    }

    /// Terminal everywhere: no other leader will take the job up.
    pub const fn is_globally_terminal(self) -> bool {
        matches!(self, JobStatus::Failed | JobStatus::Canceled | JobStatus::Finished)
    }

    /// Terminal for this leader.
    pub const fn is_terminal(self) -> bool {
        self.is_globally_terminal() || matches!(self, JobStatus::Suspended)
    }

    /// Flink's name, as in REST.
    pub const fn name(self) -> &'static str {
        match self {
            JobStatus::Initializing => "INITIALIZING",
            JobStatus::Created => "CREATED",
            JobStatus::Running => "RUNNING",
            JobStatus::Failing => "FAILING",
            JobStatus::Failed => "FAILED",
            JobStatus::Cancelling => "CANCELLING",
            JobStatus::Canceled => "CANCELED",
            JobStatus::Finished => "FINISHED",
            JobStatus::Restarting => "RESTARTING",
            JobStatus::Suspended => "SUSPENDED",
            JobStatus::Reconciling => "RECONCILING",
        }
    }
}

impl fmt::Display for JobStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ExecutionState {
    Created,
    Scheduled,
    Deploying,
    Initializing,
    Running,
    Finished,
    Canceling,
    Canceled,
    Failed,
}

impl ExecutionState {
    pub const ALL: [ExecutionState; 9] = [
        ExecutionState::Created,
        ExecutionState::Scheduled,
        ExecutionState::Deploying,
        ExecutionState::Initializing,
        ExecutionState::Running,
        ExecutionState::Finished,
        ExecutionState::Canceling,
        ExecutionState::Canceled,
        ExecutionState::Failed,
    ];

    /// The legal next states.
    pub const fn next(self) -> &'static [ExecutionState] {
        use ExecutionState::*;
        match self {
            Created => &[Scheduled, Canceled, Failed],
            Scheduled => &[Deploying, Canceled, Failed],
            Deploying => &[Initializing, Running, Finished, Canceling, Failed],
            Initializing => &[Running, Finished, Canceling, Failed],
            Running => &[Finished, Canceling, Failed],
            Canceling => &[Canceled, Finished, Failed],
            Finished | Canceled | Failed => &[],
        }
    }

    pub fn may_become(self, next: ExecutionState) -> bool {
        self.next().contains(&next)
    }

    pub const fn is_terminal(self) -> bool {
        matches!(self, ExecutionState::Finished | ExecutionState::Canceled | ExecutionState::Failed)
    }

    pub const fn name(self) -> &'static str {
        match self {
            ExecutionState::Created => "CREATED",
            ExecutionState::Scheduled => "SCHEDULED",
            ExecutionState::Deploying => "DEPLOYING",
            ExecutionState::Initializing => "INITIALIZING",
            ExecutionState::Running => "RUNNING",
            ExecutionState::Finished => "FINISHED",
            ExecutionState::Canceling => "CANCELING",
            ExecutionState::Canceled => "CANCELED",
            ExecutionState::Failed => "FAILED",
        }
    }
}

impl fmt::Display for ExecutionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
