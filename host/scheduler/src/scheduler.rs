//! The scheduler of one job: asks for slots, deploys regions, follows the
//! states of their tasks, and brings the job to its end.
//!
//! Pure. Does not know how slots are found (the slot pool), how messages travel
//! or what a sink is; it says when to prepare, publish and discard outputs.

mod ending;
mod failover;
mod reports;

use crate::execution_graph::{AssignedSlot, ExecutionGraph, RegionIndex, SubtaskIndex};
use crate::restart::RestartBackoff;
use crate::slot_pool::Fulfilled;
use crate::slot_sharing::SlotSharing;
use crate::splits::SplitAssigner;
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::{ExecutionAttemptId, ResourceId, SlotRequestId, VertexId};
use heddle_model::job_graph::JobGraph;
use heddle_model::job_status::{ExecutionState, JobStatus};
use heddle_model::task::{
    Committable, InputSplit, TaskDeploymentDescriptor, TaskExecutionState, TaskMetrics,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// `task.cancellation.timeout`: a task that has not ended so long after it
    /// was cancelled counts as lost, and its slot is given back.
    pub cancellation_timeout: Duration,
    /// Random bits for the jitter of restart delays.
    pub jitter_seed: u64,
}

/// What a task told of itself between two changes of its state.
pub type TaskReport = (ExecutionAttemptId, TaskMetrics, BTreeMap<String, i64>);

#[derive(Clone, Debug)]
pub enum Event {
    Start,
    /// Instead of `Start`: the tasks have finished under a former leader, and
    /// left this.
    Recover(Vec<Committable>),
    /// Answer to [`Action::Prepare`]: the splits of each connector source.
    Prepared(Result<BTreeMap<VertexId, Vec<InputSplit>>, Failure>),
    SlotsAllocated(Vec<Fulfilled>),
    /// Slots that will not come, or are gone with all that ran in them. One
    /// event is one failure.
    SlotsFailed {
        requests: Vec<SlotRequestId>,
        cause: Failure,
    },
    TaskStateChanged(TaskExecutionState),
    /// A TaskExecutor did not take the tasks of a [`Action::SubmitTasks`].
    TasksRejected {
        attempts: Vec<ExecutionAttemptId>,
        cause: Failure,
    },
    /// A TaskExecutor took the tasks of a [`Action::SubmitTasks`].
    TasksAccepted(Vec<ExecutionAttemptId>),
    /// All tasks of the job that a TaskExecutor has, or whose end it could not
    /// tell yet.
    TasksReported {
        resource_id: ResourceId,
        reports: Vec<TaskReport>,
    },
    Cancel,
    /// The job can not go on; no restart is tried.
    Fail(Failure),
    /// This leader stops; the job is not decided.
    Suspend,
    /// Answer to [`Action::Publish`].
    Published(Result<(), Failure>),
    /// Also an answer to it: this leader stopped before it was certain that the
    /// next one knows what to publish. Nothing was published.
    PublishingStopped,
    /// Answer to [`Action::Discard`].
    Discarded,
    TimePassed,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    StatusChanged(JobStatus),
    /// For the log: so many tasks start again after the delay.
    Restarting {
        failure: Failure,
        tasks: usize,
        delay: Duration,
    },
    /// Enumerate the splits of all connector sources, then prepare all sinks.
    Prepare,
    CancelTasks {
        resource_id: ResourceId,
        attempts: Vec<ExecutionAttemptId>,
    },
    /// Outputs of attempts that were superseded.
    DiscardCommittables(Vec<Committable>),
    ReleaseSlots {
        requests: Vec<SlotRequestId>,
        cause: Failure,
    },
    /// The same, but tasks may still run in them.
    AbandonSlots {
        requests: Vec<SlotRequestId>,
        cause: Failure,
    },
    RequestSlots(Vec<SlotRequestId>),
    SubmitTasks {
        resource_id: ResourceId,
        tasks: Vec<TaskDeploymentDescriptor>,
    },
    /// All tasks finished: store what they left, then make it visible. In the order of vertices
    /// and subtasks.
    Publish(Vec<Committable>),
    /// The job ends without a result: remove all outputs that were prepared.
    Discard,
}

/// What was dropped because it came too late or made no sense.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Updates of attempts that were superseded, and answers to old requests.
    pub stale: u64,
    /// Updates whose transition the tables of states do not allow.
    pub illegal_transitions: u64,
    /// Tasks that were given up after the cancellation timeout.
    pub given_up: u64,
}

/// The attempt is not the current one of its subtask, or not a running one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("task attempt {attempt} does not run (any more)")]
pub struct StaleAttempt {
    pub attempt: ExecutionAttemptId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    New,
    Preparing,
    Executing,
    Publishing,
    Discarding,
    Done,
}

