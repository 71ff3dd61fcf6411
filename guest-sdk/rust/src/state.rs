//! Keyed state in the guest: a bounded write-back cache over the host's state.

pub mod cache;
pub mod table;
pub mod wire;
