//! The life of a `text-files` sink's output at the job master: prepared before
//! the job starts, published when all of it has finished, or discarded.
//!
//! Everything unpublished lies in a hidden folder of the job inside of the
//! output folder, so that publishing is one `rename` a file. A note in it says
//! what was there before. Every step may be done again.

use super::path_of;
use crate::committable::Content;
use crate::{invalid, io_failed};
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use heddle_model::failure::Failure;
use heddle_model::id::{ExecutionAttemptId, JobId};
use heddle_model::plan::{ConnectorSpec, TransformationId};
use heddle_model::task::Committable;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;

/// What a published file's name begins with; only such files are replaced.
const PART: &str = "part-";
const NOTE: &str = "prepared.json";

/// What `prepare` found.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Note {
    /// How many folders were made: the output folder, its parent, …
    created: usize,
    /// Files of earlier jobs, to be removed when the new ones are published.
    replaced: Vec<String>,
}

/// Hidden, so that no reader takes its files for output.
pub(super) fn temporary_folder(job: JobId) -> String {
    format!(".heddle-{job}")
}

pub(super) fn temporary_file(sink: TransformationId, attempt: ExecutionAttemptId) -> String {
    format!("{PART}{sink}-{:05}-attempt-{}", attempt.subtask, attempt.attempt)
}

/// The sink's number keeps two sinks of a job apart that share a folder.
fn published_file(sink: TransformationId, subtask: u32) -> String {
    format!("{PART}{subtask:05}-{sink}")
}

pub(super) fn open_folder(path: &Path) -> io::Result<Dir> {
    Dir::open_ambient_dir(path, ambient_authority())
}

