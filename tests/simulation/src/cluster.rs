//! The hosts of a run and the processes on them: started, frozen, killed,
//! started again.

use crate::forger::Forger;
use crate::network::Network;
use crate::process::{Condition, Process, address};
use crate::random::Random;
use crate::script::Script;
use crate::signal::Signal;
use crate::world::World;
use crate::{job_manager, task_executor};
use heddle_model::id::{JobId, JobMasterId, ResourceManagerId};
use heddle_task_executor::ResourceManagerLeader;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long a process that ended by itself stays away.
const RESTART_AFTER: Duration = Duration::from_secs(10);

/// Until a TaskExecutor hears that somebody else leads; some hear of it late.
const NEWS_MS: [std::ops::Range<u64>; 3] = [0..1_000, 0..10_000, 0..60_000];

/// Who leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    pub host: String,
    pub session: ResourceManagerId,
}

/// A job's master, as the process that runs it knows it.
#[derive(Clone)]
pub struct Master {
    pub id: JobMasterId,
    pub handle: heddle_job_master::Handle,
}

/// What the process that leads lets others see.
#[derive(Clone)]
pub struct Leading {
    pub session: ResourceManagerId,
    pub resource_manager: heddle_resource_manager::Handle,
    pub masters: BTreeMap<JobId, Master>,
}

struct Running {
    process: Arc<Process>,
    main: JoinHandle<()>,
    /// Of a JobManager: it leads no more.
    revoked: CancellationToken,
}

struct Host {
    running: Option<Running>,
    /// Slots of a TaskExecutor.
    slots: u32,
    /// How often a process was started on it with a name of its own.
    lives: u32,
    /// Who leads, as its process was told.
    leader: watch::Sender<Option<ResourceManagerLeader>>,
}

struct State {
    random: Random,
    processes: u64,
    epoch: u64,
    hosts: BTreeMap<String, Host>,
    leader: Option<Leader>,
    leading: Option<Leading>,
}

pub struct Cluster {
    pub world: Arc<World>,
    pub network: Arc<Network>,
    pub script: Arc<Script>,
    /// How often a job was submitted.
    pub submitted: Signal<u64>,
    pub forger: Forger,
    state: Mutex<State>,
}

