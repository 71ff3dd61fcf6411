//! What the embedder decides: the pool, the compiler's process, the limits of
//! an instance and what it is granted.

use crate::budget::MemoryBudget;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Whether a busy guest can be interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Preemption {
    /// Guests look at the epoch at each loop and call: a busy one yields to
    /// its neighbours, and deadlines and cancellation reach it.
    Epoch,
    /// Code without these checks, 10–80 % faster in tight loops. A guest that
    /// never returns holds its worker thread for ever: for trusted jobs only.
    None,
}

/// The process that compiles a component: a program that ends in
/// [`crate::compile_main`]. Paths and limits follow these arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompilerCommand {
    pub program: PathBuf,
    pub arguments: Vec<String>,
}

/// Limits on what compiling one component may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompileLimits {
    /// Wall time; the child may use this much CPU time on each core too.
    pub time: Duration,
    /// Private memory of the child, in bytes.
    pub memory: u64,
    /// Size of the component, in bytes.
    pub component_size: u64,
    /// Size of the compiled code, in bytes.
    pub artefact_size: u64,
}

impl Default for CompileLimits {
    /// Enough for a component of a whole Python interpreter (18 MB, 5 s).
    fn default() -> Self {
        Self {
            time: Duration::from_secs(120),
            memory: 4 << 30,
            component_size: 128 << 20,
            artefact_size: 1 << 30,
        }
    }
}

/// How the sandbox of one process is set up.
#[derive(Clone, Debug)]
pub struct Options {
    pub preemption: Preemption,
    /// Instances that may live at the same time.
    pub max_instances: u32,
    /// Linear memory of one instance, in bytes; at most 4 GiB.
    pub max_memory_per_instance: u64,
    /// Stack of a guest's call, in bytes; the same for all instances.
    pub max_stack_size: u64,
    /// Where compiled components are kept. Created owner-only if absent;
    /// refused if others can write to it.
    pub cache_dir: PathBuf,
    pub compiler: CompilerCommand,
    pub compile_limits: CompileLimits,
    /// How often busy guests are looked after.
    pub epoch_tick: Duration,
}

impl Options {
    /// The defaults, with the two things that have none.
    pub fn new(cache_dir: PathBuf, compiler: CompilerCommand) -> Self {
        Self {
            preemption: Preemption::Epoch,
            max_instances: 1024,
            max_memory_per_instance: 4 << 30,
            max_stack_size: 512 << 10,
            cache_dir,
            compiler,
            compile_limits: CompileLimits::default(),
            epoch_tick: Duration::from_millis(10),
        }
    }
}

/// What a job is allowed beyond computing: nothing, unless said so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Grants {
    /// Real time instead of clocks that stand still.
    pub clocks: bool,
    /// Real randomness instead of a seeded sequence.
    pub random: bool,
    pub sockets: bool,
    pub filesystem: bool,
    pub http: bool,
    pub environment: bool,
}

/// The text names no grant.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown grant `{name}`: expected clocks, random, sockets, filesystem, http or environment")]
pub struct UnknownGrant {
    pub name: String,
}

impl Grants {
    /// The names of those that are set.
    pub fn names(&self) -> Vec<&'static str> {
        let all = [
            (self.clocks, "clocks"),
            (self.random, "random"),
            (self.sockets, "sockets"),
            (self.filesystem, "filesystem"),
            (self.http, "http"),
            (self.environment, "environment"),
        ];
        all.into_iter().filter(|(set, _)| *set).map(|(_, name)| name).collect()
    }
}

impl FromStr for Grants {
    type Err = UnknownGrant;

    /// Names separated by commas or semicolons; the empty text grants nothing.
    fn from_str(text: &str) -> Result<Self, UnknownGrant> {
        let mut grants = Self::default();
        for name in text.split([',', ';']).map(str::trim).filter(|name| !name.is_empty()) {
            match name {
                "clocks" => grants.clocks = true,
                "random" => grants.random = true,
                "sockets" => grants.sockets = true,
                "filesystem" => grants.filesystem = true,
                "http" => grants.http = true,
                "environment" => grants.environment = true,
                _ => return Err(UnknownGrant { name: name.to_owned() }),
            }
        }
        Ok(grants)
    }
}

/// Tells an instance to stop: its running call ends with
/// [`crate::Error::Cancelled`] at the next epoch tick.
#[derive(Clone, Debug, Default)]
pub struct CancelFlag(Arc<AtomicBool>);

impl CancelFlag {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The limits of one instance.
#[derive(Clone, Debug)]
pub struct InstanceLimits {
    /// The slot's task memory, shared by all instances in the slot.
    pub memory: Arc<MemoryBudget>,
    /// How long one call may run in the guest. Time blocked in `emit` does
    /// not count.
    pub call_timeout: Duration,
    /// Lines a second that reach [`crate::TaskHost::log`]; the rest is counted.
    pub log_lines_per_second: u32,
    pub grants: Grants,
    pub cancel: CancelFlag,
    /// Where clocks stand without the grant `clocks`: milliseconds since the epoch.
    pub wall_clock_ms: u64,
    /// Start of the random sequence without the grant `random`. The same for all
    /// instances of a job: by it they are known to belong together.
    pub random_seed: u64,
    /// For messages, such as `Source: lines -> Flat Map (1/4)`.
    pub task_name: String,
}
