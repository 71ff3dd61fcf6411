//! The listener and all connections of a process.

use super::peer::{self, GreetingError, Peer};
use super::{Connection, Liveness, Protocol, consumer, producer};
use crate::error::Error;
use crate::manager::PartitionManager;
use crate::wire::{Greeting, VERSION};
use heddle_model::config::value::PortRange;
use heddle_model::config::{Configuration, options as o};
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::ResourceId;
use heddle_model::task::DataAddress;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// Requests for connections that may wait for the service; beyond that, the
/// requesting task waits.
const REQUESTS_MAX: usize = 256;

/// How long a peer may take to greet or to answer a greeting. Within one
/// cluster it is a matter of milliseconds.
const GREETING_TIMEOUT: Duration = Duration::from_secs(10);

/// Peers that have connected and not greeted yet. More are turned away, so
/// that strangers cost a bounded number of sockets.
const STRANGERS_MAX: usize = 256;

/// TaskExecutors that read here at the same time.
const READERS_MAX: usize = 4096;

/// Wait after a failed accept, which means that the process is out of sockets.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How the network of one process is set up.
#[derive(Clone, Debug)]
pub struct NetworkOptions {
    /// Peers of another cluster are refused.
    pub cluster_id: String,
    pub resource_id: ResourceId,
    /// `taskmanager.bind-host`.
    pub bind_host: String,
    /// `taskmanager.host`: what others are told.
    pub host: String,
    /// `taskmanager.data.port`.
    pub ports: PortRange,
    /// `taskmanager.network.request-backoff.initial` and `.max`.
    pub backoff_initial: Duration,
    pub backoff_max: Duration,
    /// `heartbeat.interval` and `heartbeat.timeout`: a connection that is
    /// silent counts as lost.
    pub heartbeat_interval: Duration,
    pub heartbeat_timeout: Duration,
    pub greeting_timeout: Duration,
}

impl NetworkOptions {
    /// `host`: what others are told if `taskmanager.host` is not set.
    pub fn from_configuration(
        configuration: &Configuration,
        cluster_id: String,
        resource_id: ResourceId,
        host: impl FnOnce() -> String,
    ) -> Self {
        Self {
            cluster_id,
            resource_id,
            bind_host: configuration.get(&o::TASK_EXECUTOR_BIND_HOST),
            host: configuration.get(&o::TASK_EXECUTOR_HOST).unwrap_or_else(host),
            ports: configuration.get(&o::DATA_PORT),
            backoff_initial: configuration.get(&o::REQUEST_BACKOFF_INITIAL).max(Duration::from_millis(1)),
            backoff_max: configuration.get(&o::REQUEST_BACKOFF_MAX),
            heartbeat_interval: configuration.get(&o::HEARTBEAT_INTERVAL).max(Duration::from_millis(1)),
            heartbeat_timeout: configuration.get(&o::HEARTBEAT_TIMEOUT),
            greeting_timeout: GREETING_TIMEOUT,
        }
    }
}

/// What went over the network's door so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Peers that read here, and that are read from here.
    pub accepted: u64,
    pub opened: u64,
    /// Connections that did not greet, greeted wrongly, or were too many.
    pub turned_away: u64,
    /// Connections that broke the protocol after they had greeted.
    pub broke_protocol: u64,
    /// Connections that ended for another reason than that they were unused.
    pub lost: u64,
}

#[derive(Default)]
struct Counters {
    accepted: AtomicU64,
    opened: AtomicU64,
    turned_away: AtomicU64,
    broke_protocol: AtomicU64,
    lost: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Whom to talk to, and where.
type Target = (DataAddress, ResourceId);

struct Request {
    target: Target,
    reply: oneshot::Sender<Result<Arc<Connection>, Error>>,
}

/// Asks the service of this process for connections. A cheap handle.
#[derive(Clone)]
pub(crate) struct Handle {
    own: DataAddress,
    requests: mpsc::Sender<Request>,
}

impl Handle {
    /// Where this process serves itself.
    pub fn own_address(&self) -> &DataAddress {
        &self.own
    }

