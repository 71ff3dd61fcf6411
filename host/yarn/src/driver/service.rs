//! The application master's line to YARN: heartbeats, starts and stops, as the
//! brain decides; and the resource manager's driver, which talks to it.

use crate::configuration::{self, Configuration};
use crate::driver::brain::{Action, Brain, Event, Intervals};
use crate::driver::losses::Losses;
use crate::id::ContainerId;
use crate::launch::Launch;
use crate::masters::{Allocated, Masters};
use crate::nodes::Node;
use crate::rpc::{self, Server};
use crate::token::Token;
use crate::types::{FinalStatus, Resource};
use async_trait::async_trait;
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::ResourceId;
use heddle_model::memory::WorkerResourceSpec;
use heddle_resource_manager::{DriverEvent, ResourceManagerDriver};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Orders that the driver has given and the service has not taken.
const ORDERS_MAX: usize = 64;
/// Between two tries to say goodbye.
const FINISH_PAUSE: Duration = Duration::from_millis(200);
const FINISH_MAX: Duration = Duration::from_secs(60);
/// How long a ResourceManager that is started again may refuse what it took
/// before.
const RESTART_MAX: Duration = Duration::from_secs(60);
/// A node tells of a container's end with its heartbeat, after the next of which
/// the master hears it.
const LOSS_PATIENCE: Duration = Duration::from_secs(2);
/// Between two tries to register once more.
const REGISTER_PAUSE: Duration = Duration::from_secs(1);
/// It was started again.
const NOT_REGISTERED: &str = "ApplicationMasterNotRegisteredException";
/// The attempt has ended for it.
const NO_ATTEMPT: &str = "ApplicationAttemptNotFoundException";
/// The call does not follow from those before: this attempt has registered, or
/// another process speaks for it.
const MISFIT: &str = "InvalidApplicationMasterRequestException";
/// Containers that are started or stopped at once.
const CALLS_MAX: usize = 16;

/// What the container of a worker is started with.
pub type MakeLaunch = Box<dyn Fn(&WorkerResourceSpec, ContainerId) -> Launch + Send>;

/// How workers of any size come to be.
pub struct WorkerTemplate {
    pub resource: Box<dyn Fn(&WorkerResourceSpec) -> Resource + Send>,
    pub launch: MakeLaunch,
}

pub struct Options {
    /// The ResourceManager's service for masters.
    pub servers: Vec<Server>,
    pub token: Token,
    pub calls: rpc::Options,
    pub intervals: Intervals,
    pub node_label: Option<String>,
    /// Where the cluster is reached, and its pages.
    pub host: String,
    pub port: u16,
    pub tracking_url: String,
    /// Without an answer of the ResourceManager for so long, the master ends:
    /// by then YARN has given it up.
    pub expiry: Duration,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Configuration(#[from] configuration::Error),
    #[error("the application master cannot register: {0}")]
    Register(rpc::Error),
    #[error("the ResourceManager has not answered for {0:?}: {1}")]
    Lost(Duration, rpc::Error),
    #[error("the ResourceManager has ended this application master")]
    Shutdown,
    #[error("the ResourceManager no longer takes heartbeats: {0}")]
    Refused(rpc::Error),
}

impl Options {
    /// Of an application master that Hadoop's configuration describes.
    pub fn new(configuration: &Configuration, token: Token, host: &str, port: u16) -> Result<Self, Error> {
        let expiry = Duration::from_secs(600);
        Ok(Self {
            servers: configuration::resource_managers(configuration, configuration::Service::Masters)?,
            token,
            calls: rpc::Options::default(),
            intervals: Intervals::default(),
            node_label: None,
            host: host.to_owned(),
            port,
            tracking_url: String::new(),
            expiry: configuration.duration("yarn.am.liveness-monitor.expiry-interval-ms", expiry)?,
        })
    }
}

enum Order {
    Request(WorkerResourceSpec),
    Release(ResourceId),
}

/// Says how the application ended.
#[derive(Clone)]
pub struct Handle {
    masters: Arc<Masters>,
    host: String,
    port: u16,
    tracking_url: String,
    losses: Losses,
    /// For a node to tell of a container's end.
    patience: Duration,
}

impl Handle {
    /// Why the last containers ended that were not told to; waits a little for
    /// the first.
    pub async fn losses(&self) -> Vec<String> {
        self.losses.told(self.patience).await
    }

