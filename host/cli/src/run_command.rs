//! `heddle run`: submits a job; what is behind it is shown by `follow`.

use crate::arguments::RunArguments;
use crate::follow::{Ended, Submitted, finish, follow};
use crate::guest_lines::GuestLines;
use crate::job_report::{self, ReportFile};
use crate::request::{block_on, drop_collected, job_request, tell_of_printed};
use crate::screen::{Screen, Style, print};
use crate::{cluster, config_command, later, logging, target, yarn_command};
use heddle_client::{Executor, Job, JobRequest, RunningJob, Sandbox};
use heddle_entrypoint::{Signals, StopSignal};
use heddle_model::config::value::Target;
use heddle_model::config::{Configuration, Origin, options as o};
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::JobId;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

/// The configuration, with what `-m` says, if this version can do what is asked.
fn configuration_of(arguments: &RunArguments) -> Result<Configuration, Failure> {
    let mut further = cluster::options_of(arguments.jobmanager.as_deref())?;
    if arguments.jobmanager.is_some() && arguments.configuration.target.is_none() {
        further.push((o::EXECUTION_TARGET.key(), Target::Remote.word().to_owned(), "-m"));
    }
    let configuration = target::choose(config_command::load_with(&arguments.configuration, further)?)?;
    if arguments.from_savepoint.is_some() {
        return Err(later::option("-s", "savepoints"));
    }
    if arguments.allow_non_restored_state {
        return Err(later::option("-n", "savepoints"));
    }
    let local = configuration.get(&o::EXECUTION_TARGET) == Target::Local;
    let needs_cluster = |what: &str| {
        let message = format!(
            "{what} needs a cluster that outlives this command, and the target is `local` (from {}); give -m \
             HOST:PORT or -t remote",
            configuration.origin(&o::EXECUTION_TARGET)
        );
        Err(Failure::new(ErrorCode::ConfigurationInvalid, message))
    };
    if local && arguments.jobmanager.is_some() {
        return needs_cluster("-m");
    }
    if local && arguments.detached {
        return needs_cluster("-d");
    }
    if local && !configuration.get(&o::EXECUTION_ATTACHED) {
        return needs_cluster("execution.attached: false");
    }
    let attached = configuration.get(&o::EXECUTION_ATTACHED) && !arguments.detached;
    let is_shipped =
        matches!(configuration.get(&o::EXECUTION_TARGET), Target::YarnApplication | Target::YarnPerJob);
    if arguments.report.is_some() && (!attached || is_shipped) {
        let why = if attached {
            "the application on YARN knows the job's result"
        } else {
            "-d does not wait for it"
        };
        let message = format!("--report needs the job's result, and {why}; leave it out");
        return Err(Failure::new(ErrorCode::ConfigurationInvalid, message));
    }
    Ok(configuration)
}

pub fn run(arguments: &RunArguments) -> Result<ExitCode, Failure> {
    let mut report = arguments.report.as_deref().map(ReportFile::create).transpose()?;
    let outcome = run_job(arguments, &mut report);
    if let Some(report) = report {
        report.write_without_result(outcome.as_ref().err());
    }
    outcome
}

