//! What the boundary costs on this machine: calls, emits, instances.
//! `cargo bench -p heddle-wasm`; the figures go to standard output.

#[path = "../tests/sandbox/guests.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod guests;

use guests::Guest;
use heddle_model::failure::Failure;
use heddle_wasm::{
    CancelFlag, CompilerCommand, Component, Emitted, Grants, Instance, InstanceLimits, LogLevel,
    MemoryBudget, Options, Preemption, Runtime, TaskHost,
};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

struct Sink {
    bytes: u64,
}

impl TaskHost for Sink {
    fn emit(&mut self, _: u32, _: u32, batch: &[u8]) -> Result<Emitted, Failure> {
        self.bytes += batch.len() as u64;
        Ok(Emitted::Done)
    }
    fn state_register(&mut self, _: u32, _: &str) -> Result<u32, Failure> {
        Ok(0)
    }
    fn state_get_many(&mut self, _: u32, _: &[u8]) -> Result<Vec<u8>, Failure> {
        Ok(Vec::new())
    }
    fn state_put_many(&mut self, _: u32, _: &[u8]) -> Result<(), Failure> {
        Ok(())
    }
    fn state_scan(&mut self, _: u32, _: u64, _: u32) -> Result<(Vec<u8>, Option<u64>), Failure> {
        Ok((Vec::new(), None))
    }
    fn add_metrics(&mut self, _: Vec<(String, i64)>) {}
    fn log(&mut self, _: LogLevel, _: &str, _: &str) {}
}

fn limits(memory: &Arc<MemoryBudget>) -> InstanceLimits {
    InstanceLimits {
        memory: memory.clone(),
        call_timeout: Duration::from_secs(60),
        log_lines_per_second: 100,
        grants: Grants::default(),
        cancel: CancelFlag::new(),
        wall_clock_ms: 0,
        random_seed: 1,
        task_name: "bench".to_owned(),
    }
}

fn runtime(cache: &Path, preemption: Preemption, instances: u32) -> Runtime {
    let command =
        CompilerCommand { program: env!("CARGO_BIN_EXE_compile-component").into(), arguments: vec![] };
    let mut options = Options::new(cache.to_owned(), command);
    options.preemption = preemption;
    options.max_instances = instances;
    Runtime::new(options).expect("a runtime")
}

fn status(field: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("status");
    let line = text.lines().find(|line| line.starts_with(field)).expect("the field");
    line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number")
}

/// Time that this thread was on a CPU: other processes may be busy.
fn cpu_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

fn mappings() -> usize {
    std::fs::read_to_string("/proc/self/maps").expect("maps").lines().count()
}

async fn per_call(name: &str, instance: &mut Instance, batch: &[u8], emits: u32) {
    let mut best = f64::MAX;
    for _ in 0..7 {
        let calls = (100_000_000 / (batch.len() + 1000 + 300 * emits as usize)).max(200) as u32;
        let start = cpu_time();
        for _ in 0..calls {
            instance.process(0, batch).await.expect("a call");
        }
        best = best.min((cpu_time() - start).as_nanos() as f64 / f64::from(calls));
    }
    println!("{name:<44} {:>9.0} ns", best / f64::from(emits.max(1)));
}

async fn calls(cache: &Path, preemption: Preemption) {
    println!("--- calls, {preemption:?}");
    let runtime = runtime(cache, preemption, 16);
    let budget = Arc::new(MemoryBudget::new(1 << 30));
    let grants = Grants::default();
    let nothing = runtime.load(&Guest::new().component(), &grants).await.expect("a component");
    let mut instance =
        runtime.instantiate(&nothing, Box::new(Sink { bytes: 0 }), limits(&budget)).await.expect("alive");
    for size in [0usize, 64, 64 << 10] {
        per_call(&format!("process, {size} bytes"), &mut instance, &vec![7; size], 1).await;
    }
    let emit = Guest::new().on(
        "process",
        "(local $i i32)
         (loop $again
            (call $emit (i32.const 0) (i32.const 0) (local.get $batch) (local.get $length))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $i) (i32.const 1000))))",
    );
    let emit = runtime.load(&emit.component(), &grants).await.expect("a component");
    let mut instance =
        runtime.instantiate(&emit, Box::new(Sink { bytes: 0 }), limits(&budget)).await.expect("alive");
    for size in [64usize, 64 << 10] {
        per_call(&format!("emit in place, {size} bytes"), &mut instance, &vec![7; size], 1000).await;
    }
}

