//! The TaskExecutor's process: its services, its registration with whoever
//! leads, and its end.

use crate::environment::Environment;
use crate::folders::{Folders, Workers};
use crate::high_availability::HighAvailability;
use crate::leaders::{LeaderRetriever, first_authority};
use crate::role::Role;
use crate::sandbox::Sandbox;
use crate::signals::Signals;
use crate::status::End;
use crate::{internal, invalid};
use heddle_blob::{BlobCache, CacheOptions};
use heddle_connectors::Console;
use heddle_exchange::{NetworkOptions, NetworkService, PartitionManager};
use heddle_filesystem::FileSystems;
use heddle_model::config::{Configuration, Origin, options as o};
use heddle_model::failure::Failure;
use heddle_model::id::ResourceId;
use heddle_model::memory::TaskExecutorProcessSpec;
use heddle_model::task::DataAddress;
use heddle_rpc::RpcService;
use heddle_rpc::grpc::{GrpcRpcService, Leaders, Options, local_ip_towards};
use heddle_task::Shared;
use heddle_task_executor::{JobUsers, ResourceManagerLeader, Service};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tracing::{debug, error, info};

/// A TaskExecutor that is to be.
pub struct TaskExecutorRunner {
    pub environment: Environment,
    pub configuration: Configuration,
    /// Where `print` writes.
    pub console: Arc<dyn Console>,
}

/// One that listens, and is not registered before it runs.
pub struct RunningTaskExecutor {
    configuration: Configuration,
    resource_id: ResourceId,
    spec: TaskExecutorProcessSpec,
    ha: HighAvailability,
    rpc: GrpcRpcService,
    server: Role,
    network: Role,
    data_address: DataAddress,
    /// All but the blobs, whose source is not known yet.
    parts: Parts,
    folders: Folders,
    /// Runs all subtasks.
    workers: Workers,
}

struct Parts {
    sandbox: Sandbox,
    partitions: PartitionManager,
    console: Arc<dyn Console>,
    files: FileSystems,
}

impl TaskExecutorRunner {
    /// Starts the services that need no JobManager.
    ///
    /// # Errors
    /// What keeps one from starting: a port that is taken, a folder that cannot
    /// be used, a configuration that does not add up.
    pub async fn start(self) -> Result<RunningTaskExecutor, Failure> {
        let Self { environment, mut configuration, console } = self;
        environment.log(&configuration);
        let spec = TaskExecutorProcessSpec::from_configuration(&configuration)?;
        let worker = spec.worker_resource_spec();
        let ha = HighAvailability::from_configuration(&configuration)?;
        let cluster_id = configuration.get(&o::CLUSTER_ID);
        let host = advertised_host(&configuration, &ha).await?;
        let options = Options::task_executor(&configuration, Some(cluster_id.clone()), || host.clone());
        let (rpc, server) = GrpcRpcService::bind(options).await?;
        let port = rpc.local_address().port();
        configuration.set(o::TASK_EXECUTOR_RPC_PORT.key(), &port.to_string(), Origin::Process)?;
        let server = Role::start("rpc server", |stop| async move {
            server.run(stop).await;
            Ok::<(), Failure>(())
        });
        let random = rand::random::<u32>() & 0xff_ffff;
        let resource_id = configuration
            .get(&o::RESOURCE_ID)
            .unwrap_or_else(|| format!("{}-{random:06x}", rpc.advertised()));
        let resource_id = ResourceId(resource_id);
        let folders = Folders::create(&configuration, "taskexecutor")?;
        let sandbox = Sandbox::open(&configuration)?;
        let workers = Workers::start(&configuration)?;

        let network_memory = worker.slot.network_memory.saturating_mul(u64::from(worker.slots));
        let partitions = PartitionManager::new(network_memory);
        let options =
            NetworkOptions::from_configuration(&configuration, cluster_id, resource_id.clone(), || host);
        let network = NetworkService::bind(options, &partitions).await?;
        let data_address = network.data_address();
        if let Some((_, port)) = data_address.0.rsplit_once(':') {
            configuration.set(o::DATA_PORT.key(), port, Origin::Process)?;
        }
        let network = Role::start("data port", |stop| async move {
            network.run(stop).await;
            Ok::<(), Failure>(())
        });
        info!(%resource_id, slots = worker.slots, address = rpc.advertised(), "TaskExecutor started");
        let parts = Parts { sandbox, partitions, console, files: FileSystems::of_process() };
        Ok(RunningTaskExecutor {
            configuration,
            resource_id,
            spec,
            ha,
            rpc,
            server,
            network,
            data_address,
            parts,
            folders,
            workers,
        })
    }
}

impl RunningTaskExecutor {
    /// `host:port` under which others reach it.
    pub fn address(&self) -> &str {
        self.rpc.advertised()
    }

    pub fn resource_id(&self) -> &ResourceId {
        &self.resource_id
    }

    /// Serves who leads, until a signal; then ends in order.
    ///
    /// # Errors
    /// What ends it: no JobManager that takes it within
    /// `taskmanager.registration.timeout`, one of another cluster or version.
    pub async fn run(mut self, signals: &mut Signals) -> Result<End, Failure> {
        let mut role = None;
        let end = tokio::select! {
            signal = signals.next() => {
                info!("RECEIVED SIGNAL {}, shutting down", signal.name());
                Ok(End::Signal(signal))
            }
            failure = self.serve(&mut role) => Err(failure),
        };
        if let Err(failure) = &end {
            error!(code = %failure.code, "fatal error: {failure}");
        }
        tokio::select! {
            () = self.shut_down(role) => {}
            signal = signals.next() => info!("RECEIVED SIGNAL {} again, ending at once", signal.name()),
        }
        end
    }

