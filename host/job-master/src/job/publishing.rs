//! From the last task's end to what is visible: what the tasks left is stored,
//! then published. A job master that finds it stored begins there.

use super::Job;
use crate::outputs;
use crate::service::Event;
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::task::{Commitment, Committable};
use heddle_rpc::JobDetails;
use std::collections::BTreeMap;
use std::sync::Arc;

impl Job {
    /// `committables`: of all sinks, also those that were published before.
    pub(super) fn publish(&mut self, committables: Vec<Committable>) {
        let (outputs, job) = (Arc::clone(&self.outputs), Arc::clone(&self.job));
        let commitments = Arc::clone(&self.commitments);
        let new = self.kept.is_none().then(|| Commitment {
            job_id: self.job.job_id,
            start_time_ms: self.times.started_at_ms,
            first_sink_record_at_ms: self.scheduler.first_sink_record_at_ms(),
            accumulators: self.scheduler.accumulators(),
            committables: committables.clone(),
        });
        self.calls.spawn(async move {
            if let Some(commitment) = new
                && !commitments.store(commitment).await
            {
                return Event::PublishingStopped;
            }
            let may_block = outputs.may_block();
            let work = move || outputs::publish(&*outputs, &job, &committables);
            if !may_block {
                return Event::Published(work());
            }
            Event::Published(tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
                let message = format!("publishing the outputs did not end: {error}");
                Err(Failure::new(ErrorCode::Internal, message))
            }))
        });
    }

    pub(super) fn accumulators(&self) -> BTreeMap<String, i64> {
        match &self.kept {
            Some(kept) => kept.accumulators.clone(),
            None => self.scheduler.accumulators(),
        }
    }

    /// Milliseconds since the epoch.
    pub(super) fn first_sink_record_at_ms(&self) -> Option<u64> {
        match &self.kept {
            Some(kept) => kept.first_sink_record_at_ms,
            None => self.scheduler.first_sink_record_at_ms(),
        }
    }

    /// What ran under a former leader is not known; nothing runs under this one.
    pub(super) fn without_tasks_of_former_leader(&self, details: JobDetails) -> JobDetails {
        match &self.kept {
            Some(kept) => {
                JobDetails { vertices: Vec::new(), accumulators: kept.accumulators.clone(), ..details }
            }
            None => details,
        }
    }
}