    /// Asks for a connection to a TaskExecutor; a new one is made if there is
    /// none. None, or no answer: the service has ended.
    pub async fn ask(
        &self,
        address: &DataAddress,
        peer: &ResourceId,
    ) -> Option<oneshot::Receiver<Result<Arc<Connection>, Error>>> {
        let (reply, answer) = oneshot::channel();
        let target = (address.clone(), peer.clone());
        self.requests.send(Request { target, reply }).await.ok()?;
        Some(answer)
    }
}

enum Connecting {
    /// These wait for it.
    Opening(Vec<oneshot::Sender<Result<Arc<Connection>, Error>>>),
    Open(Arc<Connection>),
}

enum Event {
    Accepted(io::Result<TcpStream>),
    Requested(Request),
    /// A stranger greeted, or did not.
    Welcomed(Option<(TcpStream, Peer)>),
    Opened(Target, Result<(TcpStream, Peer), Error>),
    ReaderEnded(Peer, Result<(), Protocol>),
    Ended(Peer, Result<(), Protocol>),
    Panicked(tokio::task::JoinError),
}

/// The network of one process. Everything that it starts runs on the tokio
/// runtime that it was bound on.
pub struct NetworkService {
    options: Arc<NetworkOptions>,
    listener: TcpListener,
    address: DataAddress,
    partitions: PartitionManager,
    requests: mpsc::Receiver<Request>,
    connections: HashMap<Target, Connecting>,
    strangers: usize,
    readers: usize,
    tasks: JoinSet<Event>,
    counters: Arc<Counters>,
}

impl NetworkService {
    /// Listens; from then on `partitions` reads from other processes through
    /// this service, and serves them what it has. A manager has one network.
    ///
    /// # Errors
    /// H1201: no port of the range is free, or there is no such interface.
    pub async fn bind(options: NetworkOptions, partitions: &PartitionManager) -> Result<Self, Failure> {
        let listener = listen(&options).await?;
        let port = listener.local_addr().map_err(|error| cannot_listen(&options, &error))?.port();
        let address = DataAddress(with_port(&options.host, port));
        let (sender, requests) = mpsc::channel(REQUESTS_MAX);
        if !partitions.set_network(Handle { own: address.clone(), requests: sender }) {
            return Err(Failure::new(ErrorCode::Internal, "a process has one network"));
        }
        info!(%address, resource_id = %options.resource_id, "data port is open");
        Ok(Self {
            options: Arc::new(options),
            listener,
            address,
            partitions: partitions.clone(),
            requests,
            connections: HashMap::new(),
            strangers: 0,
            readers: 0,
            tasks: JoinSet::new(),
            counters: Arc::default(),
        })
    }

    /// Where others find it: `taskmanager.host` and the port that was free.
    pub fn data_address(&self) -> DataAddress {
        self.address.clone()
    }

    /// Reads the counts while the service runs.
    pub fn counts(&self) -> impl Fn() -> Counts + Send + Sync + 'static {
        let counters = Arc::clone(&self.counters);
        move || Counts {
            accepted: counters.accepted.load(Ordering::Relaxed),
            opened: counters.opened.load(Ordering::Relaxed),
            turned_away: counters.turned_away.load(Ordering::Relaxed),
            broke_protocol: counters.broke_protocol.load(Ordering::Relaxed),
            lost: counters.lost.load(Ordering::Relaxed),
        }
    }

    /// Serves until told to stop. Channels that are open then break.
    pub async fn run(mut self, shutdown: CancellationToken) {
        loop {
            let event = tokio::select! {
                () = shutdown.cancelled() => break,
                accepted = self.listener.accept() => Event::Accepted(accepted.map(|(stream, _)| stream)),
                Some(request) = self.requests.recv() => Event::Requested(request),
                Some(ended) = self.tasks.join_next() => ended.unwrap_or_else(Event::Panicked),
            };
            self.handle(event, &shutdown).await;
        }
        // Their tasks saw the same token; each breaks its channels.
        while self.tasks.join_next().await.is_some() {}
        debug!(address = %self.address, "data port is closed");
    }

