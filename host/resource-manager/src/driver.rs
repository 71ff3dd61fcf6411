//! How workers come to be: the interface that the embedded cluster and YARN
//! implement, and the task that talks to it.

use async_trait::async_trait;
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::ResourceId;
use heddle_model::memory::WorkerResourceSpec;
use std::collections::VecDeque;
use tokio::sync::mpsc;
use tracing::{info, warn};

/// What happened to a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DriverEvent {
    /// A requested worker is being started under this name; it will register.
    WorkerStarted { resource_id: ResourceId },
    /// A requested worker will not come.
    StartFailed { reason: String },
    /// A worker ended, whether it was released or not. Told once for each
    /// worker that was started.
    WorkerTerminated { resource_id: ResourceId, reason: String },
}

/// Starts and ends workers.
#[async_trait]
pub trait ResourceManagerDriver: Send {
    /// Asks for a worker and returns soon; an event tells what became of it.
    /// With an error there will be no event.
    async fn request_worker(&mut self, spec: WorkerResourceSpec) -> Result<(), Failure>;
    /// Ends a worker; [`DriverEvent::WorkerTerminated`] tells when it has.
    async fn release_worker(&mut self, id: ResourceId) -> Result<(), Failure>;
    /// The next event. Cancel-safe: a dropped call loses nothing. Waits for
    /// ever when there is nothing to tell.
    async fn next_event(&mut self) -> DriverEvent;
    /// Ends all workers.
    async fn shutdown(&mut self);
}

/// Starts nothing: workers come by themselves.
#[derive(Clone, Copy, Debug, Default)]
pub struct StandaloneDriver;

#[async_trait]
impl ResourceManagerDriver for StandaloneDriver {
    async fn request_worker(&mut self, _spec: WorkerResourceSpec) -> Result<(), Failure> {
        Err(Failure::new(ErrorCode::NoResources, "workers of this cluster are started by hand"))
    }

    async fn release_worker(&mut self, _id: ResourceId) -> Result<(), Failure> {
        Ok(())
    }

    async fn next_event(&mut self) -> DriverEvent {
        std::future::pending().await
    }

    async fn shutdown(&mut self) {}
}

/// What the resource manager wants of the driver.
#[derive(Clone, Debug)]
pub(crate) enum Order {
    Request(WorkerResourceSpec),
    Release(ResourceId),
}

/// Carries orders to the driver and its events back, so that a slow driver does
/// not hold up the resource manager. Ends, and shuts the driver down, when the
/// orders end.
pub(crate) async fn drive(
    mut driver: Box<dyn ResourceManagerDriver>,
    mut orders: mpsc::Receiver<Order>,
    events: mpsc::Sender<DriverEvent>,
) {
    // Orders are taken even while events are not: neither side ever waits for
    // the other. While something is here the driver is not asked for more, so
    // this holds at most one event, and one for each order that failed.
    let mut outbox = VecDeque::new();
    loop {
        tokio::select! {
            biased;
            order = orders.recv() => match order {
                None => break,
                Some(Order::Request(spec)) => {
                    if let Err(failure) = driver.request_worker(spec).await {
                        outbox.push_back(DriverEvent::StartFailed { reason: failure.message });
                    }
                }
                Some(Order::Release(id)) => {
                    info!(worker = %id, "releasing a worker");
                    if let Err(failure) = driver.release_worker(id.clone()).await {
                        warn!(worker = %id, error = %failure, "a worker could not be released");
                    }
                }
            },
            event = driver.next_event(), if outbox.is_empty() => outbox.push_back(event),
            permit = events.reserve(), if !outbox.is_empty() => match permit {
                Ok(permit) => {
                    if let Some(event) = outbox.pop_front() {
                        permit.send(event);
                    }
                }
                Err(_) => break,
            },
        }
    }
    driver.shutdown().await;
}
