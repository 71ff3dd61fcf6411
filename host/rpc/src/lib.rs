//! The gateways between roles, and how a role finds another.
//!
//! A gateway is a trait; a role's `Handle` implements it, and so does a gRPC
//! client ([`grpc`]). Messages are few, flat, plain data. Every message that could be
//! late carries its fencing token, instance or attempt; a receiver drops it
//! with [`Error::Fenced`] if it is stale. Nothing here decides anything.

#[cfg(test)]
extern crate self as heddle_rpc; // samples name it as others do

mod blob;
mod dispatcher;
pub mod grpc;
mod job_master;
mod resource_manager;
mod service;
mod task_executor;

pub use blob::{BLOB_CHUNK_SIZE, BlobContent, BlobServerGateway};
pub use dispatcher::{
    ClusterOverview, DispatcherGateway, JobDetails, JobFailure, JobOverview, JobResult, SubtaskDetails,
    VertexDetails,
};
pub use job_master::{JobMasterGateway, SlotOffer, TaskExecutorHeartbeat};
pub use resource_manager::{
    JobMasterRegistration, ResourceManagerGateway, ResourceOverview, SlotReport, SlotRequest, SlotStatus,
    TaskExecutorOverview, TaskExecutorRegistration,
};
pub use service::{Address, EmbeddedRpcService, RpcService};
pub use task_executor::{RequestSlot, TaskExecutorGateway};

use heddle_model::failure::Failure;

/// Why a call did not do what it was asked for.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// Nobody answers at the address (any more).
    #[error("nothing answers at {address}")]
    Unreachable { address: Address },
    /// The message, or its receiver, belongs to an ended session.
    #[error("stale message: it carries token {got}, the receiver's is {expected}")]
    Fenced { expected: String, got: String },
    /// The receiver refused or failed.
    #[error(transparent)]
    Failure(#[from] Failure),
}

pub type Result<T, E = Error> = std::result::Result<T, E>;
