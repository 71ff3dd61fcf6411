//! The application master's line to YARN: registered with the address of the
//! JobManager, it brings workers and says goodbye.

use crate::yarn::deployment::{delete_staged, folders, worker_resource};
use crate::yarn::{CONF_DIR, HADOOP_CONF_DIR, PROGRAM, driven, hadoop};
use heddle_entrypoint::{ApplicationStatus, DriverFactory, Role};
use heddle_model::config::value::HighAvailabilityType;
use heddle_model::config::{Configuration, options as o};
use heddle_model::failure::{ErrorCode, Failure};
use heddle_yarn::configuration::{self, Configuration as Hadoop};
use heddle_yarn::driver::{Handle, Options, Service, WorkerTemplate};
use heddle_yarn::id::ContainerId;
use heddle_yarn::launch::{Launch, LocalResource};
use heddle_yarn::staged;
use heddle_yarn::token::{self, Credentials};
use heddle_yarn::types::FinalStatus;
use heddle_yarn::user;
use std::collections::BTreeMap;
use std::path::PathBuf;
use tracing::{info, warn};

pub use heddle_yarn::configuration::{Environment, environment};

/// Of a failure's details, what YARN is told.
const DETAILS_MAX: usize = 4000;

/// Variables that YARN sets in the application master's container.
const MAX_ATTEMPTS: &str = "MAX_APP_ATTEMPTS";
const CONTAINER: &str = "CONTAINER_ID";

/// What a container tells the process in it.
struct Given {
    hadoop: Hadoop,
    credentials: Credentials,
    files: BTreeMap<String, LocalResource>,
    folder: String,
    user: String,
}

impl Given {
    fn read(environment: &Environment) -> Result<Self, Failure> {
        let outside = |what: &str| {
            let message = format!("{what}: this command runs in a container of YARN only");
            Failure::new(ErrorCode::YarnApplication, message)
        };
        let variable =
            |name: &str| environment.get(name).ok_or_else(|| outside(&format!("{name} is not set")));
        let read = |file: PathBuf| {
            std::fs::read(&file)
                .map_err(|error| outside(&format!("{} cannot be read: {error}", file.display())))
        };
        let tokens = read(variable(token::FILE_VARIABLE)?.into())?;
        let credentials = Credentials::read(&tokens)
            .map_err(|error| outside(&format!("the file of tokens is damaged: {error}")))?;
        let files = staged::decode(&read(staged::FILE.into())?)
            .map_err(|error| outside(&format!("{} is damaged: {error}", staged::FILE)))?;
        Ok(Self {
            hadoop: configuration::load(environment).map_err(|error| hadoop(&error))?,
            credentials,
            files,
            folder: variable(staged::FOLDER_VARIABLE)?.clone(),
            user: user::name(environment),
        })
    }
}

/// Registered with YARN.
pub struct ApplicationMaster {
    handle: Handle,
    service: Role,
    hadoop: Hadoop,
    folder: String,
    user: String,
    is_followed: bool,
}

impl ApplicationMaster {
    /// Registers the JobManager that answers at `address`, and makes what
    /// starts its workers.
    ///
    /// # Errors
    /// H3502: YARN does not take it; H3503: this is no container.
    pub async fn register(
        environment: &Environment,
        address: &str,
        configuration: &Configuration,
    ) -> Result<(Self, DriverFactory), Failure> {
        let Given { hadoop, credentials, files, folder, user } = Given::read(environment)?;
        let Some(token) = credentials.of_kind(token::AM_RM) else {
            let message = "YARN gave no token for the ResourceManager";
            return Err(Failure::new(ErrorCode::YarnApplication, message));
        };
        let (host, port) = address.rsplit_once(':').unwrap_or((address, "0"));
        let mut options =
            Options::new(&hadoop, token.clone(), host, port.parse().unwrap_or(0)).map_err(driven)?;
        options.node_label = configuration.get(&o::YARN_WORKER_NODE_LABEL);
        options.intervals.idle = configuration.get(&o::YARN_HEARTBEAT);
        options.intervals.pending = configuration.get(&o::YARN_HEARTBEAT_REQUEST);
        let resource = worker_resource(configuration)?;
        let command = worker_command(configuration, host, port);
        let own_environment = BTreeMap::from([
            ("HEDDLE_CONF_DIR".to_owned(), CONF_DIR.to_owned()),
            ("HADOOP_CONF_DIR".to_owned(), HADOOP_CONF_DIR.to_owned()),
            ("HADOOP_USER_NAME".to_owned(), user.clone()),
        ]);
        let template = WorkerTemplate {
            resource: Box::new(move |_| resource),
            launch: Box::new(move |_, container| Launch {
                files: files.clone(),
                environment: own_environment.clone(),
                commands: vec![format!(
                    "{command} -D{}={container} 1> <LOG_DIR>/taskexecutor.out 2> <LOG_DIR>/taskexecutor.err",
                    o::RESOURCE_ID.key()
                )],
                ..Launch::default()
            }),
        };
        let (service, driver, handle) = Service::register(options, template).await.map_err(driven)?;
        let service =
            Role::start("connection to YARN", |stop| async move { service.run(stop).await.map_err(driven) });
        let make = Box::new(move |_| Box::new(driver.clone()) as Box<_>);
        let is_followed = is_followed(environment, configuration);
        let master = Self { handle, service, hadoop, folder, user, is_followed };
        Ok((master, DriverFactory { make, starts_workers: true }))
    }

