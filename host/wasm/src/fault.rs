//! From what went wrong inside a store to what the user reads: the operator,
//! the record, the guest's own panic message, and a backtrace of guest frames.

use crate::error::Error;
use crate::guest_log::cut;
use heddle_model::failure::{ErrorCode, Failure};
use std::fmt::Write;
use std::time::Duration;
use wasmtime::{Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

/// Frames of a guest that are shown; recursion has thousands.
const FRAMES_MAX: usize = 40;
/// Bytes of a message that came from a guest.
pub(crate) const MESSAGE_MAX: usize = 4 << 10;

/// What this crate itself raises inside of a store.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("cancelled")]
    Cancelled,
    #[error("the call ran for more than {timeout:?}")]
    Deadline { timeout: Duration },
    #[error("{0}")]
    Memory(String),
    #[error("{0}")]
    Contract(String),
    #[error(transparent)]
    Host(Failure),
}

impl Fault {
    pub(crate) fn contract(message: impl Into<String>) -> wasmtime::Error {
        wasmtime::Error::new(Fault::Contract(message.into()))
    }
}

/// What the guest said with `panic.report`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PanicReport {
    pub message: String,
    pub file: String,
    pub line: u32,
    pub column: u32,
    pub operator: Option<String>,
    /// Which record of the operator's input, from 0.
    pub position: Option<u64>,
}

/// Which call went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The component is brought to life.
    Start,
    /// `plan`.
    Plan,
    /// A call of a running subtask.
    Run,
}

/// Turns an error of a store into an `Error`.
pub(crate) fn explain(
    error: wasmtime::Error,
    phase: Phase,
    task: &str,
    panic: Option<PanicReport>,
    last_words: Option<String>,
) -> Error {
    let paths = Paths::of(&error, panic.as_ref());
    let backtrace = error.downcast_ref::<WasmBacktrace>();
    let backtrace = backtrace.map(|frames| render_backtrace(frames, &paths)).filter(|text| !text.is_empty());
    let operator_of = |panic: &Option<PanicReport>| match panic.as_ref().and_then(|p| p.operator.as_deref()) {
        Some(operator) => format!("operator '{operator}'"),
        None => subject(phase, task),
    };
    let code = |running: ErrorCode| if phase == Phase::Plan { ErrorCode::PlanFailed } else { running };
    let failure = match error.downcast_ref::<Fault>() {
        Some(Fault::Cancelled) => return Error::Cancelled,
        Some(Fault::Host(failure)) => failure.clone(),
        Some(Fault::Deadline { timeout }) => Failure::new(
            code(ErrorCode::OperatorDeadline),
            format!(
                "{} did not return within {timeout:?}{}: is it an endless loop? (limit: {})",
                subject(phase, task),
                place(&error),
                if phase == Phase::Plan {
                    "taskmanager.wasm.plan-timeout"
                } else {
                    "taskmanager.wasm.call-timeout"
                }
            ),
        ),
        Some(Fault::Memory(message)) => {
            Failure::new(ErrorCode::MemoryLimit, format!("{}: {message}", subject(phase, task)))
        }
        Some(Fault::Contract(message)) => Failure::new(
            ErrorCode::ContractViolation,
            format!("{} broke the operator contract: {message}", subject(phase, task)),
        ),
        None => explain_trap(&error, phase, task, &panic, operator_of(&panic)),
    };
    if failure.details.is_some() {
        return failure.into();
    }
    let last_words = last_words.map(|words| format!("standard error:\n{words}\n"));
    let details: String = [backtrace, last_words].into_iter().flatten().collect();
    if details.is_empty() { failure.into() } else { failure.with_details(details).into() }
}

