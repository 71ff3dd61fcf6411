//! What TaskExecutors report that they run, against what was deployed to them:
//! tasks that vanished fail, tasks that nobody wants are cancelled.

use super::{Scheduler, TaskReport};
use crate::execution_graph::SubtaskIndex;
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::{ExecutionAttemptId, ResourceId};
use heddle_model::job_status::ExecutionState::{
    self, Canceled, Canceling, Deploying, Failed, Initializing, Running,
};
use std::collections::BTreeSet;
use std::time::Duration;

/// A report may have been on its way when the task was deployed; a second one
/// in a row without the task was not.
const MISSED_REPORTS_MAX: u32 = 2;

fn is_deployed(state: ExecutionState) -> bool {
    matches!(state, Deploying | Initializing | Running | Canceling)
}

impl Scheduler {
    pub(super) fn tasks_accepted(&mut self, attempts: &[ExecutionAttemptId]) {
        for attempt in attempts {
            match self.graph.current_subtask(attempt) {
                Some(index) => self.graph.current_mut(index).missed_reports = Some(0),
                None => self.counters.stale += 1,
            }
        }
    }

    pub(super) fn tasks_reported(
        &mut self,
        now: Duration,
        resource_id: ResourceId,
        reports: Vec<TaskReport>,
    ) {
        let mut reported = BTreeSet::new();
        for (attempt, metrics, accumulators) in reports {
            self.note_first_record(&metrics);
            let current = self.graph.current_subtask(&attempt).filter(|index| {
                let slot = self.graph.subtask(*index).current.slot.as_ref();
                slot.is_some_and(|slot| slot.resource_id == resource_id)
            });
            let Some(index) = current else {
                self.counters.stale += 1;
                self.out.cancels.entry(resource_id.clone()).or_default().push(attempt);
                continue;
            };
            reported.insert(index);
            let execution = self.graph.current_mut(index);
            // The final numbers of an ended attempt came with its end.
            if !execution.state.is_terminal() {
                execution.metrics = metrics;
                execution.accumulators = accumulators;
            }
        }
        self.miss(now, &resource_id, &reported);
    }

    /// Ends the tasks that the TaskExecutor should have, and has not.
    fn miss(&mut self, now: Duration, resource_id: &ResourceId, reported: &BTreeSet<SubtaskIndex>) {
        let mut regions = BTreeSet::new();
        let mut failure = None;
        for index in self.deployed.get(resource_id).cloned().unwrap_or_default() {
            let execution = self.graph.current_mut(index);
            let Some(missed) = execution.missed_reports.as_mut() else { continue };
            if reported.contains(&index) {
                *missed = 0;
                continue;
            }
            *missed += 1;
            if *missed < MISSED_REPORTS_MAX || !is_deployed(execution.state) {
                continue;
            }
            if execution.state == Canceling {
                self.transition(index, Canceled);
                continue;
            }
            let message = format!(
                "TaskExecutor {resource_id} does not run task `{}` any more, and did not tell its end",
                self.graph.subtask_name(index)
            );
            let cause = Failure::new(ErrorCode::WorkerLost, message);
            if self.transition(index, Failed) {
                self.graph.current_mut(index).failure = Some(cause.clone());
                regions.insert(self.graph.subtask(index).region);
                failure.get_or_insert(cause);
            }
        }
        if let Some(failure) = failure {
            self.regions_failed(now, regions, failure);
        }
        self.go_on(now);
    }
}
