//! The exchange through its public door: order, end, credit, failures,
//! release, memory.

use bytes::Bytes;
use heddle_exchange::{
    Error, GateBuffers, GateEvent, InputGate, PartitionManager, ResultPartition, TrySendError,
};
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::{DatasetId, ExecutionAttemptId, JobId, ResourceId, ResultPartitionId, VertexId};
use heddle_model::task::{InputChannelDescriptor, InputGateDescriptor};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::time::timeout;

const MEMORY: u64 = 1 << 20;
const BATCH: u32 = 1024;
const BUFFERS: GateBuffers = GateBuffers { per_channel: 2, floating: 0, batch_size: BATCH };
const SOON: Duration = Duration::from_secs(10);

fn attempt(subtask: u32, attempt: u32) -> ExecutionAttemptId {
    ExecutionAttemptId { job_id: JobId(7), vertex_id: VertexId(1), subtask, attempt }
}

fn id(subtask: u32) -> ResultPartitionId {
    ResultPartitionId { dataset_id: DatasetId(3), producer: attempt(subtask, 0) }
}

/// A gate over one subpartition of each of these partitions.
fn gate_over(partitions: &[ResultPartitionId], subpartition: u32) -> InputGateDescriptor {
    let channel = |partition: &ResultPartitionId| InputChannelDescriptor {
        partition: *partition,
        subpartition,
        producer: ResourceId("worker".into()),
    };
    InputGateDescriptor {
        channels: partitions.iter().map(channel).collect(),
        data_addresses: Default::default(),
    }
}

async fn connect(manager: &PartitionManager, partitions: &[ResultPartitionId]) -> InputGate {
    manager.connect(&gate_over(partitions, 0), BUFFERS, SOON).await.unwrap()
}

fn batch(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn arrives(channel: u32, text: &str) -> GateEvent {
    GateEvent::Batch { channel, batch: batch(text) }
}

/// A manager, one producer with two buffers a channel, its consumer.
async fn pair() -> (PartitionManager, ResultPartition, InputGate) {
    let manager = PartitionManager::new(MEMORY);
    let producer = manager.register(id(0), 1, 2, BATCH).unwrap();
    let gate = connect(&manager, &[id(0)]).await;
    (manager, producer, gate)
}

async fn is_pending<F: Future>(future: F) -> bool {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|context| std::task::Poll::Ready(future.as_mut().poll(context).is_pending())).await
}

#[tokio::test]
async fn batches_arrive_in_order_and_the_end_behind_them() {
    let (manager, producer, mut gate) = pair().await;
    producer.send(0, batch("a")).await.unwrap();
    producer.send(0, batch("b")).await.unwrap();
    producer.finish();
    assert_eq!(gate.next().await, Ok(arrives(0, "a")));
    assert_eq!(gate.next().await, Ok(arrives(0, "b")));
    assert_eq!(gate.next().await, Ok(GateEvent::EndOfChannel { channel: 0 }));
    assert_eq!(gate.next().await, Ok(GateEvent::EndOfGate));
    assert_eq!(gate.next().await, Ok(GateEvent::EndOfGate));
    drop((producer, gate));
    assert_eq!((manager.partitions(), manager.available_memory()), (0, MEMORY));
}

#[tokio::test]
async fn what_was_sent_before_anybody_connected_is_kept() {
    let manager = PartitionManager::new(MEMORY);
    let producer = manager.register(id(0), 1, 2, BATCH).unwrap();
    producer.try_send(0, batch("early")).unwrap();
    producer.finish();
    drop(producer);
    let mut gate = connect(&manager, &[id(0)]).await;
    assert_eq!(gate.next().await, Ok(arrives(0, "early")));
    assert_eq!(gate.next().await, Ok(GateEvent::EndOfChannel { channel: 0 }));
}

#[tokio::test]
async fn ready_channels_take_turns() {
    let manager = PartitionManager::new(MEMORY);
    let ids = [id(0), id(1)];
    let producers = ids.map(|id| manager.register(id, 1, 4, BATCH).unwrap());
    let mut gate = connect(&manager, &ids).await;
    for text in ["1", "2", "3"] {
        producers[0].try_send(0, batch(text)).unwrap();
    }
    producers[1].try_send(0, batch("x")).unwrap();
    let mut order = Vec::new();
    for _ in 0..4 {
        let GateEvent::Batch { channel, .. } = gate.next().await.unwrap() else { panic!("a batch") };
        order.push(channel);
    }
    assert_eq!(order, [0, 1, 0, 0]);
}

