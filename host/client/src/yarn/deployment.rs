//! Deploys a cluster: what is shipped, with which command, how large.

use crate::JobRequest;
use crate::yarn::{
    COMPONENT, CONF_DIR, CONFIGURATION, HADOOP, HADOOP_CONF_DIR, JOB_GRAPH, PROGRAM, Remembered, ShippedJob,
    call, deployment, ended, hadoop, shipped, staging,
};
use heddle_entrypoint::HighAvailability;
use heddle_model::config::value::HighAvailabilityType;
use heddle_model::config::{ConfigOption, Configuration, Origin, options as o};
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::memory::TaskExecutorProcessSpec;
use heddle_yarn::applications::Applications;
use heddle_yarn::configuration::{self, Configuration as Hadoop, Service};
use heddle_yarn::deploy::{Deployed, Deployment, Notices};
use heddle_yarn::id::ApplicationId;
use heddle_yarn::rpc::{Login, Options};
use heddle_yarn::types::{ApplicationReport, ApplicationState, FinalStatus, Resource, is_terminal};
use heddle_yarn::user;
use std::collections::BTreeMap;
use std::time::Duration;
use tracing::warn;

/// How long a ResourceManager that is not there is tried.
const PATIENCE: Duration = Duration::from_secs(20);

/// YARN's own default of the most there can be.
const ATTEMPTS_OF_HIGH_AVAILABILITY: u32 = 2;

/// What a cluster is there for.
#[derive(Clone, Debug)]
pub enum Kind {
    /// Jobs that are submitted to it.
    Session,
    /// One job, whose `main` runs in the JobManager.
    Application(JobRequest),
    /// One job, whose graph is shipped.
    Job(ShippedJob),
}

/// Speaks to a ResourceManager.
pub struct YarnClient {
    configuration: Configuration,
    hadoop: Hadoop,
    applications: Applications,
    user: String,
}

/// A cluster that YARN has taken.
pub struct YarnCluster {
    client: YarnClient,
    deployed: Deployed,
}

impl YarnClient {
    /// # Errors
    /// H3501: Hadoop's configuration.
    pub fn new(configuration: &Configuration) -> Result<Self, Failure> {
        let environment = configuration::environment();
        let loaded = configuration::load(&environment).map_err(|error| hadoop(&error))?;
        let servers = configuration::resource_managers(&loaded, Service::Applications)
            .map_err(|error| hadoop(&error))?;
        let user = user::name(&environment);
        let options = Options { patience: PATIENCE, ..Options::default() };
        let login = Login::Simple { user: user.clone() };
        let applications = Applications::new(servers, login, options);
        Ok(Self { configuration: configuration.clone(), hadoop: loaded, applications, user })
    }

    /// The cluster of `yarn.application.id`.
    ///
    /// # Errors
    /// H1201: none is set; H3503: it does not run; H3502.
    pub async fn attach(self) -> Result<(YarnCluster, ApplicationReport), Failure> {
        let Some(id) = self.configuration.get(&o::YARN_APPLICATION_ID) else {
            let message = format!(
                "the target is a session on YARN, `{}` does not say which, and none is remembered in {}; `heddle \
                 yarn-session` starts one",
                o::YARN_APPLICATION_ID.key(),
                Remembered::of(&self.configuration).file().display()
            );
            return Err(Failure::new(ErrorCode::ConfigurationInvalid, message));
        };
        let id: ApplicationId = id.parse().map_err(|error: heddle_yarn::id::ParseError| {
            Failure::new(ErrorCode::ConfigurationInvalid, error.to_string())
        })?;
        let origin = self.configuration.origin(&o::YARN_APPLICATION_ID);
        let unusable = |what: String| {
            let message = format!(
                "{id} (from {origin}) {what}; `heddle yarn-session` starts another session, -t local needs none"
            );
            Failure::new(ErrorCode::YarnApplication, message)
        };
        let report = self.applications.report(id).await.map_err(|error| {
            if error.is_remote("ApplicationNotFoundException") {
                return unusable("is not known to the ResourceManager".to_owned());
            }
            call(&error)
        })?;
        if is_terminal(report.state) {
            return Err(unusable(format!("has ended ({})", report.state.as_str_name())));
        }
        if report.host.is_none() && report.state == ApplicationState::Running && report.user != self.user {
            return Err(unusable(format!(
                "is {}'s, and YARN does not show it to {}",
                report.user, self.user
            )));
        }
        let root = self.configuration.get(&o::YARN_STAGING);
        let deployed = Deployed::attach(&self.hadoop, &self.user, root.as_deref(), id);
        let deployed = deployed.map_err(|error| deployment(&error))?;
        Ok((YarnCluster { client: self, deployed }, report))
    }

