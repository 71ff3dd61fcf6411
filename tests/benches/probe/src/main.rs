//! What no job can show: the sandbox on one thread, many live instances, a
//! cluster without a job. Started by `cargo xtask bench`; prints JSON.

mod idle;
mod instances;
mod sandbox;
mod sandboxed;

use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "\
bench-probe graph JOB.wasm GRAPH.json
bench-probe sandbox JOB.wasm GRAPH.json epoch|none SECONDS
bench-probe instances JOB.wasm COUNT
bench-probe idle";

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).peekable();
    if arguments.next_if(|argument| argument == sandbox::COMPILE).is_some() {
        return heddle_wasm::compile_main(arguments);
    }
    let arguments: Vec<String> = arguments.map(|argument| argument.to_string_lossy().into_owned()).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> Result<()> {
    // One thread: what is measured is what one costs.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match arguments {
        ["graph", job, graph] => {
            let made = runtime.block_on(sandbox::graph(Path::new(job)))?;
            std::fs::write(graph, serde_json::to_string(&made)?).context("the graph")
        }
        ["sandbox", job, graph, preemption, seconds] => {
            let preemption = match *preemption {
                "epoch" => heddle_wasm::Preemption::Epoch,
                "none" => heddle_wasm::Preemption::None,
                other => bail!("no preemption `{other}`"),
            };
            let graph = std::fs::read_to_string(graph).context("the graph")?;
            let time = Duration::from_secs_f64(seconds.parse()?);
            sandbox::run(&runtime, Path::new(job), &serde_json::from_str(&graph)?, preemption, time)
        }
        ["instances", job, count] => runtime.block_on(instances::run(Path::new(job), count.parse()?)),
        ["idle"] => runtime.block_on(idle::run()),
        _ => bail!("usage:\n{USAGE}"),
    }
}
