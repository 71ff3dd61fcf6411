//! Puts an application on YARN, in the nine steps of Flink's `startAppMaster`:
//! each is a line in the log. Knows files and commands, and nothing of what
//! they do.

use crate::applications::{Applications, NewApplication, Submission};
use crate::configuration::Configuration;
use crate::driver;
use crate::files::{self, Files};
use crate::id::ApplicationId;
use crate::launch::{Launch, LocalResource, Visibility};
use crate::rpc;
use crate::staged;
use crate::types::{self, ApplicationReport, ApplicationState, NodeState, Resource};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

/// Between two looks at an application.
const POLL: Duration = Duration::from_millis(250);
/// After that a user is told what is waited for.
const NOTICE: Duration = Duration::from_secs(60);
/// For the end of an application that is killed.
const KILL_MAX: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Call(#[from] rpc::Error),
    #[error(transparent)]
    Files(#[from] files::Error),
    #[error("{what} needs {wanted}, and YARN gives a container no more than {maximum}; lower `{option}`")]
    TooLarge { what: &'static str, wanted: Resource, maximum: Resource, option: &'static str },
    #[error("{id} is {state} before it ran: {diagnostics}")]
    Ended { id: ApplicationId, state: String, diagnostics: String },
    #[error("the submission was interrupted")]
    Interrupted,
}

/// What becomes an application.
pub struct Deployment {
    pub name: String,
    pub application_type: String,
    pub queue: String,
    pub priority: Option<i32>,
    pub tags: Vec<String>,
    pub node_label: Option<String>,
    pub view_acl: Option<String>,
    pub modify_acl: Option<String>,
    /// Of the application master's container, and of the others.
    pub master: Resource,
    pub worker: Resource,
    /// Files by their names in the container's folder.
    pub files: BTreeMap<String, PathBuf>,
    /// Files of the user, by their names there.
    pub shipped: BTreeMap<String, Shipped>,
    /// Addresses of folders whose files go into each container and need not be
    /// uploaded.
    pub provided: Vec<String>,
    /// Files that are made once the id is known, as the one above.
    pub make: MakeFiles,
    pub environment: BTreeMap<String, String>,
    pub command: String,
    /// How often the application master is started, at the most.
    pub attempts_max: u32,
    /// Failures of attempts count for so long; without it for ever.
    pub failures_validity: Option<Duration>,
    /// Whether the next attempt takes over the containers of the one before.
    pub keep_containers: bool,
    pub replication: Option<u32>,
    /// Where files are staged; without it the user's home.
    pub staging: Option<String>,
}

/// A file that a user wants in each container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shipped {
    /// Of this machine, or an address that nodes see.
    pub file: PathBuf,
    /// Whether it is unpacked into a folder of its name.
    pub is_archive: bool,
}

pub type MakeFiles = Box<dyn Fn(ApplicationId) -> BTreeMap<String, Vec<u8>> + Send>;

/// Whether nodes kill containers for the address space they have.
const VIRTUAL_CHECK: &str = "yarn.nodemanager.vmem-check-enabled";

/// Below the user's home, as Flink's `.flink`.
const STAGING: &str = ".heddle";

/// Tells a user what goes on.
pub trait Notices {
    fn note(&self, text: &str);
}

/// One that YARN has taken.
pub struct Deployed {
    pub id: ApplicationId,
    files: Files,
}

impl Deployment {
    /// Until YARN has it. If that does not come about, or `stop` comes first,
    /// what was staged is deleted and the application is killed.
    pub async fn submit(
        self,
        configuration: &Configuration,
        applications: &Applications,
        user: &str,
        notices: &dyn Notices,
        stop: impl Future<Output = ()>,
    ) -> Result<Deployed, Error> {
        let mut stop = pin!(stop);
        let looked = async {
            self.look(configuration, applications, notices).await?;
            let new = applications.new_application().await?;
            self.fits(&new).map(|()| new)
        };
        let new = tokio::select! {
            new = looked => new?,
            () = &mut stop => return Err(Error::Interrupted),
        };
        let id = new.id;
        let files = Files::open(configuration, user, self.staging.as_deref())?;
        let files = files.below(STAGING).below(&id.to_string());
        info!(application = %id, folder = files.url(), "1/9 the file system for staging");
        let submitted = tokio::select! {
            submitted = self.stage_and_submit(id, &files, applications, notices) => submitted,
            () = stop => Err(Error::Interrupted),
        };
        match submitted {
            Ok(()) => Ok(Deployed { id, files }),
            Err(error) => {
                // YARN may have it although it has not said so.
                match applications.kill(id, "its submission did not come about").await {
                    Err(unknown) if !unknown.is_remote("ApplicationNotFoundException") => {
                        warn!(error = %unknown, application = %id, "the application may be left");
                    }
                    _ => {}
                }
                if let Err(left) = files.delete().await {
                    warn!(error = %left, "what was staged is left behind");
                }
                Err(error)
            }
        }
    }

