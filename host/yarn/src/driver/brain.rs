//! Decides what is asked of YARN, and what becomes of its answers. Purely:
//! `step(now, event) -> actions`; time is passed in.
//!
//! Each size of worker has its own priority, so that what is given can be told
//! apart. Counts are absolute, and YARN counts down itself as it gives: a count
//! is sent only when more, or fewer, are wanted.

use crate::driver::causes::cause;
use crate::id::ContainerId;
use crate::masters::{Allocated, Ask, Container};
use crate::token::Token;
use crate::types::{NodeId, Resource};
use heddle_model::memory::WorkerResourceSpec;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

#[derive(Clone, Debug)]
pub enum Event {
    /// A worker is wanted.
    Request {
        spec: WorkerResourceSpec,
        resource: Resource,
    },
    /// A worker is no longer wanted.
    Release(ContainerId),
    Heartbeat(Box<Allocated>),
    /// The heartbeat did not come through; another try may.
    HeartbeatFailed,
    /// The ResourceManager was started again and does not know this master.
    NotRegistered,
    /// It knows it once more. Containers that it may not know yet are told
    /// with heartbeats.
    Registered,
    /// Containers that earlier attempts of this application have left running.
    Recovered {
        containers: Vec<Container>,
        node_tokens: Vec<(NodeId, Token)>,
    },
    /// The node has taken a container, or not.
    Started {
        container: ContainerId,
        error: Option<String>,
    },
    /// Time has passed.
    Tick,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    Heartbeat {
        response_id: i32,
        asks: Vec<Ask>,
        releases: Vec<ContainerId>,
    },
    Register,
    Start {
        container: Box<Container>,
        spec: WorkerResourceSpec,
        token: Token,
    },
    Stop {
        container: ContainerId,
        node: NodeId,
        token: Token,
    },
    WorkerStarted {
        container: ContainerId,
        node: NodeId,
    },
    /// One that an earlier attempt has started.
    WorkerRecovered {
        container: ContainerId,
        node: NodeId,
    },
    StartFailed {
        reason: String,
    },
    WorkerTerminated {
        container: ContainerId,
        reason: String,
        /// It was told to end.
        is_wanted: bool,
    },
    /// The ResourceManager wants the end of the application master.
    Shutdown,
}

/// Between heartbeats.
#[derive(Clone, Copy, Debug)]
pub struct Intervals {
    pub idle: Duration,
    /// While containers are asked for.
    pub pending: Duration,
}

impl Default for Intervals {
    fn default() -> Self {
        Self { idle: Duration::from_secs(5), pending: Duration::from_millis(500) }
    }
}

struct Wanted {
    spec: WorkerResourceSpec,
    resource: Resource,
    count: u32,
}

struct Worker {
    node: NodeId,
    is_ending: bool,
}

pub struct Brain {
    intervals: Intervals,
    maximum: Resource,
    node_label: Option<String>,
    /// By priority, from 1.
    wanted: Vec<Wanted>,
    /// Priorities whose count YARN does not have yet.
    changed: BTreeSet<usize>,
    /// Containers that go back, and are not known to have arrived.
    releases: BTreeSet<ContainerId>,
    /// What the heartbeat under way carries.
    carried: (BTreeSet<usize>, BTreeSet<ContainerId>),
    workers: BTreeMap<ContainerId, Worker>,
    node_tokens: BTreeMap<NodeId, Token>,
    response_id: i32,
    is_busy: bool,
    last: Duration,
}

impl Brain {
    /// `maximum` is the most that one container can have.
    pub fn new(intervals: Intervals, maximum: Resource, node_label: Option<String>) -> Self {
        Self {
            intervals,
            maximum,
            node_label,
            wanted: Vec::new(),
            changed: BTreeSet::new(),
            releases: BTreeSet::new(),
            carried: (BTreeSet::new(), BTreeSet::new()),
            workers: BTreeMap::new(),
            node_tokens: BTreeMap::new(),
            response_id: 0,
            is_busy: false,
            last: Duration::ZERO,
        }
    }

