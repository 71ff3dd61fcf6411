//! What a batch costs between two tasks of a process, what an idle task takes,
//! and what validation costs: `cargo bench -p heddle-exchange`; the figures go to
//! standard output.

use bytes::Bytes;
use heddle_exchange::{GateBuffers, GateEvent, InputGate, PartitionManager, ResultPartition};
use heddle_model::id::{DatasetId, ExecutionAttemptId, JobId, ResourceId, ResultPartitionId, VertexId};
use heddle_model::task::{InputChannelDescriptor, InputGateDescriptor};
use std::time::{Duration, Instant};

async fn pair(manager: &PartitionManager, subtask: u32) -> (ResultPartition, InputGate) {
    let producer = ExecutionAttemptId { job_id: JobId(1), vertex_id: VertexId(1), subtask, attempt: 0 };
    let partition = ResultPartitionId { dataset_id: DatasetId(1), producer };
    let producer = ResourceId("worker".into());
    let channels = vec![InputChannelDescriptor { partition, subpartition: 0, producer }];
    let sender = manager.register(partition, 1, 4, 32 * 1024).unwrap();
    let gate = InputGateDescriptor { channels, data_addresses: Default::default() };
    let buffers = GateBuffers { per_channel: 4, floating: 0, batch_size: 32 * 1024 };
    let gate = manager.connect(&gate, buffers, Duration::from_secs(1)).await.unwrap();
    (sender, gate)
}

fn batches_a_second_between_two_tasks() {
    const BATCHES: u64 = 2_000_000;
    for workers in [1, 2] {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(workers)
            .enable_time()
            .build()
            .unwrap();
        let elapsed = runtime.block_on(async {
            let (producer, mut gate) = pair(&PartitionManager::new(1 << 30), 0).await;
            let batch = Bytes::from(vec![0; 32 * 1024]);
            let began = Instant::now();
            let producing = tokio::spawn(async move {
                for _ in 0..BATCHES {
                    producer.send(0, batch.clone()).await.unwrap();
                }
                producer.finish();
                producer.back_pressure().total()
            });
            let consuming = tokio::spawn(async move {
                let mut received = 0;
                while let GateEvent::Batch { .. } = gate.next().await.unwrap() {
                    received += 1;
                }
                received
            });
            assert_eq!(consuming.await.unwrap(), BATCHES);
            println!("back-pressure {:?}", producing.await.unwrap());
            began.elapsed()
        });
        let rate = BATCHES as f64 / elapsed.as_secs_f64() / 1e6;
        println!("{workers} workers: {rate:.2} M batches/s, {:.0} ns each", 1e3 / rate);
    }
}

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

fn idle_tasks() {
    const TASKS: u32 = 100_000;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    runtime.block_on(async {
        let manager = PartitionManager::new(1 << 40);
        let before = resident_bytes();
        let mut producers = Vec::new();
        let mut tasks = tokio::task::JoinSet::new();
        for subtask in 0..TASKS {
            let (producer, mut gate) = pair(&manager, subtask).await;
            producers.push(producer);
            tasks.spawn(async move { gate.next().await });
        }
        tokio::task::yield_now().await;
        println!("{} bytes an idle task", (resident_bytes() - before) / u64::from(TASKS));
    });
}

fn validation_of_a_batch_from_another_process() {
    use heddle_model::batch::{self, BatchBuilder, TextBatchBuilder};
    use heddle_model::element::Column;
    let mut text = TextBatchBuilder::with_capacity(64 * 1024);
    let (text_columns, word_columns) = ([Column::Utf8], [Column::Utf8, Column::Fixed(8)]);
    let mut words = BatchBuilder::new(&word_columns);
    let mut hashes = Vec::new();
    for number in 0..5_000_u32 {
        let word = format!("word{number}");
        text.push(&word);
        words.push(&[word.as_bytes(), &u64::from(number).to_le_bytes()]);
        hashes.push(number);
    }
    words.hashes(&hashes);
    let text = text.finish().unwrap();
    for (name, bytes, columns) in [("words", words.build(), &word_columns[..]), ("text", text, &text_columns)]
    {
        let began = Instant::now();
        for _ in 0..10_000 {
            let view = batch::validate(std::hint::black_box(&bytes), columns).unwrap();
            std::hint::black_box(view.rows());
        }
        println!("{name}: {} bytes, {} records, {:?}", bytes.len(), hashes.len(), began.elapsed() / 10_000);
    }
}

fn main() {
    batches_a_second_between_two_tasks();
    idle_tasks();
    validation_of_a_batch_from_another_process();
}