#[tokio::test]
async fn each_subpartition_goes_to_its_consumer_and_a_broadcast_to_all() {
    let manager = PartitionManager::new(MEMORY);
    let producer = manager.register(id(0), 3, 2, BATCH).unwrap();
    let mut gates = Vec::new();
    for subpartition in 0..3 {
        gates.push(manager.connect(&gate_over(&[id(0)], subpartition), BUFFERS, SOON).await.unwrap());
    }
    for subpartition in 0..3 {
        producer.send(subpartition, batch(&subpartition.to_string())).await.unwrap();
    }
    producer.broadcast(batch("all")).await.unwrap();
    for (subpartition, gate) in gates.iter_mut().enumerate() {
        assert_eq!(gate.next().await, Ok(arrives(0, &subpartition.to_string())));
        assert_eq!(gate.next().await, Ok(arrives(0, "all")));
    }
    let unknown = producer.send(3, batch("?")).await.unwrap_err();
    assert_eq!(Failure::from(unknown).code, ErrorCode::ContractViolation);
}

#[tokio::test]
async fn without_credit_a_producer_waits_and_the_wait_is_measured() {
    let (_manager, producer, mut gate) = pair().await;
    producer.try_send(0, batch("1")).unwrap();
    producer.try_send(0, batch("2")).unwrap();
    assert_eq!(producer.try_send(0, batch("3")), Err(TrySendError::Full(batch("3"))));
    let back_pressure = producer.back_pressure();
    assert!(!back_pressure.is_waiting());
    let waiting = tokio::spawn(producer.send(0, batch("3")));
    while !back_pressure.is_waiting() {
        tokio::task::yield_now().await;
    }
    let before = back_pressure.total();
    while back_pressure.total() <= before {
        std::hint::spin_loop();
    }
    assert_eq!(gate.next().await, Ok(arrives(0, "1")));
    timeout(SOON, waiting).await.unwrap().unwrap().unwrap();
    assert!(!back_pressure.is_waiting());
    assert!(back_pressure.total() > before);
    assert_eq!(gate.next().await, Ok(arrives(0, "2")));
    assert_eq!(gate.next().await, Ok(arrives(0, "3")));
}

#[tokio::test]
async fn credit_is_counted_in_bytes_too() {
    let (_manager, producer, mut gate) = pair().await;
    let most = Bytes::from(vec![1; 1500]);
    producer.try_send(0, most.clone()).unwrap();
    assert!(matches!(producer.try_send(0, most.clone()), Err(TrySendError::Full(_))));
    gate.next().await.unwrap();
    producer.try_send(0, most).unwrap();
}

#[tokio::test]
async fn a_batch_above_its_share_takes_from_the_process_or_fails() {
    let manager = PartitionManager::new(10_000);
    let producer = manager.register(id(0), 1, 2, 1000).unwrap();
    let mut gate = connect(&manager, &[id(0)]).await;
    producer.try_send(0, Bytes::from(vec![0; 9000])).unwrap();
    assert_eq!(manager.available_memory(), 1000);
    gate.next().await.unwrap();
    assert_eq!(manager.available_memory(), 8000);
    let failure = Failure::from(producer.send(0, Bytes::from(vec![0; 11_000])).await.unwrap_err());
    assert_eq!(failure.code, ErrorCode::NetworkMemory);
    assert_eq!(
        failure.message,
        "a batch of 10.7 KiB is larger than its channel (2.0 KiB), and only 7.8 KiB of 9.8 KiB of network memory \
         are left: raise taskmanager.memory.network.max, or emit smaller records"
    );
}

#[tokio::test]
async fn channels_that_do_not_fit_are_refused_with_the_numbers() {
    let manager = PartitionManager::new(MEMORY);
    let kept = manager.register(id(0), 100, 4, BATCH).unwrap();
    let failure = manager.register(id(1), 200, 4, BATCH).unwrap_err();
    assert_eq!(failure.code, ErrorCode::NetworkMemory);
    assert_eq!(
        failure.message,
        "network memory does not suffice: 200 channels of 4 × 1.0 KiB need 800.0 KiB, 624.0 KiB of 1.0 MiB are left; \
         raise taskmanager.memory.network.fraction and taskmanager.memory.network.max, or lower the parallelism"
    );
    drop(kept);
    manager.register(id(1), 200, 4, BATCH).unwrap();
    manager.grow_memory(MEMORY);
    manager.register(id(2), 256, 4, BATCH).unwrap();
}

