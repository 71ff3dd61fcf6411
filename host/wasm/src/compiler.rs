//! Compiling in a child process with limits: hostile code may make a compiler
//! slow, large or crash, and none of that may reach this process.
//!
//! The child is the program itself with a hidden subcommand, so that both
//! sides are the same build.

use crate::engine;
use crate::error::Error;
use crate::guest_log::{clean, cut};
use crate::inspect::{self, Kind};
use crate::options::{CompileLimits, CompilerCommand, Preemption};
use crate::peephole;
use heddle_model::failure::{ErrorCode, Failure};
use rustix::process::{Resource, Rlimit, setrlimit};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::time::Duration;
use tokio::io::AsyncReadExt;

/// Threads of the compiler; each has buffers of its own within the memory limit.
const COMPILER_THREADS: usize = 4;
/// Bytes of the child's answer that are read.
const ANSWER_MAX: u64 = 64 << 10;

/// What the child is to do, as one argument.
#[derive(Debug, Serialize, Deserialize)]
struct Order {
    component: std::path::PathBuf,
    artefact: std::path::PathBuf,
    epochs: bool,
    max_stack_size: u64,
    memory: u64,
    cpu_seconds: u64,
    artefact_size: u64,
}

/// What the child says when it fails.
#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    failure: Failure,
}

/// Compiles `component` to `artefact` in a child process.
pub(crate) async fn compile(
    command: &CompilerCommand,
    limits: &CompileLimits,
    preemption: Preemption,
    max_stack_size: u64,
    component: &Path,
    artefact: &Path,
) -> Result<(), Error> {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get()).min(COMPILER_THREADS);
    let order = Order {
        component: component.to_owned(),
        artefact: artefact.to_owned(),
        epochs: preemption == Preemption::Epoch,
        max_stack_size,
        memory: limits.memory,
        cpu_seconds: limits.time.as_secs().max(1).saturating_mul(threads as u64),
        artefact_size: limits.artefact_size,
    };
    let order = serde_json::to_string(&order)
        .map_err(|error| Error::internal(format!("cannot describe the compiler's order: {error}")))?;
    let mut child = tokio::process::Command::new(&command.program)
        .args(&command.arguments)
        .arg(order)
        .env_clear()
        .env("RAYON_NUM_THREADS", threads.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| {
            Error::internal(format!("cannot start the compiler {}: {error}", command.program.display()))
        })?;
    let mut answer = String::new();
    let finished = async {
        if let Some(stdout) = child.stdout.take() {
            let mut bytes = Vec::new();
            let _ = stdout.take(ANSWER_MAX).read_to_end(&mut bytes).await;
            answer = String::from_utf8_lossy(&bytes).into_owned();
        }
        child.wait().await
    };
    let status = match tokio::time::timeout(limits.time, finished).await {
        Ok(Ok(status)) => status,
        Ok(Err(error)) => return Err(Error::internal(format!("cannot wait for the compiler: {error}"))),
        Err(_) => {
            let _ = child.kill().await;
            return Err(time_is_up(limits.time));
        }
    };
    if status.success() {
        return Ok(());
    }
    if let Ok(answer) = serde_json::from_str::<Answer>(answer.trim()) {
        return Err(answer.failure.into());
    }
    let memory = limits.memory >> 20;
    Err(match status.signal() {
        Some(signal) if signal == rustix::process::Signal::XCPU.as_raw() => time_is_up(limits.time),
        // An allocation that fails aborts.
        Some(signal) if signal == rustix::process::Signal::ABORT.as_raw() => Error::new(
            ErrorCode::ComponentCompile,
            format!(
                "compiling the component took more than {memory} MiB of memory: is one of its functions very large? (limit: taskmanager.wasm.compile.memory)"
            ),
        ),
        Some(signal) if signal == rustix::process::Signal::KILL.as_raw() => Error::new(
            ErrorCode::ComponentCompile,
            "the compiler was killed while it compiled this component: is the machine out of memory?",
        ),
        Some(signal) => Error::new(
            ErrorCode::ComponentCompile,
            format!("the compiler crashed with signal {signal} on this component"),
        ),
        None => Error::new(
            ErrorCode::ComponentCompile,
            format!("the compiler {} failed with {status} and gave no reason", command.program.display()),
        ),
    })
}

