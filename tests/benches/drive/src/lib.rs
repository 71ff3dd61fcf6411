//! Drives the chains of a job on one thread, batch by batch, the same way with
//! and without the sandbox: what differs is the sandbox. Knows neither
//! wasmtime nor the SDK.

use anyhow::{Context, Result, bail};
use heddle_model::failure::Failure;
use heddle_model::id::OperatorId;
use heddle_model::job_graph::{JobGraph, JobVertex, OutputTarget};
use heddle_model::key_group::key_groups_of;
use heddle_state::{KeyedStateBackend, ManagedMemory};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// State of all keys of a benchmark fits in; a leak would not.
const STATE_MAX: u64 = 4 << 30;
/// Compiled code is mapped, caches are warm.
const WARM_UP: Duration = Duration::from_secs(1);
/// Sources are polled so often before the clock is looked at.
const POLLS: u32 = 16;

/// The host's side of a subtask: what it sent, its state, its counts.
pub struct Outbox {
    batches: Vec<Vec<u8>>,
    spare: Vec<Vec<u8>>,
    counted: i64,
    operators: HashMap<u32, OperatorId>,
    state: KeyedStateBackend,
}

impl Outbox {
    /// Of the only subtask of a chain.
    pub fn new(vertex: &JobVertex) -> Self {
        let groups = key_groups_of(0, 1, vertex.max_parallelism);
        let memory = ManagedMemory::new(STATE_MAX);
        Self {
            batches: Vec::new(),
            spare: Vec::new(),
            counted: 0,
            operators: vertex.operators.iter().map(|op| (op.transformation, op.id)).collect(),
            state: KeyedStateBackend::new(groups, vertex.max_parallelism, memory),
        }
    }

    /// Takes a batch that was emitted.
    pub fn emit(&mut self, batch: &[u8]) {
        let mut copy = self.spare.pop().unwrap_or_default();
        copy.clear();
        copy.extend_from_slice(batch);
        self.batches.push(copy);
    }

    /// Adds what a counter of the job counted.
    pub fn count(&mut self, values: &[(String, i64)]) {
        self.counted += values.iter().map(|(_, value)| value).sum::<i64>();
    }

    pub fn register_state(&mut self, operator: u32, name: &str) -> Result<u32, Failure> {
        let id = self.operators.get(&operator).copied().unwrap_or(OperatorId(u128::from(operator)));
        self.state.register(id, name).map_err(|error| error.failure("bench"))
    }

    pub fn get_many(&self, state: u32, keys: &[u8]) -> Result<Vec<u8>, Failure> {
        self.state.get_many(state, keys).map_err(|error| error.failure("bench"))
    }

    pub fn put_many(&mut self, state: u32, entries: &[u8]) -> Result<(), Failure> {
        self.state.put_many(state, entries).map_err(|error| error.failure("bench"))
    }

    pub fn scan(&self, state: u32, cursor: u64, max_bytes: u32) -> Result<(Vec<u8>, Option<u64>), Failure> {
        self.state.scan(state, cursor, max_bytes).map_err(|error| error.failure("bench"))
    }
}

/// A subtask in or out of the sandbox.
pub trait Subtask {
    /// Lets a source produce about a batch. False: it has ended.
    fn poll(&mut self) -> Result<bool>;
    fn process(&mut self, batch: &[u8]) -> Result<()>;
    fn flush(&mut self) -> Result<()>;
    /// Gives the host's side of it.
    fn outbox<R>(&mut self, with: impl FnOnce(&mut Outbox) -> R) -> R;
}

/// The chains of a graph, from the source to the sink, if they form one line.
pub fn line_of(graph: &JobGraph) -> Result<Vec<&JobVertex>> {
    for (index, vertex) in graph.vertices.iter().enumerate() {
        let last = index + 1 == graph.vertices.len();
        let targets: Vec<_> = vertex.outputs.iter().map(|output| &output.target).collect();
        match (targets.as_slice(), last) {
            ([], true) => {}
            ([OutputTarget::Dataset { consumer, .. }], false)
                if *consumer == graph.vertices[index + 1].id => {}
            _ => bail!("the chain `{}` does not lead to the next one", vertex.name),
        }
    }
    Ok(graph.vertices.iter().collect())
}

/// What was measured.
pub struct Measured {
    /// What the job counted.
    pub counted: i64,
    /// CPU time of this thread: other processes may be busy.
    pub cpu: Duration,
}

impl Measured {
    pub fn json(&self) -> String {
        let seconds = self.cpu.as_secs_f64();
        serde_json::json!({
            "counted": self.counted,
            "cpu_seconds": seconds,
            "rate": self.counted as f64 / seconds,
        })
        .to_string()
    }
}

/// Runs the line for a time and counts.
pub fn measure<S: Subtask>(line: &mut [S], time: Duration) -> Result<Measured> {
    run(line, WARM_UP)?;
    run(line, time)
}

fn run<S: Subtask>(line: &mut [S], time: Duration) -> Result<Measured> {
    let mut moving = Vec::new();
    let (start, cpu) = (Instant::now(), thread_cpu()?);
    while start.elapsed() < time {
        for _ in 0..POLLS {
            if !line[0].poll()? {
                bail!("the source ended before the time was over; give it more records");
            }
            hand_on(line, &mut moving)?;
        }
    }
    for index in 0..line.len() {
        line[index].flush()?;
        hand_on(line, &mut moving)?;
    }
    let cpu = thread_cpu()? - cpu;
    let counted = line.iter_mut().map(|subtask| subtask.outbox(|out| std::mem::take(&mut out.counted))).sum();
    Ok(Measured { counted, cpu })
}

/// Takes every batch as far as it goes.
fn hand_on<S: Subtask>(line: &mut [S], moving: &mut Vec<Vec<u8>>) -> Result<()> {
    for index in 1..line.len() {
        line[index - 1].outbox(|out| std::mem::swap(&mut out.batches, moving));
        for batch in moving.iter() {
            line[index].process(batch)?;
        }
        line[index - 1].outbox(|out| out.spare.append(moving));
    }
    Ok(())
}

fn thread_cpu() -> Result<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds = text.split_whitespace().next().and_then(|n| n.parse().ok());
    Ok(Duration::from_nanos(nanoseconds.context("/proc/thread-self/schedstat has no number")?))
}
