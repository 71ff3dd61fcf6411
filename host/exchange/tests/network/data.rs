//! What is sent arrives: in order, once, to its end, within its credit.

use crate::harness::*;
use bytes::Bytes;
use heddle_exchange::{Error, GateBuffers, GateEvent, InputGate, ResultPartition, TrySendError};
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::{DatasetId, ResultPartitionId};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::time::Duration;
use tokio::task::JoinSet;

#[tokio::test]
async fn batches_arrive_in_order_and_the_end_behind_them() {
    let (there, producer, here, mut gate) = pair().await;
    for text in ["a", "b", "c"] {
        producer.send(0, batch(text)).await.unwrap();
    }
    producer.finish();
    assert!(gate.is_remote(0));
    for text in ["a", "b", "c"] {
        assert_eq!(next_text(&mut gate).await, text);
    }
    assert_eq!(soon("the end", gate.next()).await, Ok(GateEvent::EndOfChannel { channel: 0 }));
    assert_eq!(soon("the end", gate.next()).await, Ok(GateEvent::EndOfGate));
    drop((producer, gate));
    there.is_clean().await;
    here.is_clean().await;
    assert_eq!((there.counts().accepted, here.counts().opened), (1, 1));
    assert_eq!(there.counts().broke_protocol, 0);
}

#[tokio::test]
async fn a_partition_that_is_registered_late_is_waited_for() {
    let (there, here) = (Process::start("there").await, Process::start("here").await);
    let descriptor = gate(&[(&there, id(0)), (&there, id(1))], 0);
    let manager = here.manager.clone();
    let connecting = tokio::spawn(async move { manager.connect(&descriptor, GATE, SOON).await });
    until("the request is there", || there.counts().accepted == 1).await;
    let second = there.register(1, 1);
    assert!(!connecting.is_finished());
    let first = there.register(0, 1);
    let mut gate = soon("the gate", connecting).await.unwrap().unwrap();
    first.try_send(0, batch("late")).unwrap();
    assert_eq!(next_text(&mut gate).await, "late");
    drop((first, second));
}

#[tokio::test]
async fn a_process_that_starts_late_is_waited_for() {
    let (reserved, here) = (Process::start("there").await, Process::start("here").await);
    let descriptor = gate(&[(&reserved, id(0))], 0);
    let port = reserved.address.0.rsplit_once(':').unwrap().1.parse::<u16>().unwrap();
    reserved.stop().await;
    let manager = here.manager.clone();
    let connecting = tokio::spawn(async move { manager.connect(&descriptor, GATE, SOON).await });
    tokio::task::yield_now().await;
    let mut late = options("there");
    late.ports = heddle_model::config::value::PortRange::from(port);
    let there = Process::with(late).await;
    let producer = there.register(0, 1);
    producer.try_send(0, batch("hello")).unwrap();
    let mut gate = soon("the gate", connecting).await.unwrap().unwrap();
    assert_eq!(next_text(&mut gate).await, "hello");
    drop(producer);
}

#[tokio::test]
async fn what_is_in_the_same_process_is_handed_over() {
    let (there, here) = (Process::start("there").await, Process::start("here").await);
    let (far, near) = (there.register(0, 1), here.register(1, 1));
    let mut gate = here.connect(&gate(&[(&there, id(0)), (&here, id(1))], 0)).await.unwrap();
    assert_eq!((gate.is_remote(0), gate.is_remote(1)), (true, false));
    far.try_send(0, batch("far")).unwrap();
    near.try_send(0, batch("near")).unwrap();
    let mut texts = [next_text(&mut gate).await, next_text(&mut gate).await];
    texts.sort();
    assert_eq!(texts, ["far", "near"]);
    far.finish();
    near.finish();
    while gate.next().await.unwrap() != GateEvent::EndOfGate {}
    drop((far, near, gate));
    assert_eq!(here.counts().opened, 1);
    there.is_clean().await;
    here.is_clean().await;
}

#[tokio::test]
async fn a_slow_consumer_stops_its_producer_and_the_memory_is_bounded() {
    let (_there, producer, here, mut gate) = pair().await;
    assert_eq!(here.manager.available_memory(), MEMORY - u64::from(BUFFERS * BATCH));
    let full = Bytes::from(vec![7; BATCH as usize]);
    // Credit on both sides, and nothing beyond it.
    let mut sent = 0;
    while let Ok(()) = tokio::time::timeout(Duration::from_millis(300), producer.send(0, full.clone()))
        .await
        .map(Result::unwrap)
    {
        sent += 1;
    }
    assert_eq!(sent, 2 * BUFFERS);
    assert_eq!(here.manager.available_memory(), MEMORY - u64::from(BUFFERS * BATCH));
    let back_pressure = producer.back_pressure();
    assert!(back_pressure.total() > Duration::ZERO);
    let more = tokio::spawn(producer.send(0, full.clone()));
    for _ in 0..sent {
        soon("a batch", gate.next()).await.unwrap();
    }
    soon("room for more", more).await.unwrap().unwrap();
    assert!(!back_pressure.is_waiting());
    soon("a batch", gate.next()).await.unwrap();
}

