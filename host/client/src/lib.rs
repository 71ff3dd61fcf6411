//! The client: loads configuration, makes a job of a component, submits it to
//! a cluster (its own, embedded one by default) and follows it to its end.
//!
//! It prints nothing: what a user sees is the command line's matter.

pub mod configuration;
mod embedded_cluster;
mod embedded_driver;
mod executor;
mod job;
mod sandbox;

pub use embedded_cluster::EmbeddedCluster;
pub use embedded_driver::{Exchange, Networks};
pub use executor::{LocalExecutor, RunningJob, check_target};
pub use job::{Job, JobRequest};
pub use sandbox::Sandbox;

use heddle_model::failure::{ErrorCode, Failure};

/// A failure that only a defect explains.
fn internal(message: impl Into<String>) -> Failure {
    Failure::new(ErrorCode::Internal, message)
}

/// What a call to a role failed with, as the user reads it.
fn from_rpc(error: heddle_rpc::Error) -> Failure {
    match error {
        heddle_rpc::Error::Failure(failure) => failure,
        other => internal(other.to_string()),
    }
}
