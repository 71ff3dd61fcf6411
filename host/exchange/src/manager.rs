//! The result partitions of a process: who registered what, and who waits for
//! it. Network memory is set aside here.

use crate::error::Error;
use crate::gate::ReadyList;
use crate::memory::{NetworkMemory, Reservation, in_words};
use crate::network;
use crate::partition::{Partition, ResultPartition};
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::{ExecutionAttemptId, JobId, ResultPartitionId, VertexId};
use heddle_model::task::InputChannelDescriptor;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Instant;
use tokio::sync::Notify;

/// All result partitions of one process. A cheap handle.
#[derive(Clone)]
pub struct PartitionManager {
    manager: Arc<Manager>,
}

pub(crate) struct Manager {
    memory: Arc<NetworkMemory>,
    registry: Mutex<Registry>,
    network: OnceLock<network::Handle>,
}

#[derive(Default)]
struct Registry {
    jobs: HashMap<JobId, JobPartitions>,
    /// Who waits for a partition.
    waiting: HashMap<ResultPartitionId, Vec<Waiter>>,
}

enum Waiter {
    /// A gate of this process; it waits for one at a time.
    Gate(Arc<Notify>),
    /// A channel of a connection.
    Connection(Arc<ReadyList>, u32),
}

impl Waiter {
    fn wake(self) {
        match self {
            Waiter::Gate(gate) => gate.notify_one(),
            Waiter::Connection(ready, channel) => ready.push(channel),
        }
    }
}

#[derive(Default)]
struct JobPartitions {
    partitions: HashMap<ResultPartitionId, Arc<Partition>>,
    by_subtask: HashMap<(VertexId, u32), Vec<ResultPartitionId>>,
}

impl Registry {
    fn get(&self, id: ResultPartitionId) -> Option<&Arc<Partition>> {
        self.jobs.get(&id.producer.job_id)?.partitions.get(&id)
    }

    fn remove(&mut self, id: ResultPartitionId) -> Option<Arc<Partition>> {
        let job = self.jobs.get_mut(&id.producer.job_id)?;
        let partition = job.partitions.remove(&id)?;
        let subtask = (id.producer.vertex_id, id.producer.subtask);
        if let Some(ids) = job.by_subtask.get_mut(&subtask) {
            ids.retain(|known| *known != id);
            if ids.is_empty() {
                job.by_subtask.remove(&subtask);
            }
        }
        if job.partitions.is_empty() {
            self.jobs.remove(&id.producer.job_id);
        }
        Some(partition)
    }

    fn wait_no_more(&mut self, id: ResultPartitionId, is_it: impl Fn(&Waiter) -> bool) {
        if let Some(waiting) = self.waiting.get_mut(&id) {
            waiting.retain(|waiter| !is_it(waiter));
            if waiting.is_empty() {
                self.waiting.remove(&id);
            }
        }
    }

    /// The partitions of a subtask whose attempt number passes the test.
    fn of_subtask(&self, subtask: ExecutionAttemptId, attempts: impl Fn(u32) -> bool) -> Vec<Arc<Partition>> {
        let Some(job) = self.jobs.get(&subtask.job_id) else { return Vec::new() };
        let ids = job.by_subtask.get(&(subtask.vertex_id, subtask.subtask));
        ids.into_iter()
            .flatten()
            .filter(|id| attempts(id.producer.attempt))
            .filter_map(|id| job.partitions.get(id).cloned())
            .collect()
    }
}

impl Manager {
    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().expect("no holder of the registry panics")
    }

    pub(crate) fn forget(&self, id: ResultPartitionId) {
        let removed = self.registry().remove(id);
        drop(removed);
    }
}

impl PartitionManager {
    /// `network_memory`: bytes that all channels of the process may hold.
    pub fn new(network_memory: u64) -> Self {
        Self {
            manager: Arc::new(Manager {
                memory: NetworkMemory::new(network_memory),
                registry: Mutex::default(),
                network: OnceLock::new(),
            }),
        }
    }

    /// More memory: another worker shares the process.
    pub fn grow_memory(&self, bytes: u64) {
        self.manager.memory.grow(bytes);
    }

    /// Less memory; what is in use stays.
    pub fn shrink_memory(&self, bytes: u64) {
        self.manager.memory.shrink(bytes);
    }

    /// Bytes of network memory that no channel holds.
    pub fn available_memory(&self) -> u64 {
        self.manager.memory.available()
    }

    /// Partitions that are registered now.
    pub fn partitions(&self) -> usize {
        self.manager.registry().jobs.values().map(|job| job.partitions.len()).sum()
    }

    /// Makes a partition with its channels. Fails with H3004 when their memory
    /// (`subpartitions × buffers_per_channel × batch_size`) exceeds what is left.
    /// Partitions of earlier attempts of the same subtask are released.
    pub fn register(
        &self,
        id: ResultPartitionId,
        subpartitions: u32,
        buffers_per_channel: u32,
        batch_size: u32,
    ) -> Result<ResultPartition, Failure> {
        let subpartitions = subpartitions.max(1);
        let buffers_per_channel = buffers_per_channel.max(1);
        let superseded = self.manager.registry().of_subtask(id.producer, |n| n < id.producer.attempt);
        release(superseded);

        let reservation = self.set_aside(subpartitions, buffers_per_channel, batch_size)?;
        let partition = Partition::new(
            id,
            subpartitions,
            buffers_per_channel,
            batch_size,
            self.manager.memory.clone(),
            reservation,
            Arc::downgrade(&self.manager),
        );
        let waiting = {
            let mut registry = self.manager.registry();
            if registry.get(id).is_some() {
                return Err(Failure::new(
                    ErrorCode::Internal,
                    format!("the result partition {id} is registered twice"),
                ));
            }
            let job = registry.jobs.entry(id.producer.job_id).or_default();
            job.partitions.insert(id, partition.clone());
            job.by_subtask.entry((id.producer.vertex_id, id.producer.subtask)).or_default().push(id);
            registry.waiting.remove(&id)
        };
        waiting.into_iter().flatten().for_each(Waiter::wake);
        Ok(ResultPartition::new(partition))
    }

