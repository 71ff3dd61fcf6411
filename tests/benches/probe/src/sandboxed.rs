//! Subtasks in the sandbox, with a host that keeps what they send.

use anyhow::{Result, bail};
use bench_drive::{Outbox, Subtask};
use heddle_model::batch;
use heddle_model::element::Column;
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::job_graph::{JobGraph, JobVertex, OutputTarget};
use heddle_wasm::{
    CancelFlag, ChainEdge, Component, Emitted, Grants, Instance, InstanceLimits, LogLevel, MemoryBudget,
    PollStatus, Runtime, Task, TaskHost, TaskInput, TaskOutput,
};
use std::sync::{Arc, Mutex};
use std::time::Duration;

struct Host {
    outbox: Arc<Mutex<Outbox>>,
    columns: Vec<Vec<Column>>,
}

impl Host {
    fn with<R>(&self, with: impl FnOnce(&mut Outbox) -> R) -> R {
        with(&mut self.outbox.lock().expect("no holder panics"))
    }
}

impl TaskHost for Host {
    /// Checks the batch, as a task executor does.
    fn emit(&mut self, output: u32, _: u32, batch: &[u8]) -> Result<Emitted, Failure> {
        batch::validate(batch, &self.columns[output as usize])
            .map_err(|error| Failure::new(ErrorCode::ContractViolation, error.to_string()))?;
        self.with(|out| out.emit(batch));
        Ok(Emitted::Done)
    }

    fn state_register(&mut self, operator: u32, name: &str) -> Result<u32, Failure> {
        self.with(|out| out.register_state(operator, name))
    }

    fn state_get_many(&mut self, state: u32, keys: &[u8]) -> Result<Vec<u8>, Failure> {
        self.with(|out| out.get_many(state, keys))
    }

    fn state_put_many(&mut self, state: u32, entries: &[u8]) -> Result<(), Failure> {
        self.with(|out| out.put_many(state, entries))
    }

    fn state_scan(
        &mut self,
        state: u32,
        cursor: u64,
        max_bytes: u32,
    ) -> Result<(Vec<u8>, Option<u64>), Failure> {
        self.with(|out| out.scan(state, cursor, max_bytes))
    }

    fn add_metrics(&mut self, values: Vec<(String, i64)>) {
        self.with(|out| out.count(&values));
    }

    fn log(&mut self, _: LogLevel, target: &str, message: &str) {
        eprintln!("{target}: {message}");
    }
}

/// A live instance with its host's side.
pub struct Sandboxed<'r> {
    /// Runs the calls; absent where the caller is async itself.
    runtime: Option<&'r tokio::runtime::Runtime>,
    pub instance: Instance,
    outbox: Arc<Mutex<Outbox>>,
}

impl<'r> Sandboxed<'r> {
    /// Brings the only subtask of a vertex to life.
    pub async fn open(
        sandbox: &Runtime,
        component: &Component,
        memory: &Arc<MemoryBudget>,
        graph: &JobGraph,
        vertex: &JobVertex,
        runtime: Option<&'r tokio::runtime::Runtime>,
    ) -> Result<Self> {
        let outbox = Arc::new(Mutex::new(Outbox::new(vertex)));
        let columns = vertex.outputs.iter().map(|output| output.element.columns.clone()).collect();
        let host = Host { outbox: outbox.clone(), columns };
        let limits = InstanceLimits {
            memory: memory.clone(),
            call_timeout: Duration::from_secs(60),
            log_lines_per_second: 100,
            grants: Grants::default(),
            cancel: CancelFlag::new(),
            wall_clock_ms: 0,
            random_seed: 1,
            task_name: vertex.name.clone(),
        };
        let mut instance = sandbox.instantiate(component, Box::new(host), limits).await?;
        instance.open(&task(graph, vertex)).await?;
        Ok(Self { runtime, instance, outbox })
    }
}

impl Subtask for Sandboxed<'_> {
    fn poll(&mut self) -> Result<bool> {
        let Some(runtime) = self.runtime else { bail!("driven by calls") };
        Ok(runtime.block_on(self.instance.poll())? != PollStatus::Finished)
    }

    fn process(&mut self, batch: &[u8]) -> Result<()> {
        let Some(runtime) = self.runtime else { bail!("driven by calls") };
        Ok(runtime.block_on(self.instance.process(0, batch))?)
    }

    fn flush(&mut self) -> Result<()> {
        let Some(runtime) = self.runtime else { bail!("driven by calls") };
        Ok(runtime.block_on(self.instance.flush())?)
    }

    fn outbox<R>(&mut self, with: impl FnOnce(&mut Outbox) -> R) -> R {
        with(&mut self.outbox.lock().expect("no holder panics"))
    }
}

/// The only subtask of a vertex.
fn task(graph: &JobGraph, vertex: &JobVertex) -> Task {
    let outputs = vertex.outputs.iter().map(|output| TaskOutput {
        operator: output.operator,
        side_output: output.side_output.clone(),
        partitioner: output.partitioner.clone(),
        partition: output.partition,
        channels: 1,
        max_parallelism: match &output.target {
            OutputTarget::Dataset { consumer_max_parallelism, .. } => *consumer_max_parallelism,
            OutputTarget::Sink { .. } => vertex.max_parallelism,
        },
        element: output.element.clone(),
    });
    Task {
        program: graph.program.clone(),
        subtask: 0,
        parallelism: 1,
        max_parallelism: vertex.max_parallelism,
        attempt: 0,
        task_name: vertex.name.clone(),
        operators: vertex.operators.iter().map(|op| op.transformation).collect(),
        edges: vertex
            .chain_edges
            .iter()
            .map(|edge| ChainEdge {
                producer: edge.producer,
                side_output: edge.side_output.clone(),
                consumer: edge.consumer,
            })
            .collect(),
        inputs: vertex
            .inputs
            .iter()
            .map(|edge| TaskInput { operator: edge.operator, port: edge.port, element: edge.element.clone() })
            .collect(),
        outputs: outputs.collect(),
        batch_mode: graph.execution.batch_mode,
        batch_size: graph.execution.batch_size,
        state_cache_size: graph.execution.state_cache_size,
        restored: false,
    }
}