    /// What may keep it waiting.
    async fn look(
        &self,
        configuration: &Configuration,
        applications: &Applications,
        notices: &dyn Notices,
    ) -> Result<(), Error> {
        // The nodes' own files decide; this machine's often are the same.
        if configuration.bool(VIRTUAL_CHECK, true).unwrap_or(true) {
            let origin = if configuration.get(VIRTUAL_CHECK).is_some() { "" } else { " unless it is set" };
            notices.note(&format!(
                "YARN's nodes end containers for their virtual memory (`{VIRTUAL_CHECK}` is true{origin}): {}",
                driver::VIRTUAL_MEMORY
            ));
        }
        let root = applications.queue("root").await?;
        if root.is_some_and(|root| !root.has(&self.queue)) {
            notices.note(&format!("YARN has no queue `{}`; it may refuse the application", self.queue));
        }
        let nodes = applications.nodes(&[NodeState::NsRunning]).await?;
        let free: u64 = nodes.iter().map(|node| node.free().memory_mib).sum();
        let wanted = self.master.memory_mib + self.worker.memory_mib;
        if free < wanted {
            notices.note(&format!(
                "YARN has {free} MiB free, and the cluster needs {wanted} MiB at least; it waits for the rest"
            ));
        }
        Ok(())
    }

    fn fits(&self, new: &NewApplication) -> Result<(), Error> {
        let maximum = new.maximum;
        let too_large = |what, wanted: Resource, option| Error::TooLarge { what, wanted, maximum, option };
        for (what, wanted, memory, vcores) in [
            ("the JobManager", self.master, "jobmanager.memory.process.size", "yarn.appmaster.vcores"),
            ("a TaskExecutor", self.worker, "taskmanager.memory.process.size", "yarn.containers.vcores"),
        ] {
            if wanted.memory_mib > maximum.memory_mib {
                return Err(too_large(what, wanted, memory));
            }
            if wanted.vcores > maximum.vcores {
                return Err(too_large(what, wanted, vcores));
            }
        }
        Ok(())
    }

    async fn stage_and_submit(
        self,
        id: ApplicationId,
        files: &Files,
        applications: &Applications,
        notices: &dyn Notices,
    ) -> Result<(), Error> {
        let mut staged = self.provided(files).await?;
        let provided: Vec<String> = staged.keys().cloned().collect();
        let names: Vec<&String> = self.files.keys().chain(self.shipped.keys()).collect();
        info!(files = ?names, ?provided, "2/9 the files to ship");
        files.create().await?;
        info!(folder = files.url(), "3/9 the folder of the application, for its owner only");
        let mut bytes = 0;
        for (name, file) in &self.files {
            if let Some(provided) = staged.get(name) {
                let length = std::fs::metadata(file).map(|metadata| metadata.len()).ok();
                if length == Some(provided.bytes) {
                    continue;
                }
                notices.note(&format!(
                    "`{name}` in yarn.provided.lib.dirs has {} bytes and {} has {}: it is another build and is not used",
                    provided.bytes,
                    file.display(),
                    length.unwrap_or(0)
                ));
            }
            let resource = files.upload(&flat(name), file, self.replication).await?;
            bytes += resource.bytes;
            staged.insert(name.clone(), resource);
        }
        for (number, (name, shipped)) in self.shipped.iter().enumerate() {
            let mut resource = match shipped.file.to_str().filter(|address| address.starts_with("hdfs://")) {
                Some(address) => {
                    let found = files.provided(address).await?.into_values().next();
                    found.map(|found| LocalResource { visibility: Visibility::Application, ..found })
                }
                None => {
                    // Two names may be the same without their slashes.
                    let name = format!("ship-{number}-{}", flat(name));
                    let uploaded = files.upload(&name, &shipped.file, self.replication).await?;
                    bytes += uploaded.bytes;
                    Some(uploaded)
                }
            };
            if let Some(resource) = &mut resource {
                resource.is_archive = shipped.is_archive;
            }
            staged.extend(resource.map(|resource| (name.clone(), resource)));
        }
        info!(bytes, "4/9 uploaded the files");
        for (name, content) in (self.make)(id) {
            bytes += content.len() as u64;
            let resource = files.write(&flat(&name), content, self.replication).await?;
            staged.insert(name, resource);
        }
        info!(bytes, "5/9 wrote the configuration");
        let list = staged::encode(&staged);
        let resource = files.write(staged::FILE, list, self.replication).await?;
        info!(containers = staged.len(), "6/9 wrote the list of files for other containers");
        staged.insert(staged::FILE.to_owned(), resource);
        let mut environment = self.environment;
        environment.insert(staged::FOLDER_VARIABLE.to_owned(), files.url());
        info!(command = self.command, "7/9 the container of the application master");
        info!(variables = ?environment.keys().collect::<Vec<_>>(), "8/9 its environment");
        let launch = Launch {
            files: staged,
            environment,
            commands: vec![self.command],
            view_acl: self.view_acl,
            modify_acl: self.modify_acl,
            ..Launch::default()
        };
        let submission = Submission {
            id,
            name: self.name,
            application_type: self.application_type,
            queue: self.queue,
            priority: self.priority,
            tags: self.tags,
            resource: self.master,
            node_label: self.node_label,
            attempts_max: self.attempts_max,
            failures_validity: self.failures_validity,
            keep_containers: self.keep_containers,
            launch,
            rolled_logs_include: None,
            rolled_logs_exclude: None,
        };
        applications.submit(submission).await?;
        info!(application = %id, "9/9 submitted");
        Ok(())
    }

