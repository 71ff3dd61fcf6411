//! Tasks that only pretend: they take splits, work for a while, tell their
//! states, hand on which splits they saw, fail now and then, and take their
//! time to be cancelled.

use crate::process::Process;
use crate::random::Random;
use crate::world::{JobKind, Partition, World};
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::{JobId, ResultPartitionId};
use heddle_model::job_graph::Distribution;
use heddle_model::job_status::ExecutionState;
use heddle_model::memory::ResourceProfile;
use heddle_model::task::Committable;
use heddle_task_executor::{Ended, JobUsers, TaskContext, TaskOutcome, TaskRunner};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// How long a consumer waits for its producers.
const PARTITION_TIMEOUT: Duration = Duration::from_secs(60);

/// How often a reader looks whether the way to its producer is there.
const LOOK: Duration = Duration::from_secs(10);

/// Runs the tasks of one process.
pub struct Runner {
    pub world: Arc<World>,
    pub process: Arc<Process>,
    pub jobs: JobUsers,
    pub workers: tokio::runtime::Handle,
}

/// Counts the slots whose resources are held.
pub struct Slot(Arc<World>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.state().slots -= 1;
    }
}

impl TaskRunner for Runner {
    type Slot = Arc<Slot>;

    fn slot(&self, _: ResourceProfile) -> Arc<Slot> {
        self.world.state().slots += 1;
        Arc::new(Slot(Arc::clone(&self.world)))
    }

    fn run(&self, slot: Arc<Slot>, context: TaskContext) -> impl Future<Output = TaskOutcome> + use<> {
        let (world, process) = (Arc::clone(&self.world), Arc::clone(&self.process));
        async move {
            let frozen_with = Arc::clone(&process);
            let task = Task::new(world, process, context);
            let outcome = frozen_with.run(task.run()).await;
            drop(slot);
            outcome
        }
    }

    fn workers(&self) -> &tokio::runtime::Handle {
        &self.workers
    }

    fn jobs(&self) -> &JobUsers {
        &self.jobs
    }

    fn release_job(&self, job_id: JobId) -> impl Future<Output = ()> + use<> {
        let mut state = self.world.state();
        state.held.remove(&(self.process.number, job_id));
        let process = self.process.number;
        state.partitions.retain(|(partition, _), at| match at {
            Partition::Open { process: of } | Partition::Finished { process: of, .. } => {
                *of != process || partition.producer.job_id != job_id
            }
        });
        drop(state);
        self.world.partitions_changed.happen();
        std::future::ready(())
    }
}

struct Task {
    world: Arc<World>,
    process: Arc<Process>,
    context: TaskContext,
    kind: JobKind,
    random: Random,
    running: u64,
}

/// Also when the process dies.
impl Drop for Task {
    fn drop(&mut self) {
        self.world.task_ended(self.running);
    }
}

fn peer_gone(what: &str) -> Failure {
    Failure::new(ErrorCode::PeerGone, what)
}

impl Task {
    fn new(world: Arc<World>, process: Arc<Process>, context: TaskContext) -> Self {
        let attempt = context.descriptor.attempt;
        let kind = world.jobs[&attempt.job_id].clone();
        let name = [
            attempt.job_id.0 as u64,
            attempt.vertex_id.0 as u64,
            u64::from(attempt.subtask),
            u64::from(attempt.attempt),
            context.job_master_id.0 as u64,
        ];
        let random = Random::of(world.seed, &name);
        let allocation = context.descriptor.allocation_id;
        let (token, at) = (context.job_master_id, (process.number, process.host.as_str()));
        world.state().held.insert((process.number, attempt.job_id));
        let running = world.task_started(attempt, token, allocation, at, context.cancel.clone());
        Self { world, process, context, kind, random, running }
    }

    async fn run(mut self) -> TaskOutcome {
        let attempt = self.context.descriptor.attempt;
        let cancel = self.context.cancel.clone();
        let result = tokio::select! {
            biased;
            () = cancel.cancelled() => None,
            result = self.work() => Some(result),
        };
        let (result, committables) = match result {
            Some(Ok(splits)) => (Ended::Finished, self.finish(splits)),
            Some(Err(failure)) => {
                self.release();
                if failure.code == ErrorCode::PeerGone {
                    // The peer's own failure says why.
                    let _ = tokio::time::timeout(LOOK, cancel.cancelled()).await;
                }
                (Ended::Failed(failure), Vec::new())
            }
            None => {
                let most = self.kind.cancel_ms_max;
                tokio::time::sleep(self.random.millis(0..most + 1)).await;
                self.release();
                (Ended::Canceled, Vec::new())
            }
        };
        TaskOutcome { attempt, result, committables }
    }

