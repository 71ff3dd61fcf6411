//! All input gates of a subtask as one.

use crate::subtask::exchange_failure;
use bytes::Bytes;
use heddle_exchange::{GateBuffers, GateEvent, InputGate, PartitionManager};
use heddle_model::batch;
use heddle_model::element::Column;
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::job_graph::ExecutionConfig;
use heddle_model::task::TaskDeploymentDescriptor;
use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

pub(crate) enum GatesEvent {
    Batch {
        gate: u32,
        batch: Bytes,
    },
    EndOfGate {
        gate: u32,
    },
    /// All gates have ended.
    EndOfInput,
}

pub(crate) struct Gates {
    gates: Vec<Option<InputGate>>,
    /// What the batches of each gate must look like.
    columns: Vec<Vec<Column>>,
    /// Where the next look starts, so that no gate starves another.
    next: usize,
}

impl Gates {
    /// Connects every gate; waits until all producers are there.
    pub async fn connect(
        partitions: &PartitionManager,
        descriptor: &TaskDeploymentDescriptor,
        execution: &ExecutionConfig,
        timeout: Duration,
    ) -> Result<Self, Failure> {
        let buffers = GateBuffers {
            per_channel: execution.buffers_per_channel,
            floating: execution.floating_buffers,
            batch_size: execution.batch_size,
        };
        let mut gates = Vec::with_capacity(descriptor.inputs.len());
        for gate in &descriptor.inputs {
            let connected = partitions.connect(gate, buffers, timeout).await;
            gates.push(Some(connected.map_err(exchange_failure)?));
        }
        let columns = descriptor.vertex.inputs.iter().map(|edge| edge.element.columns.clone()).collect();
        Ok(Self { gates, columns, next: 0 })
    }

    /// The next event of any gate. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<GatesEvent, Failure> {
        poll_fn(|context| self.poll_next(context)).await
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<GatesEvent, Failure>> {
        let count = self.gates.len();
        let mut open = false;
        for offset in 0..count {
            let index = (self.next + offset) % count;
            let Some(gate) = &mut self.gates[index] else { continue };
            open = true;
            loop {
                match gate.poll_next(context) {
                    Poll::Pending => break,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(exchange_failure(error))),
                    Poll::Ready(Ok(GateEvent::EndOfChannel { .. })) => {}
                    Poll::Ready(Ok(GateEvent::Batch { channel, batch })) => {
                        // One of this process was checked where it left its guest.
                        if gate.is_remote(channel) {
                            check(&batch, self.columns.get(index))?;
                        }
                        self.next = index + 1;
                        return Poll::Ready(Ok(GatesEvent::Batch { gate: index as u32, batch }));
                    }
                    Poll::Ready(Ok(GateEvent::EndOfGate)) => {
                        self.gates[index] = None;
                        return Poll::Ready(Ok(GatesEvent::EndOfGate { gate: index as u32 }));
                    }
                }
            }
        }
        if open { Poll::Pending } else { Poll::Ready(Ok(GatesEvent::EndOfInput)) }
    }
}

/// What comes from another process is not believed.
fn check(batch: &[u8], columns: Option<&Vec<Column>>) -> Result<(), Failure> {
    let columns = columns.map_or(&[][..], Vec::as_slice);
    batch::validate(batch, columns).map(|_| ()).map_err(|error| {
        let message = format!("another TaskExecutor sent a malformed batch: {error}");
        Failure::new(ErrorCode::ConnectionLost, message)
    })
}