/// How the job is going to end without having finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Failed,
    Canceled,
    Suspended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RegionState {
    /// Not all of its slots are there.
    Waiting,
    Deployed,
    /// Starts again at this time, but not before all of its tasks have ended.
    Restarting {
        at: Duration,
    },
    Finished,
}

#[derive(Clone, Debug)]
struct Region {
    state: RegionState,
    /// Current attempts that are not terminal.
    live: usize,
    finished: usize,
}

/// Actions of one step, put together so that each TaskExecutor gets few
/// messages.
#[derive(Debug, Default)]
struct Outbox {
    first: Vec<Action>,
    cancels: BTreeMap<ResourceId, Vec<ExecutionAttemptId>>,
    superseded: Vec<Committable>,
    releases: Vec<SlotRequestId>,
    release_cause: Option<Failure>,
    abandoned: Option<(Vec<SlotRequestId>, Failure)>,
    requests: Vec<SlotRequestId>,
    submits: BTreeMap<ResourceId, Vec<SubtaskIndex>>,
    last: Vec<Action>,
}

#[derive(Debug)]
pub struct Scheduler {
    options: Options,
    graph: ExecutionGraph,
    slots: SlotSharing,
    regions: Vec<Region>,
    /// Those of them that are `Restarting`.
    restarting: BTreeSet<RegionIndex>,
    splits: BTreeMap<VertexId, SplitAssigner>,
    backoff: RestartBackoff,
    jitter: u64,
    phase: Phase,
    ending: Option<Ending>,
    status: JobStatus,
    failure: Option<Failure>,
    restarts: u32,
    /// The subtasks whose current attempt was deployed to a TaskExecutor.
    deployed: BTreeMap<ResourceId, BTreeSet<SubtaskIndex>>,
    /// When a task that is being cancelled is given up.
    cancelled_until: BTreeMap<SubtaskIndex, Duration>,
    cancelled_by_deadline: BTreeSet<(Duration, SubtaskIndex)>,
    live: usize,
    finished: usize,
    first_sink_record_at_ms: Option<u64>,
    counters: Counters,
    out: Outbox,
}

impl Scheduler {
    /// Fails if the edges of the job graph do not fit together.
    pub fn new(job: Arc<JobGraph>, options: Options) -> Result<Self, Failure> {
        let backoff = RestartBackoff::new(job.execution.restart_strategy.clone());
        let graph = ExecutionGraph::new(job)?;
        let regions = graph
            .regions()
            .iter()
            .map(|members| Region { state: RegionState::Waiting, live: members.len(), finished: 0 })
            .collect();
        Ok(Self {
            slots: SlotSharing::new(&graph),
            regions,
            restarting: BTreeSet::new(),
            splits: BTreeMap::new(),
            backoff,
            jitter: options.jitter_seed,
            phase: Phase::New,
            ending: None,
            status: JobStatus::Created,
            failure: None,
            restarts: 0,
            deployed: BTreeMap::new(),
            cancelled_until: BTreeMap::new(),
            cancelled_by_deadline: BTreeSet::new(),
            live: graph.subtasks().len(),
            finished: 0,
            first_sink_record_at_ms: None,
            counters: Counters::default(),
            out: Outbox::default(),
            options,
            graph,
        })
    }

    pub fn step(&mut self, now: Duration, event: Event) -> Vec<Action> {
        match event {
            Event::Start => self.start(),
            Event::Prepared(result) => self.prepared(result),
            Event::SlotsAllocated(slots) => self.slots_allocated(slots),
            Event::SlotsFailed { requests, cause } => self.slots_failed(now, &requests, cause),
            Event::TaskStateChanged(update) => self.task_state_changed(now, update),
            Event::TasksRejected { attempts, cause } => self.tasks_rejected(now, attempts, cause),
            Event::TasksAccepted(attempts) => self.tasks_accepted(&attempts),
            Event::TasksReported { resource_id, reports } => self.tasks_reported(now, resource_id, reports),
            Event::Cancel => self.end(now, Ending::Canceled, None),
            Event::Fail(failure) => self.end(now, Ending::Failed, Some(failure)),
            Event::Suspend => self.end(now, Ending::Suspended, None),
            Event::Recover(committables) => self.recover(committables),
            Event::Published(result) => self.published(result),
            Event::PublishingStopped => self.publishing_stopped(),
            Event::Discarded => self.discarded(),
            Event::TimePassed => self.time_passed(now),
        }
        self.flush()
    }

    /// When `TimePassed` is due next.
    pub fn next_deadline(&self) -> Option<Duration> {
        let restarts = self.restarting.iter().filter_map(|region| match &self.regions[region.0] {
            Region { state: RegionState::Restarting { at }, live: 0, .. } => Some(*at),
            _ => None,
        });
        restarts.chain(self.cancelled_by_deadline.first().map(|(until, _)| *until)).min()
    }