#[tokio::test]
async fn floating_buffers_are_shared_out_among_channels() {
    let (there, here) = (Process::start("there").await, Process::start("here").await);
    let _producers = [there.register(0, 1), there.register(1, 1), there.register(2, 1)];
    let all: Vec<_> = (0..3).map(|subtask| (&there, id(subtask))).collect();
    let buffers = GateBuffers { floating: 8, ..GATE };
    let gate = here.manager.connect(&gate(&all, 0), buffers, SOON).await.unwrap();
    assert_eq!(here.manager.available_memory(), MEMORY - u64::from(3 * (BUFFERS + 2) * BATCH));
    drop(gate);
    here.is_clean().await;
}

#[tokio::test]
async fn a_channel_that_nobody_reads_does_not_stop_another() {
    let (there, here) = (Process::start("there").await, Process::start("here").await);
    let producer = there.register(0, 2);
    let _idle = here.connect(&gate(&[(&there, id(0))], 0)).await.unwrap();
    let mut busy = here.connect(&gate(&[(&there, id(0))], 1)).await.unwrap();
    while producer.try_send(0, Bytes::from(vec![1; BATCH as usize])) != Err(full()) {
        tokio::task::yield_now().await;
    }
    for number in 0..100 {
        soon("room", producer.send(1, batch(&number.to_string()))).await.unwrap();
        assert_eq!(next_text(&mut busy).await, number.to_string());
    }
    assert_eq!(here.counts().opened, 1, "one connection for both");
}

fn full() -> TrySendError {
    TrySendError::Full(Bytes::from(vec![1; BATCH as usize]))
}

#[tokio::test]
async fn a_batch_above_its_channel_takes_from_the_process_or_fails_its_channel_only() {
    let (there, here) = (Process::start("there").await, Process::start("here").await);
    let producer = there.register(0, 2);
    let mut large = here.connect(&gate(&[(&there, id(0))], 0)).await.unwrap();
    let mut small = here.connect(&gate(&[(&there, id(0))], 1)).await.unwrap();
    let length = 5 << 20;
    producer.send(0, Bytes::from(vec![3; length])).await.unwrap();
    let GateEvent::Batch { batch: received, .. } = soon("it", large.next()).await.unwrap() else { panic!() };
    assert_eq!(received, vec![3; length]);
    until("its memory is free", || {
        here.manager.available_memory() == MEMORY - u64::from(2 * BUFFERS * BATCH)
    })
    .await;

    here.manager.shrink_memory(MEMORY - (1 << 20));
    producer.send(0, Bytes::from(vec![3; length])).await.unwrap();
    let failure = Failure::from(next_error(&mut large).await);
    assert_eq!(failure.code, ErrorCode::NetworkMemory);
    assert!(
        failure.message.starts_with("a batch of 5.0 MiB is larger than its channel (4.0 KiB)"),
        "{failure}"
    );
    producer.send(1, batch("goes on")).await.unwrap();
    assert_eq!(next_text(&mut small).await, "goes on");
    let closed = soon("the producer hears of it", async {
        loop {
            if let Err(error) = producer.send(0, batch("x")).await {
                return error;
            }
        }
    })
    .await;
    assert!(closed.to_string().contains("is larger than its channel"), "{closed}");
}

#[tokio::test]
async fn channels_that_do_not_fit_are_refused_with_the_numbers() {
    let (there, here) = (Process::start("there").await, Process::start("here").await);
    let _producer = there.register(0, 1);
    let descriptor = gate(&[(&there, id(0))], 0);
    let error = here
        .manager
        .connect(&descriptor, GateBuffers { per_channel: 65, floating: 0, batch_size: 1 << 20 }, SOON)
        .await
        .unwrap_err();
    let failure = Failure::from(error);
    assert_eq!(failure.code, ErrorCode::NetworkMemory);
    assert!(failure.message.contains("1 channels of 65 × 1.0 MiB need 65.0 MiB, 64.0 MiB"), "{failure}");
}

