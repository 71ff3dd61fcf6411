//! The end of a job: publication when all tasks have finished; on a failure, a
//! cancellation or the loss of leadership, the end of all tasks and then of
//! their outputs.

use super::{Action, Ending, Phase, Scheduler};
use crate::execution_graph::SubtaskIndex;
use heddle_model::failure::Failure;
use heddle_model::job_status::JobStatus;
use heddle_model::task::Committable;
use std::time::Duration;

impl Scheduler {
    /// Starts to end the job. Too late once outputs are being published or
    /// discarded.
    pub(super) fn end(&mut self, now: Duration, ending: Ending, failure: Option<Failure>) {
        let outranked = match (self.ending, ending) {
            (None, _) | (Some(Ending::Failed), Ending::Canceled) => false,
            (Some(Ending::Suspended), _) | (Some(_), Ending::Failed | Ending::Canceled) => true,
            (Some(_), Ending::Suspended) => false,
        };
        if outranked || matches!(self.phase, Phase::Publishing | Phase::Discarding | Phase::Done) {
            return;
        }
        self.ending = Some(ending);
        if failure.is_some() {
            self.failure = failure;
        }
        match ending {
            Ending::Failed => self.become_status(JobStatus::Failing),
            Ending::Canceled => self.become_status(JobStatus::Cancelling),
            Ending::Suspended => {}
        }
        self.restarting.clear();
        self.cancel_all(now);
        match self.phase {
            Phase::New => self.discard(),
            // The answer to `Prepare` is awaited first: what it made must go.
            Phase::Preparing => {}
            _ => self.go_on(now),
        }
    }

    pub(super) fn cancel_all(&mut self, now: Duration) {
        for index in 0..self.graph.subtasks().len() {
            self.cancel(now, SubtaskIndex(index));
        }
    }

    pub(super) fn discard(&mut self) {
        self.phase = Phase::Discarding;
        self.out.last.push(Action::Discard);
    }

    pub(super) fn publish(&mut self) {
        self.phase = Phase::Publishing;
        let mut committables = Vec::new();
        for index in 0..self.graph.subtasks().len() {
            committables.append(&mut self.graph.current_mut(SubtaskIndex(index)).committables);
        }
        self.out.last.push(Action::Publish(committables));
    }

    /// Nothing runs: what the tasks left is all that is needed of them.
    pub(super) fn recover(&mut self, committables: Vec<Committable>) {
        if self.phase != Phase::New {
            return;
        }
        self.phase = Phase::Publishing;
        self.become_status(JobStatus::Running);
        self.out.last.push(Action::Publish(committables));
    }

    /// Nothing is discarded: the next leader may find that it is to be
    /// published.
    pub(super) fn publishing_stopped(&mut self) {
        if self.phase != Phase::Publishing {
            self.counters.stale += 1;
            return;
        }
        self.phase = Phase::Done;
        self.ending = Some(Ending::Suspended);
        self.become_status(JobStatus::Suspended);
    }

    pub(super) fn published(&mut self, result: Result<(), Failure>) {
        if self.phase != Phase::Publishing {
            self.counters.stale += 1;
            return;
        }
        match result {
            Ok(()) => {
                self.phase = Phase::Done;
                self.become_status(JobStatus::Finished);
            }
            Err(failure) => {
                self.failure = Some(failure);
                self.ending = Some(Ending::Failed);
                self.become_status(JobStatus::Failing);
                self.discard();
            }
        }
    }

    pub(super) fn discarded(&mut self) {
        if self.phase != Phase::Discarding {
            self.counters.stale += 1;
            return;
        }
        self.phase = Phase::Done;
        self.become_status(match self.ending {
            Some(Ending::Canceled) => JobStatus::Canceled,
            Some(Ending::Suspended) => JobStatus::Suspended,
            Some(Ending::Failed) | None => JobStatus::Failed,
        });
    }
}
