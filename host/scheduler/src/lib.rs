//! The brains of a job master: the execution graph, the slot pool, restart
//! strategies, the assignment of splits, and the scheduler that moves a job
//! from CREATED to its end.
//!
//! Pure: events in, actions out; time and ids are passed in. Knows no tokio,
//! no clock, no RPC; `job-master` does what the actions say.

pub mod execution_graph;
mod region;
pub mod restart;
pub mod scheduler;
pub mod slot_pool;
mod slot_sharing;
pub mod splits;
