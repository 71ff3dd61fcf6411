//! The election as the dispatcher sees it, with the resource manager of each
//! session started before the dispatcher hears of it: one election decides for
//! both.

use async_trait::async_trait;
use heddle_ha::{Error, LeaderElection, Leadership};
use heddle_model::id::{DispatcherId, ResourceManagerId};
use heddle_resource_manager as resource_manager;
use heddle_rpc::{Address, RpcService};
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::info;

/// Called with the session that leads and is ready, and where its dispatcher
/// serves; with none when it has ended.
pub type OnLeadership = Arc<dyn Fn(Option<(DispatcherId, Address)>) + Send + Sync>;

/// Makes the driver of a session's resource manager.
pub(crate) type MakeDriver =
    Box<dyn Fn(ResourceManagerId) -> Box<dyn resource_manager::ResourceManagerDriver> + Send>;

/// Hands an election on.
pub(crate) struct SharedElection {
    inner: Box<dyn LeaderElection>,
    /// A change that the dispatcher has not heard of yet.
    pending: Option<Leadership>,
    options: resource_manager::Options,
    rpc: Arc<dyn RpcService>,
    make_driver: MakeDriver,
    /// The session under which a resource manager is served, until it has ended.
    served: Arc<watch::Sender<Option<u128>>>,
    /// The one that leads.
    leading: watch::Sender<Option<u128>>,
    services: mpsc::UnboundedSender<(u128, resource_manager::Service)>,
    on_leadership: OnLeadership,
}

#[async_trait]
impl LeaderElection for SharedElection {
    async fn next(&mut self) -> Leadership {
        let change = match self.pending {
            Some(change) => change,
            None => *self.pending.insert(self.inner.next().await),
        };
        // From here on nothing is lost if this call is dropped: the next one
        // begins here again.
        match change {
            Leadership::Granted { session } => {
                self.leading.send_replace(Some(session));
                let mut served = self.served.subscribe();
                // One at a time: they serve at one address.
                let _ = served.wait_for(Option::is_none).await;
                self.served.send_replace(Some(session));
                let token = ResourceManagerId(session);
                let options = resource_manager::Options { token, ..self.options.clone() };
                let driver = (self.make_driver)(token);
                let (service, _handle) = resource_manager::Service::new(options, self.rpc.clone(), driver);
                // If nobody runs it, the process ends.
                let _ = self.services.send((session, service));
            }
            Leadership::Revoked => {
                (self.on_leadership)(None);
                self.leading.send_replace(None);
            }
        }
        self.pending = None;
        change
    }

    async fn confirm(&mut self, session: u128, address: &str) -> Result<(), Error> {
        self.inner.confirm(session, address).await?;
        (self.on_leadership)(Some((DispatcherId(session), Address(address.to_owned()))));
        Ok(())
    }
}

impl Drop for SharedElection {
    fn drop(&mut self) {
        (self.on_leadership)(None);
    }
}

/// Runs a resource manager for each session, one after the other.
pub(crate) struct ResourceManagers {
    services: mpsc::UnboundedReceiver<(u128, resource_manager::Service)>,
    served: Arc<watch::Sender<Option<u128>>>,
    leading: watch::Receiver<Option<u128>>,
}

/// The two ends of one election.
pub(crate) fn share(
    inner: Box<dyn LeaderElection>,
    on_leadership: OnLeadership,
    options: resource_manager::Options,
    rpc: Arc<dyn RpcService>,
    make_driver: MakeDriver,
) -> (SharedElection, ResourceManagers) {
    let served = Arc::new(watch::Sender::new(None));
    let leading = watch::Sender::new(None);
    let (sender, services) = mpsc::unbounded_channel();
    let managers = ResourceManagers { services, served: Arc::clone(&served), leading: leading.subscribe() };
    let election = SharedElection {
        inner,
        pending: None,
        options,
        rpc,
        make_driver,
        served,
        leading,
        services: sender,
        on_leadership,
    };
    (election, managers)
}

impl ResourceManagers {
    pub(crate) async fn run(mut self, shutdown: CancellationToken) -> Result<(), resource_manager::Error> {
        loop {
            let next = tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                next = self.services.recv() => next,
            };
            let Some((session, service)) = next else {
                // The dispatcher has ended.
                shutdown.cancelled().await;
                return Ok(());
            };
            let stop = shutdown.child_token();
            let mut running = std::pin::pin!(service.run(stop.clone()));
            let ended = async {
                if self.leading.wait_for(|leading| *leading != Some(session)).await.is_err() {
                    // The dispatcher has ended, and tells of no more.
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                ended = &mut running => return ended,
                () = ended => {}
            }
            info!(session = %ResourceManagerId(session), "the session of the resource manager has ended");
            stop.cancel();
            running.await?;
            self.served.send_replace(None);
        }
    }
}
