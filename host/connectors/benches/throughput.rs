//! What reading and writing text costs: `HEDDLE_TEXT=<file or folder> cargo bench
//! -p heddle-connectors`; the figures go to standard output.

use heddle_connectors::{Console, SinkWriter, SourceReader, enumerate_splits, prepare_sink, publish_sink};
use heddle_filesystem::FileSystems;
use heddle_model::id::{ExecutionAttemptId, JobId, VertexId};
use heddle_model::plan::ConnectorSpec;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

/// Seconds that the process has computed, in the kernel too.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = text.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks = |index: usize| fields[index].parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / 100.0
}

struct NoConsole;

impl Console for NoConsole {
    fn write(&self, _: &str) -> std::io::Result<()> {
        Ok(())
    }
}

/// Copies the text, as a job of a source and a sink would.
fn text_files_to_text_files(path: &str) {
    let source = ConnectorSpec { name: "text-files".into(), options: vec![("path".into(), path.into())] };
    let files = FileSystems::new(Default::default());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let mut batches = Vec::new();
    runtime.block_on(async {
        let mut reader = SourceReader::open(&source, 32 * 1024, &files).unwrap();
        for split in enumerate_splits(&source, 1, &files).unwrap() {
            reader.start(&split).await.unwrap();
            while let Some(batch) = reader.next_batch().await.unwrap() {
                batches.push(batch);
            }
        }
    });
    let bytes: usize = batches.iter().map(bytes::Bytes::len).sum();
    for _ in 0..3 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap().to_owned();
        let sink = ConnectorSpec { name: "text-files".into(), options: vec![("path".into(), path)] };
        let job_id = JobId(1);
        let attempt = ExecutionAttemptId { job_id, vertex_id: VertexId(1), subtask: 0, attempt: 0 };
        prepare_sink(&sink, job_id, &files).unwrap();
        let began = (Instant::now(), cpu_seconds());
        let committable = runtime.block_on(async {
            let mut writer =
                SinkWriter::open(&sink, 1, 1, attempt, Arc::new(NoConsole), &files).await.unwrap();
            for batch in &batches {
                writer.write(batch).await.unwrap();
            }
            let wall = began.0.elapsed().as_secs_f64();
            println!("written at {:.2} GB/s by the clock", bytes as f64 / wall / 1e9);
            writer.finish().await.unwrap()
        });
        let cpu = cpu_seconds() - began.1;
        println!("with fsync {:?}, {:.2} GB/s of CPU time", began.0.elapsed(), bytes as f64 / cpu / 1e9);
        publish_sink(&sink, job_id, &[committable], &files).unwrap();
    }
}

fn text_files(path: &str) {
    let spec = ConnectorSpec { name: "text-files".into(), options: vec![("path".into(), path.into())] };
    let files = FileSystems::new(Default::default());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    for _ in 0..4 {
        let began = (Instant::now(), cpu_seconds());
        let splits = enumerate_splits(&spec, 1, &files).unwrap();
        let listed = began.0.elapsed();
        let count = splits.len();
        let (rows, bytes) = runtime.block_on(async {
            let mut reader = SourceReader::open(&spec, 32 * 1024, &files).unwrap();
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

fn main() -> ExitCode {
    let Ok(path) = std::env::var("HEDDLE_TEXT") else {
        eprintln!("HEDDLE_TEXT must name a file or a folder of text");
        return ExitCode::FAILURE;
    };
    text_files(&path);
    text_files_to_text_files(&path);
    ExitCode::SUCCESS
}
