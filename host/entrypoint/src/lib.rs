//! Processes of a cluster: which services one has, in which order they start
//! and end, what ends it, and with which exit code.
//!
//! Wires roles together and decides nothing that a role decides. Prints
//! nothing: what a user sees is the command line's matter.

mod cluster_entrypoint;
mod component;
mod environment;
mod folder;
mod folders;
mod high_availability;
mod leaders;
mod leadership;
mod role;
mod sandbox;
mod signals;
mod status;
mod task_executor_runner;

pub use cluster_entrypoint::{ClusterEntrypoint, RunningCluster};
pub use component::{Component, ComponentOptions, DriverFactory};
pub use environment::{Environment, host_name};
pub use folders::{Folders, Workers, process_runtime};
pub use high_availability::HighAvailability;
pub use leaders::LeaderRetriever;
pub use leadership::OnLeadership;
pub use role::Role;
pub use sandbox::{Sandbox, cache_dir, grants};
pub use signals::{Signals, StopSignal};
pub use status::{ApplicationStatus, End, FATAL_ERROR, START_FAILED};
pub use task_executor_runner::{RunningTaskExecutor, TaskExecutorRunner};

use heddle_model::failure::{ErrorCode, Failure};

/// A failure that only a defect explains.
fn internal(message: impl Into<String>) -> Failure {
    Failure::new(ErrorCode::Internal, message)
}

/// A configuration with which no process can start.
fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(ErrorCode::ConfigurationInvalid, message)
}
