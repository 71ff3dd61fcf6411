//! Clusters on YARN: `heddle yarn-session`, and `heddle run` with the targets
//! `yarn-application`, `yarn-per-job` and `yarn-session`.

use crate::arguments::{ConfigurationArguments, YarnSessionArguments};
use crate::request::{block_on, drop_collected, tell_of_printed};
use crate::screen::{Screen, Style, print};
use crate::{cluster, config_command, logging};
use heddle_client::yarn::{Kind, Notices, Remembered, ShippedJob, YarnClient, YarnCluster};
use heddle_client::{Job, JobRequest, Sandbox};
use heddle_entrypoint::Signals;
use heddle_model::config::{Configuration, options as o};
use heddle_model::failure::{ErrorCode, Failure};
use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};

/// How long a session may take to end before YARN is asked to kill it.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// Flink's options of two letters, and how this command line spells them.
const TWO_LETTERS: [(&str, &str); 7] = [
    ("-jm", "--jobManagerMemory"),
    ("-tm", "--taskManagerMemory"),
    ("-nm", "--name"),
    ("-qu", "--queue"),
    ("-at", "--applicationType"),
    ("-nl", "--nodeLabel"),
    ("-id", "--applicationId"),
];

/// Arguments with options of two letters spelled out, behind `yarn-session`.
pub fn spelled_out(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let arguments: Vec<OsString> = arguments.collect();
    if arguments.get(1).is_none_or(|command| command != "yarn-session") {
        return arguments;
    }
    let spelled = |argument: OsString| {
        let known = TWO_LETTERS.iter().find(|(short, _)| argument == *short);
        known.map_or(argument, |(_, long)| OsString::from(long))
    };
    arguments.into_iter().map(spelled).collect()
}

struct Told<'a>(&'a Screen);

impl Notices for Told<'_> {
    fn note(&self, text: &str) {
        self.0.note(text);
    }
}

pub fn session(arguments: &YarnSessionArguments) -> Result<ExitCode, Failure> {
    let further = [
        (o::JOB_MANAGER_MEMORY.key(), &arguments.job_manager_memory, "-jm"),
        (o::PROCESS_MEMORY.key(), &arguments.task_manager_memory, "-tm"),
        (o::TASK_SLOTS.key(), &arguments.slots, "-s"),
        (o::YARN_NAME.key(), &arguments.name, "-nm"),
        (o::YARN_QUEUE.key(), &arguments.queue, "-qu"),
        (o::YARN_TYPE.key(), &arguments.application_type, "-at"),
        (o::YARN_NODE_LABEL.key(), &arguments.node_label, "-nl"),
        (o::YARN_APPLICATION_ID.key(), &arguments.application_id, "-id"),
    ];
    let further = further.into_iter().filter_map(|(key, value, option)| Some((key, value.clone()?, option)));
    let given = ConfigurationArguments { dynamic: arguments.dynamic.clone(), ..Default::default() };
    let configuration = config_command::load_with(&given, further.collect())?;
    let screen = Arc::new(Screen::new(Style::Plain));
    logging::start(&configuration, "yarn-session", arguments.verbose, None)?;
    block_on(async {
        let mut signals = Signals::listen()?;
        let client = YarnClient::new(&configuration)?;
        let is_own = arguments.application_id.is_none();
        let (cluster, report) = if is_own {
            let Some(cluster) = deploy(client, &Kind::Session, &screen, &mut signals).await? else {
                return Ok(ExitCode::from(signals.last().exit_code()));
            };
            cluster
        } else {
            client.attach().await?
        };
        let remote = cluster.configuration(&report)?;
        let printed = print(&format!("{}\n", cluster.id()));
        let remembered = Remembered::of(&configuration);
        let id = cluster.id();
        let mut which = String::new();
        if is_own && let Err(error) = remembered.write(id) {
            screen.note(&format!(
                "the session cannot be remembered in {}: {error}",
                remembered.file().display()
            ));
            which = format!(" -D{}={id}", o::YARN_APPLICATION_ID.key());
        }
        screen.note(&format!(
            "The JobManager answers at {}:{}\n  to run a job:  heddle run -t yarn-session{which} JOB.wasm\n  \
             to end it:     heddle yarn-session -id {id}, then `stop`",
            remote.get(&o::JOB_MANAGER_RPC_ADDRESS),
            remote.get(&o::JOB_MANAGER_RPC_PORT),
        ));
        if arguments.detached {
            return printed.map(|()| ExitCode::SUCCESS);
        }
        let ended = attached(&cluster, &remote, &screen, &mut signals, is_own).await;
        if matches!(ended, Ok(Ended::Yes(_))) {
            remembered.forget(id);
        }
        ended.map(|(Ended::Yes(code) | Ended::No(code))| code)
    })
}

