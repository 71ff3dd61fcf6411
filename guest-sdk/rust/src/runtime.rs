//! What runs beneath the API: the contract's bindings, the host behind them,
//! and the life of an instance. Operators reach it through `host` alone.

#[cfg(any(test, all(target_family = "wasm", feature = "allocator")))]
pub mod allocator;
pub mod bindings;
pub mod component;
pub mod head;
pub mod host;
pub mod instance;
pub mod panic;

#[cfg(all(target_family = "wasm", feature = "allocator"))]
#[global_allocator]
static ALLOCATOR: allocator::SizeClasses = allocator::SizeClasses::new();
