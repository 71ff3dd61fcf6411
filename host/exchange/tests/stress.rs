//! Many producers and consumers on several threads, with small channels,
//! dropped futures and pauses drawn from a printed seed: nothing is lost,
//! doubled or out of order, and no channel holds more than its credit.

use bytes::Bytes;
use heddle_exchange::{GateBuffers, GateEvent, InputGate, PartitionManager, ResultPartition, TrySendError};
use heddle_model::id::{DatasetId, ExecutionAttemptId, JobId, ResourceId, ResultPartitionId, VertexId};
use heddle_model::task::{InputChannelDescriptor, InputGateDescriptor};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;

const PRODUCERS: u32 = 5;
const CONSUMERS: u32 = 4;
const BATCHES: u64 = 400;

fn id(subtask: u32) -> ResultPartitionId {
    let producer = ExecutionAttemptId { job_id: JobId(1), vertex_id: VertexId(1), subtask, attempt: 0 };
    ResultPartitionId { dataset_id: DatasetId(1), producer }
}

/// Batches in flight of each channel: producer × consumers + consumer.
type InFlight = Arc<Vec<AtomicI64>>;

async fn produce(partition: ResultPartition, subtask: u32, in_flight: InFlight, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed ^ u64::from(subtask) << 32);
    let mut numbers = [0_u64; CONSUMERS as usize];
    while numbers.iter().any(|number| *number < BATCHES) {
        let target = random.random_range(0..CONSUMERS);
        let number = &mut numbers[target as usize];
        if *number == BATCHES {
            continue;
        }
        let batch = Bytes::copy_from_slice(&number.to_le_bytes());
        match random.random_range(0..10) {
            // Given up before it has room, or not: the batch must count once.
            0..3 => match partition.try_send(target, batch) {
                Ok(()) => {}
                Err(TrySendError::Full(_)) => {
                    tokio::task::yield_now().await;
                    continue;
                }
                Err(TrySendError::Closed(error)) => panic!("{error}"),
            },
            3..5 => {
                let mut send = std::pin::pin!(partition.send(target, batch));
                tokio::select! {
                    biased;
                    result = &mut send => result.unwrap(),
                    () = tokio::task::yield_now() => continue,
                }
            }
            _ => partition.send(target, batch).await.unwrap(),
        }
        *number += 1;
        in_flight[(subtask * CONSUMERS + target) as usize].fetch_add(1, Ordering::SeqCst);
        if random.random_range(0..50) == 0 {
            tokio::task::yield_now().await;
        }
    }
    partition.finish();
}

async fn consume(mut gate: InputGate, subtask: u32, in_flight: InFlight, capacity: i64, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed ^ u64::from(subtask) << 48);
    let mut expected = [0_u64; PRODUCERS as usize];
    let mut ended = 0;
    loop {
        let event = if random.random_range(0..4) == 0 {
            tokio::select! {
                biased;
                event = gate.next() => event,
                () = tokio::task::yield_now() => continue,
            }
        } else {
            gate.next().await
        };
        match event.unwrap() {
            GateEvent::Batch { channel, batch } => {
                let number = u64::from_le_bytes(batch[..].try_into().unwrap());
                assert_eq!(number, expected[channel as usize], "of channel {channel}");
                expected[channel as usize] += 1;
                let counter = &in_flight[(channel * CONSUMERS + subtask) as usize];
                let queued = counter.fetch_sub(1, Ordering::SeqCst);
                assert!(queued <= capacity + 1, "{queued} batches in a channel of {capacity}");
            }
            GateEvent::EndOfChannel { channel } => {
                assert_eq!(expected[channel as usize], BATCHES);
                ended += 1;
            }
            GateEvent::EndOfGate => break,
        }
        if random.random_range(0..20) == 0 {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(ended, PRODUCERS);
}

async fn run(seed: u64) {
    let capacity = (seed % 4 + 1) as u32;
    let manager = PartitionManager::new(1 << 30);
    let in_flight: InFlight = Arc::new((0..PRODUCERS * CONSUMERS).map(|_| AtomicI64::new(0)).collect());
    let mut tasks = JoinSet::new();
    for consumer in 0..CONSUMERS {
        let channel = |producer| InputChannelDescriptor {
            partition: id(producer),
            subpartition: consumer,
            producer: ResourceId("worker".into()),
        };
        let gate = InputGateDescriptor {
            channels: (0..PRODUCERS).map(channel).collect(),
            data_addresses: Default::default(),
        };
        let (manager, in_flight) = (manager.clone(), in_flight.clone());
        tasks.spawn(async move {
            let buffers = GateBuffers { per_channel: capacity, floating: 0, batch_size: 64 };
            let gate = manager.connect(&gate, buffers, Duration::from_secs(60)).await.unwrap();
            consume(gate, consumer, in_flight, i64::from(capacity), seed).await;
        });
    }
    for producer in 0..PRODUCERS {
        let (manager, in_flight) = (manager.clone(), in_flight.clone());
        tasks.spawn(async move {
            let partition = manager.register(id(producer), CONSUMERS, capacity, 64).unwrap();
            produce(partition, producer, in_flight, seed).await;
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    assert_eq!((manager.partitions(), manager.available_memory()), (0, 1 << 30));
}

#[test]
fn nothing_is_lost_doubled_or_out_of_order() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    for seed in 0..40 {
        println!("seed {seed}");
        runtime.block_on(async {
            tokio::time::timeout(Duration::from_secs(60), run(seed)).await.expect("no channel is stuck")
        });
    }
}
