//! How many keyed subtasks live in one process, and what each takes.

use crate::sandbox::{graph_of, load, runtime};
use crate::sandboxed::Sandboxed;
use anyhow::{Context, Result};
use heddle_wasm::{MemoryBudget, Preemption};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// Starts so many, keeps them all, and prints what they take. Each has been
/// opened and has flushed once: it waits for its next batch.
pub async fn run(job: &Path, count: u32) -> Result<()> {
    let (sandbox, _cache) = runtime(Preemption::Epoch, count + 8)?;
    let component = load(&sandbox, job).await?;
    let graph = graph_of(&sandbox, &component).await?;
    let vertex = graph
        .vertices
        .iter()
        .find(|vertex| vertex.operators.iter().any(|operator| operator.keyed))
        .context("the job has no keyed chain")?;
    let memory = Arc::new(MemoryBudget::new(1 << 40));
    let before = resident_kib()?;
    let mut live = Vec::with_capacity(count as usize);
    let mut starts = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let start = Instant::now();
        let mut subtask = Sandboxed::open(&sandbox, &component, &memory, &graph, vertex, None).await?;
        subtask.instance.flush().await?;
        starts.push(start.elapsed());
        live.push(subtask);
    }
    let each = resident_kib()?.saturating_sub(before) as f64 / f64::from(count);
    starts.sort();
    let at = |share: f64| starts[((starts.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    let result = serde_json::json!({
        "live": live.len(),
        "resident_kib_each": each,
        "start_p50_ms": at(0.5),
        "start_p99_ms": at(0.99),
    });
    println!("{result}");
    Ok(())
}

fn resident_kib() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok())
        .context("/proc/self/status names no VmRSS")
}