    /// Why YARN does not want it any more. Cancel-safe.
    pub async fn failed(&mut self) -> Failure {
        self.service.failed().await
    }

    /// Whether YARN starts another JobManager, which goes on, when this one ends
    /// without a word.
    pub fn is_followed(&self) -> bool {
        self.is_followed
    }

    /// Tells YARN how the application ended, and why if it failed, or else what
    /// its user should hear; what was staged is deleted.
    pub async fn finish(mut self, status: ApplicationStatus, cause: Option<&Failure>, note: Option<&str>) {
        let diagnostics = match cause {
            None => note.unwrap_or_default().to_owned(),
            Some(failure) => self.diagnostics(failure).await,
        };
        let status = match status {
            ApplicationStatus::Succeeded => FinalStatus::AppSucceeded,
            ApplicationStatus::Failed => FinalStatus::AppFailed,
            ApplicationStatus::Canceled => FinalStatus::AppKilled,
            ApplicationStatus::Unknown => FinalStatus::AppUndefined,
        };
        info!(status = status.as_str_name(), diagnostics, "unregistering from YARN");
        self.handle.finish(status, &diagnostics).await;
        // Not before: another attempt would need it.
        if let Err(error) = delete_staged(&self.hadoop, &self.user, &self.folder).await {
            warn!(%error, "what was staged is left behind");
        }
        self.service.shut_down().await;
    }
}

impl ApplicationMaster {
    /// The failure and its details; with what YARN says of containers, if one
    /// was lost.
    async fn diagnostics(&self, failure: &Failure) -> String {
        let mut text = format!("error[{}]: {failure}", failure.code);
        let details = failure.details.iter().flat_map(|details| details.chars()).take(DETAILS_MAX);
        text.push('\n');
        text.extend(details);
        let is_lost = [ErrorCode::WorkerLost, ErrorCode::PeerGone, ErrorCode::ConnectionLost];
        if is_lost.contains(&failure.code) {
            for loss in self.handle.losses().await {
                text += &format!("\n{loss}");
            }
        }
        text.trim_end().to_owned()
    }
}

/// Failures of attempts that do not count any more make room for others.
fn is_followed(environment: &Environment, configuration: &Configuration) -> bool {
    if configuration.get(&o::HIGH_AVAILABILITY) == HighAvailabilityType::None {
        return false;
    }
    let most: i32 = environment.get(MAX_ATTEMPTS).and_then(|most| most.parse().ok()).unwrap_or(1);
    let container: Option<ContainerId> = environment.get(CONTAINER).and_then(|id| id.parse().ok());
    let attempt = container.map_or(1, |container| container.attempt.number);
    most > 1 && (attempt < most || !configuration.get(&o::YARN_ATTEMPT_VALIDITY).is_zero())
}

fn worker_command(configuration: &Configuration, host: &str, port: &str) -> String {
    let mut command = format!(
        "./{PROGRAM} taskexecutor start-foreground -D{}={host} -D{}={port} -D{}=$NM_HOST",
        o::JOB_MANAGER_RPC_ADDRESS.key(),
        o::JOB_MANAGER_RPC_PORT.key(),
        o::TASK_EXECUTOR_HOST.key(),
    );
    if !configuration.is_set(&o::TASK_EXECUTOR_BIND_HOST) {
        command += &format!(" -D{}=$NM_HOST", o::TASK_EXECUTOR_BIND_HOST.key());
    }
    command + &folders(configuration)
}