fn explain_trap(
    error: &wasmtime::Error,
    phase: Phase,
    task: &str,
    panic: &Option<PanicReport>,
    operator: String,
) -> Failure {
    let code = |running: ErrorCode| if phase == Phase::Plan { ErrorCode::PlanFailed } else { running };
    let trap = error.downcast_ref::<Trap>();
    if let Some(panic) = panic {
        let record = panic.position.map(|record| format!(" on record {record}")).unwrap_or_default();
        let within =
            if phase == Phase::Plan { String::new() } else { format!(" in {}", subject(phase, task)) };
        let message = format!(
            "{operator} panicked at {}:{}:{}{record}{within}: {}",
            panic.file, panic.line, panic.column, panic.message
        );
        return Failure::new(code(ErrorCode::OperatorTrap), message);
    }
    if let Some(I32Exit(status)) = error.downcast_ref::<I32Exit>() {
        let message =
            format!("{} called exit with status {status}: return an error instead", subject(phase, task));
        return Failure::new(code(ErrorCode::OperatorTrap), message);
    }
    match trap {
        Some(Trap::StackOverflow) => Failure::new(
            code(ErrorCode::StackOverflow),
            format!(
                "{} used up its stack{}: is it unbounded recursion? (limit: taskmanager.wasm.max-stack-size)",
                subject(phase, task),
                place(error)
            ),
        ),
        Some(trap) => Failure::new(
            code(ErrorCode::OperatorTrap),
            format!("{} trapped{}: {trap}", subject(phase, task), place(error)),
        ),
        // Values that the canonical ABI does not allow: lists out of bounds,
        // text that is not UTF-8, unknown discriminants.
        None if error.root_cause().is::<std::io::Error>() || error.root_cause().is::<rustix::io::Errno>() => {
            let maps = std::fs::read_to_string("/proc/sys/vm/max_map_count").unwrap_or_default();
            Failure::new(
                ErrorCode::NoResources,
                format!(
                    "the system gave no memory for {} ({}): many instances need many mappings, and \
                     vm.max_map_count is {}; raise it (sysctl -w vm.max_map_count=262144)",
                    subject(phase, task),
                    error.root_cause(),
                    maps.trim()
                ),
            )
        }
        // The answer of `plan` is lifted as a whole, within a limit.
        None if phase == Phase::Plan
            && error.root_cause().to_string().contains("fuel allocated for hostcalls") =>
        {
            Failure::new(ErrorCode::PlanInvalid, "the job's graph is not valid: it is larger than 16 MiB")
        }
        None => {
            let cause = cut(&error.root_cause().to_string(), MESSAGE_MAX);
            Failure::new(
                ErrorCode::ContractViolation,
                format!("{} broke the operator contract: {cause}", subject(phase, task)),
            )
        }
    }
}

fn subject(phase: Phase, task: &str) -> String {
    match phase {
        Phase::Start => format!("the start of task '{task}'"),
        Phase::Plan => "the job's `main`".to_owned(),
        Phase::Run => format!("task '{task}'"),
    }
}

/// ` at file:line` of the innermost frame that belongs to the user.
fn place(error: &wasmtime::Error) -> String {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else { return String::new() };
    let symbols = backtrace.frames().iter().take(FRAMES_MAX).flat_map(|frame| frame.symbols());
    let mut symbols =
        symbols.filter(|symbol| !symbol.name().is_some_and(|name| is_foreign_name(&demangle(name))));
    let found = symbols.find(|symbol| symbol.file().is_some_and(|file| !is_foreign(file)));
    let found = found.and_then(|symbol| Some((symbol.file()?, symbol.line(), symbol.name()?)));
    match found {
        Some((file, Some(line), _)) => format!(" at {}:{line}", short_path(file)),
        // Instructions that the compiler attributes to no line.
        Some((file, None, name)) => format!(" in `{}` ({})", cut(&demangle(name), 200), short_path(file)),
        None => match backtrace.frames().iter().find_map(|frame| frame.func_name()) {
            Some(name) => format!(" in `{}`", cut(&demangle(name), 200)),
            None => String::new(),
        },
    }
}

/// Frames of the toolchain, of crates and of the SDK are folded away.
fn is_foreign(file: &str) -> bool {
    const FOREIGN: [&str; 7] =
        ["/rustc/", "/rustlib/", "/.cargo/", "guest-sdk/", "/wasi-libc/", "/dlmalloc/", "src/malloc.c"];
    FOREIGN.iter().any(|part| file.contains(part))
}