/// Whether a session has ended, and what the command exits with.
enum Ended {
    Yes(ExitCode),
    No(ExitCode),
}

/// Until the session ends. `stop` ends it; so does a signal, if this command
/// started it.
async fn attached(
    cluster: &YarnCluster,
    remote: &Configuration,
    screen: &Arc<Screen>,
    signals: &mut Signals,
    is_own: bool,
) -> Result<Ended, Failure> {
    screen.note("Type `stop` to end the session.");
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut is_open = true;
    loop {
        tokio::select! {
            report = cluster.wait_until_ended() => {
                let report = report?;
                screen.note(&format!("{} has ended: {}", report.id, report.state.as_str_name()));
                return Ok(Ended::Yes(ExitCode::SUCCESS));
            }
            line = lines.next_line(), if is_open => match line {
                Ok(Some(line)) if ["stop", "quit"].contains(&line.trim()) => {
                    return stop(cluster, remote, screen).await.map(Ended::Yes);
                }
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => is_open = false,
            },
            signal = signals.next() => {
                if !is_own {
                    return Ok(Ended::No(ExitCode::from(signal.exit_code())));
                }
                cluster.kill("its user interrupted the command that started it").await?;
                return Ok(Ended::Yes(ExitCode::from(signal.exit_code())));
            }
        }
    }
}

/// The JobManager ends the session as succeeded. If it does not, YARN kills it.
async fn stop(yarn: &YarnCluster, remote: &Configuration, screen: &Arc<Screen>) -> Result<ExitCode, Failure> {
    let client = cluster::client(remote, screen)?;
    let ask = async {
        if let Err(failure) = client.shut_down().await {
            screen.note(&format!("the JobManager cannot be told to end: {failure}"));
        }
        std::future::pending().await
    };
    let ended = tokio::select! {
        ended = tokio::time::timeout(STOP_TIMEOUT, yarn.wait_until_ended()) => ended,
        ended = ask => ended,
    };
    if let Ok(report) = ended {
        let report = report?;
        screen.note(&format!("{} has ended: {}", report.id, report.final_status.as_str_name()));
        return Ok(ExitCode::SUCCESS);
    }
    screen.note(&format!("the JobManager did not end within {STOP_TIMEOUT:?}"));
    screen.note("killing the application");
    yarn.kill("stopped by its user").await?;
    Ok(ExitCode::SUCCESS)
}

/// Submits and waits until it runs; a signal meanwhile kills it.
async fn deploy(
    client: YarnClient,
    kind: &Kind,
    screen: &Screen,
    signals: &mut Signals,
) -> Result<Option<(YarnCluster, heddle_client::yarn::Report)>, Failure> {
    let stop = async {
        signals.next().await;
        screen.note("taking back the submission");
    };
    let Some(cluster) = client.deploy(kind, &Told(screen), stop).await? else { return Ok(None) };
    screen.note(&format!("Submitted {}; waiting until it runs", cluster.id()));
    let notices = Told(screen);
    tokio::select! {
        report = cluster.wait_until_running(&notices) => {
            let report = report?;
            Ok(Some((cluster, report)))
        }
        _ = signals.next() => {
            screen.note("killing the application");
            cluster.kill("its user interrupted the submission").await?;
            Ok(None)
        }
    }
}

