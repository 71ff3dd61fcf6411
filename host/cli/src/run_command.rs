//! `heddle run`: submits a job, follows it to its end, tells its result.

use crate::arguments::RunArguments;
use crate::guest_lines::GuestLines;
use crate::progress::Progress;
use crate::screen::{Screen, Style};
use crate::{config_command, later, logging, summary};
use heddle_client::{Job, JobRequest, LocalExecutor, RunningJob, Sandbox, check_target};
use heddle_connectors::Console as _;
use heddle_model::config::{Configuration, options as o};
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::job_status::JobStatus;
use heddle_rpc::{JobDetails, JobResult};
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How often the live line is drawn anew.
const LIVE_INTERVAL: Duration = Duration::from_millis(250);
/// How often a plain line is written.
const PLAIN_INTERVAL: Duration = Duration::from_secs(10);

/// What a shell reports for a process that SIGINT or SIGTERM ended.
const EXIT_INTERRUPTED: u8 = 130;
const EXIT_TERMINATED: u8 = 143;

/// Runs a future on this thread; what computes has threads of its own.
pub fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        Failure::new(ErrorCode::Internal, format!("cannot start the async runtime: {error}"))
    })?;
    let result = runtime.block_on(future);
    // What still reads or writes a file is not waited for.
    runtime.shutdown_background();
    result
}

/// The component and its arguments.
pub fn job_request(job: &[OsString]) -> Result<JobRequest, Failure> {
    let arguments = job.iter().skip(1).map(|argument| {
        argument.to_str().map(str::to_owned).ok_or_else(|| {
            let message = format!("argument `{}` of the job is not UTF-8", argument.to_string_lossy());
            Failure::new(ErrorCode::ConfigurationInvalid, message)
        })
    });
    let arguments = arguments.collect::<Result<Vec<_>, _>>()?;
    Ok(JobRequest { component: job.first().cloned().unwrap_or_default().into(), arguments })
}

fn check_options(arguments: &RunArguments, configuration: &Configuration) -> Result<(), Failure> {
    if arguments.from_savepoint.is_some() {
        return Err(later::option("-s", "savepoints"));
    }
    if arguments.allow_non_restored_state {
        return Err(later::option("-n", "savepoints"));
    }
    if let Some(address) = &arguments.jobmanager {
        return Err(later::option("-m", &format!("a cluster at {address} that is reached over a network")));
    }
    check_target(configuration)?;
    let attached = configuration.get(&o::EXECUTION_ATTACHED) && !arguments.detached;
    if !attached {
        let what = if arguments.detached { "-d" } else { "execution.attached: false" };
        return Err(later::option(what, "a cluster that outlives this command"));
    }
    Ok(())
}

pub fn run(arguments: &RunArguments) -> Result<ExitCode, Failure> {
    let started = SystemTime::now();
    let configuration = config_command::load(&arguments.configuration)?;
    check_options(arguments, &configuration)?;
    let request = job_request(&arguments.job)?;
    // Log lines and a line that is drawn anew do not go together.
    let style = match Style::detect(arguments.quiet) {
        Style::Live if arguments.verbose > 0 => Style::Plain,
        style => style,
    };
    let screen = Arc::new(Screen::new(style));
    let guests = GuestLines::new(Arc::clone(&screen));
    logging::start(&configuration, "run", arguments.verbose, Some(&guests).filter(|_| !arguments.quiet))?;
    let ended = block_on(async {
        let mut signals = Signals::listen()?;
        let submitted = tokio::select! {
            submitted = submit(&request, &configuration, &screen) => submitted?,
            code = signals.next() => return Ok(Ended::Interrupted(code)),
        };
        follow(submitted, &screen, &mut signals, started).await
    });
    screen.end();
    guests.finish();
    match ended? {
        Ended::Interrupted(code) => Ok(ExitCode::from(code)),
        Ended::ByItself(ended) => finish(&ended, &screen, arguments.report.as_deref()),
    }
}

struct Submitted {
    name: String,
    executor: LocalExecutor,
    job: RunningJob,
}

/// How an attached run ended.
enum Ended {
    ByItself(Box<EndedJob>),
    /// By a signal; the job, if there was one, is cancelled. The exit code.
    Interrupted(u8),
}

