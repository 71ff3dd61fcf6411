//! `heddle-simulation`: many seeds, one seed again, or seeds for some time.

use heddle_simulation::forger::Forger;
use heddle_simulation::run::{Options, Outcome, run};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const USAGE: &str = "\
heddle-simulation [--seeds N] [--from N] [--for TIME]   TIME as 30s, 10m, 8h
heddle-simulation control-plane WORKERS SUBTASKS        what the control plane takes, as JSON
heddle-simulation --seed N [--trace]                    one run again, with its script;
                                                        --trace: messages and logs, too
  --all      go on after a seed that fails, and tell all of them
  --forge    TaskExecutors take every token: a planted bug";

struct Arguments {
    seed: Option<u64>,
    from: u64,
    seeds: u64,
    time: Option<Duration>,
    all: bool,
    options: Options,
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut parsed =
        Arguments { seed: None, from: 0, seeds: 1000, time: None, all: false, options: Options::default() };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("`{argument}` needs a value"));
        let number = |text: String| text.parse().map_err(|_| format!("`{text}` is not a number"));
        match argument.as_str() {
            "--seed" => parsed.seed = Some(number(value()?)?),
            "--seeds" => parsed.seeds = number(value()?)?,
            "--from" => parsed.from = number(value()?)?,
            "--for" => {
                parsed.time = Some(time(&value()?)?);
                parsed.seeds = u64::MAX;
            }
            "--all" => parsed.all = true,
            "--trace" => parsed.options.trace = true,
            "--forge" => parsed.options.forger = Forger::JobMasterTokens,
            other => return Err(format!("unknown argument `{other}`")),
        }
    }
    Ok(parsed)
}

fn time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a time: expected a number and s, m or h");
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let number: u64 = number.parse().map_err(|_| wrong())?;
    match unit {
        "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number * 60)),
        "h" => Ok(Duration::from_secs(number * 3600)),
        _ => Err(wrong()),
    }
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [command, workers, subtasks] = words.as_slice()
        && command == "control-plane"
        && let (Ok(workers), Ok(subtasks)) = (workers.parse(), subtasks.parse())
    {
        println!("{}", heddle_simulation::control_plane::measure(workers, subtasks).json());
        return ExitCode::SUCCESS;
    }
    let arguments = match parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("error: {error}\n\n{USAGE}");
            return ExitCode::FAILURE;
        }
    };
    if let Some(seed) = arguments.seed {
        if arguments.options.trace {
            let to = tracing_subscriber::fmt().without_time().with_ansi(false);
            to.with_max_level(tracing_subscriber::filter::LevelFilter::DEBUG).init();
        }
        let outcome = run(seed, Options { print: true, ..arguments.options });
        return report(&outcome, false);
    }
    let failed = many(&arguments);
    if arguments.all {
        for outcome in &failed {
            println!("seed {}: {}", outcome.seed, outcome.violations.join("; "));
        }
        println!("{} seeds failed", failed.len());
    }
    failed.first().map_or(ExitCode::SUCCESS, |outcome| report(outcome, !arguments.all))
}

/// Gives the runs that failed, by their seeds.
fn many(arguments: &Arguments) -> Vec<Outcome> {
    let start = Instant::now();
    let end = arguments.from.saturating_add(arguments.seeds);
    let (next, time, failed) = (AtomicU64::new(arguments.from), AtomicU64::new(0), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let late = arguments.time.is_some_and(|time| start.elapsed() >= time);
                    let mut failed_so_far = failed.lock().expect("nobody panics while it holds it");
                    if seed >= end || late || !(failed_so_far.is_empty() || arguments.all) {
                        return;
                    }
                    drop(failed_so_far);
                    let outcome = run(seed, arguments.options);
                    time.fetch_add(outcome.time.as_secs(), Ordering::Relaxed);
                    if !outcome.violations.is_empty() {
                        failed_so_far = failed.lock().expect("nobody panics while it holds it");
                        failed_so_far.push(outcome);
                    }
                }
            });
        }
    });
    let mut failed = failed.into_inner().expect("no thread panicked");
    failed.sort_by_key(|outcome| outcome.seed);
    let runs = next.into_inner().min(end) - arguments.from;
    println!(
        "simulation: {runs} seeds from {}, {:.1} simulated days in {:.1} s",
        arguments.from,
        time.into_inner() as f64 / 86_400.0,
        start.elapsed().as_secs_f64()
    );
    failed
}

fn report(outcome: &Outcome, with_script: bool) -> ExitCode {
    if with_script {
        for line in &outcome.script {
            println!("{line}");
        }
    }
    if outcome.violations.is_empty() {
        return ExitCode::SUCCESS;
    }
    for violation in &outcome.violations {
        eprintln!("error: seed {}: {violation}", outcome.seed);
    }
    eprintln!("run it again: cargo xtask simulate --seed {}", outcome.seed);
    ExitCode::FAILURE
}
