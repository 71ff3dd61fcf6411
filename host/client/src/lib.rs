//! The client: loads configuration, makes a job of a component, submits it to
//! a cluster (its own, embedded one by default, or one on a network) and follows
//! it to its end.
//!
//! It prints nothing: what a user sees is the command line's matter.

mod application;
mod cluster_client;
pub mod configuration;
mod embedded_cluster;
mod embedded_driver;
mod executor;
mod job;
mod leading_dispatcher;
pub mod yarn;

pub use application::{ApplicationEnd, ApplicationJob, run_application};
pub use cluster_client::{ClusterClient, RunningJob};
pub use embedded_cluster::EmbeddedCluster;
pub use embedded_driver::{Exchange, Networks};
pub use executor::Executor;
pub use heddle_entrypoint::Sandbox;
pub use job::{Job, JobRequest};
pub use leading_dispatcher::Connection;

use heddle_model::failure::{ErrorCode, Failure};

/// A failure that only a defect explains.
fn internal(message: impl Into<String>) -> Failure {
    Failure::new(ErrorCode::Internal, message)
}

/// What a call to a role failed with, as the user reads it.
fn from_rpc(error: heddle_rpc::Error) -> Failure {
    let code = match error {
        heddle_rpc::Error::Failure(failure) => return failure,
        heddle_rpc::Error::Unreachable { .. } => ErrorCode::Unreachable,
        heddle_rpc::Error::Fenced { .. } => ErrorCode::Fenced,
    };
    Failure::new(code, error.to_string())
}
