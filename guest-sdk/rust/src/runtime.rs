//! What runs beneath the API: the contract's bindings, the host behind them,
//! and the life of an instance. Operators reach it through `host` alone.

pub mod bindings;
pub mod component;
pub mod head;
pub mod host;
pub mod instance;
pub mod panic;
