//! All roles in this process: the same services as anywhere else, talking
//! through the same gateways, with an address book instead of a network.

use crate::Sandbox;
use crate::embedded_driver::{EmbeddedDriver, Exchange, WorkerTemplate};
use heddle_blob::{BlobCache, CacheOptions};
use heddle_connectors::Console;
use heddle_entrypoint::{Component, ComponentOptions, DriverFactory, Folders, Workers};
use heddle_exchange::PartitionManager;
use heddle_filesystem::FileSystems;
use heddle_ha::Services;
use heddle_model::config::{Configuration, options as o};
use heddle_model::failure::Failure;
use heddle_model::memory::TaskExecutorProcessSpec;
use heddle_resource_manager::ResourceManagerDriver;
use heddle_rpc::{DispatcherGateway, EmbeddedRpcService, RpcService};
use heddle_task::Shared;
use heddle_task_executor::JobUsers;
use std::sync::Arc;
use std::time::Duration;
use tracing::info;

/// A cluster within this process. TaskExecutors are started when a job needs
/// slots, and end when they have been idle.
pub struct EmbeddedCluster {
    component: Component,
    /// Runs all subtasks.
    workers: Workers,
    /// Removed at the end.
    folders: Folders,
}

impl EmbeddedCluster {
    /// Starts the roles; they are reachable when it returns. Runs on the
    /// current tokio runtime; subtasks run on threads of their own.
    ///
    /// # Errors
    /// H1201: memory that does not add up, a folder that cannot be used.
    pub fn start(
        configuration: &Configuration,
        sandbox: &Sandbox,
        console: Arc<dyn Console>,
    ) -> Result<Self, Failure> {
        Self::start_with(configuration, sandbox, console, Exchange::Shared)
    }

    /// See [`EmbeddedCluster::start`]; `exchange` says how its workers send
    /// batches to each other.
    pub fn start_with(
        configuration: &Configuration,
        sandbox: &Sandbox,
        console: Arc<dyn Console>,
        exchange: Exchange,
    ) -> Result<Self, Failure> {
        let worker = TaskExecutorProcessSpec::from_configuration(configuration)?.worker_resource_spec();
        let folders = Folders::create(configuration, "local")?;
        let rpc: Arc<dyn RpcService> = Arc::new(EmbeddedRpcService::new());
        let blobs = folders.open_blob_server(configuration)?;
        let options = CacheOptions::from_configuration(folders.blob_cache(), configuration);
        let cache = BlobCache::open(options, Arc::new(blobs.clone()))?;
        let workers = Workers::start(configuration)?;
        let shared = Shared {
            wasm: sandbox.runtime.clone(),
            grants: sandbox.grants,
            // Each worker brings its own part.
            partitions: PartitionManager::new(0),
            workers: workers.handle(),
            blobs: Arc::new(cache),
            jobs: JobUsers::default(),
            console,
            files: FileSystems::of_process(),
        };
        let (_, resource_manager) = Component::addresses(&*rpc);
        let template = WorkerTemplate {
            exchange,
            heartbeat_interval: configuration.get(&o::HEARTBEAT_INTERVAL).max(Duration::from_millis(1)),
            resource_manager,
            slot_timeout: configuration.get(&o::TASK_SLOT_TIMEOUT),
            registration_timeout: configuration.get(&o::REGISTRATION_TIMEOUT),
            heartbeat_timeout: configuration.get(&o::HEARTBEAT_TIMEOUT),
            metrics_interval: configuration.get(&o::METRICS_INTERVAL).max(Duration::from_millis(1)),
        };
        let for_driver = Arc::clone(&rpc);
        let make = move |session| -> Box<dyn ResourceManagerDriver> {
            Box::new(EmbeddedDriver::new(template.clone(), session, shared.clone(), Arc::clone(&for_driver)))
        };
        let options = ComponentOptions {
            rpc,
            ha: Services::embedded(rand::random()),
            blobs,
            driver: DriverFactory { make: Box::new(make), starts_workers: true },
            // Nobody asks who leads.
            on_leadership: Arc::new(|_| {}),
            finished_job_folder: None,
        };
        let component = Component::start(configuration, options)?;
        info!(slots = worker.slots, "embedded cluster started");
        Ok(Self { component, workers, folders })
    }

    /// Where jobs are submitted.
    pub fn dispatcher(&self) -> Arc<dyn DispatcherGateway> {
        self.component.dispatcher()
    }

    /// Waits until a role ends by itself, and tells why. Cancel-safe.
    pub async fn failed(&mut self) -> Failure {
        self.component.failed().await
    }

    /// Stops the roles, those first that others do not need: jobs are
    /// suspended, TaskExecutors end, files are removed.
    pub async fn shut_down(mut self) {
        self.component.shut_down().await;
        self.workers.shut_down().await;
        self.folders.remove();
        info!("embedded cluster stopped");
    }
}