/// Glue whose file is the user's only because a macro stands there.
fn is_foreign_name(name: &str) -> bool {
    const FOREIGN: [&str; 13] = [
        "__heddle_",
        "core::",
        "std::",
        "alloc::",
        "heddle::",
        "wit_bindgen::",
        "__rust",
        "_export_",
        "export_",
        "cabi_",
        "dlmalloc",
        "dlrealloc",
        "abort",
    ];
    let name = name.trim_start_matches('<');
    FOREIGN.iter().any(|start| name.starts_with(start))
}

/// How paths of source files are shown: as the guest's own panic message shows
/// them, if there is one.
struct Paths {
    /// The folder that the compiler left out there.
    root: Option<String>,
}

impl Paths {
    fn of(error: &wasmtime::Error, panic: Option<&PanicReport>) -> Self {
        let frames = error.downcast_ref::<WasmBacktrace>().map(WasmBacktrace::frames).unwrap_or_default();
        let mut files = frames.iter().flat_map(|frame| frame.symbols()).filter_map(|symbol| symbol.file());
        let root = panic.and_then(|panic| {
            let root = |file: &str| file.strip_suffix(&panic.file)?.strip_suffix('/').map(str::to_owned);
            files.find_map(root)
        });
        Self { root }
    }

    fn shown<'f>(&self, file: &'f str) -> &'f str {
        let below = self.root.as_deref().and_then(|root| file.strip_prefix(root)?.strip_prefix('/'));
        below.unwrap_or_else(|| short_path(file))
    }
}

/// A path without the folders in front of the crate's.
fn short_path(file: &str) -> &str {
    match file.rfind("/src/") {
        Some(at) => &file[at + 1..],
        None => file,
    }
}

fn demangle(name: &str) -> String {
    format!("{:#}", rustc_demangle::demangle(name))
}

fn render_backtrace(backtrace: &WasmBacktrace, paths: &Paths) -> String {
    /// A line, whether it is folded, and how often it stands here in a row.
    struct Frame {
        line: String,
        foreign: bool,
        times: usize,
    }
    let mut frames: Vec<Frame> = Vec::new();
    let mut push = |line: String, foreign: bool| match frames.last_mut() {
        Some(last) if last.line == line => last.times += 1,
        _ => frames.push(Frame { line, foreign, times: 1 }),
    };
    for frame in backtrace.frames() {
        if frame.symbols().is_empty() {
            match frame.func_name().map(demangle) {
                Some(name) => push(format!("  at {}", cut(&name, 300)), is_foreign_name(&name)),
                None => push(format!("  at function {}", frame.func_index()), true),
            }
        }
        for symbol in frame.symbols() {
            let name = symbol.name().map(demangle).unwrap_or_else(|| "an inlined function".to_owned());
            let mut line = format!("  at {}", cut(&name, 300));
            if let Some(file) = symbol.file() {
                let _ = write!(line, " ({}", paths.shown(file));
                if let Some(number) = symbol.line() {
                    let _ = write!(line, ":{number}");
                }
                line.push(')');
            }
            push(line, symbol.file().is_some_and(is_foreign) || is_foreign_name(&name));
        }
    }
    // A guest without symbols of its own: folding would hide everything.
    let fold = frames.iter().any(|frame| !frame.foreign);
    let mut text = String::new();
    let mut folded = 0;
    let mut shown = 0;
    for frame in &frames {
        if fold && frame.foreign {
            folded += frame.times;
            continue;
        }
        write_folded(&mut text, &mut folded);
        if shown == FRAMES_MAX {
            text.push_str("  … more frames\n");
            return text;
        }
        shown += 1;
        let _ = match frame.times {
            1 => writeln!(text, "{}", frame.line),
            times => writeln!(text, "{} × {times}", frame.line),
        };
    }
    write_folded(&mut text, &mut folded);
    text
}

fn write_folded(text: &mut String, folded: &mut usize) {
    if *folded > 0 {
        let plural = if *folded == 1 { "" } else { "s" };
        let _ = writeln!(text, "  … {folded} frame{plural} of libraries");
        *folded = 0;
    }
}
