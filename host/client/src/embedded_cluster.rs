//! All roles in this process: the same services as anywhere else, talking
//! through the same gateways, with an address book instead of a network.

use crate::embedded_driver::{EmbeddedDriver, Exchange, WorkerTemplate};
use crate::{Sandbox, internal};
use heddle_blob::{BlobCache, BlobServer, CacheOptions, ServerOptions};
use heddle_connectors::Console;
use heddle_exchange::PartitionManager;
use heddle_ha::Services;
use heddle_model::config::{Configuration, options as o};
use heddle_model::failure::Failure;
use heddle_model::id::ResourceManagerId;
use heddle_model::memory::TaskExecutorProcessSpec;
use heddle_rpc::{Address, DispatcherGateway, EmbeddedRpcService, RpcService};
use heddle_task::Shared;
use heddle_task_executor::JobUsers;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

/// How long the work that blocks (files) may take to end at shutdown.
const WORKERS_SHUTDOWN: Duration = Duration::from_secs(1);

/// A role that runs, and how it is stopped.
struct Role {
    name: &'static str,
    stop: CancellationToken,
    tasks: JoinSet<Result<(), String>>,
}

impl Role {
    fn start<E: std::error::Error + 'static>(name: &'static str, run: impl AsyncRun<E>) -> Self {
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let service = run.run(stop.clone());
        tasks.spawn(async move { service.await.map_err(|error| with_sources(&error)) });
        Self { name, stop, tasks }
    }

    /// Waits for its end, which nobody asked for.
    async fn ended(&mut self) -> Failure {
        match self.tasks.join_next().await {
            // It was heard of already.
            None => std::future::pending().await,
            Some(Ok(Ok(()))) => internal(format!("the {} ended by itself", self.name)),
            Some(Ok(Err(error))) => internal(format!("the {} failed: {error}", self.name)),
            Some(Err(error)) => internal(format!("the {} panicked: {error}", self.name)),
        }
    }

    async fn shut_down(&mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
        debug!(role = self.name, "stopped");
    }
}

/// A service's `run`, whatever the service.
trait AsyncRun<E> {
    fn run(self, stop: CancellationToken) -> impl Future<Output = Result<(), E>> + Send + 'static;
}

impl<E, F, R> AsyncRun<E> for F
where
    F: FnOnce(CancellationToken) -> R,
    R: Future<Output = Result<(), E>> + Send + 'static,
{
    fn run(self, stop: CancellationToken) -> impl Future<Output = Result<(), E>> + Send + 'static {
        self(stop)
    }
}

/// An error with all that caused it, in one line.
fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// A cluster within this process. TaskExecutors are started when a job needs
/// slots, and end when they have been idle.
pub struct EmbeddedCluster {
    dispatcher: Role,
    resource_manager: Role,
    gateway: Arc<dyn DispatcherGateway>,
    /// Runs all subtasks. Taken at shutdown.
    workers: Option<tokio::runtime::Runtime>,
    /// Blobs live here; removed at the end.
    folder: Option<TempDir>,
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
        let process = TaskExecutorProcessSpec::from_configuration(configuration)?;
        let worker = process.worker_resource_spec();
        let folder = working_folder(configuration)?;
        let rpc: Arc<dyn RpcService> = Arc::new(EmbeddedRpcService::new());

        let blob_folder = configuration
            .get(&o::BLOB_STORAGE_DIRECTORY)
            .map_or_else(|| folder.path().join("blobs"), std::path::PathBuf::from);
        let blobs = BlobServer::open(ServerOptions {
            durable: false,
            ..ServerOptions::from_configuration(blob_folder, configuration)
        })?;
        let options = CacheOptions::from_configuration(folder.path().join("cache"), configuration);
        let cache = BlobCache::open(options, Arc::new(blobs.clone()))?;
        let workers = start_workers(configuration)?;
        let shared = Shared {
            wasm: sandbox.runtime.clone(),
            // Each worker brings its own part.
            partitions: PartitionManager::new(0),
            workers: workers.handle().clone(),
            blobs: Arc::new(cache),
            jobs: JobUsers::default(),
            console,
        };

