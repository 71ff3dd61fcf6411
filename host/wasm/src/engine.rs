//! How wasmtime is set up: the same code generation in the compiler's process
//! and here, and the pool of instances here only.

use crate::error::Error;
use crate::options::{Options, Preemption};
use sha2::{Digest, Sha256};
use std::hash::{Hash, Hasher};
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig,
    WasmBacktraceDetails,
};

/// Part of every artefact's name; grows when this crate changes what an
/// artefact means (such as how core modules are wrapped).
const ARTEFACT_FORMAT: u32 = 2;

/// The address space of one memory. All 32-bit addresses are inside of it, so
/// that compiled code needs no bounds checks (smaller ones cost 25–54 %).
const MEMORY_RESERVATION: u64 = 4 << 30;
const MEMORY_GUARD: u64 = 32 << 20;

/// A process has 47 bits of addresses, and its own code sits at two thirds of
/// them: the largest gap takes 21,800 such slots.
const MAX_MEMORIES: u32 = 21_500;

/// What a fiber's stack leaves for host functions beside the guest's frames.
const HOST_STACK: usize = 1 << 20;

/// Linear memory that is zeroed and kept rather than given back when an
/// instance ends; with `pagemap_scan` only pages that were written cost.
const KEEP_RESIDENT: usize = 1 << 20;

/// What both processes must agree on.
fn code_generation(preemption: Preemption, max_stack_size: u64) -> Config {
    let max_stack = usize::try_from(max_stack_size).unwrap_or(usize::MAX).clamp(64 << 10, 64 << 20);
    let mut config = Config::new();
    config
        .concurrency_support(false)
        .epoch_interruption(preemption == Preemption::Epoch)
        .memory_reservation(MEMORY_RESERVATION)
        .memory_guard_size(MEMORY_GUARD)
        .memory_may_move(false)
        .signals_based_traps(true)
        .max_wasm_stack(max_stack)
        .async_stack_size(max_stack + HOST_STACK)
        .cranelift_opt_level(OptLevel::Speed)
        .wasm_multi_memory(true)
        .wasm_tail_call(true)
        .wasm_memory64(false)
        .wasm_custom_page_sizes(false)
        .wasm_stack_switching(false)
        .wasm_backtrace_details(WasmBacktraceDetails::Enable);
    config
}

/// The engine of the compiler's process: it never runs a guest.
pub(crate) fn for_compiling(preemption: Preemption, max_stack_size: u64) -> wasmtime::Result<Engine> {
    Engine::new(&code_generation(preemption, max_stack_size))
}

/// The engine of a process that runs guests.
pub(crate) fn for_running(options: &Options) -> Result<Engine, Error> {
    let instances = options.max_instances.max(1);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        // A component of `wit-component` has its module, a shim and fix-ups,
        // and an adapter if it came from WASI preview 1.
        .total_core_instances(instances.saturating_mul(4))
        .total_tables(instances.saturating_mul(3))
        .total_memories((instances + instances / 4).clamp(16, MAX_MEMORIES))
        .total_stacks(instances)
        .max_memories_per_module(4)
        .max_tables_per_module(4)
        .table_elements(100_000)
        .max_memory_size(options.max_memory_per_instance.clamp(64 << 10, MEMORY_RESERVATION) as usize)
        .linear_memory_keep_resident(KEEP_RESIDENT)
        .table_keep_resident(64 << 10)
        .pagemap_scan(Enabled::Auto);
    warn_of_mappings(instances);
    let mut config = code_generation(options.preemption, options.max_stack_size);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&config).map_err(|error| {
        Error::internal(format!(
            "cannot set up the sandbox for {instances} instances ({error:#}): \
             lower taskmanager.wasm.max-instances, or raise the limit on address space (ulimit -v)"
        ))
    })
}

/// Each instance has a stack with a guard (2 mappings) and a memory with its
/// data (4); the kernel allows 65,530 in all unless it was told otherwise.
fn warn_of_mappings(instances: u32) {
    let text = std::fs::read_to_string("/proc/sys/vm/max_map_count").unwrap_or_default();
    let Ok(limit) = text.trim().parse::<u64>() else { return };
    let needed = u64::from(instances) * 6 + 1000;
    if needed > limit {
        tracing::warn!(
            "max-instances" = instances,
            "vm.max_map_count" = limit,
            needed,
            "the kernel allows too few mappings for so many instances: sysctl -w vm.max_map_count={needed}"
        );
    }
}

/// Names the code that an engine can map: equal in two processes if and only
/// if one can run what the other compiled.
pub(crate) fn compatibility(engine: &Engine) -> String {
    struct Stable(Sha256);
    impl Hasher for Stable {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
        fn finish(&self) -> u64 {
            0
        }
    }
    let mut hasher = Stable(Sha256::new());
    ARTEFACT_FORMAT.hash(&mut hasher);
    env!("CARGO_PKG_VERSION").hash(&mut hasher);
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.0.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}