/// `heddle run -t yarn-application`: the job's cluster lives for it.
pub fn application(
    request: JobRequest,
    configuration: &Configuration,
    attached: bool,
    verbose: u8,
) -> Result<ExitCode, Failure> {
    if !request.component.is_file() {
        let message = format!("{} is not a file", request.component.display());
        return Err(Failure::new(ErrorCode::ComponentInvalid, message));
    }
    let screen = Screen::new(Style::Plain);
    logging::start(configuration, "run", verbose, None)?;
    block_on(async {
        let mut signals = Signals::listen()?;
        let client = YarnClient::new(configuration)?;
        with_job(client, &Kind::Application(request), attached, &screen, &mut signals).await
    })
}

/// `heddle run -t yarn-per-job`: `main` runs here, the job's graph is shipped,
/// and its cluster lives for it.
pub fn per_job(
    request: &JobRequest,
    configuration: &Configuration,
    attached: bool,
    verbose: u8,
) -> Result<ExitCode, Failure> {
    let screen = Screen::new(Style::Plain);
    logging::start(configuration, "run", verbose, None)?;
    block_on(async {
        let mut signals = Signals::listen()?;
        // Before anything is compiled.
        YarnClient::new(configuration)?;
        let sandbox = Sandbox::for_planning(configuration)?;
        let mut job = tokio::select! {
            job = Job::prepare(request, configuration, &sandbox) => job?,
            signal = signals.next() => return Ok(ExitCode::from(signal.exit_code())),
        };
        drop_collected(&mut job, &screen, "run it in a session to see them");
        tell_of_printed(&mut job, &screen);
        screen.note(&format!("Job `{}` has JobID {}", job.graph.name, job.graph.job_id));
        let client = YarnClient::new(&job.configuration)?;
        let kind = Kind::Job(ShippedJob::new(&job, request.component.clone())?);
        with_job(client, &kind, attached, &screen, &mut signals).await
    })
}

/// Deploys a cluster that has its job with it; attached, follows it to its end.
async fn with_job(
    client: YarnClient,
    kind: &Kind,
    attached: bool,
    screen: &Screen,
    signals: &mut Signals,
) -> Result<ExitCode, Failure> {
    let deployed = deploy(client, kind, screen, signals).await?;
    let Some((cluster, report)) = deployed else { return Ok(ExitCode::from(signals.last().exit_code())) };
    let printed = print(&format!("{}\n", cluster.id()));
    screen.note(&format!("{} runs; its page: {}", report.id, report.tracking_url));
    if !attached {
        return printed.map(|()| ExitCode::SUCCESS);
    }
    let report = tokio::select! {
        report = cluster.wait_until_ended() => report?,
        signal = signals.next() => {
            screen.note("killing the application");
            cluster.kill("its user interrupted the command that started it").await?;
            return Ok(ExitCode::from(signal.exit_code()));
        }
    };
    cluster.ended_well(&report)?;
    for line in report.diagnostics.lines() {
        screen.note(line);
    }
    screen.note(&format!("{} has finished", report.id));
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::spelled_out;
    use std::ffi::OsString;

    #[test]
    fn options_of_two_letters_are_of_yarn_session_only() {
        let check = |line: &str, expected: &str| {
            let told = spelled_out(line.split(' ').map(OsString::from));
            let told: Vec<_> = told.iter().map(|word| word.to_str().unwrap()).collect();
            assert_eq!(told.join(" "), expected);
        };
        check("heddle yarn-session -d -jm 1g -s 2", "heddle yarn-session -d --jobManagerMemory 1g -s 2");
        check("heddle run -jm 1g", "heddle run -jm 1g");
    }
}
