//! Starts TaskExecutors as services of this process when the resource manager
//! is short of slots.

use async_trait::async_trait;
use heddle_exchange::{Counts, NetworkOptions, NetworkService, PartitionManager};
use heddle_model::config::value::PortRange;
use heddle_model::failure::Failure;
use heddle_model::id::{ResourceId, ResourceManagerId};
use heddle_model::memory::WorkerResourceSpec;
use heddle_model::task::DataAddress;
use heddle_resource_manager::{DriverEvent, ResourceManagerDriver};
use heddle_rpc::{Address, RpcService};
use heddle_task::Shared;
use heddle_task_executor as task_executor;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

/// How batches get from one worker of an embedded cluster to another.
#[derive(Clone)]
pub enum Exchange {
    /// By reference: the workers share what they have.
    Shared,
    /// Over TCP on 127.0.0.1, as between processes; for tests of that way.
    Loopback(Networks),
}

type ReadCounts = Box<dyn Fn() -> Counts + Send + Sync>;

/// Every network that was started for a worker.
#[derive(Clone, Default)]
pub struct Networks(Arc<Mutex<Vec<ReadCounts>>>);

impl Networks {
    /// What went over each, also of those that have ended.
    pub fn counts(&self) -> Vec<Counts> {
        self.0.lock().expect("no holder of the list panics").iter().map(|counts| counts()).collect()
    }

    fn add(&self, counts: ReadCounts) {
        self.0.lock().expect("no holder of the list panics").push(counts);
    }
}

/// What every worker is started with.
#[derive(Clone)]
pub(crate) struct WorkerTemplate {
    pub exchange: Exchange,
    pub heartbeat_interval: Duration,
    pub resource_manager: Address,
    pub slot_timeout: Duration,
    pub registration_timeout: Duration,
    pub heartbeat_timeout: Duration,
    pub metrics_interval: Duration,
}

struct Worker {
    resource_id: ResourceId,
    spec: WorkerResourceSpec,
    stop: CancellationToken,
    /// Ends its network, if it has one of its own.
    network: Option<CancellationToken>,
}

pub(crate) struct EmbeddedDriver {
    template: WorkerTemplate,
    /// Of the resource manager that it starts workers for.
    session: ResourceManagerId,
    shared: Shared,
    rpc: Arc<dyn RpcService>,
    started: u64,
    workers: HashMap<Id, Worker>,
    running: JoinSet<Result<(), task_executor::Error>>,
    networks: JoinSet<()>,
    events: VecDeque<DriverEvent>,
}

impl EmbeddedDriver {
    pub fn new(
        template: WorkerTemplate,
        session: ResourceManagerId,
        shared: Shared,
        rpc: Arc<dyn RpcService>,
    ) -> Self {
        Self {
            template,
            session,
            shared,
            rpc,
            started: 0,
            workers: HashMap::new(),
            running: JoinSet::new(),
            networks: JoinSet::new(),
            events: VecDeque::new(),
        }
    }

    fn ended(&mut self, id: Id, reason: String) -> Option<DriverEvent> {
        let worker = self.workers.remove(&id)?;
        match worker.network {
            // Its tasks have ended.
            Some(network) => network.cancel(),
            None => self.shared.partitions.shrink_memory(network_memory(worker.spec)),
        }
        Some(DriverEvent::WorkerTerminated { resource_id: worker.resource_id, reason })
    }
}

impl EmbeddedDriver {
    /// A data plane of the worker's own, and where others read it.
    async fn start_network(
        &mut self,
        resource_id: &ResourceId,
        memory: u64,
        networks: &Networks,
    ) -> Result<(PartitionManager, DataAddress, CancellationToken), Failure> {
        let partitions = PartitionManager::new(memory);
        let options = NetworkOptions {
            cluster_id: "embedded".into(),
            resource_id: resource_id.clone(),
            bind_host: "127.0.0.1".into(),
            host: "127.0.0.1".into(),
            ports: PortRange::from(0),
            backoff_initial: Duration::from_millis(100),
            backoff_max: Duration::from_secs(10),
            heartbeat_interval: self.template.heartbeat_interval,
            heartbeat_timeout: self.template.heartbeat_timeout,
            greeting_timeout: Duration::from_secs(10),
        };
        let network = NetworkService::bind(options, &partitions).await?;
        let (address, stop) = (network.data_address(), CancellationToken::new());
        networks.add(Box::new(network.counts()));
        self.networks.spawn(network.run(stop.clone()));
        Ok((partitions, address, stop))
    }
}

/// The bytes of network memory that a worker brings.
fn network_memory(spec: WorkerResourceSpec) -> u64 {
    spec.slot.network_memory.saturating_mul(u64::from(spec.slots))
}

#[async_trait]
impl ResourceManagerDriver for EmbeddedDriver {
    async fn request_worker(&mut self, spec: WorkerResourceSpec) -> Result<(), Failure> {
        self.started += 1;
        let resource_id = ResourceId(format!("taskexecutor-{}", self.started));
        let mut shared = self.shared.clone();
        let (mut data_address, mut network) = (None, None);
        match self.template.exchange.clone() {
            Exchange::Shared => shared.partitions.grow_memory(network_memory(spec)),
            Exchange::Loopback(networks) => {
                let (partitions, address, stop) =
                    self.start_network(&resource_id, network_memory(spec), &networks).await?;
                shared.partitions = partitions;
                (data_address, network) = (Some(address), Some(stop));
            }
        }
        let template = &self.template;
        let options = task_executor::Options {
            resource_id: resource_id.clone(),
            address: Address(format!("embedded:{resource_id}")),
            data_address,
            spec,
            // It ends with its resource manager.
            resource_manager: watch::channel(Some((template.resource_manager.clone(), self.session))).1,
            slot_timeout: template.slot_timeout,
            registration_timeout: template.registration_timeout,
            heartbeat_timeout: template.heartbeat_timeout,
            metrics_interval: template.metrics_interval,
        };
        let (service, _handle) = task_executor::Service::new(options, shared, Arc::clone(&self.rpc));
        let stop = CancellationToken::new();
        let running = self.running.spawn(service.run(stop.clone()));
        self.workers.insert(running.id(), Worker { resource_id: resource_id.clone(), spec, stop, network });
        self.events.push_back(DriverEvent::WorkerStarted { resource_id });
        Ok(())
    }

    async fn release_worker(&mut self, id: ResourceId) -> Result<(), Failure> {
        for worker in self.workers.values().filter(|worker| worker.resource_id == id) {
            worker.stop.cancel();
        }
        Ok(())
    }

    async fn next_event(&mut self) -> DriverEvent {
        loop {
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            let (id, reason) = match self.running.join_next_with_id().await {
                // A request comes by another call, which ends this one.
                None => std::future::pending().await,
                Some(Ok((id, Ok(())))) => (id, "it was stopped".to_owned()),
                Some(Ok((id, Err(error)))) => (id, error.to_string()),
                Some(Err(panic)) => (panic.id(), format!("it panicked: {panic}")),
            };
            if let Some(event) = self.ended(id, reason) {
                return event;
            }
        }
    }

    async fn shutdown(&mut self) {
        for worker in self.workers.values() {
            worker.stop.cancel();
        }
        while self.running.join_next().await.is_some() {}
    }
}
