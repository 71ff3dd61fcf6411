//! The sandbox: components are checked, compiled in a child process, cached,
//! and run as isolated instances with limits on memory, time, stack and log.
//!
//! Only this crate knows wasmtime. It knows no channel, no state backend and
//! no scheduler: what a subtask offers its guest comes in as a [`host::TaskHost`].

mod bindings;
mod budget;
mod cache;
pub mod compiler;
mod component;
mod contract;
mod engine;
mod error;
mod fault;
mod guest_log;
mod host;
mod imports;
mod inspect;
mod instance;
mod linker;
mod options;
mod peephole;
mod plan;
mod runtime;
mod store;
mod task;
mod wasi;

pub use budget::MemoryBudget;
pub use compiler::compile_main;
pub use component::Component;
pub use error::Error;
pub use guest_log::log_guest_line;
pub use host::{Emitted, LogLevel, TaskHost};
pub use instance::Instance;
pub use options::{
    CancelFlag, CompileLimits, CompilerCommand, Grants, InstanceLimits, Options, Preemption, UnknownGrant,
};
pub use runtime::Runtime;
pub use task::{ChainEdge, PollStatus, Task, TaskInput, TaskOutput};
