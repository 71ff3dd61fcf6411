//! How a role finds another: by address.

use crate::{
    DispatcherGateway, Error, JobMasterGateway, ResourceManagerGateway, Result, TaskExecutorGateway,
};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};

/// Where a role listens: `embedded:taskexecutor-1`, later `host:port/…`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Address(pub String);

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Gives a gateway for an address. Cheap: it does not wait for the peer.
pub trait RpcService: Send + Sync {
    fn dispatcher(&self, address: &Address) -> Result<Arc<dyn DispatcherGateway>>;
    fn resource_manager(&self, address: &Address) -> Result<Arc<dyn ResourceManagerGateway>>;
    fn job_master(&self, address: &Address) -> Result<Arc<dyn JobMasterGateway>>;
    fn task_executor(&self, address: &Address) -> Result<Arc<dyn TaskExecutorGateway>>;

    fn serve_dispatcher(&self, address: Address, gateway: Arc<dyn DispatcherGateway>);
    fn serve_resource_manager(&self, address: Address, gateway: Arc<dyn ResourceManagerGateway>);
    fn serve_job_master(&self, address: Address, gateway: Arc<dyn JobMasterGateway>);
    fn serve_task_executor(&self, address: Address, gateway: Arc<dyn TaskExecutorGateway>);
    /// Nothing answers at the address any more.
    fn stop_serving(&self, address: &Address);
}

#[derive(Clone)]
enum Gateway {
    Dispatcher(Arc<dyn DispatcherGateway>),
    ResourceManager(Arc<dyn ResourceManagerGateway>),
    JobMaster(Arc<dyn JobMasterGateway>),
    TaskExecutor(Arc<dyn TaskExecutorGateway>),
}

/// All roles in one process: an address book of handles.
#[derive(Default)]
pub struct EmbeddedRpcService {
    gateways: Mutex<HashMap<Address, Gateway>>,
}

impl EmbeddedRpcService {
    pub fn new() -> Self {
        Self::default()
    }

    fn get(&self, address: &Address) -> Result<Gateway> {
        let gateways = self.gateways.lock().expect("no holder of the address book panics");
        gateways.get(address).cloned().ok_or_else(|| Error::Unreachable { address: address.clone() })
    }

    fn put(&self, address: Address, gateway: Gateway) {
        self.gateways.lock().expect("no holder of the address book panics").insert(address, gateway);
    }
}

macro_rules! connect {
    ($self:ident, $address:ident, $kind:ident) => {
        match $self.get($address)? {
            Gateway::$kind(gateway) => Ok(gateway),
            _ => Err(Error::Unreachable { address: $address.clone() }),
        }
    };
}

impl RpcService for EmbeddedRpcService {
    fn dispatcher(&self, address: &Address) -> Result<Arc<dyn DispatcherGateway>> {
        connect!(self, address, Dispatcher)
    }
    fn resource_manager(&self, address: &Address) -> Result<Arc<dyn ResourceManagerGateway>> {
        connect!(self, address, ResourceManager)
    }
    fn job_master(&self, address: &Address) -> Result<Arc<dyn JobMasterGateway>> {
        connect!(self, address, JobMaster)
    }
    fn task_executor(&self, address: &Address) -> Result<Arc<dyn TaskExecutorGateway>> {
        connect!(self, address, TaskExecutor)
    }
    fn serve_dispatcher(&self, address: Address, gateway: Arc<dyn DispatcherGateway>) {
        self.put(address, Gateway::Dispatcher(gateway));
    }
    fn serve_resource_manager(&self, address: Address, gateway: Arc<dyn ResourceManagerGateway>) {
        self.put(address, Gateway::ResourceManager(gateway));
    }
    fn serve_job_master(&self, address: Address, gateway: Arc<dyn JobMasterGateway>) {
        self.put(address, Gateway::JobMaster(gateway));
    }
    fn serve_task_executor(&self, address: Address, gateway: Arc<dyn TaskExecutorGateway>) {
        self.put(address, Gateway::TaskExecutor(gateway));
    }
    fn stop_serving(&self, address: &Address) {
        self.gateways.lock().expect("no holder of the address book panics").remove(address);
    }
}
