//! The loop of one subtask: batches in, flushes when the buffer time-out
//! passed, end of input in order. One thing at a time runs in it.

use crate::gates::{Gates, GatesEvent};
use bytes::Bytes;
use heddle_connectors::SinkWriter;
use heddle_model::batch;
use heddle_model::failure::Failure;
use heddle_task_executor::{Activity, Metrics};
use heddle_wasm::{Instance, PollStatus};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A subtask that always has input gives its worker to others this often, as
/// the epoch tick does to one that computes.
const TIME_SLICE: Duration = Duration::from_millis(10);

/// A connector sink that the guest's emits and the mailbox both reach.
pub(crate) type SharedSink = Arc<tokio::sync::Mutex<SinkWriter>>;

/// What takes the batches of a subtask.
pub(crate) enum Consumer {
    /// The chain in the guest.
    Guest(Box<Instance>),
    /// A lone connector sink.
    Sink(SharedSink),
}

pub(crate) struct Mailbox {
    pub consumer: Consumer,
    pub metrics: Metrics,
    pub buffer_timeout: Duration,
    /// Whether the chain has a sink inside the guest.
    pub has_guest_sink: bool,
    /// When buffered output must be sent at the latest; none: nothing buffered.
    flush_at: Option<Instant>,
    slice_began: Instant,
}

impl Mailbox {
    pub fn new(consumer: Consumer, metrics: Metrics, buffer_timeout: Duration, has_guest_sink: bool) -> Self {
        Self {
            consumer,
            metrics,
            buffer_timeout,
            has_guest_sink,
            flush_at: None,
            slice_began: Instant::now(),
        }
    }

    /// Runs until all inputs have ended.
    pub async fn run_gates(&mut self, gates: &mut Gates) -> Result<(), Failure> {
        loop {
            let Some(event) = until(self.flush_at, gates.next()).await else {
                self.flush().await?;
                continue;
            };
            match event? {
                GatesEvent::Batch { gate, batch } => {
                    self.process(gate, batch).await?;
                }
                GatesEvent::EndOfGate { gate } => {
                    if let Consumer::Guest(guest) = &mut self.consumer {
                        guest.end_input(gate).await.map_err(|error| error.failure())?;
                    }
                }
                GatesEvent::EndOfInput => return Ok(()),
            }
        }
    }

    /// Runs a source that the guest implements, until it has finished.
    pub async fn run_source(&mut self) -> Result<(), Failure> {
        loop {
            let Consumer::Guest(guest) = &mut self.consumer else { return Ok(()) };
            let busy = self.metrics.clock.during(Activity::Busy);
            let status = guest.poll().await.map_err(|error| error.failure())?;
            drop(busy);
            match status {
                PollStatus::More => self.after_work().await?,
                PollStatus::Finished => return Ok(()),
                PollStatus::Idle { ms } => {
                    self.after_work().await?;
                    let wait = tokio::time::sleep(Duration::from_millis(u64::from(ms.max(1))));
                    tokio::pin!(wait);
                    while until(self.flush_at, wait.as_mut()).await.is_none() {
                        self.flush().await?;
                    }
                }
            }
        }
    }

    /// Hands one batch on.
    pub async fn process(&mut self, input: u32, batch: Bytes) -> Result<(), Failure> {
        self.metrics.add_in(batch::row_count(&batch), batch.len());
        let busy = self.metrics.clock.during(Activity::Busy);
        match &mut self.consumer {
            Consumer::Guest(guest) => {
                guest.process(input, &batch).await.map_err(|error| error.failure())?;
                if self.has_guest_sink {
                    self.metrics.sink_reached();
                }
            }
            Consumer::Sink(sink) => {
                self.metrics.sink_reached();
                sink.lock().await.write(&batch).await?;
            }
        }
        drop(busy);
        self.after_work().await
    }

    /// All inputs ended.
    pub async fn finish(&mut self) -> Result<(), Failure> {
        let Consumer::Guest(guest) = &mut self.consumer else { return Ok(()) };
        let busy = self.metrics.clock.during(Activity::Busy);
        guest.finish().await.map_err(|error| error.failure())?;
        drop(busy);
        Ok(())
    }

    pub async fn flush(&mut self) -> Result<(), Failure> {
        self.flush_at = None;
        let Consumer::Guest(guest) = &mut self.consumer else { return Ok(()) };
        let busy = self.metrics.clock.during(Activity::Busy);
        guest.flush().await.map_err(|error| error.failure())?;
        drop(busy);
        Ok(())
    }

    async fn after_work(&mut self) -> Result<(), Failure> {
        let now = Instant::now();
        match self.flush_at {
            None => self.flush_at = Some(now + self.buffer_timeout),
            Some(at) if at <= now => self.flush().await?,
            Some(_) => {}
        }
        if self.buffer_timeout.is_zero() {
            self.flush().await?;
        }
        if now - self.slice_began >= TIME_SLICE {
            tokio::task::yield_now().await;
            self.slice_began = Instant::now();
        }
        Ok(())
    }
}

/// The future's output, or none when the time has come. The future is dropped
/// then, so it must lose nothing by that.
async fn until<F: Future>(time: Option<Instant>, future: F) -> Option<F::Output> {
    match time {
        None => Some(future.await),
        Some(time) => tokio::time::timeout_at(time, future).await.ok(),
    }
}
