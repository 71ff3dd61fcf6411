//! The address book of a process on a network.

use super::address::{self, NetworkAddress};
use super::blob::RemoteBlobServer;
use super::dispatcher::RemoteDispatcher;
use super::handshake::LeaderRetrieval;
use super::introduction::Identity;
use super::job_master::RemoteJobMaster;
use super::leaders::Leaders;
use super::listener::Server;
use super::metrics::RpcMetrics;
use super::options::{Limits, Options};
use super::peer::Peers;
use super::resource_manager::RemoteResourceManager;
use super::server::Shared;
use super::task_executor::RemoteTaskExecutor;
use crate::service::{AddressBook, Gateway};
use crate::{
    Address, BlobServerGateway, DispatcherGateway, JobMasterGateway, ResourceManagerGateway, Result,
    RpcService, TaskExecutorGateway,
};
use heddle_model::failure::{ErrorCode, Failure};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::info;

/// Talks to the processes of a cluster without being one of them: nobody can
/// call it. Cheap to clone. Its gateways must be made within a tokio runtime.
#[derive(Clone)]
pub struct GrpcClient {
    peers: Arc<Peers>,
    metrics: Arc<RpcMetrics>,
}

impl GrpcClient {
    /// # Errors
    /// H1201: a cluster id that no header can have.
    pub fn new(identity: &Identity, limits: Limits) -> Result<Self, Failure> {
        Self::with_address(identity, limits, None)
    }

    fn with_address(identity: &Identity, limits: Limits, address: Option<&str>) -> Result<Self, Failure> {
        let metrics = Arc::new(RpcMetrics::default());
        let peers = Peers::new(identity.headers(address)?, limits, Arc::clone(&metrics));
        Ok(Self { peers: Arc::new(peers), metrics })
    }

    /// Who leads, asked of the JobManager at `host:port`.
    pub fn leader_retrieval(&self, job_manager: impl Into<String>) -> LeaderRetrieval {
        LeaderRetrieval::new(Arc::clone(&self.peers), job_manager.into())
    }

    pub fn metrics(&self) -> Arc<RpcMetrics> {
        Arc::clone(&self.metrics)
    }

    pub fn dispatcher(&self, address: &Address) -> Result<Arc<dyn DispatcherGateway>> {
        Ok(Arc::new(RemoteDispatcher::new(self.peers.remote(address)?)))
    }

    pub fn resource_manager(&self, address: &Address) -> Result<Arc<dyn ResourceManagerGateway>> {
        Ok(Arc::new(RemoteResourceManager::new(self.peers.remote(address)?)))
    }

    pub fn job_master(&self, address: &Address) -> Result<Arc<dyn JobMasterGateway>> {
        Ok(Arc::new(RemoteJobMaster::new(self.peers.remote(address)?)))
    }

    pub fn task_executor(&self, address: &Address) -> Result<Arc<dyn TaskExecutorGateway>> {
        Ok(Arc::new(RemoteTaskExecutor::new(self.peers.remote(address)?)))
    }

    pub fn blob_server(&self, address: &Address) -> Result<Arc<dyn BlobServerGateway>> {
        Ok(Arc::new(RemoteBlobServer::new(self.peers.remote(address)?)))
    }
}

/// A process on a network: what it serves, and how it talks to others. Cheap to
/// clone; its [`Server`] must run for others to be answered.
#[derive(Clone)]
pub struct GrpcRpcService {
    shared: Arc<Shared>,
    client: GrpcClient,
    local: SocketAddr,
}

impl GrpcRpcService {
    /// Listens on the first free port.
    ///
    /// # Errors
    /// H3306: no port is free, or the host is not one of this machine; the
    /// message names the option. H1201: a host that is none.
    pub async fn bind(options: Options) -> Result<(Self, Server), Failure> {
        let listener = listen(&options).await?;
        let unknown = |error| cannot_listen(&options, options.bind_host_option, &format!("{error}"));
        let local = listener.local_addr().map_err(unknown)?;
        let Options { identity, limits, advertised_host, .. } = options;
        let advertised = address::authority(&advertised_host, local.port());
        if !address::is_authority(&advertised) {
            let message = format!("`{advertised_host}` is not a host under which others reach this process");
            return Err(Failure::new(ErrorCode::ConfigurationInvalid, message));
        }
        let client = GrpcClient::with_address(&identity, limits.clone(), Some(&advertised))?;
        let shared = Arc::new(Shared {
            identity,
            advertised,
            limits,
            book: AddressBook::default(),
            leaders: watch::Sender::new(Leaders::default()),
            metrics: client.metrics(),
            closing: CancellationToken::new(),
        });
        info!(role = %shared.identity.role, address = shared.advertised, bound = %local, "listening");
        let server = Server { listener, shared: Arc::clone(&shared), peers: Arc::clone(&client.peers) };
        Ok((Self { shared, client, local }, server))
    }

    /// What it listens on; its port belongs into the configuration that is
    /// handed on.
    pub fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// `host:port` under which others reach it.
    pub fn advertised(&self) -> &str {
        &self.shared.advertised
    }

