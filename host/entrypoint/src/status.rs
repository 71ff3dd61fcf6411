//! How a process ends, and what its exit code tells of it.

use crate::signals::StopSignal;
use heddle_model::job_status::JobStatus;

/// How the application of a cluster ended; as Flink's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApplicationStatus {
    Succeeded,
    Failed,
    Canceled,
    Unknown,
}

impl ApplicationStatus {
    /// Flink's exit codes as far as a system keeps them, which is eight bits:
    /// 1443 and 1445.
    pub const fn exit_code(self) -> u8 {
        match self {
            ApplicationStatus::Succeeded | ApplicationStatus::Canceled => 0,
            ApplicationStatus::Failed => (1443 & 0xff) as u8,
            ApplicationStatus::Unknown => (1445 & 0xff) as u8,
        }
    }
}

impl From<JobStatus> for ApplicationStatus {
    fn from(status: JobStatus) -> Self {
        match status {
            JobStatus::Finished => ApplicationStatus::Succeeded,
            JobStatus::Failed => ApplicationStatus::Failed,
            JobStatus::Canceled => ApplicationStatus::Canceled,
            _ => ApplicationStatus::Unknown,
        }
    }
}

/// Exit code of a process that could not start.
pub const START_FAILED: u8 = 1;

/// Exit code of a process that a fatal error ended while it ran.
pub const FATAL_ERROR: u8 = 2;

/// Why a process ended in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Signal(StopSignal),
    Application(ApplicationStatus),
}

impl End {
    pub const fn exit_code(self) -> u8 {
        match self {
            End::Signal(signal) => signal.exit_code(),
            End::Application(status) => status.exit_code(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes() {
        for (status, code) in [
            (JobStatus::Finished, 0),
            (JobStatus::Canceled, 0),
            (JobStatus::Failed, 163),
            (JobStatus::Suspended, 165),
        ] {
            assert_eq!(ApplicationStatus::from(status).exit_code(), code);
        }
        assert_eq!(End::Signal(StopSignal::Terminate).exit_code(), 143);
    }
}
