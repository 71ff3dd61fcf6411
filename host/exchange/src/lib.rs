//! The exchange: batches between subtasks, in order, with credit.
//!
//! A producer registers a `ResultPartition` with one bounded channel for each
//! subpartition; a consumer connects an `InputGate` to one channel of each of
//! its producers. Batches are handed over by reference and never looked into.
//! Nothing here knows tasks, operators or what a batch means.

mod back_pressure;
mod error;
mod gate;
mod manager;
mod memory;
mod partition;

pub use back_pressure::BackPressure;
pub use error::Error;
pub use gate::{GateEvent, InputGate};
pub use manager::PartitionManager;
pub use partition::{Broadcast, ResultPartition, Send, TrySendError};