    /// What others hear when they ask who leads.
    pub fn publish_leaders(&self, leaders: Leaders) {
        self.shared.leaders.send_if_modified(|now| {
            let changed = *now != leaders;
            *now = leaders;
            changed
        });
    }

    /// The gateways of others, also when they are in this process.
    pub fn client(&self) -> &GrpcClient {
        &self.client
    }

    pub fn leader_retrieval(&self, job_manager: impl Into<String>) -> LeaderRetrieval {
        self.client.leader_retrieval(job_manager)
    }

    pub fn metrics(&self) -> Arc<RpcMetrics> {
        self.client.metrics()
    }

    fn serve(&self, address: &Address, gateway: Gateway) {
        self.shared.book.put(self.own(address), gateway);
    }

    /// The endpoint of an address of this process.
    fn own(&self, address: &Address) -> String {
        match NetworkAddress::parse(address) {
            Ok(NetworkAddress { authority, endpoint }) if authority == self.shared.advertised => {
                endpoint.to_owned()
            }
            _ => panic!("{address} is not an address of this process, {}", self.shared.advertised),
        }
    }

    /// The endpoint, if the address is of this process.
    fn local_endpoint<'a>(&self, address: &'a Address) -> Option<&'a str> {
        let parsed = NetworkAddress::parse(address).ok()?;
        (parsed.authority == self.shared.advertised).then_some(parsed.endpoint)
    }
}

/// What this process serves itself is called directly, as in the embedded
/// cluster. What it does not serve yet is called over a connection to itself,
/// which finds it as soon as it is served.
macro_rules! gateways {
    ($($get:ident, $serve:ident: $kind:ident as $gateway:ident;)*) => {$(
        fn $get(&self, address: &Address) -> Result<Arc<dyn $gateway>> {
            let local = self.local_endpoint(address).and_then(|endpoint| self.shared.book.$get(endpoint));
            match local {
                Some(gateway) => Ok(gateway),
                None => self.client.$get(address),
            }
        }

        fn $serve(&self, address: Address, gateway: Arc<dyn $gateway>) {
            self.serve(&address, Gateway::$kind(gateway));
        }
    )*};
}

impl RpcService for GrpcRpcService {
    fn address(&self, endpoint: &str) -> Address {
        NetworkAddress::to_address(&self.shared.advertised, endpoint)
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        self.shared.metrics.all()
    }

    gateways! {
        dispatcher, serve_dispatcher: Dispatcher as DispatcherGateway;
        resource_manager, serve_resource_manager: ResourceManager as ResourceManagerGateway;
        job_master, serve_job_master: JobMaster as JobMasterGateway;
        task_executor, serve_task_executor: TaskExecutor as TaskExecutorGateway;
        blob_server, serve_blob_server: BlobServer as BlobServerGateway;
    }

    fn stop_serving(&self, address: &Address) {
        self.shared.book.remove(&self.own(address));
    }
}

async fn listen(options: &Options) -> Result<TcpListener, Failure> {
    let hosts: Vec<SocketAddr> = match tokio::net::lookup_host((options.bind_host.as_str(), 0)).await {
        Ok(hosts) => hosts.collect(),
        Err(error) => return Err(cannot_listen(options, options.bind_host_option, &error.to_string())),
    };
    let mut taken = None;
    for port in options.ports.ports() {
        let candidates: Vec<_> = hosts.iter().map(|host| SocketAddr::new(host.ip(), port)).collect();
        match TcpListener::bind(&candidates[..]).await {
            Ok(listener) => return Ok(listener),
            Err(error) if matches!(error.kind(), ErrorKind::AddrInUse | ErrorKind::PermissionDenied) => {
                taken = Some(error);
            }
            Err(error) => return Err(cannot_listen(options, options.bind_host_option, &error.to_string())),
        }
    }
    let cause = taken.map_or_else(|| "no port is given".to_owned(), |error| error.to_string());
    Err(cannot_listen(options, options.ports_option, &cause))
}

fn cannot_listen(options: &Options, option: &str, cause: &str) -> Failure {
    let message = format!(
        "{} cannot listen on {}: {cause}; set `{option}` to another value, or stop what holds it",
        options.identity.role,
        format_args!("{} port {}", options.bind_host, options.ports),
    );
    Failure::new(ErrorCode::PortUnavailable, message)
}

/// The address of this machine from which another one, `host:port`, is reached;
/// nothing is sent to find it out.
pub async fn local_ip_towards(other: &str) -> std::io::Result<IpAddr> {
    let mut last = std::io::Error::new(ErrorKind::NotFound, "the host has no address");
    for target in tokio::net::lookup_host(other).await? {
        let any: SocketAddr =
            if target.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
        match UdpSocket::bind(any).and_then(|socket| {
            socket.connect(target)?;
            socket.local_addr()
        }) {
            Ok(local) => return Ok(local.ip()),
            Err(error) => last = error,
        }
    }
    Err(last)
}
