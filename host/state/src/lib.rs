//! Keyed state, owned by the host, in key groups.
//!
//! `KeyedStateBackend` is the door: it takes the lists of bytes of the
//! contract's `state` interface, trusts none of them, and hands checked
//! entries to a store. Nothing here knows wasmtime, tasks or checkpoints.

mod backend;
mod error;
mod hashmap;
mod memory;
mod store;
mod table;
mod wire;

pub use backend::KeyedStateBackend;
pub use error::Error;
pub use memory::ManagedMemory;
pub use wire::{MAX_CALL_BYTES, NO_VALUE};
