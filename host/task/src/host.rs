//! What a subtask offers its guest: outputs, state, counts, a log. Everything
//! that comes in is checked here before it goes on.

use crate::mailbox::SharedSink;
use crate::subtask::exchange_failure;
use bytes::Bytes;
use heddle_exchange::{ResultPartition, TrySendError};
use heddle_model::batch;
use heddle_model::element::Column;
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::OperatorId;
use heddle_state::KeyedStateBackend;
use heddle_task_executor::{Activity, Metrics};
use heddle_wasm::{Emitted, LogLevel, TaskHost};
use std::collections::HashMap;
use std::sync::Arc;

/// The channel number of `emit` that means all channels.
const ALL_CHANNELS: u32 = u32::MAX;

/// Where the batches of one output go.
pub(crate) enum Target {
    Partition(Arc<ResultPartition>),
    Sink(SharedSink),
}

pub(crate) struct Output {
    pub columns: Vec<Column>,
    /// Key groups are routed by the hash column, so it must be there.
    pub needs_hashes: bool,
    pub channels: u32,
    pub target: Target,
}

pub(crate) struct Host {
    pub task_name: String,
    pub outputs: Vec<Output>,
    pub state: KeyedStateBackend,
    /// The stable id of each operator of the chain.
    pub operators: HashMap<u32, OperatorId>,
    pub metrics: Metrics,
}

fn violation(task: &str, what: impl std::fmt::Display) -> Failure {
    Failure::new(ErrorCode::ContractViolation, format!("the guest of '{task}' broke the contract: {what}"))
}

impl TaskHost for Host {
    fn emit(&mut self, output: u32, channel: u32, batch: &[u8]) -> Result<Emitted, Failure> {
        let Some(out) = self.outputs.get(output as usize) else {
            let count = self.outputs.len();
            return Err(violation(
                &self.task_name,
                format_args!("it emitted to output {output}, the task has {count}"),
            ));
        };
        if channel >= out.channels && channel != ALL_CHANNELS {
            return Err(violation(
                &self.task_name,
                format_args!(
                    "it emitted to channel {channel} of output {output}, which has {}",
                    out.channels
                ),
            ));
        }
        let view = batch::validate(batch, &out.columns).map_err(|error| {
            violation(&self.task_name, format_args!("malformed batch on output {output}: {error}"))
        })?;
        if out.needs_hashes && view.hashes().is_none() {
            return Err(violation(
                &self.task_name,
                format_args!("the batch on output {output} has no hashes, but the output is keyed"),
            ));
        }
        self.metrics.add_out(view.rows(), batch.len());
        let bytes = Bytes::copy_from_slice(batch);
        match &out.target {
            Target::Partition(partition) => send(partition, channel, out.channels, bytes, &self.metrics),
            Target::Sink(sink) => {
                self.metrics.sink_reached();
                let (sink, metrics) = (Arc::clone(sink), self.metrics.clone());
                Ok(Emitted::Wait(Box::pin(async move {
                    let _waiting = metrics.clock.during(Activity::BackPressured);
                    sink.lock().await.write(&bytes).await
                })))
            }
        }
    }

    fn state_register(&mut self, operator: u32, name: &str) -> Result<u32, Failure> {
        let Some(id) = self.operators.get(&operator) else {
            return Err(violation(
                &self.task_name,
                format_args!("state '{name}' for operator {operator}, which is not of this chain"),
            ));
        };
        self.state.register(*id, name).map_err(|error| error.failure(&self.task_name))
    }

    fn state_get_many(&mut self, state: u32, keys: &[u8]) -> Result<Vec<u8>, Failure> {
        self.state.get_many(state, keys).map_err(|error| error.failure(&self.task_name))
    }

    fn state_put_many(&mut self, state: u32, entries: &[u8]) -> Result<(), Failure> {
        self.state.put_many(state, entries).map_err(|error| error.failure(&self.task_name))
    }

    fn state_scan(
        &mut self,
        state: u32,
        cursor: u64,
        max_bytes: u32,
    ) -> Result<(Vec<u8>, Option<u64>), Failure> {
        self.state.scan(state, cursor, max_bytes).map_err(|error| error.failure(&self.task_name))
    }

    fn add_metrics(&mut self, values: Vec<(String, i64)>) {
        if !self.metrics.accumulate(values) {
            tracing::warn!(task = self.task_name, "too many accumulators, further names are dropped");
        }
    }

    fn log(&mut self, level: LogLevel, target: &str, message: &str) {
        heddle_wasm::log_guest_line(&self.task_name, level, target, message);
    }
}

/// Hands a batch to one channel or to all; waits only where there is no credit.
fn send(
    partition: &Arc<ResultPartition>,
    channel: u32,
    channels: u32,
    batch: Bytes,
    metrics: &Metrics,
) -> Result<Emitted, Failure> {
    let targets = if channel == ALL_CHANNELS { 0..channels } else { channel..channel + 1 };
    let mut full = Vec::new();
    for target in targets {
        match partition.try_send(target, batch.clone()) {
            Ok(()) => {}
            Err(TrySendError::Full(batch)) => full.push(partition.send(target, batch)),
            Err(TrySendError::Closed(error)) => return Err(exchange_failure(error)),
        }
    }
    if full.is_empty() {
        return Ok(Emitted::Done);
    }
    let metrics = metrics.clone();
    Ok(Emitted::Wait(Box::pin(async move {
        let _waiting = metrics.clock.during(Activity::BackPressured);
        for send in full {
            send.await.map_err(exchange_failure)?;
        }
        Ok(())
    })))
}