/// Takes the report if it has a result to write.
fn run_job(arguments: &RunArguments, report: &mut Option<ReportFile>) -> Result<ExitCode, Failure> {
    let started = SystemTime::now();
    let mut configuration = configuration_of(arguments)?;
    let request = job_request(&arguments.job)?;
    match configuration.get(&o::EXECUTION_TARGET) {
        Target::YarnApplication => {
            let attached = configuration.get(&o::EXECUTION_ATTACHED) && !arguments.detached;
            return yarn_command::application(request, &configuration, attached, arguments.verbose);
        }
        Target::YarnPerJob => {
            let attached = configuration.get(&o::EXECUTION_ATTACHED) && !arguments.detached;
            return yarn_command::per_job(&request, &configuration, attached, arguments.verbose);
        }
        Target::YarnSession => configuration = target::of_session(&configuration)?,
        _ => {}
    }
    // Log lines and a line that is drawn anew do not go together.
    let style = match Style::detect(arguments.quiet) {
        Style::Live if arguments.verbose > 0 => Style::Plain,
        style => style,
    };
    let screen = Arc::new(Screen::new(style));
    let guests = GuestLines::new(Arc::clone(&screen));
    logging::start(&configuration, "run", arguments.verbose, Some(&guests).filter(|_| !arguments.quiet))?;
    let attached = configuration.get(&o::EXECUTION_ATTACHED) && !arguments.detached;
    let ended = block_on(async {
        let mut signals = Signals::listen()?;
        let prepared = tokio::select! {
            prepared = prepare(&request, &configuration, attached, &screen) => prepared?,
            signal = signals.next() => return Ok(Ended::Interrupted(signal, None)),
        };
        let Some((submitted, interrupted)) = submit(prepared, &screen, &mut signals).await? else {
            return Ok(Ended::Interrupted(signals.last(), None));
        };
        if attached || interrupted.is_some() {
            return follow(submitted, &screen, &mut signals, started, interrupted).await;
        }
        Ok(Ended::Detached(submitted.job.id()))
    });
    screen.end();
    guests.finish();
    match ended? {
        Ended::Interrupted(signal, ended) => {
            if let Some(Err(unwritten)) = ended.map(|ended| ended.write(report.take())) {
                job_report::tell(&unwritten);
            }
            Ok(ExitCode::from(signal.exit_code()))
        }
        Ended::ByItself(ended) => finish(&ended, &screen, report.take()),
        Ended::Detached(job_id) => {
            tell_detached(job_id, &configuration, &screen)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// A job, and the cluster that is to run it.
struct Prepared {
    job: Job,
    executor: Executor,
}

async fn prepare(
    request: &JobRequest,
    configuration: &Configuration,
    attached: bool,
    screen: &Arc<Screen>,
) -> Result<Prepared, Failure> {
    let sandbox = match configuration.get(&o::EXECUTION_TARGET) {
        Target::Local => Sandbox::open(configuration)?,
        _ => Sandbox::for_planning(configuration)?,
    };
    let mut job = Job::prepare(request, configuration, &sandbox).await?;
    if !attached {
        drop_collected(&mut job, screen, "run it without -d to see them");
    }
    if job.configuration.get(&o::EXECUTION_TARGET) == Target::Remote {
        tell_of_printed(&mut job, screen);
    }
    let console = Arc::<Screen>::clone(screen);
    let executor = Executor::start(&job.configuration, &sandbox, console, Arc::<Screen>::clone(screen))?;
    Ok(Prepared { job, executor })
}

/// Submits the job. A signal meanwhile does not end the submission: the cluster
/// may have taken the job, which is then to be cancelled. Nothing after a
/// second signal.
async fn submit(
    prepared: Prepared,
    screen: &Screen,
    signals: &mut Signals,
) -> Result<Option<(Submitted, Option<StopSignal>)>, Failure> {
    let Prepared { job, mut executor } = prepared;
    let name = job.graph.name.clone();
    let mut interrupted = None;
    let client = executor.client().clone();
    let submitted: Result<RunningJob, Failure> = {
        let mut submitting = pin!(client.submit(job));
        loop {
            tokio::select! {
                submitted = &mut submitting => break submitted,
                failure = executor.failed() => break Err(failure),
                signal = signals.next() => {
                    if interrupted.replace(signal).is_some() {
                        return Ok(None);
                    }
                    screen.note("cancelling the job once it is submitted; once more to end at once");
                }
            }
        }
    };
    match submitted {
        Ok(job) => {
            screen.note(&format!("Job `{name}` has been submitted with JobID {}", job.id()));
            Ok(Some((Submitted { name, executor, job }, interrupted)))
        }
        Err(failure) => {
            executor.shut_down().await;
            match interrupted {
                Some(_) => Ok(None),
                None => Err(failure),
            }
        }
    }
}

/// The id, for a script, and how to follow and to stop the job, for people.
fn tell_detached(job_id: JobId, configuration: &Configuration, screen: &Screen) -> Result<(), Failure> {
    let printed = print(&format!("{job_id}\n"));
    let m = match configuration.origin(&o::JOB_MANAGER_RPC_ADDRESS) {
        Origin::CommandLine(_) => {
            let (host, port) =
                (configuration.get(&o::JOB_MANAGER_RPC_ADDRESS), configuration.get(&o::JOB_MANAGER_RPC_PORT));
            let host = if host.contains(':') { format!("[{host}]") } else { host };
            format!("-m {host}:{port} ")
        }
        _ => {
            match (configuration.origin(&o::YARN_APPLICATION_ID), configuration.get(&o::YARN_APPLICATION_ID))
            {
                (Origin::DynamicProperty, Some(id)) => format!("-D{}={id} ", o::YARN_APPLICATION_ID.key()),
                _ => String::new(),
            }
        }
    };
    screen.note(&format!(
        "  to follow it:  heddle info {m}{job_id}\n  to stop it:    heddle cancel {m}{job_id}"
    ));
    printed
}
