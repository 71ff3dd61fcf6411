//! The chains of a job in the sandbox, on one thread.

use crate::sandboxed::Sandboxed;
use anyhow::{Context, Result};
use bench_drive::{line_of, measure};
use heddle_model::id::{BlobKey, JobId};
use heddle_model::job_graph::{ExecutionConfig, JobGraph};
use heddle_model::plan::Program;
use heddle_model::stream_graph::{GraphSettings, StreamGraph};
use heddle_wasm::{
    CancelFlag, CompilerCommand, Component, Grants, InstanceLimits, MemoryBudget, Options, Preemption,
    Runtime,
};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The first argument of the child that compiles.
pub const COMPILE: &str = "compile-component";
/// More than any run can count.
const RECORDS: &str = "1000000000000000";
const PLAN_TIME: Duration = Duration::from_secs(10);

/// A runtime with room for so many instances, and where it keeps compiled code.
pub fn runtime(preemption: Preemption, instances: u32) -> Result<(Runtime, tempfile::TempDir)> {
    let cache = tempfile::tempdir().context("a folder for compiled code")?;
    let program = std::env::current_exe()?;
    let compiler = CompilerCommand { program, arguments: vec![COMPILE.to_owned()] };
    let options =
        Options { preemption, max_instances: instances, ..Options::new(cache.path().to_owned(), compiler) };
    Ok((Runtime::new(options)?, cache))
}

pub async fn load(sandbox: &Runtime, job: &Path) -> Result<Component> {
    let bytes = std::fs::read(job).with_context(|| job.display().to_string())?;
    Ok(sandbox.load(&bytes, &Grants::default()).await?)
}

/// The graph of a job at parallelism 1, over more records than there is time for.
pub async fn graph(job: &Path) -> Result<JobGraph> {
    let (sandbox, _cache) = runtime(Preemption::Epoch, 8)?;
    let component = load(&sandbox, job).await?;
    graph_of(&sandbox, &component).await
}

pub async fn graph_of(sandbox: &Runtime, component: &Component) -> Result<JobGraph> {
    let mut program = Program { arguments: vec!["--records".into(), RECORDS.into()], ..Program::default() };
    let limits = InstanceLimits {
        memory: Arc::new(MemoryBudget::new(1 << 30)),
        call_timeout: PLAN_TIME,
        log_lines_per_second: 100,
        grants: Grants::default(),
        cancel: CancelFlag::new(),
        wall_clock_ms: 0,
        random_seed: 1,
        task_name: "plan".into(),
    };
    let plan = sandbox.plan(component, &program, &limits).await?;
    program.plan_fingerprint.clone_from(&plan.fingerprint);
    let stream =
        StreamGraph::from_plan(&plan, &GraphSettings::default()).map_err(|f| anyhow::anyhow!("{f}"))?;
    Ok(JobGraph::build(&stream, JobId(1), BlobKey([0; 32]), program, ExecutionConfig::default()))
}

pub fn run(
    runtime: &tokio::runtime::Runtime,
    job: &Path,
    graph: &JobGraph,
    preemption: Preemption,
    time: Duration,
) -> Result<()> {
    let (sandbox, _cache) = self::runtime(preemption, 8)?;
    let memory = Arc::new(MemoryBudget::new(4 << 30));
    let component = runtime.block_on(load(&sandbox, job))?;
    let mut line = Vec::new();
    for vertex in line_of(graph)? {
        let open = Sandboxed::open(&sandbox, &component, &memory, graph, vertex, Some(runtime));
        line.push(runtime.block_on(open)?);
    }
    println!("{}", measure(&mut line, time)?.json());
    Ok(())
}