    /// Returns once YARN has written it down, or does not listen.
    pub async fn finish(&self, status: FinalStatus, diagnostics: &str) {
        let told = timeout(FINISH_MAX, async {
            loop {
                match self.masters.finish(status, diagnostics, &self.tracking_url).await {
                    Ok(true) => return,
                    Ok(false) => sleep(FINISH_PAUSE).await,
                    // It was started again meanwhile.
                    Err(error) if error.is_remote(NOT_REGISTERED) => {
                        let again = self.masters.register(&self.host, self.port, &self.tracking_url).await;
                        if let Err(error) = again {
                            info!(%error, "cannot register once more");
                        }
                        sleep(FINISH_PAUSE).await;
                    }
                    Err(error) => {
                        warn!(%error, "YARN was not told of the application's end");
                        return;
                    }
                }
            }
        });
        if told.await.is_err() {
            warn!("YARN has not written down the application's end within {FINISH_MAX:?}");
        }
    }
}

/// The resource manager's end; that of the session before is of no use to the
/// next one.
#[derive(Clone)]
pub struct YarnDriver {
    orders: mpsc::Sender<Order>,
    events: Arc<Mutex<mpsc::Receiver<DriverEvent>>>,
}

pub struct Service {
    options: Options,
    masters: Arc<Masters>,
    template: WorkerTemplate,
    brain: Brain,
    began: Instant,
    /// When the ResourceManager last answered.
    heard: Instant,
    orders: mpsc::Receiver<Order>,
    events: mpsc::Sender<DriverEvent>,
    /// At most an event for each order and two for each container.
    outbox: VecDeque<DriverEvent>,
    beats: JoinSet<Result<Box<Allocated>, rpc::Error>>,
    registrations: JoinSet<Result<(), rpc::Error>>,
    calls: JoinSet<Option<(ContainerId, Option<String>)>>,
    waiting: Vec<Action>,
    /// What earlier attempts have left, until the brain has it.
    recovered: Option<Event>,
    losses: Losses,
}

impl Service {
    /// Registers with the ResourceManager; the service must run soon after, or
    /// YARN gives it up.
    pub async fn register(
        options: Options,
        template: WorkerTemplate,
    ) -> Result<(Self, YarnDriver, Handle), Error> {
        let masters = Masters::new(options.servers.clone(), options.token.clone(), options.calls.clone());
        let masters = Arc::new(masters);
        let registered = masters
            .register(&options.host, options.port, &options.tracking_url)
            .await
            .map_err(Error::Register)?;
        info!(
            queue = registered.queue, maximum = %registered.maximum, containers = registered.containers.len(),
            "registered with the ResourceManager"
        );
        let (orders, orders_in) = mpsc::channel(ORDERS_MAX);
        let (events, events_in) = mpsc::channel(ORDERS_MAX);
        let brain = Brain::new(options.intervals, registered.maximum, options.node_label.clone());
        let losses = Losses::default();
        let handle = Handle {
            masters: Arc::clone(&masters),
            host: options.host.clone(),
            port: options.port,
            tracking_url: options.tracking_url.clone(),
            losses: losses.clone(),
            patience: options.intervals.idle + LOSS_PATIENCE,
        };
        let recovered =
            Event::Recovered { containers: registered.containers, node_tokens: registered.node_tokens };
        let now = Instant::now();
        let service = Self {
            options,
            masters,
            template,
            brain,
            began: now,
            heard: now,
            orders: orders_in,
            events,
            beats: JoinSet::new(),
            registrations: JoinSet::new(),
            calls: JoinSet::new(),
            outbox: VecDeque::new(),
            waiting: Vec::new(),
            recovered: Some(recovered),
            losses,
        };
        Ok((service, YarnDriver { orders, events: Arc::new(Mutex::new(events_in)) }, handle))
    }

