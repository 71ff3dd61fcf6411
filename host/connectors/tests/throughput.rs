//! A measurement, not run by default:
//! `HEDDLE_TEXT=<folder> cargo test --release -p heddle-connectors --test throughput -- --ignored --nocapture`

use heddle_connectors::{SourceReader, enumerate_splits};
use heddle_model::plan::ConnectorSpec;
use std::time::Instant;

/// Seconds that the process has computed, in the kernel too.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = text.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks = |index: usize| fields[index].parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / 100.0
}

#[test]
#[ignore = "a measurement"]
fn text_files() {
    let path = std::env::var("HEDDLE_TEXT").expect("HEDDLE_TEXT names a file or a folder");
    let spec = ConnectorSpec { name: "text-files".into(), options: vec![("path".into(), path)] };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    for _ in 0..4 {
        let began = (Instant::now(), cpu_seconds());
        let splits = enumerate_splits(&spec, 1).unwrap();
        let listed = began.0.elapsed();
        let count = splits.len();
        let (rows, bytes) = runtime.block_on(async {
            let mut reader = SourceReader::open(&spec, 32 * 1024).unwrap();
            let (mut rows, mut bytes) = (0, 0);
            for split in splits {
                reader.start(&split).await.unwrap();
                while let Some(batch) = reader.next_batch().await.unwrap() {
                    rows += u64::from(u32::from_le_bytes(batch[4..8].try_into().unwrap()));
                    bytes += batch.len() as u64;
                }
            }
            (rows, bytes)
        });
        let (wall, cpu) = (began.0.elapsed() - listed, cpu_seconds() - began.1 - listed.as_secs_f64());
        println!(
            "{count} splits listed in {listed:?}; {rows} lines, {bytes} bytes of batches: \
             {:.2} GB/s by the clock, {:.2} GB/s of CPU time",
            bytes as f64 / wall.as_secs_f64() / 1e9,
            bytes as f64 / cpu / 1e9
        );
    }
}
