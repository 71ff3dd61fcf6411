//! Writes the lines of one subtask's attempt into the job's temporary folder,
//! off the worker threads: one buffer is filled while the other is written.

use super::Place;
use super::publish::{temporary_file, temporary_folder};
use crate::committable::Content;
use crate::{batch_lines, panicked};
use heddle_filesystem::{CreateOptions, FileSystems, Kind, Writer};
use heddle_model::failure::Failure;
use heddle_model::id::ExecutionAttemptId;
use heddle_model::plan::{ConnectorSpec, TransformationId};
use std::io;
use tokio::task::JoinHandle;

/// Written at once: large enough that the hand-over to another thread does
/// not matter.
const BUFFER_SIZE: usize = 512 << 10;

/// A buffer that was written, to be filled again.
type Written = io::Result<(Option<Box<dyn Writer>>, Vec<u8>)>;

pub(crate) struct TextFileWriter {
    place: Place,
    name: String,
    buffer: Vec<u8>,
    /// Made by the first write: a subtask without a record leaves no file.
    file: Option<Box<dyn Writer>>,
    writing: Option<JoinHandle<Written>>,
    bytes: u64,
}

impl TextFileWriter {
    pub(crate) async fn open(
        spec: &ConnectorSpec,
        sink: TransformationId,
        attempt: ExecutionAttemptId,
        files: &FileSystems,
    ) -> Result<Self, Failure> {
        let target = Place::of(spec, files)?;
        let name = temporary_file(sink, attempt);
        let folder = target.join(&temporary_folder(attempt.job_id));
        let place = folder.join(&name);
        let looked = tokio::task::spawn_blocking(move || match folder.system.status(&folder.path) {
            Ok(status) if status.kind != Kind::Folder => Err(io::ErrorKind::NotADirectory.into()),
            looked => looked,
        });
        looked.await.map_err(panicked)?.map_err(|error| {
            let message = format!(
                "the output folder of `{}` cannot be opened on this worker: {error}; \
                 all workers and the job master must see the same file system",
                place.show()
            );
            place.failed(message, &error)
        })?;
        Ok(Self { place, name, buffer: Vec::new(), file: None, writing: None, bytes: 0 })
    }

    pub(crate) async fn write(&mut self, batch: &[u8]) -> Result<(), Failure> {
        for line in batch_lines::lines(batch)? {
            self.buffer.extend_from_slice(line);
            self.buffer.push(b'\n');
        }
        if self.buffer.len() >= BUFFER_SIZE {
            self.write_buffer().await?;
        }
        Ok(())
    }

    /// Starts to write the buffer, as soon as the one before is written.
    async fn write_buffer(&mut self) -> Result<(), Failure> {
        let emptied = self.written().await?;
        let buffer = std::mem::replace(&mut self.buffer, emptied);
        self.bytes += buffer.len() as u64;
        let (place, file) = (self.place.clone(), self.file.take());
        self.writing = Some(tokio::task::spawn_blocking(move || write_all(&place, file, buffer)));
        Ok(())
    }

    /// Waits for the write that goes on; gives its buffer, emptied.
    async fn written(&mut self) -> Result<Vec<u8>, Failure> {
        let Some(writing) = &mut self.writing else { return Ok(Vec::new()) };
        let result = writing.await;
        self.writing = None;
        let (file, buffer) = result.map_err(panicked)?.map_err(|error| self.failed(&error))?;
        self.file = file;
        Ok(buffer)
    }

    fn failed(&self, error: &io::Error) -> Failure {
        self.place.failed(format!("the output `{}` cannot be written: {error}", self.place.show()), error)
    }

    pub(crate) async fn finish(mut self, subtask: u32) -> Result<Content, Failure> {
        if !self.buffer.is_empty() {
            self.write_buffer().await?;
        }
        self.written().await?;
        let Some(file) = self.file.take() else { return Ok(Content::Nothing) };
        let synced = tokio::task::spawn_blocking(move || file.finish()).await.map_err(panicked)?;
        synced.map_err(|error| self.failed(&error))?;
        Ok(Content::TextFile { subtask, file: self.name, bytes: self.bytes })
    }

    /// Best effort: what stays is removed when the sink is discarded.
    pub(crate) async fn abort(mut self) {
        let _ = self.written().await;
        let place = self.place;
        let _ = tokio::task::spawn_blocking(move || place.system.remove_file(&place.path)).await;
    }
}

fn write_all(place: &Place, file: Option<Box<dyn Writer>>, mut buffer: Vec<u8>) -> Written {
    let mut file = match file {
        Some(file) => file,
        None => place.system.create(&place.path, &CreateOptions::default())?,
    };
    file.write_all(&buffer)?;
    buffer.clear();
    Ok((Some(file), buffer))
}