    /// Stages and submits a cluster; none if `stop` comes first.
    ///
    /// # Errors
    /// H3502, H3503, H3504; nothing is left behind.
    pub async fn deploy(
        self,
        kind: &Kind,
        notices: &dyn Notices,
        stop: impl Future<Output = ()>,
    ) -> Result<Option<YarnCluster>, Failure> {
        let plan = self.plan(kind)?;
        match plan.submit(&self.hadoop, &self.applications, &self.user, notices, stop).await {
            Ok(deployed) => Ok(Some(YarnCluster { client: self, deployed })),
            Err(heddle_yarn::deploy::Error::Interrupted) => Ok(None),
            Err(error) => Err(deployment(&error)),
        }
    }

    fn plan(&self, kind: &Kind) -> Result<Deployment, Failure> {
        let configuration = &self.configuration;
        let program = std::env::current_exe().map_err(|error| {
            Failure::new(ErrorCode::Internal, format!("cannot find the program's own file: {error}"))
        })?;
        let mut files = BTreeMap::from([(PROGRAM.to_owned(), program)]);
        let mut made = BTreeMap::from([(HADOOP.to_owned(), self.hadoop.to_xml().into_bytes())]);
        let (daemon, default_name, job) = match kind {
            Kind::Session => ("yarnsession", "Heddle session cluster", String::new()),
            Kind::Application(request) => {
                let name = request.component.file_name().unwrap_or_default().to_string_lossy().into_owned();
                files.insert(name.clone(), request.component.clone());
                let words = std::iter::once(format!("./{name}")).chain(request.arguments.iter().cloned());
                let job = words.map(|word| format!(" {}", quoted(&word))).collect();
                ("yarnapplication", "Heddle application cluster", job)
            }
            Kind::Job(job) => {
                files.insert(COMPONENT.to_owned(), job.component.clone());
                made.insert(JOB_GRAPH.to_owned(), job.graph.clone());
                ("yarnjob", "Heddle per-job cluster", String::new())
            }
        };
        let command = format!(
            "./{PROGRAM} jobmanager start-foreground{}{} {daemon}{job} \
             1> <LOG_DIR>/jobmanager.out 2> <LOG_DIR>/jobmanager.err",
            self.addresses(
                &o::JOB_MANAGER_RPC_ADDRESS,
                &o::JOB_MANAGER_BIND_HOST,
                Some(o::JOB_MANAGER_RPC_PORT.key())
            ),
            folders(configuration),
        );
        let environment = BTreeMap::from([
            ("HEDDLE_CONF_DIR".to_owned(), CONF_DIR.to_owned()),
            ("HADOOP_CONF_DIR".to_owned(), HADOOP_CONF_DIR.to_owned()),
            ("HADOOP_USER_NAME".to_owned(), self.user.clone()),
        ]);
        let own = self.shipped_configuration();
        let shipped = shipped::find(configuration, |name| files.contains_key(name))?;
        let is_available = configuration.get(&o::HIGH_AVAILABILITY) != HighAvailabilityType::None;
        let attempts = configuration
            .get(&o::YARN_ATTEMPTS)
            .map_or(if is_available { ATTEMPTS_OF_HIGH_AVAILABILITY } else { 1 }, |attempts| attempts.get());
        Ok(Deployment {
            name: configuration.get(&o::YARN_NAME).unwrap_or_else(|| default_name.to_owned()),
            application_type: configuration.get(&o::YARN_TYPE),
            queue: configuration.get(&o::YARN_QUEUE),
            priority: configuration
                .get(&o::YARN_PRIORITY)
                .and_then(|priority| priority.get().try_into().ok()),
            tags: configuration.get(&o::YARN_TAGS),
            node_label: configuration.get(&o::YARN_NODE_LABEL),
            view_acl: configuration.get(&o::YARN_VIEW_ACLS),
            modify_acl: configuration.get(&o::YARN_MODIFY_ACLS),
            master: Resource {
                memory_mib: configuration.get(&o::JOB_MANAGER_MEMORY).0.div_ceil(1 << 20),
                vcores: configuration.get(&o::YARN_MASTER_VCORES).get(),
            },
            worker: worker_resource(configuration)?,
            files,
            shipped,
            provided: configuration.get(&o::YARN_PROVIDED_LIB_DIRS),
            make: Box::new(move |id| {
                let cluster = format!("{}: \"{id}\"\n", o::CLUSTER_ID.key());
                let mut made = made.clone();
                made.insert(CONFIGURATION.to_owned(), (own.clone() + &cluster).into_bytes());
                made
            }),
            environment,
            command,
            attempts_max: attempts,
            failures_validity: Some(configuration.get(&o::YARN_ATTEMPT_VALIDITY))
                .filter(|time| !time.is_zero()),
            // Without high availability nobody knows what runs in them.
            keep_containers: is_available,
            replication: configuration.get(&o::YARN_REPLICATION).map(|copies| copies.get()),
            staging: configuration.get(&o::YARN_STAGING),
        })
    }

