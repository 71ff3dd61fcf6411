//! The exchange: batches between subtasks, in order, with credit.
//!
//! A producer registers a `ResultPartition` with one bounded channel for each
//! subpartition; a consumer connects an `InputGate` to one channel of each of
//! its producers. Within a process batches are handed over by reference;
//! between processes a `NetworkService` brings them, and neither end's task
//! sees a difference. They are never looked into.
//! Nothing here knows tasks, operators or what a batch means.

mod back_pressure;
mod connect;
mod error;
mod gate;
mod manager;
mod memory;
mod network;
mod partition;
mod wake;
pub mod wire;

pub use back_pressure::BackPressure;
pub use connect::GateBuffers;
pub use error::Error;
pub use gate::{GateEvent, InputGate};
pub use manager::PartitionManager;
pub use network::{Counts, NetworkOptions, NetworkService};
pub use partition::{Broadcast, ResultPartition, Send, TrySendError};
