//! The worker: offers slots, takes tasks, runs them on the process's worker
//! pool, tells what became of them.
//!
//! `service` is the role (registration, slots, job masters), `slot_table` its
//! brain, `task` one subtask from deployment to its end, `mailbox` the loop
//! that feeds it. Nothing here decides where a task runs or whether it is
//! restarted.

mod activity;
mod gates;
mod host;
mod job_connection;
mod job_users;
mod mailbox;
mod message;
mod metrics;
mod service;
mod slot_table;
mod task;

pub use job_users::JobUsers;
pub use message::Handle;
pub use service::{Error, Options, Service, Shared};