#[tokio::test]
async fn a_producer_that_fails_breaks_its_consumers() {
    let (_manager, producer, mut gate) = pair().await;
    producer.try_send(0, batch("lost")).unwrap();
    producer.fail(Failure::new(ErrorCode::OperatorTrap, "it trapped"));
    let error = gate.next().await.unwrap_err();
    assert!(error.is_consequence());
    assert!(error.to_string().ends_with("is gone: it trapped"), "{error}");
    assert_eq!(gate.next().await.unwrap_err(), error);
    assert_eq!(Failure::from(error).code, ErrorCode::PeerGone);
}

#[tokio::test]
async fn a_producer_dropped_before_its_end_wakes_its_consumer_with_an_error() {
    let (manager, producer, mut gate) = pair().await;
    let waiting = tokio::spawn(async move { gate.next().await });
    tokio::task::yield_now().await;
    drop(producer);
    let error = timeout(SOON, waiting).await.unwrap().unwrap().unwrap_err();
    assert!(error.is_consequence());
    assert_eq!((manager.partitions(), manager.available_memory()), (0, MEMORY));
}

#[tokio::test]
async fn a_consumer_that_goes_away_breaks_its_producers() {
    let (manager, producer, gate) = pair().await;
    producer.try_send(0, batch("1")).unwrap();
    producer.try_send(0, batch("2")).unwrap();
    let waiting = tokio::spawn(producer.send(0, batch("3")));
    tokio::task::yield_now().await;
    gate.fail(Failure::new(ErrorCode::MemoryLimit, "it was full"));
    let error = timeout(SOON, waiting).await.unwrap().unwrap().unwrap_err();
    assert!(error.is_consequence());
    assert!(error.to_string().ends_with("is gone: it was full"), "{error}");
    assert!(matches!(producer.try_send(0, batch("4")), Err(TrySendError::Closed(_))));
    producer.finish();
    assert_eq!((manager.partitions(), manager.available_memory()), (0, MEMORY));
}

#[tokio::test]
async fn futures_that_are_dropped_lose_and_send_nothing() {
    let (_manager, producer, mut gate) = pair().await;
    assert!(is_pending(gate.next()).await);
    producer.try_send(0, batch("1")).unwrap();
    producer.try_send(0, batch("2")).unwrap();
    assert!(is_pending(producer.send(0, batch("never"))).await);
    assert!(!producer.back_pressure().is_waiting());
    producer.finish();
    assert_eq!(gate.next().await, Ok(arrives(0, "1")));
    assert_eq!(gate.next().await, Ok(arrives(0, "2")));
    assert_eq!(gate.next().await, Ok(GateEvent::EndOfChannel { channel: 0 }));
    let late = producer.send(0, batch("late")).await;
    assert_eq!(late, Err(Error::Finished { partition: id(0) }));
}

#[tokio::test]
async fn a_gate_waits_for_all_of_its_producers() {
    let manager = PartitionManager::new(MEMORY);
    let first = manager.register(id(0), 1, 2, BATCH).unwrap();
    let waiting = {
        let manager = manager.clone();
        tokio::spawn(async move { connect(&manager, &[id(0), id(1), id(2)]).await })
    };
    tokio::task::yield_now().await;
    let third = manager.register(id(2), 1, 2, BATCH).unwrap();
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    let second = manager.register(id(1), 1, 2, BATCH).unwrap();
    let mut gate = timeout(SOON, waiting).await.unwrap().unwrap();
    for producer in [first, second, third] {
        producer.finish();
    }
    let mut ended = 0;
    while gate.next().await.unwrap() != GateEvent::EndOfGate {
        ended += 1;
    }
    assert_eq!(ended, 3);
}

#[tokio::test(start_paused = true)]
async fn a_gate_whose_producers_do_not_come_gives_up() {
    let manager = PartitionManager::new(MEMORY);
    let _first = manager.register(id(0), 1, 2, BATCH).unwrap();
    let error = manager
        .connect(&gate_over(&[id(0), id(1), id(2)], 0), BUFFERS, Duration::from_secs(60))
        .await
        .unwrap_err();
    assert!(!error.is_consequence());
    assert!(matches!(error, Error::NotRegistered { missing: 2, .. }), "{error}");
}

#[tokio::test]
async fn a_channel_has_one_consumer() {
    let (manager, _producer, _gate) = pair().await;
    let error = manager.connect(&gate_over(&[id(0)], 0), BUFFERS, SOON).await.unwrap_err();
    assert_eq!(error, Error::AlreadyConnected { partition: id(0), subpartition: 0 });
}