        let resource_manager_address = Address("embedded:resourcemanager".into());
        let session = rand::random();
        let resource_manager_id = ResourceManagerId(session);
        let heartbeat_timeout = configuration.get(&o::HEARTBEAT_TIMEOUT);
        let template = WorkerTemplate {
            exchange,
            heartbeat_interval: configuration.get(&o::HEARTBEAT_INTERVAL).max(Duration::from_millis(1)),
            resource_manager: resource_manager_address.clone(),
            resource_manager_id,
            slot_timeout: configuration.get(&o::TASK_SLOT_TIMEOUT),
            registration_timeout: configuration.get(&o::REGISTRATION_TIMEOUT),
            heartbeat_timeout,
            metrics_interval: configuration.get(&o::METRICS_INTERVAL).max(Duration::from_millis(1)),
        };
        let options = heddle_resource_manager::Options {
            idle_timeout: configuration.get(&o::TASK_EXECUTOR_IDLE_TIMEOUT),
            heartbeat_interval: configuration.get(&o::HEARTBEAT_INTERVAL),
            heartbeat_timeout,
            max_slots: configuration.get(&o::MAX_SLOTS).map(|most| most.get()),
            slot_request_timeout: configuration.get(&o::SLOT_REQUEST_TIMEOUT),
            worker_start_timeout: configuration.get(&o::WORKER_REGISTRATION_TIMEOUT),
            max_start_failures_per_minute: configuration.get(&o::MAX_START_FAILURES),
            start_retry_pause: configuration.get(&o::START_RETRY_INTERVAL),
            ..heddle_resource_manager::Options::new(
                resource_manager_id,
                resource_manager_address.clone(),
                worker,
            )
        };
        let driver = EmbeddedDriver::new(template, shared, Arc::clone(&rpc));
        let (service, _handle) =
            heddle_resource_manager::Service::new(options, Arc::clone(&rpc), Box::new(driver));
        let resource_manager = Role::start("resource manager", |stop| service.run(stop));

        let mut options = heddle_dispatcher::Options::new(
            Address("embedded:dispatcher".into()),
            resource_manager_address,
            worker.slot,
        );
        options.job_master.slot_request_timeout = configuration.get(&o::SLOT_REQUEST_TIMEOUT);
        options.job_master.slot_idle_timeout = configuration.get(&o::SLOT_IDLE_TIMEOUT);
        options.job_master.heartbeat_interval = configuration.get(&o::HEARTBEAT_INTERVAL);
        options.job_master.heartbeat_timeout = heartbeat_timeout;
        options.job_master.cancellation_timeout = configuration.get(&o::CANCELLATION_TIMEOUT);
        options.max_finished_jobs = configuration.get(&o::FINISHED_JOBS).get() as usize;
        let ha = Services::embedded(session);
        let (service, gateway) = heddle_dispatcher::Service::new(options, rpc, ha, blobs);
        let dispatcher = Role::start("dispatcher", |stop| service.run(stop));

        info!(slots = worker.slots, "embedded cluster started");
        Ok(Self {
            dispatcher,
            resource_manager,
            gateway: Arc::new(gateway),
            workers: Some(workers),
            folder: Some(folder),
        })
    }

    /// Where jobs are submitted.
    pub fn dispatcher(&self) -> Arc<dyn DispatcherGateway> {
        Arc::clone(&self.gateway)
    }

    /// Waits until a role ends by itself, and tells why. Cancel-safe.
    pub async fn failed(&mut self) -> Failure {
        tokio::select! {
            failure = self.dispatcher.ended() => failure,
            failure = self.resource_manager.ended() => failure,
        }
    }

    /// Stops the roles, those first that others do not need: jobs are
    /// suspended, TaskExecutors end, files are removed.
    pub async fn shut_down(mut self) {
        self.dispatcher.shut_down().await;
        self.resource_manager.shut_down().await;
        if let Some(workers) = self.workers.take() {
            // Dropping a runtime blocks, which an async thread must not.
            let ended = tokio::task::spawn_blocking(move || workers.shutdown_timeout(WORKERS_SHUTDOWN)).await;
            if let Err(error) = ended {
                debug!(%error, "the workers did not end in order");
            }
        }
        if let Some(folder) = self.folder.take()
            && let Err(error) = folder.close()
        {
            debug!(%error, "the working folder could not be removed");
        }
        info!("embedded cluster stopped");
    }
}

impl Drop for EmbeddedCluster {
    fn drop(&mut self) {
        if let Some(workers) = self.workers.take() {
            workers.shutdown_background();
        }
    }
}

/// The fixed pool of threads that runs all subtasks.
fn start_workers(configuration: &Configuration) -> Result<tokio::runtime::Runtime, Failure> {
    let threads = match configuration.get(&o::WORKER_THREADS) {
        Some(threads) => threads.get() as usize,
        None => std::thread::available_parallelism().map_or(1, usize::from),
    };
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("heddle-worker")
        .enable_all()
        .build()
        .map_err(|error| internal(format!("cannot start {threads} worker threads: {error}")))
}

/// A folder of its own, removed at the end.
fn working_folder(configuration: &Configuration) -> Result<TempDir, Failure> {
    let parent = configuration.get(&o::TMP_DIRS).map_or_else(std::env::temp_dir, std::path::PathBuf::from);
    tempfile::Builder::new().prefix("heddle-").tempdir_in(&parent).map_err(|error| {
        let message = format!(
            "no working folder can be made in {}: {error}; set `{}` to a folder that can be written",
            parent.display(),
            o::TMP_DIRS.key(),
        );
        Failure::new(heddle_model::failure::ErrorCode::ConfigurationInvalid, message)
    })
}