    /// The next split for a source's attempt; none at the end of its input.
    pub fn next_split(&mut self, attempt: ExecutionAttemptId) -> Result<Option<InputSplit>, StaleAttempt> {
        use ExecutionState::{Deploying, Initializing, Running};
        let current = self.graph.current_subtask(&attempt).filter(|index| {
            matches!(self.graph.subtask(*index).current.state, Deploying | Initializing | Running)
        });
        if current.is_none() {
            self.counters.stale += 1;
            return Err(StaleAttempt { attempt });
        }
        Ok(self.splits.get_mut(&attempt.vertex_id).and_then(|splits| splits.next(attempt.subtask)))
    }

    pub fn graph(&self) -> &ExecutionGraph {
        &self.graph
    }

    pub fn status(&self) -> JobStatus {
        self.status
    }

    /// The failure that ended the job, or the latest one that it survived.
    pub fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    pub fn restarts(&self) -> u32 {
        self.restarts
    }

    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Milliseconds since the epoch, of any attempt.
    pub fn first_sink_record_at_ms(&self) -> Option<u64> {
        self.first_sink_record_at_ms
    }

    /// Sums over the current attempts that did not fail and were not cancelled;
    /// of a finished job, those are the successful ones.
    pub fn accumulators(&self) -> BTreeMap<String, i64> {
        let mut sums = BTreeMap::new();
        for subtask in self.graph.subtasks() {
            if matches!(subtask.current.state, ExecutionState::Failed | ExecutionState::Canceled) {
                continue;
            }
            for (name, value) in &subtask.current.accumulators {
                let sum = sums.entry(name.clone()).or_insert(0_i64);
                *sum = sum.saturating_add(*value);
            }
        }
        sums
    }

    fn start(&mut self) {
        if self.phase != Phase::New {
            return;
        }
        self.phase = Phase::Preparing;
        self.out.last.push(Action::Prepare);
    }

    fn prepared(&mut self, result: Result<BTreeMap<VertexId, Vec<InputSplit>>, Failure>) {
        if self.phase != Phase::Preparing {
            self.counters.stale += 1;
            return;
        }
        match result {
            _ if self.ending.is_some() => self.discard(),
            Ok(splits) => {
                self.splits =
                    splits.into_iter().map(|(vertex, splits)| (vertex, SplitAssigner::new(splits))).collect();
                self.phase = Phase::Executing;
                self.become_status(JobStatus::Running);
                for region in 0..self.regions.len() {
                    self.schedule(RegionIndex(region));
                }
            }
            Err(failure) => {
                self.failure = Some(failure);
                self.ending = Some(Ending::Failed);
                self.become_status(JobStatus::Failing);
                self.cancel_all(Duration::ZERO);
                self.discard();
            }
        }
    }

    /// Asks for the slots of a region, and deploys it if all are there.
    fn schedule(&mut self, region: RegionIndex) {
        for index in self.graph.regions()[region.0].clone() {
            self.transition(index, ExecutionState::Scheduled);
        }
        for slot in self.slots.slots_of(region).to_vec() {
            self.out.requests.extend(self.slots.request(slot));
        }
        self.deploy_if_complete(region);
    }

    fn slots_allocated(&mut self, slots: Vec<Fulfilled>) {
        let mut regions = BTreeSet::new();
        for Fulfilled { request, allocation_id, resource_id } in slots {
            let Some(slot) = self.slots.by_request(request) else {
                self.counters.stale += 1;
                continue;
            };
            self.slots.assign(slot, AssignedSlot { allocation_id, resource_id });
            regions.extend(self.slots.slot(slot).regions.iter().copied());
        }
        for region in regions {
            self.deploy_if_complete(region);
        }
    }

    fn deploy_if_complete(&mut self, region: RegionIndex) {
        if self.phase != Phase::Executing
            || self.ending.is_some()
            || self.regions[region.0].state != RegionState::Waiting
            || !self.slots.complete(region)
        {
            return;
        }
        self.regions[region.0].state = RegionState::Deployed;
        for index in self.graph.regions()[region.0].clone() {
            let slot = self.slots.slot(self.slots.slot_of(index)).assigned().cloned();
            let Some(slot) = slot else { continue };
            if self.transition(index, ExecutionState::Deploying) {
                self.out.submits.entry(slot.resource_id.clone()).or_default().push(index);
                self.deployed.entry(slot.resource_id.clone()).or_default().insert(index);
                self.graph.current_mut(index).slot = Some(slot);
            }
        }
    }

