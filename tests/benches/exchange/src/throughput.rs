//! Bytes a second: every producer sends full batches to every consumer.

use crate::process::{
    BUFFERS, FLOATING, Other, PATIENCE, PRODUCER, Process, announce, buffers, gate, partition,
};
use anyhow::Result;
use bytes::Bytes;
use heddle_exchange::{GateEvent, InputGate, ResultPartition};
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Bytes of a batch.
pub const BATCH: usize = 64 * 1024;

#[derive(Clone, Copy)]
pub struct Shape {
    pub producers: u32,
    pub consumers: u32,
}

async fn produce(partition: ResultPartition, consumers: u32, time: Duration) -> Result<()> {
    let batch = Bytes::from(vec![7; BATCH]);
    // All channels are read from here on.
    for target in 0..consumers {
        partition.send(target, batch.clone()).await?;
    }
    let end = Instant::now() + time;
    while Instant::now() < end {
        for target in 0..consumers {
            partition.send(target, batch.clone()).await?;
        }
    }
    partition.finish();
    // Its channels are read to the end before this process goes.
    Ok(())
}

pub fn serve(shape: Shape, seconds: f64) -> Result<()> {
    let process = Process::start(PRODUCER)?;
    let mut tasks = JoinSet::new();
    for subtask in 0..shape.producers {
        let partition = process.partitions.register(
            partition(subtask),
            shape.consumers,
            BUFFERS + FLOATING / shape.consumers,
            BATCH as u32,
        )?;
        let task = produce(partition, shape.consumers, Duration::from_secs_f64(seconds));
        tasks.spawn_on(task, process.workers.handle());
    }
    announce(&process.address)?;
    process.workers.block_on(async {
        while let Some(task) = tasks.join_next().await {
            task??;
        }
        // The reader ends this process.
        std::future::pending().await
    })
}

async fn consume(mut gate: InputGate) -> Result<u64> {
    let mut total = 0;
    loop {
        match gate.next().await? {
            GateEvent::Batch { batch, .. } => total += batch.len() as u64,
            GateEvent::EndOfChannel { .. } => {}
            GateEvent::EndOfGate => return Ok(total),
        }
    }
}

/// What a run gave.
pub struct Measured {
    bytes_per_second: f64,
    /// Of both processes. Where others use the machine too, this says more.
    processor_ns_per_batch: f64,
}

impl Measured {
    pub fn new(bytes: u64, time: Duration, processor_seconds: f64) -> Result<Self> {
        let batches = bytes as f64 / BATCH as f64;
        Ok(Self {
            bytes_per_second: bytes as f64 / time.as_secs_f64(),
            processor_ns_per_batch: processor_seconds * 1e9 / batches,
        })
    }

    pub fn print(&self) {
        let row = json!({
            "batch_bytes": BATCH,
            "bytes_per_second": self.bytes_per_second,
            "processor_ns_per_batch": self.processor_ns_per_batch,
        });
        println!("{row}");
    }
}

pub fn measure(shape: Shape, seconds: &str) -> Result<Measured> {
    let (producers, consumers) = (shape.producers.to_string(), shape.consumers.to_string());
    let other = Other::start(&["throughput-producer", &producers, &consumers, seconds])?;
    let process = Process::start("consumer")?;
    process.workers.block_on(async {
        let mut gates = Vec::new();
        for consumer in 0..shape.consumers {
            let descriptor = gate(&other.address, shape.producers, consumer);
            gates.push(process.partitions.connect(&descriptor, buffers(BATCH), PATIENCE).await?);
        }
        let before = other.processor_time()?;
        let began = Instant::now();
        let mut tasks = JoinSet::new();
        for gate in gates {
            tasks.spawn(consume(gate));
        }
        let mut total = 0;
        while let Some(task) = tasks.join_next().await {
            total += task??;
        }
        Measured::new(total, began.elapsed(), other.processor_time()? - before)
    })
}
