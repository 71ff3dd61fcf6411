//! A subtask's end of a source: splits in, batches of lines out.

use crate::text_files::{self, SplitReader};
use crate::{invalid, panicked, registry};
use bytes::Bytes;
use heddle_filesystem::FileSystems;
use heddle_model::failure::Failure;
use heddle_model::plan::ConnectorSpec;
use heddle_model::task::InputSplit;
use std::collections::VecDeque;
use std::fmt;
use tokio::task::JoinHandle;

/// The reader comes back with what it read.
type Piece = (SplitReader, Result<Vec<Bytes>, Failure>);

/// Reads splits off the worker threads, one piece of input ahead: while a
/// task works on the batches of one piece, the next one is read.
pub struct SourceReader {
    files: FileSystems,
    batch_size: u32,
    max_line_length: usize,
    ready: VecDeque<Bytes>,
    /// The piece that is being read. A blocking job ends by itself after one
    /// piece; it never waits for the task.
    reading: Option<JoinHandle<Piece>>,
    /// Kept between splits for its buffer.
    idle: Option<SplitReader>,
}

impl fmt::Debug for SourceReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SourceReader({} batches ready)", self.ready.len())
    }
}

impl SourceReader {
    /// `batch_size`: a batch should be about this long, in bytes.
    pub fn open(spec: &ConnectorSpec, batch_size: u32, files: &FileSystems) -> Result<Self, Failure> {
        registry::check(spec, true)?;
        Ok(Self {
            files: files.clone(),
            batch_size,
            max_line_length: text_files::max_line_length(spec),
            ready: VecDeque::new(),
            reading: None,
            idle: None,
        })
    }

    /// Begins with a split. The one before must have ended.
    pub async fn start(&mut self, split: &InputSplit) -> Result<(), Failure> {
        if self.reading.is_some() || !self.ready.is_empty() {
            return Err(invalid("a split was given to a source that still reads the one before"));
        }
        let new = || SplitReader::new(self.files.clone(), self.batch_size as usize, self.max_line_length);
        let mut reader = self.idle.take().unwrap_or_else(new);
        reader.start(split)?;
        self.read_on(reader);
        Ok(())
    }

    /// The next batch of one `utf8` column; none at the end of the split.
    /// Cancel-safe.
    pub async fn next_batch(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                return Ok(Some(batch));
            }
            let Some(reading) = &mut self.reading else { return Ok(None) };
            let finished = reading.await;
            self.reading = None;
            let (reader, batches) = finished.map_err(panicked)?;
            self.ready = batches?.into();
            if reader.is_at_end() {
                self.idle = Some(reader);
            } else {
                self.read_on(reader);
            }
        }
    }

    fn read_on(&mut self, mut reader: SplitReader) {
        self.reading = Some(tokio::task::spawn_blocking(move || {
            let batches = reader.read_piece();
            (reader, batches)
        }));
    }
}