    fn task_state_changed(&mut self, now: Duration, update: TaskExecutionState) {
        use ExecutionState::*;
        self.note_first_record(&update.metrics);
        let Some(index) = self.graph.current_subtask(&update.attempt) else {
            self.counters.stale += 1;
            return;
        };
        let current = self.graph.subtask(index).current.state;
        let deployed = matches!(current, Deploying | Initializing | Running | Canceling);
        let next = match update.state {
            // A slot that its TaskExecutor freed, for instance.
            Canceled if deployed && current != Canceling => Failed,
            Initializing | Running | Finished | Canceled | Failed if deployed => update.state,
            // The job master's own words, sent back.
            state if state == current => return,
            _ => {
                self.counters.illegal_transitions += 1;
                return;
            }
        };
        if !self.transition(index, next) {
            return;
        }
        let execution = self.graph.current_mut(index);
        execution.metrics = update.metrics;
        execution.accumulators = update.accumulators;
        match next {
            Finished => {
                execution.committables = update.committables;
                self.task_finished(index);
            }
            Failed => {
                let failure = update.failure.unwrap_or_else(|| {
                    let name = self.graph.subtask_name(index);
                    Failure::new(
                        ErrorCode::Internal,
                        format!("task `{name}` was ended by its TaskExecutor, which gave no reason"),
                    )
                });
                self.graph.current_mut(index).failure = Some(failure.clone());
                let region = self.graph.subtask(index).region;
                self.regions_failed(now, BTreeSet::from([region]), failure);
            }
            _ => {}
        }
        self.go_on(now);
    }

    fn task_finished(&mut self, index: SubtaskIndex) {
        let region_index = self.graph.subtask(index).region;
        let region = &mut self.regions[region_index.0];
        if region.state != RegionState::Deployed
            || region.finished < self.graph.regions()[region_index.0].len()
        {
            return;
        }
        region.state = RegionState::Finished;
        for slot in self.slots.slots_of(region_index).to_vec() {
            let regions = &self.slots.slot(slot).regions;
            if regions.iter().all(|region| self.regions[region.0].state == RegionState::Finished) {
                self.out.releases.extend(self.slots.clear(slot));
            }
        }
        if self.finished == self.graph.subtasks().len() && self.ending.is_none() {
            self.publish();
        }
    }

    fn note_first_record(&mut self, metrics: &TaskMetrics) {
        let times = [self.first_sink_record_at_ms, metrics.first_sink_record_at_ms];
        self.first_sink_record_at_ms = times.into_iter().flatten().min();
    }

    /// Moves the current attempt of a subtask; false, and counted, if the table
    /// of states does not allow it.
    fn transition(&mut self, index: SubtaskIndex, next: ExecutionState) -> bool {
        let region = self.graph.subtask(index).region;
        let execution = self.graph.current_mut(index);
        if !execution.state.may_become(next) {
            self.counters.illegal_transitions += 1;
            return false;
        }
        execution.state = next;
        if next.is_terminal() {
            let region = &mut self.regions[region.0];
            self.live -= 1;
            region.live -= 1;
            if let Some(until) = self.cancelled_until.remove(&index) {
                self.cancelled_by_deadline.remove(&(until, index));
            }
            if next == ExecutionState::Finished {
                self.finished += 1;
                region.finished += 1;
            }
        }
        true
    }

    fn become_status(&mut self, next: JobStatus) {
        if self.status == next {
            return;
        }
        if !self.status.may_become(next) {
            self.counters.illegal_transitions += 1;
            return;
        }
        self.status = next;
        self.out.first.push(Action::StatusChanged(next));
    }

    fn flush(&mut self) -> Vec<Action> {
        let out = std::mem::take(&mut self.out);
        let mut actions = out.first;
        for (resource_id, attempts) in out.cancels {
            actions.push(Action::CancelTasks { resource_id, attempts });
        }
        if !out.superseded.is_empty() {
            actions.push(Action::DiscardCommittables(out.superseded));
        }
        if !out.releases.is_empty() {
            let cause = out
                .release_cause
                .unwrap_or_else(|| Failure::new(ErrorCode::Internal, "the job needs the slot no more"));
            actions.push(Action::ReleaseSlots { requests: out.releases, cause });
        }
        if let Some((requests, cause)) = out.abandoned {
            actions.push(Action::AbandonSlots { requests, cause });
        }
        if !out.requests.is_empty() {
            actions.push(Action::RequestSlots(out.requests));
        }
        for (resource_id, mut subtasks) in out.submits {
            // Upstream first.
            subtasks.sort_unstable();
            let tasks = subtasks.iter().filter_map(|index| self.graph.deployment(*index)).collect();
            actions.push(Action::SubmitTasks { resource_id, tasks });
        }
        actions.extend(out.last);
        actions
    }
}
