//! Failures of tasks and slots, and the restart of the regions that they hit:
//! cancel what still runs, wait until all has ended and the delay is over,
//! start new attempts.

use super::{Action, Ending, Phase, RegionState, Scheduler};
use crate::execution_graph::{RegionIndex, SubtaskIndex};
use crate::restart::Decision;
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::{ExecutionAttemptId, SlotRequestId};
use heddle_model::job_status::{ExecutionState, JobStatus};
use std::collections::BTreeSet;
use std::time::Duration;

impl Scheduler {
    pub(super) fn slots_failed(&mut self, now: Duration, requests: &[SlotRequestId], cause: Failure) {
        let regions = self.fail_slots(requests, &cause);
        self.regions_failed(now, regions, cause);
        self.go_on(now);
    }

    /// Gives the regions that ran in them.
    fn fail_slots(&mut self, requests: &[SlotRequestId], cause: &Failure) -> BTreeSet<RegionIndex> {
        let mut regions = BTreeSet::new();
        for request in requests {
            let Some(slot) = self.slots.by_request(*request) else {
                self.counters.stale += 1;
                continue;
            };
            self.slots.clear(slot);
            for index in self.slots.slot(slot).members.clone() {
                let state = self.graph.subtask(index).current.state;
                // An attempt that was not scheduled does not use the slot.
                if state == ExecutionState::Created || state.is_terminal() {
                    continue;
                }
                if self.transition(index, ExecutionState::Failed) {
                    self.graph.current_mut(index).failure = Some(cause.clone());
                    regions.insert(self.graph.subtask(index).region);
                }
            }
        }
        if cause.code == ErrorCode::NoResources {
            self.release_idle_slots(&regions, cause);
        }
        regions
    }

    /// Regions that do not get all of their slots keep none, so that two jobs
    /// do not wait for each other's.
    fn release_idle_slots(&mut self, regions: &BTreeSet<RegionIndex>, cause: &Failure) {
        for region in regions {
            for slot in self.slots.slots_of(*region).to_vec() {
                let members = &self.slots.slot(slot).members;
                let idle = members.iter().all(|index| {
                    let subtask = self.graph.subtask(*index);
                    let state = subtask.current.state;
                    let waits = state == ExecutionState::Scheduled && !regions.contains(&subtask.region);
                    !waits && (state.is_terminal() || state == ExecutionState::Scheduled)
                });
                if idle {
                    self.out.releases.extend(self.slots.clear(slot));
                    self.out.release_cause = Some(cause.clone());
                }
            }
        }
    }

    pub(super) fn tasks_rejected(
        &mut self,
        now: Duration,
        attempts: Vec<ExecutionAttemptId>,
        cause: Failure,
    ) {
        let mut regions = BTreeSet::new();
        let mut requests = BTreeSet::new();
        for attempt in attempts {
            let Some(index) = self.graph.current_subtask(&attempt) else {
                self.counters.stale += 1;
                continue;
            };
            let current = &self.graph.subtask(index).current;
            if current.state.is_terminal() {
                continue;
            }
            let resource_id = current.slot.as_ref().map(|slot| slot.resource_id.clone());
            if self.transition(index, ExecutionState::Failed) {
                self.graph.current_mut(index).failure = Some(cause.clone());
                regions.insert(self.graph.subtask(index).region);
                requests.extend(self.slots.slot(self.slots.slot_of(index)).request());
                // The answer may have been lost on its way, and the task runs.
                if let Some(resource_id) = resource_id {
                    self.out.cancels.entry(resource_id).or_default().push(attempt);
                }
            }
        }
        // A slot that takes no tasks may not be there any more: the next attempt
        // gets another.
        if !requests.is_empty() {
            let requests: Vec<_> = requests.into_iter().collect();
            regions.extend(self.fail_slots(&requests, &cause));
            self.out.abandoned = Some((requests, cause.clone()));
        }
        self.regions_failed(now, regions, cause);
        self.go_on(now);
    }

    /// One failure has hit these regions; those that restart already do not
    /// count it again.
    pub(super) fn regions_failed(&mut self, now: Duration, regions: BTreeSet<RegionIndex>, failure: Failure) {
        let hit: Vec<_> = regions.into_iter().filter(|region| !self.restarting.contains(region)).collect();
        if hit.is_empty() || self.phase != Phase::Executing || self.ending.is_some() {
            return;
        }
        if !failure.code.retry_helps() {
            self.end(now, Ending::Failed, Some(failure));
            return;
        }
        let jitter = self.next_jitter();
        match self.backoff.on_failure(now, jitter) {
            Decision::Fail { reason } => {
                let details = match &failure.details {
                    Some(details) => format!("{}\n{reason}", details.trim_end()),
                    None => reason,
                };
                self.end(now, Ending::Failed, Some(failure.with_details(details)));
            }
            Decision::Restart { delay } => {
                self.restarts += 1;
                self.failure = Some(failure.clone());
                let tasks = hit.iter().map(|region| self.graph.regions()[region.0].len()).sum();
                self.become_status(JobStatus::Restarting);
                self.out.first.push(Action::Restarting { failure, tasks, delay });
                for region in hit {
                    self.regions[region.0].state = RegionState::Restarting { at: now.saturating_add(delay) };
                    self.restarting.insert(region);
                    for index in self.graph.regions()[region.0].clone() {
                        self.cancel(now, index);
                    }
                }
            }
        }
    }