impl Cluster {
    pub fn new(world: Arc<World>, network: Arc<Network>, random: Random, forger: Forger) -> Arc<Self> {
        let state =
            State { random, processes: 0, epoch: 0, hosts: BTreeMap::new(), leader: None, leading: None };
        let script = Arc::clone(&world.script);
        let submitted = Signal::new(0);
        Arc::new(Self { world, network, script, submitted, forger, state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics while it holds the cluster")
    }

    pub fn add_host(&self, name: &str, slots: u32) {
        let host = Host { running: None, slots, lives: 0, leader: watch::Sender::new(None) };
        self.state().hosts.insert(name.to_owned(), host);
    }

    pub fn hosts(&self) -> Vec<String> {
        self.state().hosts.keys().cloned().collect()
    }

    pub fn task_executors(&self) -> Vec<String> {
        self.state().hosts.iter().filter(|(_, host)| host.slots > 0).map(|(name, _)| name.clone()).collect()
    }

    pub fn job_managers(&self) -> Vec<String> {
        self.state().hosts.iter().filter(|(_, host)| host.slots == 0).map(|(name, _)| name.clone()).collect()
    }

    pub fn leader(&self) -> Option<Leader> {
        self.state().leader.clone()
    }

    /// What the leader's process shows, once it serves.
    pub fn leading(&self) -> Option<Leading> {
        let state = self.state();
        let leader = state.leader.as_ref()?;
        state.leading.as_ref().filter(|leading| leading.session == leader.session).cloned()
    }

    pub fn show(&self, session: ResourceManagerId, leading: impl FnOnce() -> Leading) {
        let mut state = self.state();
        if state.leader.as_ref().is_some_and(|leader| leader.session == session) {
            state.leading = Some(leading());
        }
    }

    /// Processes that run, by their number.
    pub fn processes(&self) -> Vec<Arc<Process>> {
        let state = self.state();
        state.hosts.values().filter_map(|host| Some(host.running.as_ref()?.process.clone())).collect()
    }

    fn new_process(&self, host: &str) -> Arc<Process> {
        let number = {
            let mut state = self.state();
            state.processes += 1;
            state.processes
        };
        let process = Process::new(host, number, Arc::clone(&self.network), self.forger);
        self.network.start(&process);
        process
    }

    fn is_running(&self, host: &str) -> bool {
        self.state().hosts.get(host).is_some_and(|host| host.running.is_some())
    }

    /// `again`: it comes back under the name that it had.
    pub fn start_task_executor(self: &Arc<Self>, host: &str, again: bool) {
        if self.is_running(host) {
            return;
        }
        let process = self.new_process(host);
        let (life, slots, leader) = {
            let mut state = self.state();
            let Some(at) = state.hosts.get_mut(host) else { return };
            at.lives += u32::from(!again || at.lives == 0);
            (at.lives, at.slots, at.leader.subscribe())
        };
        let name = format!("{host}.{life}");
        self.script.note(format_args!("{host} starts as {name} with {slots} slots"));
        let cluster = Arc::clone(self);
        let (running, on) = (Arc::clone(&process), host.to_owned());
        let main = tokio::spawn(async move {
            let role = task_executor::run(&cluster, &running, &name, slots, leader);
            running.run(role).await;
            cluster.ended(&on, &running);
        });
        self.put(host, Running { process, main, revoked: CancellationToken::new() });
    }

    fn put(&self, host: &str, running: Running) {
        if let Some(host) = self.state().hosts.get_mut(host) {
            host.running = Some(running);
        }
    }

    /// A TaskExecutor ended by itself.
    fn ended(self: &Arc<Self>, host: &str, process: &Arc<Process>) {
        process.set(Condition::Dead);
        self.world.process_died(process.number);
        if let Some(host) = self.state().hosts.get_mut(host) {
            host.running = None;
        }
        let (cluster, host) = (Arc::clone(self), host.to_owned());
        tokio::spawn(async move {
            tokio::time::sleep(RESTART_AFTER).await;
            cluster.start_task_executor(&host, false);
        });
    }

    /// Makes a process on this host the leader. Who led before is told later.
    pub fn elect(self: &Arc<Self>, host: &str) {
        if self.is_running(host) {
            self.kill(host);
        }
        let process = self.new_process(host);
        let session = {
            let mut state = self.state();
            state.epoch += 1;
            let session = u128::from(state.epoch) << 64 | u128::from(state.random.next());
            ResourceManagerId(session)
        };
        let revoked = CancellationToken::new();
        self.script.note(format_args!("{host} leads, epoch {}", session.0 >> 64));
        {
            let mut state = self.state();
            state.leader = Some(Leader { host: host.to_owned(), session });
            state.leading = None;
        }
        let (cluster, running, stop) = (Arc::clone(self), Arc::clone(&process), revoked.clone());
        let on = host.to_owned();
        let main = tokio::spawn(async move {
            running.run(job_manager::run(&cluster, &running, session, stop)).await;
            running.set(Condition::Dead);
            let mut state = cluster.state();
            let Some(host) = state.hosts.get_mut(&on) else { return };
            if host.running.as_ref().is_some_and(|now| now.process.number == running.number) {
                host.running = None;
            }
        });
        self.put(host, Running { process, main, revoked });
        for host in self.task_executors() {
            let news = {
                let random = &mut self.state().random;
                let range = random.pick(&NEWS_MS).cloned().unwrap_or_default();
                random.millis(range)
            };
            let cluster = Arc::clone(self);
            tokio::spawn(async move {
                tokio::time::sleep(news).await;
                let state = cluster.state();
                if let Some(host) = state.hosts.get(&host) {
                    let leader = state.leader.as_ref();
                    host.leader.send_replace(leader.map(|Leader { host, session }| {
                        (address(host, job_manager::RESOURCE_MANAGER), *session)
                    }));
                }
            });
        }
    }

    /// Tells a JobManager that it leads no more.
    pub fn revoke(&self, host: &str) {
        let state = self.state();
        if let Some(running) = state.hosts.get(host).and_then(|host| host.running.as_ref()) {
            running.revoked.cancel();
        }
    }

    /// As kill -9.
    pub fn kill(&self, host: &str) {
        let Some(running) = self.state().hosts.get_mut(host).and_then(|host| host.running.take()) else {
            return;
        };
        running.process.set(Condition::Dead);
        running.main.abort();
        self.world.process_died(running.process.number);
    }

    /// As SIGSTOP. Gives what to thaw, if there was a process that ran.
    pub fn freeze(&self, host: &str) -> Option<Arc<Process>> {
        let process = self.state().hosts.get(host)?.running.as_ref()?.process.clone();
        (process.condition() == Condition::Running).then(|| process.set(Condition::Frozen))?;
        Some(process)
    }
}