    /// What need not be uploaded, by names in the container.
    async fn provided(&self, files: &Files) -> Result<BTreeMap<String, LocalResource>, Error> {
        let mut found = BTreeMap::new();
        for folder in &self.provided {
            found.extend(files.provided(folder).await?);
        }
        Ok(found)
    }
}

/// A name without slashes.
fn flat(name: &str) -> String {
    name.replace('/', "-")
}

impl Deployed {
    /// One that was submitted before.
    pub fn attach(
        configuration: &Configuration,
        user: &str,
        staging: Option<&str>,
        id: ApplicationId,
    ) -> Result<Self, Error> {
        let files = Files::open(configuration, user, staging)?;
        Ok(Self { id, files: files.below(STAGING).below(&id.to_string()) })
    }

    /// Until it runs, or has ended well.
    ///
    /// # Errors
    /// It failed or was killed; with the diagnostics.
    pub async fn wait_until_running(
        &self,
        applications: &Applications,
        notices: &dyn Notices,
    ) -> Result<ApplicationReport, Error> {
        let began = Instant::now();
        let (mut is_told, mut last) = (false, None);
        loop {
            let report = applications.report(self.id).await?;
            if last != Some(report.state) {
                info!(application = %self.id, state = report.state.as_str_name(), "the application's state");
                last = Some(report.state);
            }
            match report.state {
                ApplicationState::Running | ApplicationState::Finished => return Ok(report),
                ApplicationState::Failed | ApplicationState::Killed => {
                    self.clean_up().await;
                    return Err(Error::Ended {
                        id: self.id,
                        state: report.state.as_str_name().to_owned(),
                        diagnostics: report.diagnostics,
                    });
                }
                _ if !is_told && began.elapsed() >= NOTICE => {
                    is_told = true;
                    let first = report.diagnostics.lines().next().unwrap_or("it gives no reason");
                    notices.note(&format!(
                        "the application has waited for a minute; check that YARN has the resources it asks for ({first})"
                    ));
                }
                _ => {}
            }
            sleep(POLL).await;
        }
    }

    /// Until it has ended, however.
    pub async fn wait_until_ended(&self, applications: &Applications) -> Result<ApplicationReport, Error> {
        loop {
            let report = applications.report(self.id).await?;
            if types::is_terminal(report.state) {
                self.clean_up().await;
                return Ok(report);
            }
            sleep(POLL).await;
        }
    }

    pub async fn kill(&self, applications: &Applications, diagnostics: &str) -> Result<(), Error> {
        let began = Instant::now();
        while !applications.kill(self.id, diagnostics).await? && began.elapsed() < KILL_MAX {
            sleep(POLL).await;
        }
        self.clean_up().await;
        Ok(())
    }

    async fn clean_up(&self) {
        if let Err(error) = self.files.delete().await {
            warn!(%error, "what was staged is left behind");
        }
    }
}