struct EndedJob {
    name: String,
    result: JobResult,
    /// Its last numbers.
    details: Option<JobDetails>,
    /// From the start of the program to the submission.
    startup: Duration,
}

async fn submit(
    request: &JobRequest,
    configuration: &Configuration,
    screen: &Arc<Screen>,
) -> Result<Submitted, Failure> {
    let sandbox = Sandbox::open(configuration)?;
    let job = Job::prepare(request, configuration, &sandbox).await?;
    let name = job.graph.name.clone();
    let console = Arc::clone(screen);
    let executor = LocalExecutor::start(&job.configuration, &sandbox, console)?;
    let job = executor.submit(job).await?;
    screen.note(&format!("Job `{name}` has been submitted with JobID {}", job.id()));
    Ok(Submitted { name, executor, job })
}

/// Waits for the end of the job, showing what it does.
async fn follow(
    submitted: Submitted,
    screen: &Screen,
    signals: &mut Signals,
    started: SystemTime,
) -> Result<Ended, Failure> {
    let Submitted { name, mut executor, job } = submitted;
    let began = Instant::now();
    let mut progress = Progress::default();
    let mut interrupted = None;
    let interval = if screen.style() == Style::Live { LIVE_INTERVAL } else { PLAIN_INTERVAL };
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + interval, interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let result = {
        let mut result = std::pin::pin!(job.result());
        loop {
            tokio::select! {
                result = &mut result => break result,
                failure = executor.failed() => break Err(failure),
                _ = ticks.tick(), if screen.style() != Style::None => {
                    if let Ok(details) = job.details().await {
                        screen.progress(&progress.line(&details, began.elapsed()));
                    }
                }
                code = signals.next() => {
                    if interrupted.is_some() {
                        screen.end();
                        std::process::exit(i32::from(code));
                    }
                    interrupted = Some(code);
                    screen.note("cancelling the job; once more to end at once");
                    if let Err(failure) = job.cancel().await {
                        tracing::debug!(error = %failure, "the job could not be cancelled");
                    }
                }
            }
        }
    };
    screen.end();
    let details = job.details().await.ok();
    executor.shut_down().await;
    let submitted_at = details
        .as_ref()
        .map_or(started, |details| UNIX_EPOCH + Duration::from_millis(details.overview.start_time_ms));
    let startup = submitted_at.duration_since(started).unwrap_or_default();
    match (result, interrupted) {
        // It may have finished before it heard of the cancellation.
        (Ok(result), Some(code)) if result.status != JobStatus::Finished => {
            screen.note(&format!("Job `{name}` ({}) {}", result.job_id, result.status));
            Ok(Ended::Interrupted(code))
        }
        (Err(_), Some(code)) => Ok(Ended::Interrupted(code)),
        (result, _) => Ok(Ended::ByItself(Box::new(EndedJob { name, result: result?, details, startup }))),
    }
}

/// Tells the result.
fn finish(ended: &EndedJob, screen: &Screen, report: Option<&Path>) -> Result<ExitCode, Failure> {
    let EndedJob { name, result, details, startup } = ended;
    let details = details.as_ref();
    if let Some(file) = report {
        write_report(file, &summary::report(name, result, details, *startup))?;
    }
    if result.status != JobStatus::Finished {
        let failure = result.failure.clone().unwrap_or_else(|| {
            Failure::new(ErrorCode::Internal, format!("job `{name}` ended as {}", result.status))
        });
        return Err(failure);
    }
    // The reader may have gone away.
    let _ = screen.write(&summary::collected(result));
    screen.note(summary::text(name, result, details, *startup).trim_end());
    Ok(ExitCode::SUCCESS)
}

fn write_report(file: &Path, report: &serde_json::Value) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(report).unwrap_or_default();
    std::fs::write(file, text + "\n").map_err(|error| {
        let message = format!("the report cannot be written to {}: {error}", file.display());
        Failure::new(ErrorCode::ConnectorIo, message)
    })
}

/// SIGINT and SIGTERM.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| {
                Failure::new(ErrorCode::Internal, format!("cannot listen for signals: {error}"))
            })
        };
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    /// The exit code for the next signal.
    async fn next(&mut self) -> u8 {
        tokio::select! {
            _ = self.interrupt.recv() => EXIT_INTERRUPTED,
            _ = self.terminate.recv() => EXIT_TERMINATED,
        }
    }
}
