//! `heddle cluster`: starts and stops the processes of a standalone cluster on
//! the machines that `conf/masters` and `conf/workers` name, as Flink's
//! start-cluster.sh. Other machines are reached by ssh.

use crate::arguments::{StandaloneAction, StandaloneArguments};
use crate::config_command;
use crate::request::block_on;
use heddle_client::configuration::configuration_folder;
use heddle_entrypoint::{HighAvailability, LeaderRetriever};
use heddle_model::config::value::HighAvailabilityType;
use heddle_model::config::{Configuration, options as o};
use heddle_model::failure::{ErrorCode, Failure};
use heddle_rpc::grpc::{GrpcClient, Identity, Limits, Role};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

/// How long `status` waits for a JobManager to say who leads.
const LEADER_PATIENCE: Duration = Duration::from_secs(3);

/// This machine, in conf/masters and conf/workers.
const LOCAL: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

pub fn run(arguments: &StandaloneArguments) -> Result<ExitCode, Failure> {
    let configuration = config_command::load_process(&arguments.dynamic)?;
    let cluster = Cluster::read(configuration, arguments.dynamic.clone())?;
    match arguments.action {
        StandaloneAction::Start => cluster.start(),
        StandaloneAction::Stop => cluster.stop(),
        StandaloneAction::Status => cluster.status(),
    }
}

/// A master or a worker: where it runs.
struct Cluster {
    configuration: Configuration,
    dynamic: Vec<String>,
    folder: Option<PathBuf>,
    masters: Vec<String>,
    workers: Vec<String>,
}

impl Cluster {
    fn read(configuration: Configuration, dynamic: Vec<String>) -> Result<Self, Failure> {
        let folder = configuration_folder()?;
        let read = |name: &str| hosts(folder.as_deref(), name);
        let (masters, workers) = (read("masters")?, read("workers")?);
        Ok(Self { configuration, dynamic, folder, masters, workers })
    }

    fn highly_available(&self) -> bool {
        self.configuration.get(&o::HIGH_AVAILABILITY) != HighAvailabilityType::None
    }

    fn start(&self) -> Result<ExitCode, Failure> {
        let mut ended = Ended::default();
        if self.highly_available() {
            println!("Starting HA cluster with {} masters.", self.masters.len());
            for master in &self.masters {
                let address = format!("-D{}={master}", o::JOB_MANAGER_RPC_ADDRESS.key());
                ended.note(self.on(master, &["jobmanager", "start", &address])?);
            }
        } else {
            // The one JobManager is here, wherever this is.
            println!("Starting cluster.");
            ended.note(self.on(LOCAL[0], &["jobmanager", "start"])?);
        }
        if ended.failed {
            return Ok(ended.code());
        }
        for worker in &self.workers {
            ended.note(self.on(worker, &["taskexecutor", "start"])?);
        }
        Ok(ended.code())
    }

    /// In the opposite order. A machine with several workers has several stopped.
    fn stop(&self) -> Result<ExitCode, Failure> {
        let mut ended = Ended::default();
        for worker in &self.workers {
            ended.note(self.on(worker, &["taskexecutor", "stop"])?);
        }
        if self.highly_available() {
            for master in &self.masters {
                ended.note(self.on(master, &["jobmanager", "stop"])?);
            }
        } else {
            ended.note(self.on(LOCAL[0], &["jobmanager", "stop"])?);
        }
        Ok(ended.code())
    }

    fn status(&self) -> Result<ExitCode, Failure> {
        let mut ended = Ended::default();
        let here = [LOCAL[0].to_owned()];
        let masters = if self.highly_available() { &self.masters[..] } else { &here[..] };
        for (command, machines) in [("jobmanager", masters), ("taskexecutor", &self.workers[..])] {
            let mut machines: Vec<&String> = machines.iter().collect();
            machines.sort();
            machines.dedup();
            for machine in machines {
                ended.note(self.on(machine, &[command, "status"])?);
            }
        }
        let leaders = block_on(async {
            let ha = HighAvailability::from_configuration(&self.configuration)?;
            let cluster_id = self.configuration.get(&o::CLUSTER_ID);
            let identity = Identity::new(Role::Client, Some(cluster_id));
            let client = GrpcClient::new(&identity, Limits::from_configuration(&self.configuration))?;
            LeaderRetriever::new(&ha, client)?.first(LEADER_PATIENCE).await
        });
        match leaders.map(|leaders| leaders.dispatcher) {
            Ok(Some((address, session))) => println!("{address} leads (session {session})."),
            Ok(None) => println!("No JobManager leads."),
            Err(failure) => {
                println!("No JobManager leads: {failure}");
                ended.failed = true;
            }
        }
        Ok(ended.code())
    }