fn creation(cache: &Path) {
    println!("--- a runtime");
    for instances in [256, 1024, 4096] {
        let (start, before) = (cpu_time(), (status("VmRSS"), mappings()));
        let runtime = runtime(cache, Preemption::Epoch, instances);
        println!(
            "{:<44} {:>9.1} ms of CPU, {} KiB, {} mappings",
            format!("for {instances} instances"),
            (cpu_time() - start).as_secs_f64() * 1e3,
            status("VmRSS").saturating_sub(before.0),
            mappings() - before.1
        );
        drop(runtime);
    }
}

async fn start(runtime: &Runtime, component: &Component, budget: &Arc<MemoryBudget>) -> Instance {
    runtime.instantiate(component, Box::new(Sink { bytes: 0 }), limits(budget)).await.expect("an instance")
}

async fn instances(cache: &Path, bytes: &[u8], what: &str) {
    println!("--- instances of {what}");
    let before = (status("VmRSS"), mappings());
    let begin = Instant::now();
    let count = std::env::var("INSTANCES").ok().and_then(|n| n.parse().ok()).unwrap_or(20_000u32);
    let runtime = runtime(cache, Preemption::Epoch, count);
    let budget = Arc::new(MemoryBudget::new(64 << 30));
    println!(
        "{:<44} {:>9.1} ms, {} KiB, {} mappings",
        format!("a runtime for {count}"),
        begin.elapsed().as_secs_f64() * 1e3,
        status("VmRSS") - before.0,
        mappings() - before.1
    );
    let component = runtime.load(bytes, &Grants::default()).await.expect("a component");
    let mut times = Vec::new();
    for _ in 0..2000 {
        let begin = cpu_time();
        let mut instance = start(&runtime, &component, &budget).await;
        instance.process(0, &[7; 100]).await.expect("a call");
        drop(instance);
        times.push(cpu_time() - begin);
    }
    times.sort();
    println!(
        "{:<44} {:>9.1} µs (p99 {:?})",
        "create, first call, drop",
        times[1000].as_nanos() as f64 / 1e3,
        times[1980]
    );
    let before = (status("VmRSS"), mappings());
    let mut live = Vec::new();
    let mut times = Vec::new();
    for i in 0..count {
        let begin = cpu_time();
        let created = runtime.instantiate(&component, Box::new(Sink { bytes: 0 }), limits(&budget)).await;
        let mut instance = match created {
            Ok(instance) => instance,
            Err(error) => {
                println!("stopped at {i}: {error}");
                break;
            }
        };
        if let Err(error) = instance.process(0, &[7; 100]).await {
            println!("stopped at {i}: {error} {:?}", error.failure().details);
            break;
        }
        times.push(cpu_time() - begin);
        live.push(instance);
    }
    times.sort();
    println!(
        "{:<44} {:>9} live, {:.1} KiB resident and {:.2} mappings each, start p50 {:?} p99 {:?}",
        "live instances that ran once",
        live.len(),
        (status("VmRSS") - before.0) as f64 / live.len() as f64,
        (mappings() - before.1) as f64 / live.len() as f64,
        times[times.len() / 2],
        times[times.len() * 99 / 100],
    );
}

fn main() {
    let folder = tempfile::tempdir().expect("a folder");
    let cache = folder.path().join("cache");
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("tokio");
    tokio.block_on(async {
        creation(&cache);
        calls(&cache, Preemption::Epoch).await;
        calls(&cache, Preemption::None).await;
        instances(&cache, &Guest::new().component(), "the smallest guest").await;
        if let Some(path) = std::env::var_os("COMPONENT") {
            instances(&cache, &std::fs::read(&path).expect("the component"), &path.to_string_lossy()).await;
        }
    });
}