    /// Sets aside what channels may hold.
    pub(crate) fn set_aside(
        &self,
        channels: u32,
        buffers_per_channel: u32,
        batch_size: u32,
    ) -> Result<Reservation, Failure> {
        let memory = &self.manager.memory;
        let needed = u64::from(channels)
            .saturating_mul(u64::from(buffers_per_channel))
            .saturating_mul(u64::from(batch_size));
        memory.reserve(needed).ok_or_else(|| {
            Failure::new(
                ErrorCode::NetworkMemory,
                format!(
                    "network memory does not suffice: {channels} channels of {buffers_per_channel} × {} need {}, \
                     {} of {} are left; raise taskmanager.memory.network.fraction and \
                     taskmanager.memory.network.max, or lower the parallelism",
                    in_words(u64::from(batch_size)),
                    in_words(needed),
                    in_words(memory.available()),
                    in_words(memory.total()),
                ),
            )
        })
    }

    pub(crate) fn memory(&self) -> &Arc<NetworkMemory> {
        &self.manager.memory
    }

    /// False if there is one already.
    pub(crate) fn set_network(&self, network: network::Handle) -> bool {
        self.manager.network.set(network).is_ok()
    }

    pub(crate) fn network(&self) -> Option<&network::Handle> {
        self.manager.network.get()
    }

    // --- waiting for partitions

    /// The partitions of these channels, once all are registered.
    pub(crate) async fn await_all(
        &self,
        channels: &[&InputChannelDescriptor],
        deadline: tokio::time::Instant,
    ) -> Result<Vec<(Arc<Partition>, u32)>, Error> {
        let began = Instant::now();
        let mut found: Vec<(Arc<Partition>, u32)> = Vec::with_capacity(channels.len());
        while found.len() < channels.len() {
            let waiting = {
                let mut registry = self.manager.registry();
                for channel in &channels[found.len()..] {
                    let Some(partition) = registry.get(channel.partition) else { break };
                    found.push((partition.clone(), channel.subpartition));
                }
                channels.get(found.len()).map(|channel| {
                    let notify = Arc::new(Notify::new());
                    registry.waiting.entry(channel.partition).or_default().push(Waiter::Gate(notify.clone()));
                    Waiting { manager: &self.manager, partition: channel.partition, notify }
                })
            };
            let Some(waiting) = waiting else { break };
            if tokio::time::timeout_at(deadline, waiting.notify.notified()).await.is_err() {
                let registry = self.manager.registry();
                let missing = channels.iter().filter(|c| registry.get(c.partition).is_none()).count();
                return Err(Error::NotRegistered {
                    partition: waiting.partition,
                    missing,
                    waited: began.elapsed(),
                });
            }
        }
        Ok(found)
    }

    /// A partition; if it is not registered yet, `channel` comes on the list
    /// when it is.
    pub(crate) fn find_or_await(
        &self,
        id: ResultPartitionId,
        ready: &Arc<ReadyList>,
        channel: u32,
    ) -> Option<Arc<Partition>> {
        let mut registry = self.manager.registry();
        let found = registry.get(id).cloned();
        if found.is_none() {
            registry.waiting.entry(id).or_default().push(Waiter::Connection(Arc::clone(ready), channel));
        }
        found
    }

    pub(crate) fn await_no_more(&self, id: ResultPartitionId, ready: &Arc<ReadyList>, channel: u32) {
        let is_it = |waiter: &Waiter| match waiter {
            Waiter::Connection(list, number) => *number == channel && Arc::ptr_eq(list, ready),
            Waiter::Gate(_) => false,
        };
        self.manager.registry().wait_no_more(id, is_it);
    }

    // --- freeing them

    /// Frees what an attempt that ended still holds: its partitions that it
    /// did not finish, and whoever waits at them gets an error. Finished ones
    /// stay until they are read, superseded by a later attempt, or their job
    /// is released.
    pub fn release_attempt(&self, attempt: ExecutionAttemptId) {
        let partitions = self.manager.registry().of_subtask(attempt, |number| number == attempt.attempt);
        release(partitions.into_iter().filter(|partition| !partition.is_finished()));
    }

    /// Frees everything of a job; whoever waits gets an error.
    pub fn release_job(&self, job: JobId) {
        let partitions = self.manager.registry().jobs.remove(&job);
        release(partitions.into_iter().flat_map(|job| job.partitions.into_values()));
    }
}

fn release(partitions: impl IntoIterator<Item = Arc<Partition>>) {
    for partition in partitions {
        partition.abort(&Error::Released { partition: partition.id });
    }
}

/// A gate that waits for a partition; takes itself off the list when dropped.
struct Waiting<'a> {
    manager: &'a Manager,
    partition: ResultPartitionId,
    notify: Arc<Notify>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let is_it = |waiter: &Waiter| match waiter {
            Waiter::Gate(notify) => Arc::ptr_eq(notify, &self.notify),
            Waiter::Connection(..) => false,
        };
        self.manager.registry().wait_no_more(self.partition, is_it);
    }
}
