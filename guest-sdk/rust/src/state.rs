//! Keyed state in the guest: a bounded write-back cache over the host's state.

pub(crate) mod cache;
pub mod handle;
pub(crate) mod keyed;
#[doc(hidden)]
pub mod table;
pub(crate) mod wire;
