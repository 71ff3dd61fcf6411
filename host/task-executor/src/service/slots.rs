//! Slots: allocated at the resource manager's word, offered to the job master,
//! freed when either says so.

use super::{Event, Service};
use crate::job_connection::JobConnection;
use crate::slot_table::Freed;
use crate::task::TaskRunner;
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::{AllocationId, JobId, JobMasterId, ResourceManagerId};
use heddle_rpc::RequestSlot;
use std::time::Duration;
use tracing::{debug, warn};

impl<R: TaskRunner> Service<R> {
    pub(super) fn request_slot(
        &mut self,
        token: ResourceManagerId,
        request: RequestSlot,
    ) -> heddle_rpc::Result<()> {
        self.check_resource_manager(token)?;
        let now = self.now();
        self.slots
            .allocate(
                now,
                request.slot_id.slot_number,
                request.job_id,
                request.allocation_id,
                request.profile,
            )
            .map_err(|error| Failure::new(ErrorCode::NoResources, error.to_string()))?;
        self.resources
            .entry(request.allocation_id)
            .or_insert_with(|| self.runner.slot(self.options.spec.slot));
        let known = self.jobs.get(&request.job_id).is_some_and(|job| job.token == request.job_master_id);
        if known {
            self.offer_slots(request.job_id);
        } else {
            let connection = JobConnection::new(request.job_master.clone(), request.job_master_id);
            if self.jobs.insert(request.job_id, connection).is_none() {
                self.runner.jobs().join(request.job_id);
            }
            self.register_at_job_master(request.job_id, Duration::ZERO);
        }
        Ok(())
    }

    pub(super) fn free_slot(&mut self, allocation_id: AllocationId, cause: &Failure) {
        match self.slots.free(allocation_id) {
            Ok(Freed::Now(slot)) => self.slot_freed(slot),
            Ok(Freed::WhenEnded(attempts)) => {
                for attempt in attempts {
                    if let Some(task) = self.running.get_mut(&attempt) {
                        task.fail(cause.clone());
                    }
                }
            }
            Err(error) => debug!(%error, "nothing to free"),
        }
    }

    pub(super) fn offer_slots(&mut self, job_id: JobId) {
        let offers = self.slots.offers(job_id);
        let Some(job) = self.jobs.get_mut(&job_id) else { return };
        if offers.is_empty() || !job.is_registered() {
            return;
        }
        let Ok(gateway) = self.rpc.job_master(&job.address) else { return };
        let (token, resource_id) = (job.token, self.options.resource_id.clone());
        self.calls.spawn(async move {
            let offered = offers.iter().map(|offer| offer.allocation_id).collect();
            let result = gateway.offer_slots(token, resource_id, offers).await;
            Event::OffersAnswered { job_id, token, offered, result }
        });
    }

    pub(super) fn offers_answered(
        &mut self,
        job_id: JobId,
        token: JobMasterId,
        offered: Vec<AllocationId>,
        result: heddle_rpc::Result<Vec<AllocationId>>,
    ) {
        // An answer that comes after the job master was lost binds nobody: the
        // slots are offered again, or expire.
        if !self.jobs.get(&job_id).is_some_and(|job| job.token == token && job.is_registered()) {
            debug!(%job_id, "an offer was answered too late");
            return;
        }
        let accepted = match result {
            Ok(accepted) => accepted,
            Err(error) => {
                // The slots stay allocated and are offered again until they expire.
                warn!(%error, %job_id, "the job master did not answer the offer");
                return;
            }
        };
        for allocation_id in offered {
            if accepted.contains(&allocation_id) {
                if let Err(error) = self.slots.mark_active(allocation_id) {
                    debug!(%error, "an accepted slot is gone");
                }
            } else {
                debug!(%allocation_id, %job_id, "offer rejected");
                self.free_slot(allocation_id, &Failure::new(ErrorCode::Internal, "the offer was rejected"));
            }
        }
    }
}
