//! The worker: offers slots, takes tasks, has them run on the process's worker
//! pool, tells what became of them.
//!
//! `service` is the role (registration, slots, job masters), `slot_table` its
//! brain. What happens inside a task is the matter of its [`TaskRunner`].
//! Nothing here decides where a task runs or whether it is restarted.

mod activity;
mod job_connection;
mod job_users;
mod message;
mod metrics;
mod service;
mod slot_table;
mod task;

pub use activity::{Activity, Clock, During, Times};
pub use job_users::JobUsers;
pub use message::Handle;
pub use metrics::Metrics;
pub use service::{Error, Options, ResourceManagerLeader, Service};
pub use task::{Ended, TaskContext, TaskOutcome, TaskRunner};
