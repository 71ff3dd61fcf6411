//! What outlives a JobManager, as the configuration says, and where the one
//! that leads is found.

use crate::invalid;
use heddle_filesystem::FileSystems;
use heddle_ha::Services;
use heddle_ha::files::{self, Election, FileLeaderRetrieval, FileOptions};
use heddle_model::config::value::HighAvailabilityType;
use heddle_model::config::{Configuration, options as o};
use heddle_model::failure::{ErrorCode, Failure};
use std::path::Path;
use std::time::Duration;

/// A network's file system is not looked at as often as this machine's.
const POLL_ELSEWHERE: Duration = Duration::from_secs(1);

/// Where leaders come from.
#[derive(Clone, Debug)]
pub enum HighAvailability {
    /// One JobManager, `host:port`, that forgets all when it ends.
    Standalone {
        job_manager: String,
    },
    Files(FileOptions),
}

impl HighAvailability {
    /// # Errors
    /// H1201: no folder is given, or none of this machine; without high
    /// availability, no certain port of the JobManager.
    pub fn from_configuration(configuration: &Configuration) -> Result<Self, Failure> {
        match configuration.get(&o::HIGH_AVAILABILITY) {
            HighAvailabilityType::None => {
                let host = configuration.get(&o::JOB_MANAGER_RPC_ADDRESS);
                let ports = configuration.get(&o::JOB_MANAGER_RPC_PORT);
                let Some(port) = ports.only() else {
                    return Err(invalid(format!(
                        "configuration `{}`: {ports} does not tell where the JobManager is (from {}); give one \
                         port, or set `{}` so that it is looked up",
                        o::JOB_MANAGER_RPC_PORT.key(),
                        configuration.origin(&o::JOB_MANAGER_RPC_PORT),
                        o::HIGH_AVAILABILITY.key(),
                    )));
                };
                let host = if host.contains(':') { format!("[{host}]") } else { host };
                Ok(Self::Standalone { job_manager: format!("{host}:{port}") })
            }
            HighAvailabilityType::Filesystem => {
                let Some(storage) = configuration.get(&o::HA_STORAGE) else {
                    return Err(invalid(format!(
                        "configuration `{}` is not set, and `{}` is {} (from {}); set it to a folder that all \
                         processes of the cluster see",
                        o::HA_STORAGE.key(),
                        o::HIGH_AVAILABILITY.key(),
                        HighAvailabilityType::Filesystem,
                        configuration.origin(&o::HIGH_AVAILABILITY),
                    )));
                };
                let wrong = |error: std::io::Error| {
                    invalid(format!(
                        "configuration `{}`: `{storage}` cannot be used: {error} (from {})",
                        o::HA_STORAGE.key(),
                        configuration.origin(&o::HA_STORAGE),
                    ))
                };
                let (files, path) = FileSystems::of_process().resolve(Path::new(&storage)).map_err(wrong)?;
                let options = FileOptions::new(path, configuration.get(&o::CLUSTER_ID));
                let poll_interval = if files.is_local() { options.poll_interval } else { POLL_ELSEWHERE };
                Ok(Self::Files(FileOptions { files, poll_interval, ..options }))
            }
        }
    }

    /// For a JobManager. Takes no part in an election yet.
    ///
    /// # Errors
    /// H3401: the folder cannot be used.
    pub async fn services(configuration: &Configuration, election: Election) -> Result<Services, Failure> {
        // Its own port need not be a certain one.
        if configuration.get(&o::HIGH_AVAILABILITY) == HighAvailabilityType::None {
            return Ok(Services::embedded(rand::random()));
        }
        match Self::from_configuration(configuration)? {
            Self::Standalone { .. } => Ok(Services::embedded(rand::random())),
            Self::Files(options) if election == Election::Lock && !options.files.is_local() => {
                Err(invalid(format!(
                    "configuration `{}` is on a file system without locks, and several JobManagers cannot be told \
                     apart there; it can be used on YARN, which starts one after the other, and elsewhere a folder \
                     that all see",
                    o::HA_STORAGE.key()
                )))
            }
            Self::Files(options) => files::open(&FileOptions { election, ..options }).await.map_err(storage),
        }
    }

    /// Removes what is stored of a cluster that will not come back.
    ///
    /// # Errors
    /// H3401: the folder cannot be removed.
    pub async fn remove(configuration: &Configuration) -> Result<(), Failure> {
        if configuration.get(&o::HIGH_AVAILABILITY) == HighAvailabilityType::None {
            return Ok(());
        }
        match Self::from_configuration(configuration)? {
            Self::Standalone { .. } => Ok(()),
            Self::Files(options) => files::remove(&options).await.map_err(storage),
        }
    }

    /// Whose file tells who leads, if one does.
    pub(crate) fn leader_file(&self) -> Result<Option<FileLeaderRetrieval>, Failure> {
        match self {
            Self::Standalone { .. } => Ok(None),
            Self::Files(options) => files::retrieval(options).map(Some).map_err(storage),
        }
    }
}

pub(crate) fn storage(error: heddle_ha::Error) -> Failure {
    let message = format!("{error}; check `{}`", o::HA_STORAGE.key());
    Failure::new(ErrorCode::HighAvailability, message)
}
