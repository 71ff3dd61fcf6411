//! An attached run, from the submission to the end: shows what the job does,
//! cancels it when the user says so, tells its result.

use crate::job_report::{self, ReportFile};
use crate::progress::{Progress, Restarts};
use crate::screen::{Screen, Style, written};
use crate::summary;
use heddle_client::{Executor, RunningJob};
use heddle_connectors::Console as _;
use heddle_entrypoint::{Signals, StopSignal};
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::JobId;
use heddle_model::job_status::JobStatus;
use heddle_rpc::{JobDetails, JobResult};
use std::cell::RefCell;
use std::pin::pin;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::task::JoinSet;

/// How often the live line is drawn anew.
const LIVE_INTERVAL: Duration = Duration::from_millis(250);
/// How often a plain line is written, and how often the job is looked at
/// meanwhile.
const PLAIN_INTERVAL: Duration = Duration::from_secs(10);
const PLAIN_LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How long the last numbers of a job that ended are waited for.
const LAST_DETAILS: Duration = Duration::from_secs(5);

pub struct Submitted {
    pub name: String,
    pub executor: Executor,
    pub job: RunningJob,
}

/// How a run ended.
pub enum Ended {
    ByItself(Box<EndedJob>),
    /// By a signal; the job, if there was one, is cancelled, which is told if
    /// it was waited for.
    Interrupted(StopSignal, Option<Box<EndedJob>>),
    /// The job goes on.
    Detached(JobId),
}

pub struct EndedJob {
    name: String,
    result: JobResult,
    /// Its last numbers.
    details: Option<JobDetails>,
    /// From the start of the program to the submission.
    startup: Duration,
}

/// Waits for the end of the job, showing what it does. With a signal that came
/// before, it is cancelled at once.
pub async fn follow(
    submitted: Submitted,
    screen: &Screen,
    signals: &mut Signals,
    started: SystemTime,
    mut interrupted: Option<StopSignal>,
) -> Result<Ended, Failure> {
    let Submitted { name, mut executor, job } = submitted;
    let mut cancellation = JoinSet::new();
    let cancel = |cancellation: &mut JoinSet<()>| {
        let job = job.clone();
        cancellation.spawn(async move {
            if let Err(failure) = job.cancel().await {
                tracing::debug!(error = %failure, "the job could not be cancelled");
            }
        });
    };
    if interrupted.is_some() {
        cancel(&mut cancellation);
    }
    let restarts = RefCell::new(Restarts::default());
    let result = {
        let mut result = pin!(job.result());
        let mut shown = pin!(show(&job, screen, &restarts));
        loop {
            tokio::select! {
                result = &mut result => break result,
                failure = executor.failed() => break Err(failure),
                () = &mut shown => {}
                signal = signals.next() => {
                    if interrupted.replace(signal).is_some() {
                        screen.end();
                        std::process::exit(i32::from(signal.exit_code()));
                    }
                    screen.note("cancelling the job; once more to end at once");
                    cancel(&mut cancellation);
                }
            }
        }
    };
    screen.end();
    let details = tokio::time::timeout(LAST_DETAILS, job.details()).await.ok().and_then(Result::ok);
    executor.shut_down().await;
    if let Some(details) = &details {
        tell(&restarts, details, screen);
    }
    let submitted_at = details
        .as_ref()
        .map_or(started, |details| UNIX_EPOCH + Duration::from_millis(details.overview.start_time_ms));
    let startup = submitted_at.duration_since(started).unwrap_or_default();
    match (result, interrupted) {
        // It may have finished before it heard of the cancellation.
        (Ok(result), Some(signal)) if result.status != JobStatus::Finished => {
            screen.note(&format!("Job `{name}` ({}) {}", result.job_id, result.status));
            Ok(Ended::Interrupted(signal, Some(Box::new(EndedJob { name, result, details, startup }))))
        }
        (Err(_), Some(signal)) => Ok(Ended::Interrupted(signal, None)),
        (result, _) => Ok(Ended::ByItself(Box::new(EndedJob { name, result: result?, details, startup }))),
    }
}

/// Says why the job restarted, of each restart once.
fn tell(restarts: &RefCell<Restarts>, details: &JobDetails, screen: &Screen) {
    for line in restarts.borrow_mut().lines(details) {
        screen.note(&line);
    }
}

/// Shows the progress for ever; never ends.
async fn show(job: &RunningJob, screen: &Screen, restarts: &RefCell<Restarts>) {
    if screen.style() == Style::None {
        return std::future::pending().await;
    }
    let began = Instant::now();
    let mut progress = Progress::default();
    let (interval, look_interval) = match screen.style() {
        Style::Live => (LIVE_INTERVAL, LIVE_INTERVAL),
        _ => (PLAIN_INTERVAL, PLAIN_LOOK_INTERVAL),
    };
    let mut next_line = interval;
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + look_interval, look_interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        if let Ok(details) = job.details().await {
            tell(restarts, &details, screen);
            let elapsed = began.elapsed();
            if elapsed >= next_line {
                next_line = elapsed + interval;
                screen.progress(&progress.line(&details, elapsed));
            }
        }
    }
}

impl EndedJob {
    /// Writes the report that was asked for.
    pub fn write(&self, report: Option<ReportFile>) -> Result<(), Failure> {
        let Some(file) = report else { return Ok(()) };
        file.write(&summary::report(&self.name, &self.result, self.details.as_ref(), self.startup))
    }
}

/// Tells the result. What could not be told is an error, but does not hide one
/// of the job.
pub fn finish(ended: &EndedJob, screen: &Screen, report: Option<ReportFile>) -> Result<ExitCode, Failure> {
    let reported = ended.write(report);
    let EndedJob { name, result, details, startup } = ended;
    if result.status != JobStatus::Finished {
        if let Err(unwritten) = &reported {
            job_report::tell(unwritten);
        }
        let without_cause = || match result.status {
            JobStatus::Canceled => {
                let message = format!("job `{name}` ({}) was cancelled by another client", result.job_id);
                Failure::new(ErrorCode::JobCanceled, message)
            }
            status => Failure::new(ErrorCode::Internal, format!("job `{name}` ended as {status}")),
        };
        return Err(result.failure.clone().unwrap_or_else(without_cause));
    }
    let printed = written(screen.write(&summary::collected(result)));
    screen.note(summary::text(name, result, details.as_ref(), *startup).trim_end());
    printed.and(reported).map(|()| ExitCode::SUCCESS)
}