fn time_is_up(time: Duration) -> Error {
    Error::new(
        ErrorCode::ComponentCompile,
        format!(
            "compiling the component took longer than {time:?}: is one of its functions very large? (limit: taskmanager.wasm.compile.timeout)"
        ),
    )
}

/// The child's entry: the `heddle` binary calls it for its hidden subcommand,
/// with what follows the subcommand. Limits itself, compiles, and says on
/// standard output why it could not.
pub fn compile_main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let order =
        arguments.into_iter().next().and_then(|text| serde_json::from_str::<Order>(text.to_str()?).ok());
    let Some(order) = order else {
        eprintln!("this subcommand is for heddle itself: it expects an order of the sandbox");
        return ExitCode::FAILURE;
    };
    // What a panic says goes into the answer, not to the terminal.
    std::panic::set_hook(Box::new(|_| {}));
    let result = std::panic::catch_unwind(|| run_order(&order)).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        let said = said.or(panic.downcast_ref::<&str>().copied()).unwrap_or("nothing");
        let message = format!("the compiler panicked on this component: {}", clean(&cut(said, 500)));
        Err(Error::new(ErrorCode::ComponentCompile, message))
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let answer = serde_json::to_string(&Answer { failure: error.failure() }).unwrap_or_default();
            let _ = std::io::stdout().write_all(answer.as_bytes());
            ExitCode::FAILURE
        }
    }
}

fn run_order(order: &Order) -> Result<(), Error> {
    let io =
        |what: &str, error: std::io::Error| Error::internal(format!("the compiler cannot {what}: {error}"));
    limit(Resource::Data, order.memory)?;
    // Address space counts what is only reserved too: stacks, arenas.
    limit(Resource::As, order.memory.saturating_add(4 << 30))?;
    limit(Resource::Cpu, order.cpu_seconds)?;
    limit(Resource::Core, 0)?;
    limit(Resource::Fsize, order.artefact_size.saturating_add(1 << 20))?;

    let mut bytes = Vec::new();
    let mut file = std::fs::File::open(&order.component).map_err(|error| io("open the component", error))?;
    file.read_to_end(&mut bytes).map_err(|error| io("read the component", error))?;
    if inspect::inspect(&bytes)? == Kind::Module {
        bytes = inspect::wrap(&bytes)?;
    }
    if let Ok(exchanged) = peephole::exchange(&bytes) {
        bytes = exchanged;
    }
    let preemption = if order.epochs { Preemption::Epoch } else { Preemption::None };
    let engine = engine::for_compiling(preemption, order.max_stack_size)
        .map_err(|error| Error::internal(format!("cannot set up the compiler: {error:#}")))?;
    let artefact = engine.precompile_component(&bytes).map_err(|error| {
        let cause = clean(&cut(&format!("{error:#}"), 500));
        Error::new(ErrorCode::ComponentInvalid, format!("the component is not valid: {cause}"))
    })?;
    if artefact.len() as u64 > order.artefact_size {
        return Err(Error::new(
            ErrorCode::ComponentCompile,
            format!(
                "the compiled component has {} MiB; the limit is {} MiB",
                (artefact.len() as u64).div_ceil(1 << 20),
                order.artefact_size >> 20
            ),
        ));
    }
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&order.artefact)
        .map_err(|error| io("create the artefact", error))?;
    file.write_all(&artefact).map_err(|error| io("write the artefact", error))
}

fn limit(resource: Resource, value: u64) -> Result<(), Error> {
    // A little between the two: the first one says what it was, the second kills.
    setrlimit(resource, Rlimit { current: Some(value), maximum: Some(value.saturating_add(1)) })
        .map_err(|error| Error::internal(format!("the compiler cannot limit itself: {error}")))
}
