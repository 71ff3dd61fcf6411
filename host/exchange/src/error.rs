//! Why the exchange did not do what it was asked for.

use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::{ResourceId, ResultPartitionId};
use heddle_model::task::DataAddress;
use std::sync::Arc;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// The task at the other end failed or went away.
    #[error("the task at the other end of {partition} is gone: {cause}")]
    PeerGone { partition: ResultPartitionId, cause: Arc<Failure> },
    /// The partition was freed, because its job or its attempt ended.
    #[error("the result partition {partition} was released")]
    Released { partition: ResultPartitionId },
    /// Something was sent behind the end.
    #[error("the result partition {partition} has ended already")]
    Finished { partition: ResultPartitionId },
    #[error(
        "the result partition {partition} has {subpartitions} subpartitions, there is no number {subpartition}"
    )]
    UnknownSubpartition { partition: ResultPartitionId, subpartition: u32, subpartitions: u32 },
    /// The producers of a gate did not register in time.
    #[error("{missing} producers did not register within {waited:?}, {partition} among them")]
    NotRegistered { partition: ResultPartitionId, missing: usize, waited: Duration },
    /// Two gates want the same channel.
    #[error("subpartition {subpartition} of {partition} has a consumer already")]
    AlreadyConnected { partition: ResultPartitionId, subpartition: u32 },
    /// The connection to another TaskExecutor broke; what was under way is lost.
    #[error("the connection to {peer} was lost: {reason}")]
    ConnectionLost { peer: String, reason: String },
    /// A producer's TaskExecutor did not answer.
    #[error(
        "TaskExecutor {peer} does not answer at {address}: {last}; tried {tries} times in {waited:.1?} \
         (`taskmanager.network.request-backoff.max`)"
    )]
    Unreachable { peer: ResourceId, address: DataAddress, tries: u32, waited: Duration, last: String },
    /// The process at the address does not talk to this one.
    #[error("TaskExecutor {peer} can not be read at {address}: {reason}")]
    PeerRefused { peer: ResourceId, address: DataAddress, reason: String },
    /// This process has no network, or it has ended.
    #[error("{partition} is on another TaskExecutor, and this process has no exchange over the network")]
    NoNetwork { partition: ResultPartitionId },
    /// The producer's TaskExecutor does not give the channel.
    #[error("subpartition {subpartition} of {partition} can not be read: {cause}")]
    Refused { partition: ResultPartitionId, subpartition: u32, cause: Arc<Failure> },
    /// A batch is larger than its channel's memory, and no more is left.
    #[error(transparent)]
    Memory(Arc<Failure>),
}

impl Error {
    /// Whether the task that meets this error is fine itself: its peer failed
    /// or was cancelled, and this task will be cancelled soon. It should end
    /// without reporting a failure of its own, which would hide the cause.
    pub fn is_consequence(&self) -> bool {
        matches!(self, Error::PeerGone { .. } | Error::Released { .. })
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        match error {
            Error::PeerGone { ref cause, .. } => Failure {
                code: ErrorCode::PeerGone,
                message: error.to_string(),
                details: cause.details.clone(),
            },
            Error::Memory(failure) => Failure::clone(&failure),
            Error::Released { .. } => Failure::new(ErrorCode::PeerGone, error.to_string()),
            Error::NotRegistered { .. } => Failure::new(ErrorCode::WorkerLost, error.to_string()),
            Error::ConnectionLost { .. } | Error::Unreachable { .. } | Error::PeerRefused { .. } => {
                Failure::new(ErrorCode::ConnectionLost, error.to_string())
            }
            Error::NoNetwork { .. } => Failure::new(ErrorCode::Internal, error.to_string()),
            Error::Refused { ref cause, .. } => {
                Failure { code: cause.code, message: error.to_string(), details: cause.details.clone() }
            }
            Error::Finished { .. } | Error::AlreadyConnected { .. } => {
                Failure::new(ErrorCode::Internal, error.to_string())
            }
            Error::UnknownSubpartition { .. } => {
                Failure::new(ErrorCode::ContractViolation, error.to_string())
            }
        }
    }
}
