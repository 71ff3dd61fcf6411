//! The job master: runs one job. It registers at the resource manager, gets
//! slots, deploys tasks, hears of their fate, and publishes or discards what
//! their sinks wrote.
//!
//! A thin shell: what to do is decided by `scheduler`. Does not know how tasks
//! run, how workers start, or what is in a split or a committable.

mod call_queue;
mod commitments;
mod details;
mod handle;
mod job;
mod outputs;
mod service;
mod task_executors;

pub use commitments::Commitments;
pub use handle::Handle;
pub use outputs::Outputs;
pub use service::{Options, Service};
