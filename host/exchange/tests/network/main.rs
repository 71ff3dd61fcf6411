//! The exchange between processes, through its public door: each process is a
//! partition manager with a network service of its own, on 127.0.0.1.

mod data;
mod failures;
mod fuzz;
mod harness;
mod hostile;
