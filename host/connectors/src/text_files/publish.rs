//! The life of a `text-files` sink's output at the job master: prepared before
//! the job starts, published when all of it has finished, or discarded.
//!
//! Everything unpublished lies in a hidden folder of the job inside of the
//! output folder, so that publishing is one `rename` a file. A note in it says
//! what was there before. Every step may be done again.

use super::Place;
use crate::committable::Content;
use crate::{invalid, io_failed};
use heddle_filesystem::{CreateOptions, FileSystem, FileSystems, Kind, is_unavailable};
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

fn unless_missing(result: io::Result<()>) -> io::Result<()> {
    result.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

/// Whether a name from a worker is that of a file in the temporary folder.
fn is_temporary(name: &str) -> bool {
    name.starts_with(PART) && !name.contains('/')
}

fn write_note(system: &dyn FileSystem, temporary: &Path, note: &Note) -> io::Result<()> {
    // Renamed into its place: a half-written note would say that nothing was
    // there before.
    let draft = temporary.join(format!("{NOTE}.new"));
    system.write(&draft, &serde_json::to_vec(note)?, &CreateOptions::default())?;
    system.rename(&draft, &temporary.join(NOTE))
}

fn read_note(system: &dyn FileSystem, temporary: &Path) -> io::Result<Option<Note>> {
    match system.read(&temporary.join(NOTE)) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn names(system: &dyn FileSystem, folder: &Path) -> io::Result<Vec<String>> {
    Ok(system.names(folder)?.iter().map(|name| name.to_string_lossy().into_owned()).collect())
}

pub(crate) fn prepare(spec: &ConnectorSpec, job: JobId, files: &FileSystems) -> Result<(), Failure> {
    let place = Place::of(spec, files)?;
    let cannot = |error: io::Error| {
        place.unusable(format!("the output folder `{}` cannot be written: {error}", place.show()), &error)
    };
    match place.system.status(&place.path) {
        Ok(status) if status.kind != Kind::Folder => {
            return Err(invalid(format!("the output `{}` is a file; it must be a folder", place.show())));
        }
        Err(error) if is_unavailable(&error) => return Err(cannot(error)),
        _ => {}
    }
    let is_missing =
        |path: &&Path| !path.as_os_str().is_empty() && !place.system.exists(path).unwrap_or(true);
    let created = place.path.ancestors().take_while(is_missing).count();
    place.system.create_folders(&place.path, None).map_err(cannot)?;
    let prepared = prepare_folder(spec, job, &place, created);
    if prepared.is_err() {
        remove_created(&place, created);
    }
    prepared.map_err(cannot)?
}

/// The outer error is the file system's, the inner one what a user must mend.
fn prepare_folder(
    spec: &ConnectorSpec,
    job: JobId,
    place: &Place,
    created: usize,
) -> io::Result<Result<(), Failure>> {
    let system = &*place.system;
    let temporary = place.path.join(temporary_folder(job));
    if read_note(system, &temporary)?.is_some() {
        return Ok(Ok(()));
    }
    let visible: Vec<String> =
        names(system, &place.path)?.into_iter().filter(|name| !name.starts_with(['.', '_'])).collect();
    let overwrite = spec.option("overwrite") == Some("true");
    if !overwrite && !visible.is_empty() {
        return Ok(Err(invalid(format!(
            "the output folder `{}` is not empty; choose another, or set the sink's option `overwrite` to true",
            place.show()
        ))));
    }
    system.create_folders(&temporary, None)?;
    let replaced = visible.into_iter().filter(|name| name.starts_with(PART)).collect();
    write_note(system, &temporary, &Note { created, replaced })?;
    Ok(Ok(()))
}

pub(crate) fn publish(
    spec: &ConnectorSpec,
    job: JobId,
    committables: &[Committable],
    files: &FileSystems,
) -> Result<(), Failure> {
    let place = Place::of(spec, files)?;
    let mut finished = Vec::new();
    for committable in committables {
        if let Content::TextFile { subtask, file, bytes } = Content::read(committable)? {
            if !is_temporary(&file) {
                return Err(io_failed(format!("a worker names `{file}`, which is no file of an output")));
            }
            finished.push(Finished { sink: committable.sink, subtask, file, bytes });
        }
    }
    let mut sinks: Vec<TransformationId> = committables.iter().map(|committable| committable.sink).collect();
    sinks.dedup();
    publish_files(&place, job, &finished, &sinks).map_err(|error| {
        place.failed(format!("the output in `{}` cannot be published: {error}", place.show()), &error)
    })
}

/// A file that is to be published.
struct Finished {
    sink: TransformationId,
    subtask: u32,
    file: String,
    bytes: u64,
}

fn publish_files(
    place: &Place,
    job: JobId,
    files: &[Finished],
    sinks: &[TransformationId],
) -> io::Result<()> {
    let (system, folder) = (&*place.system, &place.path);
    let temporary = folder.join(temporary_folder(job));
    // Done before, if it is not there.
    let there = system.exists(&temporary)?;
    let note = if there { read_note(system, &temporary)? } else { None };
    let mut published = Vec::new();
    for file in files {
        let name = published_file(file.sink, file.subtask);
        let (from, to) = (temporary.join(&file.file), folder.join(&name));
        if there && system.exists(&from)? {
            let foreign = !note.as_ref().is_some_and(|note| note.replaced.contains(&name));
            if foreign && system.exists(&to)? {
                return Err(io::Error::other(format!("`{name}` was put there while the job ran")));
            }
            system.rename(&from, &to)?;
        } else if system.status(&to).map(|status| status.length).ok() != Some(file.bytes) {
            return Err(io::Error::other(format!("the file of subtask {} is missing", file.subtask)));
        }
        published.push(name);
    }
    system.sync_folder(folder)?;
    if !there {
        return Ok(());
    }
    if let Some(mut note) = note {
        for old in note.replaced.drain(..).filter(|old| !published.contains(old)) {
            unless_missing(system.remove_file(&folder.join(old)))?;
        }
        // Another sink of the job may publish into the folder after this one.
        write_note(system, &temporary, &note)?;
    }
    remove_temporary(system, &temporary, sinks)?;
    system.sync_folder(folder)
}

/// Removes the files of earlier attempts, and the folder once no sink of the
/// job has files in it.
fn remove_temporary(system: &dyn FileSystem, temporary: &Path, sinks: &[TransformationId]) -> io::Result<()> {
    let mut others = false;
    for file in names(system, temporary)?.into_iter().filter(|file| file.starts_with(PART)) {
        if sinks.iter().any(|sink| file.starts_with(&format!("{PART}{sink}-"))) {
            unless_missing(system.remove_file(&temporary.join(&file)))?;
        } else {
            others = true;
        }
    }
    if others { Ok(()) } else { unless_missing(system.remove_all(temporary)) }
}

pub(crate) fn discard(spec: &ConnectorSpec, job: JobId, files: &FileSystems) -> Result<(), Failure> {
    let place = Place::of(spec, files)?;
    discard_folder(&place, job).map_err(|error| {
        let message = format!("the unpublished output in `{}` cannot be removed: {error}", place.show());
        place.failed(message, &error)
    })
}

fn discard_folder(place: &Place, job: JobId) -> io::Result<()> {
    let system = &*place.system;
    let temporary = place.path.join(temporary_folder(job));
    match system.status(&temporary) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(());
        }
        looked => looked?,
    };
    let created = read_note(system, &temporary).ok().flatten().map_or(0, |note| note.created);
    unless_missing(system.remove_all(&temporary))?;
    remove_created(place, created);
    Ok(())
}

/// Removes the folders that `prepare` made, as far as they are empty.
fn remove_created(place: &Place, created: usize) {
    for folder in place.path.ancestors().take(created) {
        if place.system.remove_folder(folder).is_err() {
            break;
        }
    }
}
