//! Tests of jobs without Wasm and without a cluster: the same chains run in
//! the test's thread, between a few simple stand-ins for the host.
//!
//! [`TestHarness`] runs a whole job, [`OperatorHarness`] a piece of one.

mod backend;
mod cluster;
pub mod harness;
mod layout;
pub mod operator;

pub use harness::{Outputs, TestHarness};
pub use operator::OperatorHarness;