    pub fn step(&mut self, now: Duration, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Request { spec, resource } => self.request(spec, resource, &mut actions),
            Event::Release(id) => self.release(id, &mut actions),
            Event::Heartbeat(allocated) => {
                self.is_busy = false;
                self.carried = Default::default();
                self.heartbeat(*allocated, &mut actions);
            }
            Event::HeartbeatFailed => {
                self.is_busy = false;
                self.send_again();
            }
            Event::NotRegistered => {
                self.send_again();
                actions.push(Action::Register);
            }
            Event::Registered => {
                self.is_busy = false;
                self.response_id = 0;
                // All that it was told before is forgotten.
                self.changed = (0..self.wanted.len()).collect();
            }
            Event::Recovered { containers, node_tokens } => {
                self.node_tokens.extend(node_tokens);
                self.recover(containers, &mut actions);
            }
            Event::Started { container, error: Some(error) } => {
                if self.workers.remove(&container).is_some() {
                    self.releases.insert(container);
                    let reason = format!("its node did not start it: {error}");
                    actions.push(Action::WorkerTerminated { container, reason, is_wanted: false });
                }
            }
            Event::Started { error: None, .. } | Event::Tick => {}
        }
        if !self.is_busy && now >= self.next_heartbeat() {
            self.is_busy = true;
            self.last = now;
            self.carried = (std::mem::take(&mut self.changed), self.releases.clone());
            actions.push(Action::Heartbeat {
                response_id: self.response_id,
                asks: self.carried.0.iter().map(|index| self.ask(*index)).collect(),
                releases: std::mem::take(&mut self.releases).into_iter().collect(),
            });
        }
        actions
    }

    /// When a tick is due.
    pub fn next_heartbeat(&self) -> Duration {
        let is_waiting = self.wanted.iter().any(|wanted| wanted.count > 0);
        let is_soon = is_waiting || !self.changed.is_empty() || !self.releases.is_empty();
        self.last.saturating_add(if is_soon { self.intervals.pending } else { self.intervals.idle })
    }

    /// Whether a heartbeat is under way; then no tick is due.
    pub fn is_busy(&self) -> bool {
        self.is_busy
    }

    fn ask(&self, index: usize) -> Ask {
        let wanted = &self.wanted[index];
        Ask {
            priority: priority(index),
            resource: wanted.resource,
            count: wanted.count,
            node_label: self.node_label.clone(),
        }
    }

    fn send_again(&mut self) {
        let (changed, releases) = std::mem::take(&mut self.carried);
        self.changed.extend(changed);
        self.releases.extend(releases);
    }

    fn request(&mut self, spec: WorkerResourceSpec, resource: Resource, actions: &mut Vec<Action>) {
        if resource.memory_mib > self.maximum.memory_mib || resource.vcores > self.maximum.vcores {
            let reason = format!(
                "a worker needs {resource}, and YARN gives a container no more than {}",
                self.maximum
            );
            actions.push(Action::StartFailed { reason });
            return;
        }
        let known = self.wanted.iter().position(|wanted| wanted.spec == spec && wanted.resource == resource);
        let index = known.unwrap_or_else(|| {
            self.wanted.push(Wanted { spec, resource, count: 0 });
            self.wanted.len() - 1
        });
        self.wanted[index].count += 1;
        self.changed.insert(index);
    }

    fn release(&mut self, id: ContainerId, actions: &mut Vec<Action>) {
        let Some(worker) = self.workers.get_mut(&id).filter(|worker| !worker.is_ending) else { return };
        worker.is_ending = true;
        self.releases.insert(id);
        if let Some(token) = self.node_tokens.get(&worker.node) {
            actions.push(Action::Stop { container: id, node: worker.node.clone(), token: token.clone() });
        }
    }

    fn heartbeat(&mut self, allocated: Allocated, actions: &mut Vec<Action>) {
        self.response_id = allocated.response_id;
        self.node_tokens.extend(allocated.node_tokens);
        for status in &allocated.completed {
            if let Some(worker) = self.workers.remove(&status.id) {
                let (container, reason) = (status.id, cause(status));
                actions.push(Action::WorkerTerminated { container, reason, is_wanted: worker.is_ending });
            }
        }
        self.recover(allocated.recovered, actions);
        for container in allocated.allocated {
            self.take(container, actions);
        }
        if allocated.is_shutdown {
            actions.push(Action::Shutdown);
        }
    }

    /// Workers that run already, and register by themselves.
    fn recover(&mut self, containers: Vec<Container>, actions: &mut Vec<Action>) {
        for Container { id, node, .. } in containers {
            if self.workers.contains_key(&id) || self.releases.contains(&id) {
                continue;
            }
            self.workers.insert(id, Worker { node: node.clone(), is_ending: false });
            actions.push(Action::WorkerRecovered { container: id, node });
        }
    }

    /// A container that YARN gives: for a worker, or back.
    fn take(&mut self, container: Container, actions: &mut Vec<Action>) {
        let index = usize::try_from(container.priority - 1).ok();
        let wanted = index.and_then(|index| self.wanted.get_mut(index)).filter(|wanted| wanted.count > 0);
        let token = self.node_tokens.get(&container.node);
        let (Some(wanted), Some(token)) = (wanted, token) else {
            self.releases.insert(container.id);
            return;
        };
        wanted.count -= 1;
        let worker = Worker { node: container.node.clone(), is_ending: false };
        self.workers.insert(container.id, worker);
        actions.push(Action::WorkerStarted { container: container.id, node: container.node.clone() });
        let (spec, token) = (wanted.spec, token.clone());
        actions.push(Action::Start { container: Box::new(container), spec, token });
    }
}

fn priority(index: usize) -> i32 {
    i32::try_from(index + 1).unwrap_or(i32::MAX)
}