#[tokio::test]
async fn releasing_a_job_frees_everything_and_wakes_whoever_waits() {
    let (manager, producer, mut gate) = pair().await;
    let waiting_gate = tokio::spawn(async move { gate.next().await });
    let full = manager.register(id(1), 1, 1, BATCH).unwrap();
    full.try_send(0, batch("1")).unwrap();
    let waiting_send = tokio::spawn(full.send(0, batch("2")));
    tokio::task::yield_now().await;
    manager.release_job(JobId(7));
    assert_eq!((manager.partitions(), manager.available_memory()), (0, MEMORY));
    let released = |partition| Error::Released { partition };
    assert_eq!(timeout(SOON, waiting_gate).await.unwrap().unwrap(), Err(released(id(0))));
    assert_eq!(timeout(SOON, waiting_send).await.unwrap().unwrap(), Err(released(id(1))));
    drop((producer, full));
}

#[tokio::test]
async fn releasing_an_attempt_keeps_what_it_finished() {
    let manager = PartitionManager::new(MEMORY);
    let other = ResultPartitionId { dataset_id: DatasetId(4), ..id(0) };
    let done = manager.register(id(0), 1, 2, BATCH).unwrap();
    let open = manager.register(other, 1, 2, BATCH).unwrap();
    done.try_send(0, batch("kept")).unwrap();
    done.finish();
    let mut gate = connect(&manager, &[other]).await;
    manager.release_attempt(attempt(0, 0));
    assert_eq!(gate.next().await, Err(Error::Released { partition: other }));
    let mut gate = connect(&manager, &[id(0)]).await;
    assert_eq!(gate.next().await, Ok(arrives(0, "kept")));
    drop(open);
}

#[tokio::test]
async fn a_later_attempt_supersedes_what_nobody_read() {
    let manager = PartitionManager::new(MEMORY);
    let first = manager.register(id(0), 1, 2, BATCH).unwrap();
    first.finish();
    drop(first);
    assert_eq!(manager.partitions(), 1);
    let again = ResultPartitionId { producer: attempt(0, 1), ..id(0) };
    let _second = manager.register(again, 1, 2, BATCH).unwrap();
    assert_eq!(manager.partitions(), 1);
    assert_eq!(manager.available_memory(), MEMORY - 2 * u64::from(BATCH));
}

/// Keeps its worker until something has happened on another one.
fn keep_worker_until(happened: &AtomicBool) {
    let end = Instant::now() + SOON;
    while !happened.load(Ordering::Acquire) {
        assert!(Instant::now() < end, "the other end does not run");
        std::hint::spin_loop();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_runs_while_its_producer_keeps_a_worker() {
    let manager = PartitionManager::new(MEMORY);
    let producer = manager.register(id(0), 1, 4, BATCH).unwrap();
    let mut gate = connect(&manager, &[id(0)]).await;
    let arrived = Arc::new(AtomicBool::new(false));
    let (waits, consumer_waits) = oneshot::channel();
    let consumer = tokio::spawn({
        let arrived = Arc::clone(&arrived);
        async move {
            assert!(is_pending(gate.next()).await);
            waits.send(()).unwrap();
            assert_eq!(gate.next().await, Ok(arrives(0, "a")));
            arrived.store(true, Ordering::Release);
        }
    });
    let producer = tokio::spawn(async move {
        consumer_waits.await.unwrap();
        producer.try_send(0, batch("a")).unwrap();
        producer.try_send(0, batch("b")).unwrap();
        keep_worker_until(&arrived);
        producer
    });
    let _producer = producer.await.unwrap();
    consumer.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_runs_while_its_consumer_keeps_a_worker() {
    let (_manager, producer, mut gate) = pair().await;
    let sent = Arc::new(AtomicBool::new(false));
    let (waits, producer_waits) = oneshot::channel();
    let producer = tokio::spawn({
        let sent = Arc::clone(&sent);
        async move {
            producer.send(0, batch("a")).await.unwrap();
            producer.send(0, batch("b")).await.unwrap();
            let mut third = producer.send(0, batch("c"));
            assert!(is_pending(&mut third).await);
            waits.send(()).unwrap();
            third.await.unwrap();
            sent.store(true, Ordering::Release);
            producer
        }
    });
    let consumer = tokio::spawn(async move {
        producer_waits.await.unwrap();
        assert_eq!(gate.next().await, Ok(arrives(0, "a")));
        keep_worker_until(&sent);
        gate
    });
    let _gate = consumer.await.unwrap();
    producer.await.unwrap();
}