    /// Where a process in a container is reached: its node's name, unless the
    /// configuration says otherwise.
    fn addresses(
        &self,
        host: &ConfigOption<String>,
        bind_host: &ConfigOption<String>,
        port: Option<&str>,
    ) -> String {
        let mut text = format!(" -D{}=$NM_HOST", host.key());
        if !self.configuration.is_set(bind_host) {
            text += &format!(" -D{}=$NM_HOST", bind_host.key());
        }
        if let Some(port) = port.filter(|_| !self.configuration.is_set(&o::JOB_MANAGER_RPC_PORT)) {
            text += &format!(" -D{port}=0");
        }
        text
    }

    /// What was set for the cluster, as a file.
    fn shipped_configuration(&self) -> String {
        // What belongs to this machine stays here.
        let own = [
            o::EXECUTION_TARGET.key(),
            o::LOG_DIR.key(),
            o::CLUSTER_ID.key(),
            o::YARN_APPLICATION_ID.key(),
            o::YARN_PROPERTIES_FILE.key(),
            o::YARN_SHIP_FILES.key(),
            o::YARN_SHIP_ARCHIVES.key(),
            o::YARN_PROVIDED_LIB_DIRS.key(),
        ];
        let set = self.configuration.entries().filter(|entry| entry.origin != Origin::Default);
        set.filter(|entry| !own.contains(&entry.info.key))
            .filter_map(|entry| Some(format!("{}: {}\n", entry.info.key, yaml(entry.value?))))
            .collect()
    }
}

/// The container of a TaskExecutor.
pub(super) fn worker_resource(configuration: &Configuration) -> Result<Resource, Failure> {
    let spec = TaskExecutorProcessSpec::from_configuration(configuration)?;
    let vcores = configuration.get(&o::YARN_WORKER_VCORES).map_or(spec.slots, |vcores| vcores.get());
    Ok(Resource { memory_mib: spec.total_process.div_ceil(1 << 20), vcores })
}

/// What a process writes lies in its container's folder, which goes with it.
pub(super) fn folders(configuration: &Configuration) -> String {
    let mut text = String::new();
    for (option, folder) in [(&o::TMP_DIRS, "tmp"), (&o::CACHE_DIR, "components")] {
        if !configuration.is_set(option) {
            text += &format!(" -D{}=$PWD/{folder}", option.key());
        }
    }
    text
}

/// A text between double quotes, as YAML and JSON have it.
fn yaml(text: &str) -> String {
    let mut quoted = "\"".to_owned();
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            '\n' => quoted += "\\n",
            letter if letter.is_control() => quoted += &format!("\\x{:02x}", u32::from(letter) & 0xff),
            letter => quoted.push(letter),
        }
    }
    quoted + "\""
}

/// A word of a shell's command that itself stands between double quotes.
fn quoted(word: &str) -> String {
    let mut text = "'".to_owned();
    for letter in word.chars() {
        match letter {
            '\'' => text += "'\\\\''",
            '"' | '\\' | '$' | '`' => text.extend(['\\', letter]),
            letter => text.push(letter),
        }
    }
    text + "'"
}

