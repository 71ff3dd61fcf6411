//! The `print` sink: lines to the console of the worker.

use crate::{batch_lines, io_failed, panicked};
use heddle_model::failure::Failure;
use heddle_model::plan::ConnectorSpec;
use std::io;
use std::sync::Arc;

/// Where `print` writes; standard output in the CLI.
pub trait Console: Send + Sync {
    /// Writes whole lines, each with its `\n`. May block.
    fn write(&self, lines: &str) -> io::Result<()>;
}

pub(crate) struct PrintWriter {
    console: Arc<dyn Console>,
    /// `prefix:2> `, as in Flink: the sink's prefix, the subtask from 1 on if
    /// there are several.
    prefix: String,
}

impl PrintWriter {
    pub(crate) fn new(
        spec: &ConnectorSpec,
        subtask: u32,
        parallelism: u32,
        console: Arc<dyn Console>,
    ) -> Self {
        let number = (parallelism > 1).then(|| (subtask + 1).to_string());
        let parts: Vec<&str> = spec.option("prefix").into_iter().chain(number.as_deref()).collect();
        let prefix = if parts.is_empty() { String::new() } else { format!("{}> ", parts.join(":")) };
        Self { console, prefix }
    }

    pub(crate) async fn write(&mut self, batch: &[u8]) -> Result<(), Failure> {
        let mut text = String::with_capacity(batch.len());
        for line in batch_lines::lines(batch)? {
            text.push_str(&self.prefix);
            text.push_str(&String::from_utf8_lossy(line));
            text.push('\n');
        }
        // A console can be a pipe that nobody reads.
        let console = self.console.clone();
        let written = tokio::task::spawn_blocking(move || console.write(&text)).await.map_err(panicked)?;
        written.map_err(|error| io_failed(format!("the `print` sink cannot write to the console: {error}")))
    }
}
