//! One subtask, from deployment to its end, and what the TaskExecutors of a
//! process share to run many.
//!
//! `subtask` opens what the task needs and runs it, `mailbox` is the loop that
//! feeds it, `host` what its guest may ask for. Knows nothing of slots, of
//! registration, or of how a task's end is told: the TaskExecutor does.

mod gates;
mod host;
mod mailbox;
mod shared;
mod subtask;

pub use shared::{Shared, SlotMemory};
