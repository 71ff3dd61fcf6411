//! A simulated process: it runs, stands still as after SIGSTOP, or is dead.
//! What it serves is found by others through the network.

use crate::forger::Forger;
use crate::network::Network;
use crate::signal::Signal;
use heddle_model::id::JobMasterId;
use heddle_rpc::{
    Address, BlobServerGateway, DispatcherGateway, Error, JobMasterGateway, ResourceManagerGateway, Result,
    RpcService, TaskExecutorGateway,
};
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    Running,
    Frozen,
    Dead,
}

#[derive(Clone)]
pub enum Gateway {
    ResourceManager(Arc<dyn ResourceManagerGateway>),
    JobMaster(Arc<dyn JobMasterGateway>),
    TaskExecutor(Arc<dyn TaskExecutorGateway>),
}

pub struct Process {
    /// The machine, which has the address: `jm-1`, `te-3`.
    pub host: String,
    /// Grows with each process on any host.
    pub number: u64,
    pub network: Arc<Network>,
    forger: Forger,
    condition: Signal<Condition>,
    served: Mutex<BTreeMap<String, Gateway>>,
    /// The ids of the job masters on it, by endpoint.
    masters: Mutex<BTreeMap<String, JobMasterId>>,
}

impl Process {
    pub fn new(host: &str, number: u64, network: Arc<Network>, forger: Forger) -> Arc<Self> {
        let condition = Signal::new(Condition::Running);
        Arc::new(Self {
            host: host.to_owned(),
            number,
            network,
            forger,
            condition,
            served: Mutex::default(),
            masters: Mutex::default(),
        })
    }

    pub fn set(&self, condition: Condition) {
        self.condition.set(condition);
    }

    pub fn condition(&self) -> Condition {
        self.condition.get()
    }

    pub fn is_dead(&self) -> bool {
        self.condition() == Condition::Dead
    }

    /// Waits while the process stands still.
    pub async fn thawed(&self) {
        self.condition.wait_for(|condition| *condition != Condition::Frozen).await;
    }

    /// Waits until it is dead.
    pub async fn died(&self) {
        self.condition.wait_for(|condition| *condition == Condition::Dead).await;
    }

    /// Runs something that makes no progress while the process stands still.
    pub async fn run<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            self.thawed().await;
            tokio::select! {
                biased;
                _ = self.condition.wait_for(|condition| *condition == Condition::Frozen) => {}
                done = &mut work => return done,
            }
        }
    }

    pub fn gateway(&self, endpoint: &str) -> Option<Gateway> {
        self.served().get(endpoint).cloned()
    }

    fn served(&self) -> MutexGuard<'_, BTreeMap<String, Gateway>> {
        self.served.lock().expect("one map operation at a time")
    }

    pub fn masters(&self) -> MutexGuard<'_, BTreeMap<String, JobMasterId>> {
        self.masters.lock().expect("one map operation at a time")
    }

    fn serve(&self, address: &Address, gateway: Gateway) {
        if let Some((_, endpoint)) = parse(address) {
            self.served().insert(endpoint.to_owned(), gateway);
        }
    }
}

/// Host and endpoint of an address.
pub fn parse(address: &Address) -> Option<(&str, &str)> {
    address.0.strip_prefix("heddle://")?.split_once('/')
}

pub fn address(host: &str, endpoint: &str) -> Address {
    Address(format!("heddle://{host}/{endpoint}"))
}

/// How a process calls others, and itself.
pub struct ProcessRpc(pub Arc<Process>);

fn unreachable<T>(address: &Address) -> Result<T> {
    Err(Error::Unreachable { address: address.clone() })
}

macro_rules! find {
    ($self:ident, $address:ident, $kind:ident) => {{
        let Some((host, endpoint)) = parse($address) else { return unreachable($address) };
        if host != $self.0.host {
            return Ok(Arc::new($self.0.network.remote(&$self.0, $address)));
        }
        match $self.0.gateway(endpoint) {
            Some(Gateway::$kind(gateway)) => Ok(gateway),
            _ => unreachable($address),
        }
    }};
}

impl RpcService for ProcessRpc {
    fn address(&self, endpoint: &str) -> Address {
        address(&self.0.host, endpoint)
    }

    fn dispatcher(&self, address: &Address) -> Result<Arc<dyn DispatcherGateway>> {
        unreachable(address)
    }

    fn resource_manager(&self, address: &Address) -> Result<Arc<dyn ResourceManagerGateway>> {
        find!(self, address, ResourceManager)
    }

    fn job_master(&self, address: &Address) -> Result<Arc<dyn JobMasterGateway>> {
        find!(self, address, JobMaster)
    }

    fn task_executor(&self, address: &Address) -> Result<Arc<dyn TaskExecutorGateway>> {
        find!(self, address, TaskExecutor)
    }

    fn blob_server(&self, address: &Address) -> Result<Arc<dyn BlobServerGateway>> {
        unreachable(address)
    }

    fn serve_dispatcher(&self, _: Address, _: Arc<dyn DispatcherGateway>) {}

    fn serve_resource_manager(&self, address: Address, gateway: Arc<dyn ResourceManagerGateway>) {
        self.0.serve(&address, Gateway::ResourceManager(gateway));
    }

    fn serve_job_master(&self, address: Address, gateway: Arc<dyn JobMasterGateway>) {
        let token = parse(&address).and_then(|(_, endpoint)| self.0.masters().get(endpoint).copied());
        self.0.serve(&address, Gateway::JobMaster(self.0.forger.before(token, gateway)));
    }

    fn serve_task_executor(&self, address: Address, gateway: Arc<dyn TaskExecutorGateway>) {
        self.0.serve(&address, Gateway::TaskExecutor(gateway));
    }

    fn serve_blob_server(&self, _: Address, _: Arc<dyn BlobServerGateway>) {}

    fn stop_serving(&self, address: &Address) {
        if let Some((_, endpoint)) = parse(address) {
            self.0.served().remove(endpoint);
        }
    }
}
