//! The end of the job: its result, and the news of it to everybody.

use super::resource_manager::ResourceManagerCall;
use super::{Job, epoch_ms};
use crate::details::{self, Times};
use crate::handle::Message;
use crate::service::Event;
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::{AllocationId, ResourceId};
use heddle_model::job_graph::JobGraph;
use heddle_model::job_status::JobStatus;
use heddle_rpc::{JobDetails, JobFailure, JobOverview, JobResult};
use heddle_scheduler::slot_pool;
use std::collections::BTreeMap;
use std::sync::Arc;
use tracing::debug;

/// A job that could not even start.
pub(crate) struct Refused {
    pub details: JobDetails,
    pub result: JobResult,
}

impl Job {
    pub fn details(&self) -> JobDetails {
        let details = details::details(&self.scheduler, self.times, &self.survived);
        self.without_tasks_of_former_leader(details)
    }

    pub fn result(&self) -> JobResult {
        let started = self.times.started_at_ms;
        JobResult {
            job_id: self.job.job_id,
            status: self.scheduler.status(),
            failure: match self.scheduler.status() {
                JobStatus::Failed => self.scheduler.failure().cloned(),
                _ => None,
            },
            runtime_ms: self.times.ended_at_ms.unwrap_or_else(epoch_ms).saturating_sub(started),
            first_record_ms: self.first_sink_record_at_ms().map(|at| at.saturating_sub(started)),
            accumulators: self.accumulators(),
            collected: self.collected.clone(),
        }
    }

    /// Starts to give everything back and to tell everybody; done when no call
    /// is under way.
    pub fn clean_up(&mut self) {
        if let Some(registration) = self.resource_manager.registration.take() {
            registration.abort();
        }
        let status = self.scheduler.status();
        let cause = Failure::new(ErrorCode::Internal, format!("the job has ended: {status}"));
        let mut freed: BTreeMap<ResourceId, Vec<(AllocationId, Failure)>> = BTreeMap::new();
        let mut cancelled = Vec::new();
        let now = self.now();
        for action in self.pool.step(now, slot_pool::Event::ReleaseAll { cause: cause.clone() }) {
            match action {
                slot_pool::Action::FreeSlot { resource_id, allocation_id, cause } => {
                    freed.entry(resource_id).or_default().push((allocation_id, cause));
                }
                slot_pool::Action::CancelSlotRequest { allocation_id } => cancelled.push(allocation_id),
                _ => {}
            }
        }
        let (token, job_id) = (self.options.job_master_id, self.job.job_id);
        for (resource_id, task_executor) in &mut self.task_executors {
            let mut slots = task_executor.unsent_releases();
            slots.extend(freed.remove(resource_id).unwrap_or_default());
            let (gateway, cause) = (Arc::clone(&task_executor.gateway), cause.clone());
            self.calls.spawn(async move {
                for (allocation_id, cause) in slots {
                    let _ = gateway.free_slot(token, allocation_id, cause).await;
                }
                // The TaskExecutor may have forgotten the job with its last slot.
                if let Err(error) = gateway.disconnect_job_master(token, job_id, cause).await {
                    debug!(%job_id, %error, "a TaskExecutor did not hear of the end of the job");
                }
                Event::Told
            });
        }
        let Some(gateway) = self.resource_manager.gateway.take() else { return };
        let resource_manager_id = self.options.resource_manager_id;
        cancelled.extend(self.resource_manager.calls.drain().filter_map(|call| match call {
            ResourceManagerCall::Cancel { allocation_id } => Some(allocation_id),
            ResourceManagerCall::Request { .. } => None,
        }));
        self.calls.spawn(async move {
            for allocation_id in cancelled {
                let _ = gateway.cancel_slot_request(resource_manager_id, token, allocation_id).await;
            }
            if let Err(error) = gateway.disconnect_job_master(resource_manager_id, job_id).await {
                debug!(%job_id, %error, "the resource manager did not hear of the end of the job");
            }
            Event::Told
        });
    }

    /// Answers what comes after the end, so that nobody tries again.
    pub fn answer_late(&self, message: Message) {
        match message {
            Message::DisconnectTaskExecutor(_, _, reply)
            | Message::FailSlot(_, _, _, reply)
            | Message::UpdateTaskExecutionState(_, reply)
            | Message::Heartbeat(_, _, reply)
            | Message::ResourceManagerHeartbeat(reply)
            | Message::AllocationFailure(_, _, reply)
            | Message::Cancel(reply) => {
                let _ = reply.send(Ok(()));
            }
            Message::OfferSlots(_, _, reply) => {
                let _ = reply.send(Ok(Vec::new()));
            }
            Message::RequestJob(reply) => {
                let _ = reply.send(Ok(self.details()));
            }
            // Unreachable, says the dropped answer.
            Message::RegisterTaskExecutor(..) | Message::RequestNextInputSplit(..) => {}
        }
    }
}

pub(super) fn refuse(job: &JobGraph, times: Times, failure: Failure) -> Refused {
    let overview = JobOverview {
        job_id: job.job_id,
        name: job.name.clone(),
        status: JobStatus::Failed,
        start_time_ms: times.started_at_ms,
        end_time_ms: Some(times.started_at_ms),
    };
    let details = JobDetails {
        overview,
        restarts: 0,
        vertices: Vec::new(),
        accumulators: BTreeMap::new(),
        failure: Some(failure.clone()),
        failures: vec![JobFailure { at_ms: times.started_at_ms, failure: failure.clone() }],
    };
    let result = JobResult {
        job_id: job.job_id,
        status: JobStatus::Failed,
        failure: Some(failure),
        runtime_ms: 0,
        first_record_ms: None,
        accumulators: BTreeMap::new(),
        collected: BTreeMap::new(),
    };
    Refused { details, result }
}
