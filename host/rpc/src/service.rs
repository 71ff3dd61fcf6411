//! How a role finds another: by address.

use crate::grpc::NetworkAddress;
use crate::{
    BlobServerGateway, DispatcherGateway, Error, JobMasterGateway, ResourceManagerGateway, Result,
    TaskExecutorGateway,
};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Where a role listens: `embedded:taskexecutor-1`, or
/// `heddle://host:port/taskexecutor/…` on a network.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Address(pub String);

impl Address {
    /// `host:port` of the process, if it is on a network.
    pub fn authority(&self) -> Option<&str> {
        NetworkAddress::parse(self).ok().map(|address| address.authority)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Gives a gateway for an address. Cheap: it does not wait for the peer.
pub trait RpcService: Send + Sync {
    /// The address of what this process serves under a name such as
    /// `dispatcher` or `jobmaster/<job id>/<leader>`.
    fn address(&self, endpoint: &str) -> Address {
        Address(format!("embedded:{endpoint}"))
    }

    /// What this process counts of its messages and connections.
    fn counters(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }

    fn dispatcher(&self, address: &Address) -> Result<Arc<dyn DispatcherGateway>>;
    fn resource_manager(&self, address: &Address) -> Result<Arc<dyn ResourceManagerGateway>>;
    fn job_master(&self, address: &Address) -> Result<Arc<dyn JobMasterGateway>>;
    fn task_executor(&self, address: &Address) -> Result<Arc<dyn TaskExecutorGateway>>;
    fn blob_server(&self, address: &Address) -> Result<Arc<dyn BlobServerGateway>>;

    fn serve_dispatcher(&self, address: Address, gateway: Arc<dyn DispatcherGateway>);
    fn serve_resource_manager(&self, address: Address, gateway: Arc<dyn ResourceManagerGateway>);
    fn serve_job_master(&self, address: Address, gateway: Arc<dyn JobMasterGateway>);
    fn serve_task_executor(&self, address: Address, gateway: Arc<dyn TaskExecutorGateway>);
    fn serve_blob_server(&self, address: Address, gateway: Arc<dyn BlobServerGateway>);
    /// Nothing answers at the address any more.
    fn stop_serving(&self, address: &Address);
}

#[derive(Clone)]
pub(crate) enum Gateway {
    Dispatcher(Arc<dyn DispatcherGateway>),
    ResourceManager(Arc<dyn ResourceManagerGateway>),
    JobMaster(Arc<dyn JobMasterGateway>),
    TaskExecutor(Arc<dyn TaskExecutorGateway>),
    BlobServer(Arc<dyn BlobServerGateway>),
}

/// What a process serves, by name.
#[derive(Default)]
pub(crate) struct AddressBook {
    gateways: Mutex<HashMap<String, Gateway>>,
}

macro_rules! look_up {
    ($($method:ident: $kind:ident as $gateway:ident;)*) => {$(
        pub(crate) fn $method(&self, name: &str) -> Option<Arc<dyn $gateway>> {
            match self.gateways().get(name) {
                Some(Gateway::$kind(gateway)) => Some(Arc::clone(gateway)),
                _ => None,
            }
        }
    )*};
}

impl AddressBook {
    look_up! {
        dispatcher: Dispatcher as DispatcherGateway;
        resource_manager: ResourceManager as ResourceManagerGateway;
        job_master: JobMaster as JobMasterGateway;
        task_executor: TaskExecutor as TaskExecutorGateway;
        blob_server: BlobServer as BlobServerGateway;
    }

    pub(crate) fn put(&self, name: String, gateway: Gateway) {
        self.gateways().insert(name, gateway);
    }

    pub(crate) fn remove(&self, name: &str) {
        self.gateways().remove(name);
    }

    fn gateways(&self) -> MutexGuard<'_, HashMap<String, Gateway>> {
        // One map operation at a time: a panic leaves nothing half done.
        self.gateways.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All roles in one process: an address book of handles.
#[derive(Default)]
pub struct EmbeddedRpcService {
    book: AddressBook,
}

impl EmbeddedRpcService {
    pub fn new() -> Self {
        Self::default()
    }
}

fn found<T: ?Sized>(gateway: Option<Arc<T>>, address: &Address) -> Result<Arc<T>> {
    gateway.ok_or_else(|| Error::Unreachable { address: address.clone() })
}

impl RpcService for EmbeddedRpcService {
    fn dispatcher(&self, address: &Address) -> Result<Arc<dyn DispatcherGateway>> {
        found(self.book.dispatcher(&address.0), address)
    }
    fn resource_manager(&self, address: &Address) -> Result<Arc<dyn ResourceManagerGateway>> {
        found(self.book.resource_manager(&address.0), address)
    }
    fn job_master(&self, address: &Address) -> Result<Arc<dyn JobMasterGateway>> {
        found(self.book.job_master(&address.0), address)
    }
    fn task_executor(&self, address: &Address) -> Result<Arc<dyn TaskExecutorGateway>> {
        found(self.book.task_executor(&address.0), address)
    }
    fn blob_server(&self, address: &Address) -> Result<Arc<dyn BlobServerGateway>> {
        found(self.book.blob_server(&address.0), address)
    }
    fn serve_dispatcher(&self, address: Address, gateway: Arc<dyn DispatcherGateway>) {
        self.book.put(address.0, Gateway::Dispatcher(gateway));
    }
    fn serve_resource_manager(&self, address: Address, gateway: Arc<dyn ResourceManagerGateway>) {
        self.book.put(address.0, Gateway::ResourceManager(gateway));
    }
    fn serve_job_master(&self, address: Address, gateway: Arc<dyn JobMasterGateway>) {
        self.book.put(address.0, Gateway::JobMaster(gateway));
    }
    fn serve_task_executor(&self, address: Address, gateway: Arc<dyn TaskExecutorGateway>) {
        self.book.put(address.0, Gateway::TaskExecutor(gateway));
    }
    fn serve_blob_server(&self, address: Address, gateway: Arc<dyn BlobServerGateway>) {
        self.book.put(address.0, Gateway::BlobServer(gateway));
    }
    fn stop_serving(&self, address: &Address) {
        self.book.remove(&address.0);
    }
}
