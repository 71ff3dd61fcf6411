//! How long a record is under way, from its making in one process to its
//! arrival in another: at a tenth of the records that can be sent one by one,
//! with a batch sent when it is full or when its oldest record has waited for
//! the buffer time-out, as a task's mailbox does it.

use crate::process::{
    BUFFERS, FLOATING, Other, PATIENCE, PRODUCER, Process, announce, buffers, gate, partition,
};
use anyhow::{Context, Result};
use bytes::{Bytes, BytesMut};
use heddle_exchange::{GateEvent, ResultPartition};
use serde_json::json;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Bytes of a record; the first eight are the time at which it was made.
const RECORD: usize = 100;
const BATCH: usize = 32 * 1024;
/// Records come in bursts, this often.
const BURST: Duration = Duration::from_millis(1);
/// Part of the greatest rate.
const LOAD: f64 = 0.1;
/// Before this nothing counts: connections and caches are cold.
const WARM_UP: Duration = Duration::from_millis(300);

/// Nanoseconds since the epoch; both processes are on one machine.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64
}

/// As many as go, one a batch.
async fn flood(partition: &ResultPartition, time: Duration) -> Result<()> {
    let end = Instant::now() + time;
    let batch = Bytes::from(vec![0; RECORD]);
    while Instant::now() < end {
        for _ in 0..100 {
            partition.send(0, batch.clone()).await?;
        }
    }
    Ok(())
}

async fn produce(partition: &ResultPartition, timeout: Duration, rate: f64, time: Duration) -> Result<()> {
    let began = tokio::time::Instant::now();
    let mut ticks = tokio::time::interval(BURST);
    let mut batch = BytesMut::with_capacity(BATCH);
    let mut flush_at = None;
    let mut made = 0.0;
    while began.elapsed() < time {
        let tick = async {
            match flush_at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = tick => {}
            _ = ticks.tick() => {
                while made < began.elapsed().as_secs_f64() * rate {
                    made += 1.0;
                    batch.extend_from_slice(&now().to_le_bytes());
                    batch.resize(batch.len() + RECORD - 8, 0);
                    if timeout.is_zero() || batch.len() + RECORD > BATCH {
                        partition.send(0, batch.split().freeze()).await?;
                        flush_at = None;
                    } else {
                        flush_at.get_or_insert_with(|| tokio::time::Instant::now() + timeout);
                    }
                }
                continue;
            }
        }
        flush_at = None;
        partition.send(0, batch.split().freeze()).await?;
    }
    Ok(())
}

/// A rate of 0: as fast as it goes.
pub fn serve(timeout_ms: u64, rate: f64, seconds: f64) -> Result<()> {
    let process = Process::start(PRODUCER)?;
    let partition = process.partitions.register(partition(0), 1, BUFFERS + FLOATING, BATCH as u32)?;
    announce(&process.address)?;
    let (timeout, time) = (Duration::from_millis(timeout_ms), Duration::from_secs_f64(seconds));
    process.workers.block_on(async {
        let producing = process.workers.spawn(async move {
            // Read from here on.
            while partition.back_pressure().total().is_zero() {
                partition.send(0, Bytes::from(vec![0; RECORD])).await?;
            }
            match rate > 0.0 {
                true => produce(&partition, timeout, rate, time).await?,
                false => flood(&partition, time).await?,
            }
            partition.finish();
            anyhow::Ok(())
        });
        producing.await??;
        std::future::pending().await
    })
}

struct Received {
    records: u64,
    time: Duration,
    /// Nanoseconds of each record behind the warm-up.
    latencies: Vec<u64>,
}

fn receive(timeout_ms: u64, rate: f64, seconds: f64) -> Result<Received> {
    let arguments = [timeout_ms.to_string(), rate.to_string(), seconds.to_string()];
    let other = Other::start(&["latency-producer", &arguments[0], &arguments[1], &arguments[2]])?;
    let process = Process::start("consumer")?;
    process.workers.block_on(async {
        let descriptor = gate(&other.address, 1, 0);
        let mut gate = process.partitions.connect(&descriptor, buffers(BATCH), PATIENCE).await?;
        process
            .workers
            .spawn(async move {
                let began = Instant::now();
                let (mut records, mut latencies) = (0, Vec::new());
                loop {
                    let GateEvent::Batch { batch, .. } = gate.next().await? else { break };
                    let (arrived, warm) = (now(), began.elapsed() > WARM_UP);
                    for record in batch.chunks_exact(RECORD) {
                        records += 1;
                        let made = record.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes));
                        if warm && made > 0 {
                            latencies.push(arrived.saturating_sub(made));
                        }
                    }
                }
                Ok(Received { records, time: began.elapsed(), latencies })
            })
            .await?
    })
}

pub fn run(timeout_ms: u64, seconds: f64) -> Result<()> {
    let flood = receive(timeout_ms, 0.0, 1.0)?;
    let most = flood.records as f64 / flood.time.as_secs_f64();
    let rate = most * LOAD;
    let mut latencies = receive(timeout_ms, rate, seconds)?.latencies;
    latencies.sort_unstable();
    let quantile = |part: f64| -> Result<f64> {
        let index = ((latencies.len() as f64 * part) as usize).min(latencies.len().saturating_sub(1));
        Ok(*latencies.get(index).context("no record arrived")? as f64 / 1e6)
    };
    let row = json!({
        "buffer_timeout_ms": timeout_ms,
        "records_per_second_at_most": most,
        "records_per_second": rate,
        "records": latencies.len(),
        "p50_ms": quantile(0.5)?,
        "p99_ms": quantile(0.99)?,
        "max_ms": quantile(1.0)?,
    });
    println!("{row}");
    Ok(())
}
