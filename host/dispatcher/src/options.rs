//! What a dispatcher is given, with Flink's defaults.

use heddle_filesystem::FileSystems;
use heddle_model::memory::ResourceProfile;
use heddle_rpc::Address;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// What every job master is given.
#[derive(Clone, Debug)]
pub struct JobMasterOptions {
    /// `slot.request.timeout`.
    pub slot_request_timeout: Duration,
    /// `slot.idle.timeout`.
    pub slot_idle_timeout: Duration,
    /// `heartbeat.interval`.
    pub heartbeat_interval: Duration,
    /// `heartbeat.timeout`.
    pub heartbeat_timeout: Duration,
    /// `task.cancellation.timeout`.
    pub cancellation_timeout: Duration,
}

impl Default for JobMasterOptions {
    fn default() -> Self {
        Self {
            slot_request_timeout: Duration::from_secs(300),
            slot_idle_timeout: Duration::from_secs(50),
            heartbeat_interval: Duration::from_secs(10),
            heartbeat_timeout: Duration::from_secs(50),
            cancellation_timeout: Duration::from_secs(180),
        }
    }
}

/// The fencing token is not among them: it is the session that the election
/// grants.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it listens.
    pub address: Address,
    /// Its fencing token is the session of the dispatcher: one election
    /// decides for both.
    pub resource_manager: Address,
    /// What each slot of a job must offer.
    pub slot_profile: ResourceProfile,
    pub job_master: JobMasterOptions,
    /// `jobstore.max-capacity`: finished jobs that stay readable.
    pub max_finished_jobs: usize,
    /// `jobstore.expiration-time`.
    pub finished_job_lifetime: Duration,
    /// `jobstore.cache-size`: bytes of finished jobs in memory.
    pub finished_job_cache: u64,
    /// Where finished jobs are that do not fit into memory. Without it, they
    /// are gone.
    pub finished_job_folder: Option<PathBuf>,
    /// `jobmanager.archive.fs.dir`: where finished jobs are archived.
    pub archive_folder: Option<PathBuf>,
    /// Where the inputs and outputs of jobs are.
    pub files: FileSystems,
    /// How long a call to a job master may take.
    pub rpc_timeout: Duration,
    /// `cleanup-strategy.exponential-delay.initial-backoff` and `.max-backoff`:
    /// between two tries to store a result or to clean up after a job.
    pub clean_up_backoff: (Duration, Duration),
    /// How long a blob that was uploaded for no job stays.
    pub upload_lifetime: Duration,
    /// How long suspending the jobs may take at the end of the leadership.
    pub stop_timeout: Duration,
}

impl Options {
    pub fn new(address: Address, resource_manager: Address, slot_profile: ResourceProfile) -> Self {
        Self {
            address,
            resource_manager,
            slot_profile,
            job_master: JobMasterOptions::default(),
            max_finished_jobs: 1000,
            finished_job_lifetime: Duration::from_secs(3600),
            finished_job_cache: 50 << 20,
            finished_job_folder: None,
            archive_folder: None,
            files: FileSystems::new(BTreeMap::new()),
            rpc_timeout: Duration::from_secs(10),
            clean_up_backoff: (Duration::from_secs(1), Duration::from_secs(3600)),
            upload_lifetime: Duration::from_secs(3600),
            stop_timeout: Duration::from_secs(30),
        }
    }
}