    fn outputs(&self) -> Vec<ResultPartitionId> {
        self.context.descriptor.outputs.iter().map(|output| output.partition).collect()
    }

    fn write(&self, partition: &Partition) {
        let token = self.context.job_master_id;
        let mut state = self.world.state();
        for id in self.outputs() {
            state.partitions.insert((id, token), partition.clone());
        }
        drop(state);
        self.world.partitions_changed.happen();
    }

    fn release(&self) {
        let token = self.context.job_master_id;
        let mut state = self.world.state();
        for id in self.outputs() {
            state.partitions.remove(&(id, token));
        }
        drop(state);
        self.world.partitions_changed.happen();
    }

    /// What is left for consumers and for the job master.
    fn finish(&self, splits: Vec<u32>) -> Vec<Committable> {
        self.write(&Partition::Finished { process: self.process.number, splits: splits.clone() });
        let vertex = &self.context.descriptor.vertex;
        let sinks = vertex.connector_sinks();
        sinks
            .map(|(operator, _)| Committable {
                sink: operator.transformation,
                content: splits.iter().flat_map(|split| split.to_le_bytes()).collect(),
            })
            .collect()
    }

    async fn pause(&mut self) {
        let most = self.kind.work_ms_max;
        let time = self.random.millis(0..most + 1);
        tokio::time::sleep(time).await;
    }

    async fn work(&mut self) -> Result<Vec<u32>, Failure> {
        self.context.tell(ExecutionState::Initializing).await;
        self.write(&Partition::Open { process: self.process.number });
        tokio::time::sleep(self.random.millis(0..500)).await;
        self.context.tell(ExecutionState::Running).await;
        let vertex = Arc::clone(&self.context.descriptor.vertex);
        let splits = match vertex.connector_source() {
            Some(_) => self.read_splits().await?,
            None => self.read_producers().await?,
        };
        if self.kind.streaming {
            // There may always come more.
            std::future::pending::<()>().await;
        }
        Ok(splits)
    }

    async fn read_splits(&mut self) -> Result<Vec<u32>, Failure> {
        let unreachable = |error: heddle_rpc::Error| {
            Failure::new(ErrorCode::WorkerLost, format!("the job master gives no input: {error}"))
        };
        let (rpc, address) = (Arc::clone(&self.context.rpc), self.context.job_master.clone());
        let (token, attempt) = (self.context.job_master_id, self.context.descriptor.attempt);
        let job_master = rpc.job_master(&address).map_err(unreachable)?;
        let mut splits = Vec::new();
        loop {
            let split = job_master.request_next_input_split(token, attempt).await.map_err(unreachable)?;
            let Some(split) = split else { return Ok(splits) };
            self.pause().await;
            if self.random.permille(self.kind.failures) {
                return Err(Failure::new(ErrorCode::OperatorTrap, "a record makes the operator panic"));
            }
            splits.push(split.index);
        }
    }

    /// Waits until all producers are done. A consumer takes of an all-to-all
    /// exchange what its number is due.
    async fn read_producers(&mut self) -> Result<Vec<u32>, Failure> {
        let descriptor = self.context.descriptor.clone();
        let (own, parallelism) = (descriptor.attempt.subtask, descriptor.vertex.parallelism);
        let mut splits = Vec::new();
        for (gate, edge) in descriptor.inputs.iter().zip(&descriptor.vertex.inputs) {
            for channel in &gate.channels {
                let of_partition = self.read(channel.partition).await?;
                splits.extend(of_partition.into_iter().filter(|split| {
                    edge.distribution == Distribution::Pointwise || split % parallelism == own
                }));
            }
        }
        self.pause().await;
        let distinct: BTreeSet<u32> = splits.iter().copied().collect();
        Ok(distinct.into_iter().collect())
    }

    async fn read(&mut self, partition: ResultPartitionId) -> Result<Vec<u32>, Failure> {
        let key = (partition, self.context.job_master_id);
        let began = self.world.script.now();
        let mut was_there = false;
        loop {
            let times = self.world.partitions_changed.get();
            let seen = self.world.state().partitions.get(&key).cloned();
            match seen {
                Some(Partition::Finished { splits, .. }) => return Ok(splits),
                Some(Partition::Open { .. }) => was_there = true,
                None if was_there => return Err(peer_gone("the producer is gone")),
                None if self.world.script.now() - began > PARTITION_TIMEOUT => {
                    return Err(Failure::new(ErrorCode::ConnectionLost, "the producer does not come up"));
                }
                None => {}
            }
            let change = self.world.partitions_changed.wait_for(|now| *now != times);
            let _ = tokio::time::timeout(LOOK, change).await;
        }
    }
}
