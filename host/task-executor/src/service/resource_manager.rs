//! The TaskExecutor's side of the resource manager: who leads, registration
//! with back-off, slot reports, and slots that are free again.

use super::{Error, Event, REGISTRATION_BACKOFF, ResourceManagerLeader, Service};
use crate::slot_table::TaskSlot;
use crate::task::TaskRunner;
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::{InstanceId, JobId, ResourceManagerId, SlotId};
use heddle_rpc::{ResourceManagerGateway, TaskExecutorRegistration};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tracing::{debug, info, warn};

/// Why it is not registered, as long as nobody leads.
pub(super) const NO_LEADER: &str = "no resource manager leads";

/// The resource manager that this TaskExecutor is registered at.
pub(super) struct Registered {
    pub gateway: Arc<dyn ResourceManagerGateway>,
    pub token: ResourceManagerId,
    pub instance: InstanceId,
}

impl<R: TaskRunner> Service<R> {
    /// Who it belongs to from now on.
    pub(super) fn resource_manager_leads(&mut self, leader: Option<ResourceManagerLeader>) {
        if self.leader == leader {
            return;
        }
        let Some((address, token)) = leader else {
            info!("no resource manager leads any more, waiting for another");
            self.leader = None;
            self.lose_resource_manager(NO_LEADER.to_owned());
            return;
        };
        info!(%address, %token, "a resource manager leads");
        // Job masters live and end with the leader that runs them; those of the
        // next one know neither these tasks nor these slots.
        let cause = Failure::new(ErrorCode::WorkerLost, "another JobManager leads; it runs the job again");
        let jobs: Vec<JobId> = self.jobs.keys().copied().collect();
        for job_id in jobs {
            if let Some(job) = self.jobs.get_mut(&job_id) {
                // Nobody is there to be told.
                job.lost();
            }
            self.drop_job(job_id, &cause);
        }
        self.leader = Some((address, token));
        self.lose_resource_manager("it did not answer yet".to_owned());
        self.register_at_resource_manager(Duration::ZERO);
    }

    /// The time until it must be registered again begins.
    pub(super) fn lose_resource_manager(&mut self, why: String) {
        if let Some(registration) = self.registration.take() {
            registration.abort();
        }
        if self.instance.take().is_some() {
            self.registration_since = Instant::now();
        }
        self.registration_backoff = REGISTRATION_BACKOFF.0;
        self.registration_refused = why;
    }

    /// # Errors
    /// It is not registered, and has not been for too long.
    pub(super) fn check_registration(&self) -> Result<(), Error> {
        let timeout = self.options.registration_timeout;
        if self.instance.is_some() || self.registration_since.elapsed() < timeout {
            return Ok(());
        }
        Err(Error::RegistrationTimeout { timeout, last: self.registration_refused.clone() })
    }

    pub(super) fn registered(&self) -> Option<Registered> {
        let (address, token) = self.leader.as_ref()?;
        let gateway = self.rpc.resource_manager(address).ok()?;
        Some(Registered { gateway, token: *token, instance: self.instance? })
    }

    pub(super) fn check_resource_manager(&self, token: ResourceManagerId) -> heddle_rpc::Result<()> {
        let expected = self.leader.as_ref().map(|(_, expected)| *expected);
        if expected == Some(token) {
            return Ok(());
        }
        let expected = expected.map_or_else(|| "none".to_owned(), |expected| expected.to_string());
        Err(heddle_rpc::Error::Fenced { expected, got: token.to_string() })
    }

    pub(super) fn register_at_resource_manager(&mut self, delay: Duration) {
        let Some((address, token)) = self.leader.clone() else { return };
        let rpc = Arc::clone(&self.rpc);
        let registration = TaskExecutorRegistration {
            resource_id: self.options.resource_id.clone(),
            address: self.options.address.clone(),
            spec: self.options.spec,
            heartbeat_timeout_ms: u64::try_from(self.options.heartbeat_timeout.as_millis())
                .unwrap_or(u64::MAX),
        };
        self.registration = Some(self.calls.spawn(async move {
            tokio::time::sleep(delay).await;
            let result = match rpc.resource_manager(&address) {
                Ok(gateway) => gateway.register_task_executor(token, registration).await,
                Err(error) => Err(error),
            };
            Event::RegisteredAtResourceManager(token, result)
        }));
    }

    pub(super) fn registered_at_resource_manager(
        &mut self,
        token: ResourceManagerId,
        result: Result<InstanceId, heddle_rpc::Error>,
    ) -> Result<(), Error> {
        let Some((address, _)) = self.leader.as_ref().filter(|(_, leader)| *leader == token) else {
            return Ok(());
        };
        self.registration = None;
        match result {
            Ok(instance) => {
                info!(%instance, resource_id = %self.options.resource_id, "registered at the resource manager");
                self.instance = Some(instance);
                self.resource_manager_heard = Instant::now();
                self.registration_backoff = REGISTRATION_BACKOFF.0;
                self.send_slot_report();
            }
            Err(heddle_rpc::Error::Failure(failure)) if !failure.code.retry_helps() => {
                return Err(Error::Refused { address: address.clone(), failure });
            }
            Err(error) => {
                let delay = self.registration_backoff;
                debug!(%error, ?delay, "registration at the resource manager refused, trying again");
                self.registration_refused = error.to_string();
                self.registration_backoff = (delay * 2).min(REGISTRATION_BACKOFF.1);
                self.check_registration()?;
                self.register_at_resource_manager(delay);
            }
        }
        Ok(())
    }

    pub(super) fn send_slot_report(&mut self) {
        let Some(Registered { gateway, token, instance }) = self.registered() else { return };
        let report = self.slots.report();
        self.calls.spawn(async move {
            match gateway.send_slot_report(token, instance, report).await {
                Ok(()) => Event::Told,
                Err(error) => {
                    warn!(%error, "the resource manager did not take the slot report");
                    match error {
                        heddle_rpc::Error::Fenced { .. } => Event::RegistrationUnknown(instance),
                        _ => Event::Told,
                    }
                }
            }
        });
    }

    /// A registration that came late, or twice, has replaced the one whose
    /// answer was heard, or the resource manager has given this one up.
    pub(super) fn registration_unknown(&mut self, instance: InstanceId) {
        if self.instance == Some(instance) {
            info!(%instance, "the resource manager does not know this registration, registering again");
            self.lose_resource_manager("it does not know the registration".to_owned());
            self.register_at_resource_manager(Duration::ZERO);
        }
    }

    pub(super) fn slot_freed(&mut self, slot: TaskSlot) {
        self.resources.remove(&slot.allocation_id);
        debug!(slot = slot.slot_number, allocation = %slot.allocation_id, "slot freed");
        if let Some(Registered { gateway, token, instance }) = self.registered() {
            let slot_id =
                SlotId { resource_id: self.options.resource_id.clone(), slot_number: slot.slot_number };
            self.calls.spawn(async move {
                let allocation = slot.allocation_id;
                if let Err(error) = gateway.notify_slot_available(token, instance, slot_id, allocation).await
                {
                    warn!(%error, %allocation, "the resource manager did not hear of the free slot");
                }
                Event::Told
            });
        }
        self.forget_job_without_slots(slot.job_id);
    }
}