#[tokio::test]
async fn a_new_attempt_reads_over_the_same_connection() {
    let (there, producer, here, old_gate) = pair().await;
    producer.try_send(0, batch("of the first attempt")).unwrap();
    drop((producer, old_gate));
    let again = ResultPartitionId { producer: attempt(0, 1), ..id(0) };
    let producer = there.manager.register(again, 1, BUFFERS, BATCH).unwrap();
    let mut gate = here.connect(&gate(&[(&there, again)], 0)).await.unwrap();
    producer.try_send(0, batch("of the second")).unwrap();
    producer.finish();
    assert_eq!(next_text(&mut gate).await, "of the second");
    assert_eq!(gate.next().await, Ok(GateEvent::EndOfChannel { channel: 0 }));
    assert_eq!(here.counts().opened, 1);
    drop((producer, gate));
    there.is_clean().await;
    here.is_clean().await;
}

#[tokio::test]
async fn a_connection_that_nobody_uses_is_closed_and_opened_again_when_needed() {
    let mut quick = options("here");
    let quick_interval = Duration::from_millis(5);
    quick.heartbeat_interval = quick_interval;
    let (there, here) = (Process::start("there").await, Process::with(quick).await);
    let read_one = async |round| {
        let dataset_id = DatasetId(round);
        let partition = ResultPartitionId { dataset_id, ..id(0) };
        let producer = there.manager.register(partition, 1, BUFFERS, BATCH).unwrap();
        let mut gate = here.connect(&gate(&[(&there, partition)], 0)).await.unwrap();
        producer.finish();
        while gate.next().await.unwrap() != GateEvent::EndOfGate {}
    };
    soon("a third connection is opened, as the former ones were closed", async {
        for round in 1.. {
            read_one(round).await;
            if here.counts().opened == 3 {
                break;
            }
            tokio::time::sleep(10 * quick_interval).await;
        }
    })
    .await;
    assert_eq!((here.counts().lost, there.counts().lost), (0, 0));
}

const PRODUCERS: u32 = 10;
const CONSUMERS: u32 = 10;

async fn produce(partition: ResultPartition, batches: u64, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    for number in 0..batches {
        for target in 0..CONSUMERS {
            // From a few bytes to twice what a batch should have.
            let length = if random.random_range(0..4) == 0 { random.random_range(8..2048) } else { 16 };
            let mut bytes = vec![target as u8; length];
            bytes[..8].copy_from_slice(&number.to_le_bytes());
            partition.send(target, Bytes::from(bytes)).await.unwrap();
        }
    }
    partition.finish();
}

async fn consume(mut gate: InputGate, own: u32, batches: u64) {
    let mut expected = vec![0_u64; gate.channels()];
    loop {
        match gate.next().await.unwrap() {
            GateEvent::Batch { channel, batch } => {
                let number = u64::from_le_bytes(batch[..8].try_into().unwrap());
                assert_eq!(number, expected[channel as usize]);
                assert!(batch[8..].iter().all(|byte| *byte == own as u8));
                expected[channel as usize] += 1;
            }
            GateEvent::EndOfChannel { channel } => assert_eq!(expected[channel as usize], batches),
            GateEvent::EndOfGate => return,
        }
    }
}

/// Producers and consumers in each of two processes, all to all.
async fn all_to_all(seed: u64, batches: u64) {
    let processes = [Process::start("a").await, Process::start("b").await];
    let at = |subtask: u32| &processes[(subtask % 2) as usize];
    let all: Vec<_> = (0..PRODUCERS).map(|subtask| (at(subtask), id(subtask))).collect();
    let mut tasks = JoinSet::new();
    for consumer in 0..CONSUMERS {
        let (descriptor, manager) = (gate(&all, consumer), at(consumer).manager.clone());
        tasks.spawn(async move {
            let gate = manager.connect(&descriptor, GATE, SOON).await.unwrap();
            consume(gate, consumer, batches).await;
        });
    }
    for subtask in 0..PRODUCERS {
        let partition = at(subtask).register(subtask, CONSUMERS);
        tasks.spawn(produce(partition, batches, seed ^ u64::from(subtask) << 32));
    }
    while let Some(task) = soon("all tasks", tasks.join_next()).await {
        task.unwrap();
    }
    for process in &processes {
        process.is_clean().await;
        assert_eq!(process.counts().opened, 1);
        assert_eq!(process.counts().broke_protocol, 0);
    }
}

#[test]
fn nothing_is_lost_doubled_or_out_of_order() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    for seed in 0..4 {
        println!("seed {seed}");
        runtime.block_on(all_to_all(seed, 300));
    }
}

#[tokio::test]
async fn a_gate_gives_up_when_its_producers_do_not_come() {
    let (there, here) = (Process::start("there").await, Process::start("here").await);
    let descriptor = gate(&[(&there, id(0))], 0);
    let error = here.manager.connect(&descriptor, GATE, Duration::from_millis(50)).await.unwrap_err();
    assert!(matches!(error, Error::NotRegistered { missing: 1, .. }), "{error}");
    the_request_was_withdrawn(&there, &here).await;
}