fn unless_missing(result: io::Result<()>) -> io::Result<()> {
    result.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

fn names(folder: &Dir) -> io::Result<Vec<String>> {
    folder.entries()?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

/// A `Dir` is open for look-ups only and cannot be synchronised itself.
fn sync(path: &Path) -> io::Result<()> {
    std::fs::File::open(path)?.sync_all()
}

fn write_note(temporary: &Dir, note: &Note) -> io::Result<()> {
    // Renamed into its place: a half-written note would say that nothing was
    // there before.
    let draft = format!("{NOTE}.new");
    temporary.write(&draft, serde_json::to_vec(note)?)?;
    temporary.rename(&draft, temporary, NOTE)
}

fn read_note(temporary: &Dir) -> io::Result<Option<Note>> {
    match temporary.read(NOTE) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

pub(crate) fn prepare(spec: &ConnectorSpec, job: JobId) -> Result<(), Failure> {
    let path = path_of(spec);
    if path.exists() && !path.is_dir() {
        return Err(invalid(format!("the output `{}` is a file; it must be a folder", path.display())));
    }
    let cannot = |error: io::Error| {
        invalid(format!("the output folder `{}` cannot be written: {error}", path.display()))
    };
    let created = path.ancestors().take_while(|part| !part.as_os_str().is_empty() && !part.exists()).count();
    std::fs::create_dir_all(&path).map_err(cannot)?;
    let prepared = prepare_folder(spec, job, &path, created);
    if prepared.is_err() {
        remove_created(&path, created);
    }
    prepared.map_err(cannot)?
}

/// The outer error is the file system's, the inner one what a user must mend.
fn prepare_folder(
    spec: &ConnectorSpec,
    job: JobId,
    path: &Path,
    created: usize,
) -> io::Result<Result<(), Failure>> {
    let folder = open_folder(path)?;
    let temporary_name = temporary_folder(job);
    if let Ok(temporary) = folder.open_dir(&temporary_name)
        && read_note(&temporary)?.is_some()
    {
        return Ok(Ok(()));
    }
    let visible: Vec<String> =
        names(&folder)?.into_iter().filter(|name| !name.starts_with(['.', '_'])).collect();
    let overwrite = spec.option("overwrite") == Some("true");
    if !overwrite && !visible.is_empty() {
        return Ok(Err(invalid(format!(
            "the output folder `{}` is not empty; choose another, or set the sink's option `overwrite` to true",
            path.display()
        ))));
    }
    match folder.create_dir(&temporary_name) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let replaced = visible.into_iter().filter(|name| name.starts_with(PART)).collect();
    write_note(&folder.open_dir(&temporary_name)?, &Note { created, replaced })?;
    Ok(Ok(()))
}

pub(crate) fn publish(spec: &ConnectorSpec, job: JobId, committables: &[Committable]) -> Result<(), Failure> {
    let path = path_of(spec);
    let mut files = Vec::new();
    for committable in committables {
        if let Content::TextFile { subtask, file, bytes } = Content::read(committable)? {
            files.push(Finished { sink: committable.sink, subtask, file, bytes });
        }
    }
    let mut sinks: Vec<TransformationId> = committables.iter().map(|committable| committable.sink).collect();
    sinks.dedup();
    publish_files(&path, job, &files, &sinks).map_err(|error| {
        io_failed(format!("the output in `{}` cannot be published: {error}", path.display()))
    })
}

/// A file that is to be published.
struct Finished {
    sink: TransformationId,
    subtask: u32,
    file: String,
    bytes: u64,
}

fn publish_files(path: &Path, job: JobId, files: &[Finished], sinks: &[TransformationId]) -> io::Result<()> {
    let folder = open_folder(path)?;
    let temporary_name = temporary_folder(job);
    let temporary = match folder.open_dir(&temporary_name) {
        Ok(temporary) => Some(temporary),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let note = temporary.as_ref().map(read_note).transpose()?.flatten();
    let mut published = Vec::new();
    for file in files {
        let name = published_file(file.sink, file.subtask);
        let unpublished = temporary.as_ref().filter(|temporary| temporary.exists(&file.file));
        match unpublished {
            Some(temporary) => {
                let foreign = !note.as_ref().is_some_and(|note| note.replaced.contains(&name));
                if foreign && folder.exists(&name) {
                    return Err(io::Error::other(format!("`{name}` was put there while the job ran")));
                }
                temporary.rename(&file.file, &folder, &name)?;
            }
            // Done before, if it is there.
            None => {
                let length = folder.metadata(&name).map(|metadata| metadata.len());
                if length.ok() != Some(file.bytes) {
                    return Err(io::Error::other(format!("the file of subtask {} is missing", file.subtask)));
                }
            }
        }
        published.push(name);
    }
    sync(path)?;
    let Some(temporary) = temporary else { return Ok(()) };
    if let Some(mut note) = note {
        for old in note.replaced.drain(..).filter(|old| !published.contains(old)) {
            unless_missing(folder.remove_file(old))?;
        }
        // Another sink of the job may publish into the folder after this one.
        write_note(&temporary, &note)?;
    }
    remove_temporary(&folder, &temporary_name, &temporary, sinks)?;
    sync(path)
}

/// Removes the files of earlier attempts, and the folder once no sink of the
/// job has files in it.
fn remove_temporary(folder: &Dir, name: &str, temporary: &Dir, sinks: &[TransformationId]) -> io::Result<()> {
    let mut others = false;
    for file in names(temporary)?.into_iter().filter(|file| file.starts_with(PART)) {
        if sinks.iter().any(|sink| file.starts_with(&format!("{PART}{sink}-"))) {
            unless_missing(temporary.remove_file(&file))?;
        } else {
            others = true;
        }
    }
    if others { Ok(()) } else { unless_missing(folder.remove_dir_all(name)) }
}

pub(crate) fn discard(spec: &ConnectorSpec, job: JobId) -> Result<(), Failure> {
    let path = path_of(spec);
    discard_folder(&path, job).map_err(|error| {
        io_failed(format!("the unpublished output in `{}` cannot be removed: {error}", path.display()))
    })
}

fn discard_folder(path: &Path, job: JobId) -> io::Result<()> {
    let folder = match open_folder(path) {
        Ok(folder) => folder,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let name = temporary_folder(job);
    let Ok(temporary) = folder.open_dir(&name) else { return Ok(()) };
    let created = read_note(&temporary).ok().flatten().map_or(0, |note| note.created);
    drop(temporary);
    unless_missing(folder.remove_dir_all(&name))?;
    drop(folder);
    remove_created(path, created);
    Ok(())
}

/// Removes the folders that `prepare` made, as far as they are empty.
fn remove_created(path: &Path, created: usize) {
    for folder in path.ancestors().take(created) {
        if std::fs::remove_dir(folder).is_err() {
            break;
        }
    }
}
