//! `heddle jobmanager` and `heddle taskexecutor`: processes of a cluster, in
//! front of the terminal or behind it.

use crate::arguments::{Action, JobmanagerArguments, ProcessArguments, TaskexecutorArguments};
use crate::daemon::{self, Daemon, Readiness};
use crate::request::job_request;
use crate::{config_command, logging, report};
use heddle_client::yarn::{self, ApplicationMaster};
use heddle_client::{ApplicationJob, run_application};
use heddle_connectors::Console;
use heddle_entrypoint::{
    ApplicationStatus, ClusterEntrypoint, End, Environment, FATAL_ERROR, HighAvailability, START_FAILED,
    Signals, TaskExecutorRunner, process_runtime,
};
use heddle_model::config::Configuration;
use heddle_model::failure::{Domain, ErrorCode, Failure};
use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use tracing::{error, warn};

pub fn jobmanager(arguments: &JobmanagerArguments) -> Result<ExitCode, Failure> {
    let daemon = Daemon::named(&arguments.daemon)?;
    if daemon == Daemon::TaskExecutor {
        return Err(wrong("`heddle jobmanager` does not start a taskexecutor; `heddle taskexecutor` does"));
    }
    let configuration = load(&arguments.process)?;
    let starts = matches!(arguments.action, Action::Start | Action::StartForeground);
    match (daemon, arguments.job.is_empty()) {
        (daemon, true) if starts && daemon.has_job() => {
            return Err(wrong(&format!(
                "`{daemon}` needs a job: heddle jobmanager start {daemon} JOB.wasm …"
            )));
        }
        (daemon, false) if !daemon.has_job() => {
            return Err(wrong(&format!(
                "`{daemon}` takes no job; submit jobs to it, or use `standalonejob`"
            )));
        }
        _ => {}
    }
    match arguments.action {
        Action::StartForeground => {
            let job = match daemon {
                Daemon::YarnJob => Some(ApplicationJob::Shipped),
                _ if daemon.has_job() => Some(ApplicationJob::Program(job_request(&arguments.job)?)),
                _ => None,
            };
            run_job_manager(configuration, &arguments.process, daemon, job)
        }
        Action::Start => {
            let mut behind = dynamic(&arguments.process);
            behind.push(daemon.name().into());
            behind.extend(arguments.job.iter().cloned());
            daemon::start(&configuration, "jobmanager", daemon, &behind)
        }
        Action::Stop => daemon::stop(&configuration, daemon, false),
        Action::StopAll => daemon::stop(&configuration, daemon, true),
        Action::Status => daemon::status(&configuration, &[Daemon::StandaloneSession, Daemon::StandaloneJob]),
    }
}

pub fn taskexecutor(arguments: &TaskexecutorArguments) -> Result<ExitCode, Failure> {
    let configuration = load(&arguments.process)?;
    let daemon = Daemon::TaskExecutor;
    match arguments.action {
        Action::StartForeground => run_task_executor(configuration, &arguments.process),
        Action::Start => daemon::start(&configuration, "taskexecutor", daemon, &dynamic(&arguments.process)),
        Action::Stop => daemon::stop(&configuration, daemon, false),
        Action::StopAll => daemon::stop(&configuration, daemon, true),
        Action::Status => daemon::status(&configuration, &[daemon]),
    }
}

fn wrong(message: &str) -> Failure {
    Failure::new(ErrorCode::ConfigurationInvalid, message)
}

fn load(process: &ProcessArguments) -> Result<Configuration, Failure> {
    config_command::load_process(&process.dynamic)
}

fn dynamic(process: &ProcessArguments) -> Vec<OsString> {
    process.dynamic.iter().map(|property| format!("-D{property}").into()).collect()
}