    /// Until it is stopped, or YARN does not want it any more.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), Error> {
        let mut orders_open = true;
        if let Some(recovered) = self.recovered.take() {
            for action in self.brain.step(self.began.elapsed(), recovered) {
                self.act(action)?;
            }
        }
        loop {
            let next = self.began + self.brain.next_heartbeat();
            let event = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                order = self.orders.recv(), if orders_open => match order {
                    Some(Order::Request(spec)) => {
                        Event::Request { spec, resource: (self.template.resource)(&spec) }
                    }
                    Some(Order::Release(id)) => match id.0.parse() {
                        Ok(id) => Event::Release(id),
                        Err(_) => continue,
                    },
                    None => {
                        orders_open = false;
                        continue;
                    }
                },
                Some(beat) = self.beats.join_next() => match beat {
                    Ok(beat) => heartbeat(beat, &mut self.heard, self.options.expiry)?,
                    Err(_) => Event::HeartbeatFailed,
                },
                Some(registered) = self.registrations.join_next() => match registered {
                    Ok(Ok(())) => Event::Registered,
                    // The answer to an earlier try was lost.
                    Ok(Err(error)) if error.is_remote(MISFIT) => Event::Registered,
                    Ok(Err(error)) => {
                        let silent = self.heard.elapsed();
                        if is_final(&error, silent) || silent >= self.options.expiry {
                            return Err(Error::Register(error));
                        }
                        warn!(%error, "cannot register once more; trying again");
                        Event::NotRegistered
                    }
                    Err(_) => Event::NotRegistered,
                },
                Some(call) = self.calls.join_next() => match call {
                    Ok(Some((container, error))) => Event::Started { container, error },
                    Ok(None) | Err(_) => Event::Tick,
                },
                permit = self.events.reserve(), if !self.outbox.is_empty() => {
                    match (permit, self.outbox.pop_front()) {
                        (Ok(permit), Some(event)) => permit.send(event),
                        // Nobody listens: the resource manager has ended.
                        _ => self.outbox.clear(),
                    }
                    continue;
                }
                () = sleep_until(next), if !self.brain.is_busy() => Event::Tick,
            };
            let actions = self.brain.step(self.began.elapsed(), event);
            for action in actions {
                self.act(action)?;
            }
            self.call_waiting();
        }
    }

    fn act(&mut self, action: Action) -> Result<(), Error> {
        match action {
            Action::Heartbeat { response_id, asks, releases } => {
                for ask in &asks {
                    info!(count = ask.count, resource = %ask.resource, priority = ask.priority, "asking for containers");
                }
                let masters = Arc::clone(&self.masters);
                self.beats.spawn(async move {
                    masters.allocate(response_id, 0.5, asks, &releases).await.map(Box::new)
                });
            }
            Action::Register => {
                let masters = Arc::clone(&self.masters);
                let (host, port) = (self.options.host.clone(), self.options.port);
                let url = self.options.tracking_url.clone();
                self.registrations.spawn(async move {
                    let registered = masters.register(&host, port, &url).await;
                    if registered.is_err() {
                        sleep(REGISTER_PAUSE).await;
                    }
                    registered.map(|_| ())
                });
            }
            Action::Start { .. } | Action::Stop { .. } => self.waiting.push(action),
            Action::WorkerStarted { container, node } => {
                info!(%container, %node, "YARN gave a container");
                self.tell(DriverEvent::WorkerStarted { resource_id: ResourceId(container.to_string()) });
            }
            Action::WorkerRecovered { container, node } => {
                info!(%container, %node, "an earlier attempt has left a container");
                self.tell(DriverEvent::WorkerStarted { resource_id: ResourceId(container.to_string()) });
            }
            Action::StartFailed { reason } => self.tell(DriverEvent::StartFailed { reason }),
            Action::WorkerTerminated { container, reason, is_wanted } => {
                if !is_wanted {
                    self.losses.add(container, &reason);
                }
                info!(%container, reason, "a container has ended");
                let resource_id = ResourceId(container.to_string());
                self.tell(DriverEvent::WorkerTerminated { resource_id, reason });
            }
            Action::Shutdown => return Err(Error::Shutdown),
        }
        Ok(())
    }

    fn tell(&mut self, event: DriverEvent) {
        self.outbox.push_back(event);
    }

    /// Calls nodes, few at a time.
    fn call_waiting(&mut self) {
        while self.calls.len() < CALLS_MAX && !self.waiting.is_empty() {
            let options = self.options.calls.clone();
            match self.waiting.remove(0) {
                Action::Start { container, spec, token } => {
                    let launch = (self.template.launch)(&spec, container.id);
                    self.calls.spawn(async move {
                        let node = Node::new(&container.node, token, options);
                        let started = node.start(&container, launch).await;
                        Some((container.id, started.err().map(|error| error.to_string())))
                    });
                }
                Action::Stop { container, node, token } => {
                    self.calls.spawn(async move {
                        // It goes back to YARN too, which ends it in any case.
                        if let Err(error) = Node::new(&node, token, options).stop(container).await {
                            info!(%container, %error, "its node did not stop a container");
                        }
                        None
                    });
                }
                _ => {}
            }
        }
    }
}

