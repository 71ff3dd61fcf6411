//! The job's connection to the resource manager: registration with growing
//! pauses, slot requests one after the other, and the way back after a loss.
//!
//! Which slots are wanted is the slot pool's matter.

use super::Job;
use crate::call_queue::CallQueue;
use crate::service::Event;
use crate::task_executors::bounded;
use heddle_model::id::AllocationId;
use heddle_model::memory::ResourceProfile;
use heddle_rpc::{Error, JobMasterRegistration, ResourceManagerGateway, Result, SlotRequest};
use heddle_scheduler::slot_pool;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::AbortHandle;
use tracing::{debug, info, warn};

/// First and longest pause between two tries to register.
const REGISTRATION_BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

pub(super) enum ResourceManagerCall {
    Request { allocation_id: AllocationId, profile: ResourceProfile },
    Cancel { allocation_id: AllocationId },
}

pub(super) struct ResourceManager {
    /// Set while registered.
    pub gateway: Option<Arc<dyn ResourceManagerGateway>>,
    pub calls: CallQueue<ResourceManagerCall>,
    pub backoff: Duration,
    pub registration: Option<AbortHandle>,
    /// When it was last heard.
    pub heard: Duration,
}

impl ResourceManager {
    pub fn new() -> Self {
        Self {
            gateway: None,
            calls: CallQueue::new(),
            backoff: REGISTRATION_BACKOFF.0,
            registration: None,
            heard: Duration::ZERO,
        }
    }
}

impl Job {
    pub(super) fn register_at_resource_manager(&mut self, delay: Duration) {
        let (rpc, address) = (Arc::clone(&self.rpc), self.options.resource_manager.clone());
        let token = self.options.resource_manager_id;
        let registration = JobMasterRegistration {
            job_id: self.job.job_id,
            job_master_id: self.options.job_master_id,
            address: self.options.address.clone(),
        };
        let abort = self.calls.spawn(async move {
            tokio::time::sleep(delay).await;
            let result = match rpc.resource_manager(&address) {
                Ok(gateway) => bounded(gateway.register_job_master(token, registration)).await,
                Err(error) => Err(error),
            };
            Event::RegisteredAtResourceManager(result)
        });
        self.resource_manager.registration = Some(abort);
    }

    pub(super) fn registered_at_resource_manager(&mut self, result: Result<()>) {
        self.resource_manager.registration = None;
        let address = &self.options.resource_manager;
        match result.and_then(|()| self.rpc.resource_manager(address)) {
            Ok(gateway) => {
                info!(job_id = %self.id(), %address, "registered at the resource manager");
                self.resource_manager.gateway = Some(gateway);
                self.resource_manager.heard = self.now();
                self.resource_manager.backoff = REGISTRATION_BACKOFF.0;
                self.tell_pool(slot_pool::Event::ResourceManagerConnected);
            }
            Err(error) => {
                let delay = self.resource_manager.backoff;
                debug!(job_id = %self.id(), %error, ?delay, "registration refused, trying again");
                self.resource_manager.backoff = (delay * 2).min(REGISTRATION_BACKOFF.1);
                self.register_at_resource_manager(delay);
            }
        }
    }

    /// One that is silent for too long is lost.
    pub(super) fn check_resource_manager(&mut self, now: Duration) {
        let (silent, timeout) =
            (now.saturating_sub(self.resource_manager.heard), self.options.heartbeat_timeout);
        if silent > timeout {
            self.lose_resource_manager(&format_args!("it was silent for {timeout:?} (`heartbeat.timeout`)"));
        }
    }

    fn lose_resource_manager(&mut self, error: &dyn std::fmt::Display) {
        if self.resource_manager.gateway.take().is_none() {
            return;
        }
        warn!(job_id = %self.id(), %error, "the resource manager was lost");
        self.resource_manager.calls.drain().for_each(drop);
        self.tell_pool(slot_pool::Event::ResourceManagerDisconnected);
        self.register_at_resource_manager(self.resource_manager.backoff);
    }

    pub(super) fn call_resource_manager(&mut self) {
        let Some(gateway) = self.resource_manager.gateway.clone() else { return };
        let Some(call) = self.resource_manager.calls.next() else { return };
        let (token, job_master_id) = (self.options.resource_manager_id, self.options.job_master_id);
        let (job_id, job_master) = (self.job.job_id, self.options.address.clone());
        self.calls.spawn(async move {
            match call {
                ResourceManagerCall::Request { allocation_id, profile } => {
                    let request = SlotRequest { job_id, allocation_id, profile, job_master };
                    let result = bounded(gateway.request_slot(token, job_master_id, request)).await;
                    Event::SlotRequested { allocation_id, result }
                }
                ResourceManagerCall::Cancel { allocation_id } => Event::SlotRequestCancelled(
                    bounded(gateway.cancel_slot_request(token, job_master_id, allocation_id)).await,
                ),
            }
        });
    }

    pub(super) fn slot_requested(&mut self, allocation_id: AllocationId, result: Result<()>) {
        self.resource_manager.calls.ended();
        match result {
            Ok(()) => {}
            Err(Error::Failure(cause)) => {
                self.tell_pool(slot_pool::Event::AllocationFailed { allocation_id, cause });
            }
            // The requests are made again once it is back.
            Err(error) => self.lose_resource_manager(&error),
        }
        self.call_resource_manager();
    }
}