fn run_job_manager(
    configuration: Configuration,
    process: &ProcessArguments,
    daemon: Daemon,
    job: Option<ApplicationJob>,
) -> Result<ExitCode, Failure> {
    let readiness = Readiness::of_process(process.instance.is_some());
    logging::start_process(&configuration, daemon, process.instance.as_deref())?;
    let runtime = process_runtime(&configuration)?;
    let ended = runtime.block_on(async {
        let mut signals = Signals::listen()?;
        let environment = Environment::of_process(daemon.name());
        let entrypoint = ClusterEntrypoint { environment, configuration: configuration.clone() };
        let mut master = None;
        let started = if daemon.is_on_yarn() {
            let place = &mut master;
            let register = async |address: &str, configuration: &Configuration| {
                let environment = yarn::environment();
                let (own, driver) = ApplicationMaster::register(&environment, address, configuration).await?;
                *place = Some(own);
                Ok(driver)
            };
            entrypoint.start_with(register).await
        } else {
            entrypoint.start().await
        };
        let cluster = match started {
            Ok(cluster) => cluster,
            Err(failure) => {
                tell_yarn(master, &Err(failure.clone()), (None, None), &configuration).await;
                return Err(failure);
            }
        };
        readiness.tell(&format!("answers at {}", cluster.address()));
        let (dispatcher, configuration) = (cluster.dispatcher(), cluster.configuration().clone());
        let (mut cause, mut note) = (None, None);
        let application = async {
            let job = async {
                match job {
                    None => std::future::pending().await,
                    Some(job) => run_application(&job, &configuration, dispatcher).await,
                }
            };
            tokio::select! {
                ended = job => {
                    let ended = ended?;
                    (cause, note) = (ended.failure, ended.note);
                    Ok(ended.status)
                }
                failure = given_up(&mut master) => Err(failure),
            }
        };
        let ended = cluster.run(&mut signals, application).await;
        tell_yarn(master, &ended, (cause, note), &configuration).await;
        Ok::<_, Failure>(ended)
    });
    runtime.shutdown_background();
    exit(ended)
}

fn run_task_executor(configuration: Configuration, process: &ProcessArguments) -> Result<ExitCode, Failure> {
    let readiness = Readiness::of_process(process.instance.is_some());
    logging::start_process(&configuration, Daemon::TaskExecutor, process.instance.as_deref())?;
    let runtime = process_runtime(&configuration)?;
    let ended = runtime.block_on(async {
        let mut signals = Signals::listen()?;
        let environment = Environment::of_process(Daemon::TaskExecutor.name());
        let runner = TaskExecutorRunner { environment, configuration, console: Arc::new(StandardOutput) };
        let executor = tokio::select! {
            started = runner.start() => started?,
            signal = signals.next() => return Ok(Ok(End::Signal(signal))),
        };
        readiness.tell(&format!("listens at {} as {}", executor.address(), executor.resource_id()));
        Ok::<_, Failure>(executor.run(&mut signals).await)
    });
    runtime.shutdown_background();
    exit(ended)
}

/// Waits until YARN does not want the cluster any more, if it is there.
async fn given_up(master: &mut Option<ApplicationMaster>) -> Failure {
    match master {
        Some(master) => master.failed().await,
        None => std::future::pending().await,
    }
}

/// Tells YARN how the application ended. A signal says nothing of that: YARN
/// sends it, and knows. What only this process failed with another may not.
async fn tell_yarn(
    master: Option<ApplicationMaster>,
    ended: &Result<End, Failure>,
    (cause, note): (Option<Failure>, Option<String>),
    configuration: &Configuration,
) {
    let Some(master) = master else { return };
    match ended {
        Ok(End::Signal(_)) => return,
        Ok(End::Application(status)) => {
            master.finish(*status, cause.as_ref(), note.as_deref()).await;
        }
        Err(failure) if master.is_followed() && failure.code.domain() != Domain::User => {
            warn!(code = %failure.code, "{failure}; YARN starts another JobManager, which goes on");
            return;
        }
        Err(failure) => master.finish(ApplicationStatus::Failed, Some(failure), None).await,
    }
    // The application does not come back.
    if let Err(error) = HighAvailability::remove(configuration).await {
        warn!(%error, "what high availability stored is left behind");
    }
}

/// The outer failure kept the process from starting, the inner one ended it.
fn exit(ended: Result<Result<End, Failure>, Failure>) -> Result<ExitCode, Failure> {
    let (failure, code) = match ended {
        Ok(Ok(end)) => return Ok(ExitCode::from(end.exit_code())),
        Ok(Err(failure)) => (failure, FATAL_ERROR),
        Err(failure) => {
            error!(code = %failure.code, "could not start: {failure}");
            (failure, START_FAILED)
        }
    };
    report::failure(&failure);
    Ok(ExitCode::from(code))
}

/// `print` writes to standard output.
struct StandardOutput;

impl Console for StandardOutput {
    fn write(&self, lines: &str) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        out.write_all(lines.as_bytes())?;
        out.flush()
    }
}