/// Whether the ResourceManager will say the same the next time. One that was
/// just started may not know application and token yet.
fn is_final(error: &rpc::Error, silent: Duration) -> bool {
    let is_refusal = error.remote().is_some() || matches!(error, rpc::Error::Credentials { .. });
    error.is_remote(NO_ATTEMPT) || error.is_remote(MISFIT) || (is_refusal && silent >= RESTART_MAX)
}

/// What a heartbeat means, or why there is no other.
fn heartbeat(
    beat: Result<Box<Allocated>, rpc::Error>,
    heard: &mut Instant,
    expiry: Duration,
) -> Result<Event, Error> {
    let error = match beat {
        Ok(allocated) => {
            *heard = Instant::now();
            return Ok(Event::Heartbeat(allocated));
        }
        Err(error) => error,
    };
    if error.is_remote(NOT_REGISTERED) {
        info!("the ResourceManager was started again; registering once more");
        return Ok(Event::NotRegistered);
    }
    let silent = heard.elapsed();
    if is_final(&error, silent) {
        return Err(Error::Refused(error));
    }
    if silent >= expiry {
        return Err(Error::Lost(silent, error));
    }
    warn!(%error, "a heartbeat did not come through");
    Ok(Event::HeartbeatFailed)
}

#[async_trait]
impl ResourceManagerDriver for YarnDriver {
    async fn request_worker(&mut self, spec: WorkerResourceSpec) -> Result<(), Failure> {
        self.order(Order::Request(spec)).await
    }

    async fn release_worker(&mut self, id: ResourceId) -> Result<(), Failure> {
        self.order(Order::Release(id)).await
    }

    async fn next_event(&mut self) -> DriverEvent {
        match self.events.lock().await.recv().await {
            Some(event) => event,
            // The process is about to end.
            None => std::future::pending().await,
        }
    }

    /// YARN ends the containers with the application.
    async fn shutdown(&mut self) {}
}

impl YarnDriver {
    async fn order(&self, order: Order) -> Result<(), Failure> {
        let sent = self.orders.send(order).await;
        sent.map_err(|_| Failure::new(ErrorCode::NoResources, "the connection to YARN has ended"))
    }
}