    pub(super) fn cancel(&mut self, now: Duration, index: SubtaskIndex) {
        let attempt = self.graph.attempt_id(index);
        let current = &self.graph.subtask(index).current;
        match current.state {
            ExecutionState::Created | ExecutionState::Scheduled => {
                self.transition(index, ExecutionState::Canceled);
            }
            ExecutionState::Deploying | ExecutionState::Initializing | ExecutionState::Running => {
                let resource_id = current.slot.as_ref().map(|slot| slot.resource_id.clone());
                self.transition(index, ExecutionState::Canceling);
                let until = now.saturating_add(self.options.cancellation_timeout);
                self.cancelled_until.insert(index, until);
                self.cancelled_by_deadline.insert((until, index));
                if let Some(resource_id) = resource_id {
                    self.out.cancels.entry(resource_id).or_default().push(attempt);
                }
            }
            ExecutionState::Canceling
            | ExecutionState::Finished
            | ExecutionState::Canceled
            | ExecutionState::Failed => {}
        }
    }

    pub(super) fn time_passed(&mut self, now: Duration) {
        let overdue: Vec<_> = self
            .cancelled_by_deadline
            .iter()
            .take_while(|(until, _)| *until <= now)
            .map(|(_, index)| *index)
            .collect();
        if let Some(first) = overdue.first() {
            self.counters.given_up += overdue.len() as u64;
            let cause = Failure::new(
                ErrorCode::Internal,
                format!(
                    "task `{}` did not end within {:?} after it was cancelled, so its slot is given back \
                     (`task.cancellation.timeout`)",
                    self.graph.subtask_name(*first),
                    self.options.cancellation_timeout
                ),
            );
            let requests: BTreeSet<_> = overdue
                .iter()
                .filter_map(|index| self.slots.slot(self.slots.slot_of(*index)).request())
                .collect();
            let requests: Vec<_> = requests.into_iter().collect();
            // Their slot may be gone already, hence each of them by itself; and
            // before the slots, whose failure may start new attempts.
            for index in overdue {
                self.transition(index, ExecutionState::Failed);
                self.graph.current_mut(index).failure = Some(cause.clone());
            }
            self.out.abandoned = Some((requests.clone(), cause.clone()));
            self.slots_failed(now, &requests, cause);
        }
        self.go_on(now);
    }

    /// Does what waited for the end of tasks or of a delay.
    pub(super) fn go_on(&mut self, now: Duration) {
        if self.phase != Phase::Executing {
            return;
        }
        if self.ending.is_some() {
            if self.live == 0 {
                self.discard();
            }
            return;
        }
        let due: Vec<_> = self
            .restarting
            .iter()
            .copied()
            .filter(|region| {
                let region = &self.regions[region.0];
                region.live == 0 && matches!(region.state, RegionState::Restarting { at } if at <= now)
            })
            .collect();
        for region in due {
            self.restart(region);
        }
        if self.restarting.is_empty() {
            self.become_status(JobStatus::Running);
        }
    }

    fn restart(&mut self, region_index: RegionIndex) {
        let members = self.graph.regions()[region_index.0].clone();
        for index in &members {
            let attempt = self.graph.attempt_id(*index);
            let superseded = self.graph.new_attempt(*index);
            self.live += 1;
            if let Some(slot) = &superseded.slot
                && let Some(there) = self.deployed.get_mut(&slot.resource_id)
            {
                there.remove(index);
                if there.is_empty() {
                    self.deployed.remove(&slot.resource_id);
                }
            }
            if superseded.state == ExecutionState::Finished {
                self.finished -= 1;
            }
            self.out.superseded.extend(superseded.committables);
            if let Some(splits) = self.splits.get_mut(&attempt.vertex_id) {
                splits.return_splits(attempt.subtask);
            }
        }
        self.restarting.remove(&region_index);
        let region = &mut self.regions[region_index.0];
        region.state = RegionState::Waiting;
        region.live = members.len();
        region.finished = 0;
        self.schedule(region_index);
    }

    /// A number from -1.0 to 1.0 (splitmix64).
    fn next_jitter(&mut self) -> f64 {
        self.jitter = self.jitter.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.jitter;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        (bits >> 11) as f64 / (1_u64 << 53) as f64 * 2.0 - 1.0
    }
}
