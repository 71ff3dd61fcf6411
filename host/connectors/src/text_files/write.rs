//! Writes the lines of one subtask's attempt into the job's temporary folder,
//! off the worker threads: one buffer is filled while the other is written.

use super::path_of;
use super::publish::{open_folder, temporary_file, temporary_folder};
use crate::committable::Content;
use crate::{batch_lines, io_failed, panicked};
use cap_std::fs::{Dir, OpenOptions};
use heddle_model::failure::Failure;
use heddle_model::id::ExecutionAttemptId;
use heddle_model::plan::{ConnectorSpec, TransformationId};
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::task::JoinHandle;

/// Written at once: large enough that the hand-over to another thread does
/// not matter.
const BUFFER_SIZE: usize = 512 << 10;

/// A buffer that was written, to be filled again.
type Written = io::Result<(Option<File>, Vec<u8>)>;

pub(crate) struct TextFileWriter {
    folder: Arc<Dir>,
    name: String,
    /// For messages.
    path: PathBuf,
    buffer: Vec<u8>,
    /// Made by the first write: a subtask without a record leaves no file.
    file: Option<File>,
    writing: Option<JoinHandle<Written>>,
    bytes: u64,
}

impl TextFileWriter {
    pub(crate) async fn open(
        spec: &ConnectorSpec,
        sink: TransformationId,
        attempt: ExecutionAttemptId,
    ) -> Result<Self, Failure> {
        let target = path_of(spec);
        let name = temporary_file(sink, attempt);
        let path = target.join(temporary_folder(attempt.job_id)).join(&name);
        let opened = tokio::task::spawn_blocking(move || {
            open_folder(&target)?.open_dir(temporary_folder(attempt.job_id))
        });
        let folder = opened.await.map_err(panicked)?.map_err(|error| {
            io_failed(format!(
                "the output folder of `{}` cannot be opened on this worker: {error}; \
                 all workers and the job master must see the same file system",
                path.display()
            ))
        })?;
        Ok(Self {
            folder: Arc::new(folder),
            name,
            path,
            buffer: Vec::new(),
            file: None,
            writing: None,
            bytes: 0,
        })
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
        let (folder, name, file) = (self.folder.clone(), self.name.clone(), self.file.take());
        self.writing = Some(tokio::task::spawn_blocking(move || write_all(&folder, &name, file, buffer)));
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
        io_failed(format!("the output `{}` cannot be written: {error}", self.path.display()))
    }

    pub(crate) async fn finish(mut self, subtask: u32) -> Result<Content, Failure> {
        if !self.buffer.is_empty() {
            self.write_buffer().await?;
        }
        self.written().await?;
        let Some(file) = self.file.take() else { return Ok(Content::Nothing) };
        let synced = tokio::task::spawn_blocking(move || file.sync_all()).await.map_err(panicked)?;
        synced.map_err(|error| self.failed(&error))?;
        Ok(Content::TextFile { subtask, file: self.name, bytes: self.bytes })
    }

    /// Best effort: what stays is removed when the sink is discarded.
    pub(crate) async fn abort(mut self) {
        let _ = self.written().await;
        let _ = tokio::task::spawn_blocking(move || self.folder.remove_file(&self.name)).await;
    }
}

fn write_all(folder: &Dir, name: &str, file: Option<File>, mut buffer: Vec<u8>) -> Written {
    let mut file = match file {
        Some(file) => file,
        None => {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true);
            folder.open_with(name, &options)?.into_std()
        }
    };
    file.write_all(&buffer)?;
    buffer.clear();
    Ok((Some(file), buffer))
}