    /// Runs this program on a machine, and waits for it.
    fn on(&self, machine: &str, arguments: &[&str]) -> Result<bool, Failure> {
        let program = std::env::current_exe().map_err(|error| not_run("this program", &error))?;
        let dynamic = self.dynamic.iter().map(|property| format!("-D{property}"));
        // A port or a path behind the name, as Flink's masters have it.
        let host = machine.split_once(':').map_or(machine, |(host, _)| host);
        let mut command = if LOCAL.contains(&machine) || LOCAL.contains(&host) {
            let mut command = Command::new(&program);
            command.args(arguments).args(dynamic);
            command
        } else {
            let mut words = vec![program.display().to_string()];
            words.extend(arguments.iter().map(|word| (*word).to_owned()));
            words.extend(dynamic);
            let mut line = String::new();
            for variable in ["HEDDLE_CONF_DIR", "HEDDLE_LOG_DIR", "HEDDLE_PID_DIR"] {
                let value = match std::env::var(variable) {
                    Ok(value) => Some(value),
                    Err(_) if variable == "HEDDLE_CONF_DIR" => {
                        self.folder.as_ref().map(|folder| folder.display().to_string())
                    }
                    Err(_) => None,
                };
                if let Some(value) = value {
                    line.push_str(&format!("{variable}={} ", quoted(&value)));
                }
            }
            line.push_str(&words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "));
            let mut command = Command::new("ssh");
            command.arg("-n");
            command.args(self.configuration.get(&o::SSH_OPTIONS).unwrap_or_default().split_whitespace());
            command.args([host, "--", &line]);
            command
        };
        let status =
            command.status().map_err(|error| not_run(&command.get_program().to_string_lossy(), &error))?;
        if !status.success() {
            eprintln!("{machine}: `{}` ended with {status}", arguments.join(" "));
        }
        Ok(status.success())
    }
}

/// Whether all went well.
#[derive(Default)]
struct Ended {
    failed: bool,
}

impl Ended {
    fn note(&mut self, well: bool) {
        self.failed |= !well;
    }

    fn code(&self) -> ExitCode {
        if self.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}

fn not_run(program: &str, error: &std::io::Error) -> Failure {
    Failure::new(ErrorCode::Internal, format!("{program} cannot be run: {error}"))
}

/// The lines of `conf/NAME`, without comments; this machine if there is none.
fn hosts(folder: Option<&Path>, name: &str) -> Result<Vec<String>, Failure> {
    let Some(path) = folder.map(|folder| folder.join(name)).filter(|path| path.exists()) else {
        return Ok(vec![LOCAL[0].to_owned()]);
    };
    let invalid = |message: String| Failure::new(ErrorCode::ConfigurationInvalid, message);
    let text = std::fs::read_to_string(&path)
        .map_err(|error| invalid(format!("{} cannot be read: {error}", path.display())))?;
    let hosts = parse_hosts(&text);
    if hosts.is_empty() {
        return Err(invalid(format!("{} names no machine; write one a line", path.display())));
    }
    Ok(hosts)
}

fn parse_hosts(text: &str) -> Vec<String> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    lines.filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// As one word for a shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_stand_a_line_each() {
        assert_eq!(
            parse_hosts("# masters\nlocalhost:8081\n\n  b  # the other\nb\n"),
            ["localhost:8081", "b", "b"]
        );
    }

    #[test]
    fn words_for_a_shell() {
        for (word, expected) in
            [("/a/b-c", "/a/b-c"), ("a b", "'a b'"), ("", "''"), ("it's", r"'it'\''s'"), ("$(x)", "'$(x)'")]
        {
            assert_eq!(quoted(word), expected);
        }
    }
}
