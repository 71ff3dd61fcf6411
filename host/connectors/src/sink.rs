//! A subtask's end of a sink, whichever connector it is.

use crate::collect::CollectWriter;
use crate::committable::Content;
use crate::print::{Console, PrintWriter};
use crate::registry;
use crate::text_files::TextFileWriter;
use bytes::Bytes;
use heddle_filesystem::FileSystems;
use heddle_model::failure::Failure;
use heddle_model::id::ExecutionAttemptId;
use heddle_model::plan::{ConnectorSpec, TransformationId};
use heddle_model::task::Committable;
use std::fmt;
use std::sync::Arc;

/// What publishing a sink brought to light.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// Of a `collect` sink: its name, and the lines in the order of subtasks.
    pub collected: Option<(String, Vec<String>)>,
}

enum Writer {
    TextFiles(TextFileWriter),
    Print(PrintWriter),
    Collect(CollectWriter),
}

/// Writes the lines of one subtask. Nothing of it shows before `publish_sink`,
/// except on a console. Dropped, it leaves only what publishing or discarding
/// the sink removes.
pub struct SinkWriter {
    sink: TransformationId,
    subtask: u32,
    writer: Writer,
}

impl fmt::Debug for SinkWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SinkWriter(sink {}, subtask {})", self.sink, self.subtask)
    }
}

impl SinkWriter {
    /// `sink` is the sink's transformation, `parallelism` the number of its
    /// subtasks.
    pub async fn open(
        spec: &ConnectorSpec,
        sink: TransformationId,
        parallelism: u32,
        attempt: ExecutionAttemptId,
        console: Arc<dyn Console>,
        files: &FileSystems,
    ) -> Result<Self, Failure> {
        registry::check(spec, false)?;
        let writer = match spec.name.as_str() {
            "text-files" => Writer::TextFiles(TextFileWriter::open(spec, sink, attempt, files).await?),
            "print" => Writer::Print(PrintWriter::new(spec, attempt.subtask, parallelism, console)),
            _ => Writer::Collect(CollectWriter::new(spec)),
        };
        Ok(Self { sink, subtask: attempt.subtask, writer })
    }

    /// Writes a validated batch of one `utf8` column, a line a record. Waits
    /// when the disk is slower. Dropped before its end, it may have written
    /// the batch: it must not be repeated then.
    pub async fn write(&mut self, batch: &Bytes) -> Result<(), Failure> {
        match &mut self.writer {
            Writer::TextFiles(writer) => writer.write(batch).await,
            Writer::Print(writer) => writer.write(batch).await,
            Writer::Collect(writer) => writer.write(batch),
        }
    }

    /// Makes durable what was written, and says what is to be published.
    pub async fn finish(self) -> Result<Committable, Failure> {
        let content = match self.writer {
            Writer::TextFiles(writer) => writer.finish(self.subtask).await?,
            Writer::Print(_) => Content::Nothing,
            Writer::Collect(writer) => writer.finish(self.subtask),
        };
        Ok(content.into_committable(self.sink))
    }

    /// Removes what was written.
    pub async fn abort(self) {
        if let Writer::TextFiles(writer) = self.writer {
            writer.abort().await;
        }
    }
}
