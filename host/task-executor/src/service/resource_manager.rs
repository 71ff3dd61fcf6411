//! The TaskExecutor's side of its resource manager: registration with back-off,
//! slot reports, and slots that are free again.

use super::{Error, Event, REGISTRATION_BACKOFF, Service};
use crate::slot_table::TaskSlot;
use crate::task::TaskRunner;
use heddle_model::id::{InstanceId, ResourceManagerId, SlotId};
use heddle_rpc::{ResourceManagerGateway, TaskExecutorRegistration};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tracing::{debug, info, warn};

impl<R: TaskRunner> Service<R> {
    pub(super) fn resource_manager(&self) -> heddle_rpc::Result<Arc<dyn ResourceManagerGateway>> {
        self.rpc.resource_manager(&self.options.resource_manager)
    }

    pub(super) fn check_resource_manager(&self, token: ResourceManagerId) -> heddle_rpc::Result<()> {
        let expected = self.options.resource_manager_id;
        if token == expected {
            return Ok(());
        }
        Err(heddle_rpc::Error::Fenced { expected: expected.to_string(), got: token.to_string() })
    }

    pub(super) fn register_at_resource_manager(&mut self, delay: Duration) {
        let rpc = Arc::clone(&self.rpc);
        let address = self.options.resource_manager.clone();
        let token = self.options.resource_manager_id;
        let registration = TaskExecutorRegistration {
            resource_id: self.options.resource_id.clone(),
            address: self.options.address.clone(),
            spec: self.options.spec,
        };
        self.calls.spawn(async move {
            tokio::time::sleep(delay).await;
            let result = match rpc.resource_manager(&address) {
                Ok(gateway) => gateway.register_task_executor(token, registration).await,
                Err(error) => Err(error),
            };
            Event::RegisteredAtResourceManager(result)
        });
    }

    pub(super) fn registered_at_resource_manager(
        &mut self,
        result: Result<InstanceId, heddle_rpc::Error>,
    ) -> Result<(), Error> {
        match result {
            Ok(instance) => {
                info!(%instance, resource_id = %self.options.resource_id, "registered at the resource manager");
                self.instance = Some(instance);
                self.resource_manager_heard = Instant::now();
                self.registration_backoff = REGISTRATION_BACKOFF.0;
                self.send_slot_report();
            }
            Err(error) => {
                let timeout = self.options.registration_timeout;
                if self.registration_since.elapsed() >= timeout {
                    return Err(Error::RegistrationTimeout {
                        address: self.options.resource_manager.clone(),
                        timeout,
                        last: error.to_string(),
                    });
                }
                let delay = self.registration_backoff;
                debug!(%error, ?delay, "registration at the resource manager refused, trying again");
                self.registration_backoff = (delay * 2).min(REGISTRATION_BACKOFF.1);
                self.register_at_resource_manager(delay);
            }
        }
        Ok(())
    }

    pub(super) fn send_slot_report(&mut self) {
        let (Some(instance), Ok(gateway)) = (self.instance, self.resource_manager()) else { return };
        let token = self.options.resource_manager_id;
        let report = self.slots.report();
        self.calls.spawn(async move {
            if let Err(error) = gateway.send_slot_report(token, instance, report).await {
                warn!(%error, "the resource manager did not take the slot report");
            }
            Event::Told
        });
    }

    pub(super) fn slot_freed(&mut self, slot: TaskSlot) {
        self.resources.remove(&slot.allocation_id);
        debug!(slot = slot.slot_number, allocation = %slot.allocation_id, "slot freed");
        if let (Some(instance), Ok(gateway)) = (self.instance, self.resource_manager()) {
            let token = self.options.resource_manager_id;
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