impl YarnCluster {
    pub fn id(&self) -> ApplicationId {
        self.deployed.id
    }

    /// Until it runs, or has ended well.
    ///
    /// # Errors
    /// H3503: it failed or was killed.
    pub async fn wait_until_running(&self, notices: &dyn Notices) -> Result<ApplicationReport, Failure> {
        let report = self.deployed.wait_until_running(&self.client.applications, notices).await;
        if let Err(heddle_yarn::deploy::Error::Ended { .. }) = report {
            self.forget_stored().await;
        }
        report.map_err(|error| deployment(&error))
    }

    /// Until it has ended.
    ///
    /// # Errors
    /// H3502.
    pub async fn wait_until_ended(&self) -> Result<ApplicationReport, Failure> {
        let report = self.deployed.wait_until_ended(&self.client.applications).await;
        if report.is_ok() {
            self.forget_stored().await;
        }
        report.map_err(|error| deployment(&error))
    }

    /// # Errors
    /// H3503: it failed or was killed; with its diagnostics.
    pub fn ended_well(&self, report: &ApplicationReport) -> Result<(), Failure> {
        if report.final_status == FinalStatus::AppSucceeded {
            return Ok(());
        }
        let what = format!(
            "{} has ended as {} ({})",
            report.id,
            report.final_status.as_str_name(),
            report.state.as_str_name(),
        );
        Err(ended(&what, &report.diagnostics))
    }

    /// # Errors
    /// H3502.
    pub async fn kill(&self, why: &str) -> Result<(), Failure> {
        let killed = self.deployed.kill(&self.client.applications, why).await;
        if killed.is_ok() {
            self.forget_stored().await;
        }
        killed.map_err(|error| deployment(&error))
    }

    /// Removes what high availability has stored of an application that has
    /// ended: its JobManager does it too, unless it was killed.
    async fn forget_stored(&self) {
        let mut configuration = self.client.configuration.clone();
        let named = configuration.set(o::CLUSTER_ID.key(), &self.id().to_string(), Origin::Process);
        let removed = match named {
            Ok(()) => HighAvailability::remove(&configuration).await,
            Err(failure) => Err(failure),
        };
        if let Err(error) = removed {
            warn!(%error, "what high availability stored is left behind");
        }
    }

    /// The configuration of a client of this cluster.
    ///
    /// # Errors
    /// H3503: it does not run.
    pub fn configuration(&self, report: &ApplicationReport) -> Result<Configuration, Failure> {
        let (Some(host), Some(port), ApplicationState::Running) =
            (&report.host, report.rpc_port, report.state)
        else {
            let message = format!("{} does not run yet ({})", report.id, report.state.as_str_name());
            return Err(Failure::new(ErrorCode::YarnApplication, message));
        };
        let mut configuration = self.client.configuration.clone();
        for (key, value) in [
            (o::JOB_MANAGER_RPC_ADDRESS.key(), host.clone()),
            (o::JOB_MANAGER_RPC_PORT.key(), port.to_string()),
            (o::CLUSTER_ID.key(), report.id.to_string()),
            (o::EXECUTION_TARGET.key(), "remote".to_owned()),
        ] {
            configuration.set(key, &value, Origin::Process)?;
        }
        Ok(configuration)
    }
}

/// Deletes what the client staged: the application master does it at its end.
pub(super) async fn delete_staged(hadoop: &Hadoop, user: &str, folder: &str) -> Result<(), Failure> {
    let files =
        heddle_yarn::files::Files::open(hadoop, user, Some(folder)).map_err(|error| staging(&error))?;
    files.delete().await.map_err(|error| staging(&error))
}

#[cfg(test)]
mod tests {
    use super::{quoted, yaml};
    use std::process::Command;

    #[test]
    fn words_survive_both_shells() {
        let word = "it's \"a\" $HOME `x` \\ end";
        let script = format!("bash -c \"printf %s {}\"", quoted(word));
        let output = Command::new("bash").args(["-c", &script]).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), word);
    }

    #[test]
    fn values_are_quoted() {
        assert_eq!(yaml("a\"b\\c\nd"), r#""a\"b\\c\nd""#);
    }
}
