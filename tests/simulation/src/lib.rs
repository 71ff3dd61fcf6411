//! A cluster on a simulated network and clock, all of which follows from a
//! seed: resource manager, job masters and TaskExecutors are the real services,
//! their processes die, stand still and come back, their messages are late,
//! lost and doubled.
//!
//! `run` is one seed; `checks` says what must hold in the end. What is not real:
//! tasks, connectors, the dispatcher, the election and its store.

mod checks;
mod cluster;
pub mod control_plane;
mod faults;
pub mod forger;
mod gateways;
mod job_manager;
mod jobs;
mod network;
mod outputs;
mod process;
mod random;
pub mod run;
mod script;
mod signal;
mod task_executor;
mod tasks;
mod world;