    /// Until something fails. The role stays where the caller can stop it.
    async fn serve(&mut self, role: &mut Option<Role>) -> Failure {
        let patience = self.configuration.get(&o::REGISTRATION_TIMEOUT);
        let mut retriever = match LeaderRetriever::new(&self.ha, self.rpc.client().clone()) {
            Ok(retriever) => retriever,
            Err(failure) => return failure,
        };
        let leaders = tokio::select! {
            leaders = retriever.first(patience) => leaders,
            failure = self.server.failed() => Err(failure),
            failure = self.network.failed() => Err(failure),
        };
        let started = leaders.and_then(|leaders| self.start_role(leaders));
        let (leader, cache, service) = match started {
            Ok(started) => started,
            Err(failure) => return failure,
        };
        let role = role.insert(service);
        loop {
            let leaders = tokio::select! {
                leaders = retriever.next() => leaders,
                failure = role.failed() => return failure,
                failure = self.server.failed() => return failure,
                failure = self.network.failed() => return failure,
            };
            if let Some(address) = &leaders.blob_server {
                match self.rpc.blob_server(address) {
                    Ok(blobs) => cache.set_source(blobs),
                    Err(error) => debug!(%error, "the leader's blob server has no address"),
                }
            }
            leader.send_replace(leaders.resource_manager);
        }
    }

    fn start_role(
        &self,
        leaders: Leaders,
    ) -> Result<(watch::Sender<Option<ResourceManagerLeader>>, BlobCache, Role), Failure> {
        let Some(blob_server) = &leaders.blob_server else {
            return Err(internal("the JobManager that leads does not tell where its blobs are"));
        };
        let blobs = self.rpc.blob_server(blob_server).map_err(|error| internal(error.to_string()))?;
        let options = CacheOptions::from_configuration(self.folders.blob_cache(), &self.configuration);
        let cache = BlobCache::open(options, blobs)?;
        let shared = Shared {
            wasm: self.parts.sandbox.runtime.clone(),
            grants: self.parts.sandbox.grants,
            partitions: self.parts.partitions.clone(),
            workers: self.workers.handle(),
            blobs: Arc::new(cache.clone()),
            jobs: JobUsers::default(),
            console: Arc::clone(&self.parts.console),
            files: self.parts.files.clone(),
        };
        let (leader, resource_manager) = watch::channel(leaders.resource_manager);
        let options = heddle_task_executor::Options {
            resource_id: self.resource_id.clone(),
            address: self.rpc.address(&format!("taskexecutor/{}", self.resource_id)),
            data_address: Some(self.data_address.clone()),
            spec: self.spec.worker_resource_spec(),
            resource_manager,
            slot_timeout: self.configuration.get(&o::TASK_SLOT_TIMEOUT),
            registration_timeout: self.configuration.get(&o::REGISTRATION_TIMEOUT),
            heartbeat_timeout: self.configuration.get(&o::HEARTBEAT_TIMEOUT),
            metrics_interval: self.configuration.get(&o::METRICS_INTERVAL).max(Duration::from_millis(1)),
        };
        let (service, _handle) = Service::new(options, shared, Arc::new(self.rpc.clone()));
        Ok((leader, cache, Role::start("TaskExecutor", |stop| service.run(stop))))
    }

    /// Tasks end, peers are told, then the services end that they used.
    async fn shut_down(mut self, role: Option<Role>) {
        if let Some(mut role) = role {
            role.shut_down().await;
        }
        self.network.shut_down().await;
        self.server.shut_down().await;
        self.workers.shut_down().await;
        self.folders.remove();
        info!("TaskExecutor stopped");
    }
}

/// `taskmanager.host`, else the address of this machine from which the
/// JobManager is reached.
async fn advertised_host(configuration: &Configuration, ha: &HighAvailability) -> Result<String, Failure> {
    if let Some(host) = configuration.get(&o::TASK_EXECUTOR_HOST) {
        return Ok(host);
    }
    let patience = configuration.get(&o::REGISTRATION_TIMEOUT);
    let job_manager = first_authority(ha, patience).await?;
    let unknown = |error: std::io::Error| {
        invalid(format!(
            "the address of this machine towards the JobManager at {job_manager} cannot be found: {error}; check \
             `{}`, or set `{}`",
            o::JOB_MANAGER_RPC_ADDRESS.key(),
            o::TASK_EXECUTOR_HOST.key(),
        ))
    };
    let local = local_ip_towards(&job_manager).await.map_err(unknown)?;
    let bind_host = configuration.get(&o::TASK_EXECUTOR_BIND_HOST);
    let bound_to_itself =
        bind_host == "localhost" || bind_host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    if bound_to_itself && !local.is_loopback() {
        return Err(invalid(format!(
            "the JobManager at {job_manager} and the other TaskExecutors cannot reach this one: it would listen on \
             {bind_host} only (`{}`, from {}); set it to 0.0.0.0",
            o::TASK_EXECUTOR_BIND_HOST.key(),
            configuration.origin(&o::TASK_EXECUTOR_BIND_HOST),
        )));
    }
    Ok(local.to_string())
}
