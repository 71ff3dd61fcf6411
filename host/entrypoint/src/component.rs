//! Dispatcher and resource manager under one election: what every JobManager
//! has, in its own process or embedded.

use crate::leadership::{self, OnLeadership};
use crate::role::Role;
use heddle_blob::BlobServer;
use heddle_filesystem::FileSystems;
use heddle_ha::Services;
use heddle_model::config::{Configuration, options as o};
use heddle_model::failure::Failure;
use heddle_model::id::ResourceManagerId;
use heddle_model::memory::TaskExecutorProcessSpec;
use heddle_resource_manager::ResourceManagerDriver;
use heddle_rpc::{Address, DispatcherGateway, RpcService};
use std::path::PathBuf;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Makes what starts workers, for each session of the resource manager.
pub struct DriverFactory {
    /// Makes one for the resource manager of that session.
    pub make: Box<dyn Fn(ResourceManagerId) -> Box<dyn ResourceManagerDriver> + Send>,
    /// Whether it starts workers; else they come by themselves.
    pub starts_workers: bool,
}

pub struct ComponentOptions {
    pub rpc: Arc<dyn RpcService>,
    pub ha: Services,
    pub blobs: BlobServer,
    pub driver: DriverFactory,
    pub on_leadership: OnLeadership,
    /// Where finished jobs are kept that do not fit into memory.
    pub finished_job_folder: Option<PathBuf>,
}

/// The roles that lead, running.
pub struct Component {
    dispatcher: Role,
    resource_manager: Role,
    gateway: heddle_dispatcher::Handle,
}

impl Component {
    /// Where they serve, whoever leads.
    pub fn addresses(rpc: &dyn RpcService) -> (Address, Address) {
        (rpc.address("dispatcher"), rpc.address("resourcemanager"))
    }

    /// Starts both. Runs on the current tokio runtime.
    ///
    /// # Errors
    /// H1201: memory that does not add up.
    pub fn start(configuration: &Configuration, options: ComponentOptions) -> Result<Self, Failure> {
        let worker = TaskExecutorProcessSpec::from_configuration(configuration)?.worker_resource_spec();
        let ComponentOptions { rpc, ha, blobs, driver, on_leadership, finished_job_folder } = options;
        let (dispatcher_address, resource_manager_address) = Self::addresses(&*rpc);

        let options = heddle_resource_manager::Options {
            idle_timeout: configuration.get(&o::TASK_EXECUTOR_IDLE_TIMEOUT),
            heartbeat_interval: configuration.get(&o::HEARTBEAT_INTERVAL),
            heartbeat_timeout: configuration.get(&o::HEARTBEAT_TIMEOUT),
            max_workers: (!driver.starts_workers).then_some(0),
            max_slots: configuration.get(&o::MAX_SLOTS).map(|most| most.get()),
            slot_request_timeout: configuration.get(&o::SLOT_REQUEST_TIMEOUT),
            worker_start_timeout: configuration.get(&o::WORKER_REGISTRATION_TIMEOUT),
            max_start_failures_per_minute: configuration.get(&o::MAX_START_FAILURES),
            start_retry_pause: configuration.get(&o::START_RETRY_INTERVAL),
            // The session's takes its place.
            ..heddle_resource_manager::Options::new(
                ResourceManagerId(0),
                resource_manager_address.clone(),
                worker,
            )
        };
        let (election, resource_managers) =
            leadership::share(ha.dispatcher_election, on_leadership, options, Arc::clone(&rpc), driver.make);
        let resource_manager = Role::start("resource manager", |stop| resource_managers.run(stop));

        let mut options =
            heddle_dispatcher::Options::new(dispatcher_address, resource_manager_address, worker.slot);
        options.job_master.slot_request_timeout = configuration.get(&o::SLOT_REQUEST_TIMEOUT);
        options.job_master.slot_idle_timeout = configuration.get(&o::SLOT_IDLE_TIMEOUT);
        options.job_master.heartbeat_interval = configuration.get(&o::HEARTBEAT_INTERVAL);
        options.job_master.heartbeat_timeout = configuration.get(&o::HEARTBEAT_TIMEOUT);
        options.job_master.cancellation_timeout = configuration.get(&o::CANCELLATION_TIMEOUT);
        options.max_finished_jobs = configuration.get(&o::FINISHED_JOBS).get() as usize;
        options.finished_job_lifetime = configuration.get(&o::FINISHED_JOBS_EXPIRATION);
        options.finished_job_cache = configuration.get(&o::FINISHED_JOBS_CACHE).0;
        options.finished_job_folder = finished_job_folder;
        options.archive_folder = configuration.get(&o::ARCHIVE_DIRECTORY).map(PathBuf::from);
        options.files = FileSystems::of_process();
        let ha = Services { dispatcher_election: Box::new(election), ..ha };
        let (service, gateway) = heddle_dispatcher::Service::new(options, rpc, ha, blobs);
        let dispatcher = Role::start("dispatcher", |stop| service.run(stop));
        Ok(Self { dispatcher, resource_manager, gateway })
    }

    /// Where jobs are submitted.
    pub fn dispatcher(&self) -> Arc<dyn DispatcherGateway> {
        Arc::new(self.gateway.clone())
    }

    /// Cancelled when a client asks for the end of the cluster.
    pub fn shut_down_requested(&self) -> CancellationToken {
        self.gateway.shut_down_requested()
    }

    /// Waits until a role ends by itself, and tells why. Cancel-safe.
    pub async fn failed(&mut self) -> Failure {
        tokio::select! {
            failure = self.dispatcher.failed() => failure,
            failure = self.resource_manager.failed() => failure,
        }
    }

    /// Jobs are suspended, then workers that were started from here end.
    pub async fn shut_down(&mut self) {
        self.dispatcher.shut_down().await;
        self.resource_manager.shut_down().await;
    }
}
