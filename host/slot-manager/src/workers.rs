//! Workers that were asked for and are not registered yet, and how often
//! starting one failed.

use crate::options::Options;
use heddle_model::id::ResourceId;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// The window of the failure rate.
const MINUTE: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, Default)]
pub(crate) struct Workers {
    /// Asked for, and without a name yet.
    requested: u32,
    /// Named and not registered; since when.
    starting: BTreeMap<ResourceId, Duration>,
    /// Registered, and counted off, before their start was told.
    early: BTreeSet<ResourceId>,
    /// Told to end, and not known to have ended.
    releasing: BTreeSet<ResourceId>,
    /// When starting failed within the last minute.
    failures: VecDeque<Duration>,
    paused_until: Duration,
    last_failure: Option<String>,
}

impl Workers {
    /// Workers that will register.
    pub(crate) fn coming(&self) -> u32 {
        self.requested + self.starting.len() as u32
    }

    pub(crate) fn request(&mut self) {
        self.requested += 1;
    }

    /// One of the requested has its name; `known` if it is registered already,
    /// or was and is to end.
    pub(crate) fn started(&mut self, now: Duration, resource_id: ResourceId, known: bool) {
        if self.early.remove(&resource_id) {
            return;
        }
        self.requested = self.requested.saturating_sub(1);
        if !known {
            self.starting.insert(resource_id, now);
        }
    }

    /// One of the requested will not come.
    pub(crate) fn start_failed(&mut self) {
        self.requested = self.requested.saturating_sub(1);
    }

    /// Takes one that registers for one of the requested, if there are any.
    pub(crate) fn take_early(&mut self, resource_id: &ResourceId) -> bool {
        if self.requested == 0 {
            return false;
        }
        self.requested -= 1;
        self.early.insert(resource_id.clone());
        true
    }

    pub(crate) fn take_starting(&mut self, resource_id: &ResourceId) -> bool {
        self.starting.remove(resource_id).is_some()
    }

    pub(crate) fn release(&mut self, resource_id: ResourceId) {
        self.releasing.insert(resource_id);
    }

    pub(crate) fn is_releasing(&self, resource_id: &ResourceId) -> bool {
        self.releasing.contains(resource_id)
    }

    /// It has ended. Gives whether that was wanted.
    pub(crate) fn ended(&mut self, resource_id: &ResourceId) -> bool {
        self.early.remove(resource_id);
        self.releasing.remove(resource_id)
    }

    pub(crate) fn failed(&mut self, now: Duration, reason: String, options: &Options) {
        self.last_failure = Some(reason);
        while self.failures.front().is_some_and(|at| now.saturating_sub(*at) >= MINUTE) {
            self.failures.pop_front();
        }
        self.failures.push_back(now);
        if self.failures.len() > options.max_start_failures_per_minute as usize {
            // What is older than the limit needs does not matter any more.
            self.failures.pop_front();
            self.paused_until = now.saturating_add(options.start_retry_pause);
        }
    }

    pub(crate) fn paused_until(&self) -> Duration {
        self.paused_until
    }

    pub(crate) fn last_failure(&self) -> Option<&str> {
        self.last_failure.as_deref()
    }

    /// Workers that did not register in time.
    pub(crate) fn overdue(&self, now: Duration, timeout: Duration) -> Vec<ResourceId> {
        self.starting
            .iter()
            .filter(|(_, since)| since.saturating_add(timeout) <= now)
            .map(|(resource_id, _)| resource_id.clone())
            .collect()
    }

    /// When the first of the starting workers is overdue.
    pub(crate) fn first_overdue(&self, timeout: Duration) -> Option<Duration> {
        self.starting.values().min().map(|since| since.saturating_add(timeout))
    }
}