    async fn handle(&mut self, event: Event, shutdown: &CancellationToken) {
        match event {
            Event::Accepted(Ok(stream)) => self.accepted(stream, shutdown),
            Event::Accepted(Err(error)) => {
                warn!(%error, "no connection can be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
            Event::Requested(request) => self.requested(request, shutdown),
            Event::Welcomed(greeted) => {
                self.strangers -= 1;
                if let Some((stream, peer)) = greeted {
                    self.serve(stream, peer, shutdown);
                }
            }
            Event::Opened(target, result) => self.opened(target, result, shutdown),
            Event::ReaderEnded(peer, result) => {
                self.readers -= 1;
                self.ended(&peer, &result);
            }
            Event::Ended(peer, result) => self.ended(&peer, &result),
            Event::Panicked(error) => warn!(%error, "a connection's task panicked"),
        }
    }

    fn liveness(&self) -> Liveness {
        let NetworkOptions { heartbeat_interval: interval, heartbeat_timeout: timeout, .. } = *self.options;
        Liveness { interval, timeout }
    }

    // --- who reads here

    fn accepted(&mut self, mut stream: TcpStream, shutdown: &CancellationToken) {
        if self.strangers >= STRANGERS_MAX {
            count(&self.counters.turned_away);
            return;
        }
        self.strangers += 1;
        let (options, counters) = (Arc::clone(&self.options), Arc::clone(&self.counters));
        let shutdown = shutdown.clone();
        self.tasks.spawn(async move {
            let remote = stream.peer_addr();
            let greeting = async {
                stream.set_nodelay(true)?;
                peer::welcome(&mut stream, &options.cluster_id, &options.resource_id).await
            };
            let reason = tokio::select! {
                () = shutdown.cancelled() => return Event::Welcomed(None),
                greeted = tokio::time::timeout(options.greeting_timeout, greeting) => match greeted {
                    Ok(Ok(peer)) => return Event::Welcomed(Some((stream, peer))),
                    Ok(Err(error)) => error.to_string(),
                    Err(_) => format!("it said nothing for {:?}", options.greeting_timeout),
                },
            };
            count(&counters.turned_away);
            let total = counters.turned_away.load(Ordering::Relaxed);
            warn!(remote = ?remote.ok(), reason, total, "a connection to the data port was turned away");
            Event::Welcomed(None)
        });
    }

    fn serve(&mut self, stream: TcpStream, peer: Peer, shutdown: &CancellationToken) {
        if self.readers >= READERS_MAX {
            count(&self.counters.turned_away);
            return;
        }
        self.readers += 1;
        count(&self.counters.accepted);
        debug!(%peer, "a TaskExecutor reads here");
        let (partitions, liveness, shutdown) = (self.partitions.clone(), self.liveness(), shutdown.clone());
        self.tasks.spawn(async move {
            let result = producer::run(stream, &peer, partitions, liveness, shutdown).await;
            Event::ReaderEnded(peer, result)
        });
    }

    // --- who is read from here

    fn requested(&mut self, request: Request, shutdown: &CancellationToken) {
        let Request { target, reply } = request;
        match self.connections.get_mut(&target) {
            Some(Connecting::Opening(waiting)) => {
                waiting.push(reply);
                return;
            }
            Some(Connecting::Open(connection)) if !connection.is_closed() => {
                // A requester that went away needs no answer, here and below.
                let _ = reply.send(Ok(Arc::clone(connection)));
                return;
            }
            Some(Connecting::Open(_)) | None => {}
        }
        self.connections.insert(target.clone(), Connecting::Opening(vec![reply]));
        let (options, shutdown) = (Arc::clone(&self.options), shutdown.clone());
        self.tasks.spawn(async move {
            let result = tokio::select! {
                () = shutdown.cancelled() => Err(refused(&target, "this process ends")),
                result = open(&target, &options) => result,
            };
            Event::Opened(target, result)
        });
    }

    fn opened(
        &mut self,
        target: Target,
        result: Result<(TcpStream, Peer), Error>,
        shutdown: &CancellationToken,
    ) {
        let Some(Connecting::Opening(waiting)) = self.connections.remove(&target) else { return };
        let answer = match result {
            Ok((stream, peer)) => {
                count(&self.counters.opened);
                debug!(%peer, "reads from a TaskExecutor");
                let connection = Connection::new();
                self.connections.retain(|_, other| match other {
                    Connecting::Opening(_) => true,
                    Connecting::Open(other) => !other.is_closed(),
                });
                self.connections.insert(target, Connecting::Open(Arc::clone(&connection)));
                let (shared, liveness, shutdown) =
                    (Arc::clone(&connection), self.liveness(), shutdown.clone());
                self.tasks.spawn(async move {
                    let result = consumer::run(shared, stream, &peer, liveness, shutdown).await;
                    Event::Ended(peer, result)
                });
                Ok(connection)
            }
            Err(error) => Err(error),
        };
        for reply in waiting {
            let _ = reply.send(answer.clone());
        }
    }

    fn ended(&self, peer: &Peer, result: &Result<(), Protocol>) {
        match result {
            Ok(()) => debug!(%peer, "connection ended"),
            Err(error) => {
                count(&self.counters.lost);
                if matches!(error, Protocol::Wire(_)) {
                    count(&self.counters.broke_protocol);
                }
                warn!(%peer, %error, "connection lost");
            }
        }
    }
}

async fn listen(options: &NetworkOptions) -> Result<TcpListener, Failure> {
    let mut last = io::Error::from(io::ErrorKind::InvalidInput);
    for port in options.ports.ports() {
        match TcpListener::bind((options.bind_host.as_str(), port)).await {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(cannot_listen(options, &last))
}

fn cannot_listen(options: &NetworkOptions, error: &io::Error) -> Failure {
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse => format!("set `{}` to a free port, a range, or 0", o::DATA_PORT.key()),
        _ => format!("`{}` must be an address of this host", o::TASK_EXECUTOR_BIND_HOST.key()),
    };
    let (host, ports) = (&options.bind_host, &options.ports);
    let message = format!("the data port cannot be opened on {host}, port {ports}: {error}; {advice}");
    Failure::new(ErrorCode::ConfigurationInvalid, message)
}

/// `host:port`; an IPv6 address in brackets.
fn with_port(host: &str, port: u16) -> String {
    let brackets = host.contains(':') && !host.starts_with('[');
    if brackets { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn refused((address, peer): &Target, reason: impl ToString) -> Error {
    Error::PeerRefused { peer: peer.clone(), address: address.clone(), reason: reason.to_string() }
}

/// Connects and greets; again after a growing while as long as nobody answers.
async fn open(target: &Target, options: &NetworkOptions) -> Result<(TcpStream, Peer), Error> {
    let greeting = Greeting {
        version: VERSION,
        cluster_id: options.cluster_id.clone(),
        from: options.resource_id.clone(),
        to: target.1.clone(),
    };
    let began = Instant::now();
    let (initial, longest) = (options.backoff_initial, options.backoff_max);
    let mut waits =
        std::iter::successors(Some(initial), |wait| (*wait < longest).then(|| (*wait * 2).min(longest)));
    let mut tries = 0;
    loop {
        tries += 1;
        let once = async {
            let mut stream = TcpStream::connect(target.0.0.as_str()).await?;
            stream.set_nodelay(true)?;
            let peer = peer::greet(&mut stream, &greeting).await?;
            Ok((stream, peer))
        };
        let last = match tokio::time::timeout(options.greeting_timeout, once).await {
            Ok(Ok(opened)) => return Ok(opened),
            Ok(Err(GreetingError::Refused(reason))) => return Err(refused(target, reason)),
            Ok(Err(GreetingError::Wire(error))) => {
                return Err(refused(target, format_args!("it is no TaskExecutor: {error}")));
            }
            Ok(Err(GreetingError::Io(error))) => error.to_string(),
            Err(_) => format!("no answer within {:?}", options.greeting_timeout),
        };
        let Some(wait) = waits.next() else {
            let (address, peer) = target.clone();
            return Err(Error::Unreachable { peer, address, tries, waited: began.elapsed(), last });
        };
        debug!(address = %target.0, error = last, ?wait, "a producer's TaskExecutor does not answer yet");
        tokio::time::sleep(wait).await;
    }
}
