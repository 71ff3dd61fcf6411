//! The life of a `text-files` sink's output at the job master: prepared before
//! the job starts, published when all of it has finished, or discarded.
//!
//! Everything unpublished lies in a hidden folder of the job inside of the
//! output folder, so that publishing is one `rename` a file. A note in it says
//! what was there before: only that is replaced. Every step may be done again.

use super::Place;
use super::others::{self, Reservation};
use crate::committable::Content;
use crate::{invalid, io_failed};
use heddle_filesystem::{CreateOptions, FileSystem, FileSystems, Kind, Status, is_unavailable};
use heddle_model::failure::Failure;
use heddle_model::id::{ExecutionAttemptId, JobId};
use heddle_model::plan::{ConnectorSpec, TransformationId};
use heddle_model::task::Committable;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// What a published file's name begins with; only such files are replaced.
const PART: &str = "part-";
const NOTE: &str = "prepared.json";
/// What the name of a job's temporary folder begins with; hidden, so that no
/// reader takes its files for output.
pub(super) const TEMPORARY: &str = ".heddle-";

/// What `prepare` found.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Note {
    /// How many folders were made: the output folder, its parent, …
    created: usize,
    /// Files of earlier jobs, to be removed when the new ones are published.
    replaced: BTreeMap<String, Former>,
    /// Some files may be published already.
    publishing: bool,
}

/// Tells a file of an earlier job from one that another job put in its place.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Former {
    length: u64,
    modified_ms: i64,
}

impl Former {
    fn of(status: &Status) -> Self {
        Self { length: status.length, modified_ms: status.modified_ms }
    }
}

pub(super) fn temporary_folder(job: JobId) -> String {
    format!("{TEMPORARY}{job}")
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

/// What cannot be read may be of a job that publishes.
pub(super) fn is_publishing(system: &dyn FileSystem, temporary: &Path) -> bool {
    read_note(system, temporary).map_or(true, |note| note.is_some_and(|note| note.publishing))
}

fn names(system: &dyn FileSystem, folder: &Path) -> io::Result<Vec<String>> {
    Ok(system.names(folder)?.iter().map(|name| name.to_string_lossy().into_owned()).collect())
}

pub(crate) fn prepare(spec: &ConnectorSpec, job: JobId, files: &FileSystems) -> Result<Reservation, Failure> {
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
) -> io::Result<Result<Reservation, Failure>> {
    let system = &*place.system;
    let temporary = place.path.join(temporary_folder(job));
    let _alone = others::alone_in(place);
    if read_note(system, &temporary)?.is_some() {
        return Reservation::take(place, job).map(Ok);
    }
    let all = names(system, &place.path)?;
    if let Err(failure) = others::clear(place, job, &all) {
        return Ok(Err(failure));
    }
    let visible: Vec<String> = all.into_iter().filter(|name| !name.starts_with(['.', '_'])).collect();
    let overwrite = spec.option("overwrite") == Some("true");
    if !overwrite && !visible.is_empty() {
        return Ok(Err(invalid(format!(
            "the output folder `{}` is not empty; choose another or empty it \
             (a job may allow to replace what is there, by its sink's option `overwrite`)",
            place.show()
        ))));
    }
    let mut replaced = BTreeMap::new();
    for name in visible.into_iter().filter(|name| name.starts_with(PART)) {
        match system.status(&place.path.join(&name)) {
            Ok(status) => drop(replaced.insert(name, Former::of(&status))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    system.create_folders(&temporary, None)?;
    let reservation = Reservation::take(place, job)?;
    write_note(system, &temporary, &Note { created, replaced, publishing: false })?;
    Ok(Ok(reservation))
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
    // Of two jobs that publish at the same time one fails with its first file.
    finished.sort_by_key(|file| (file.sink, file.subtask));
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
    let mut note = if there { read_note(system, &temporary)?.unwrap_or_default() } else { Note::default() };
    if there && !note.publishing {
        for name in names(system, folder)?.into_iter().filter(|name| name.starts_with(PART)) {
            let is_known = match note.replaced.get(&name) {
                Some(former) => is_former(system, &folder.join(&name), former)?,
                None => false,
            };
            if !is_known && !is_published(system, &temporary, files, &name)? {
                return Err(put_there(&name));
            }
        }
        note.publishing = true;
        write_note(system, &temporary, &note)?;
    }
    let mut published = Vec::new();
    for file in files {
        let name = published_file(file.sink, file.subtask);
        let (from, to) = (temporary.join(&file.file), folder.join(&name));
        if there && system.exists(&from)? {
            publish_file(system, &from, &to, note.replaced.get(&name))?;
        } else if system.status(&to).map(|status| status.length).ok() != Some(file.bytes) {
            return Err(io::Error::other(format!("the file of subtask {} is missing", file.subtask)));
        }
        published.push(name);
    }
    system.sync_folder(folder)?;
    if !there {
        return Ok(());
    }
    for (old, former) in std::mem::take(&mut note.replaced) {
        let old_file = folder.join(&old);
        if !published.contains(&old) && is_former(system, &old_file, &former)? {
            unless_missing(system.remove_file(&old_file))?;
        }
    }
    // Another sink of the job may publish into the folder after this one.
    write_note(system, &temporary, &note)?;
    remove_temporary(system, &temporary, sinks)?;
    system.sync_folder(folder)
}

/// Replaces the file of an earlier job, and no other.
fn publish_file(system: &dyn FileSystem, from: &Path, to: &Path, former: Option<&Former>) -> io::Result<()> {
    if let Some(former) = former
        && is_former(system, to, former)?
    {
        return system.rename(from, to);
    }
    system.rename_new(from, to).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => put_there(&to.file_name().unwrap_or_default().to_string_lossy()),
        _ => error,
    })
}

/// Whether it is one of these files, moved to its place.
fn is_published(
    system: &dyn FileSystem,
    temporary: &Path,
    files: &[Finished],
    name: &str,
) -> io::Result<bool> {
    match files.iter().find(|file| published_file(file.sink, file.subtask) == name) {
        Some(file) => Ok(!system.exists(&temporary.join(&file.file))?),
        None => Ok(false),
    }
}

fn put_there(name: &str) -> io::Error {
    io::Error::other(format!("`{name}` was put there while the job ran, by another job perhaps"))
}

/// Whether the file is still the one that was there when the job began.
fn is_former(system: &dyn FileSystem, file: &Path, former: &Former) -> io::Result<bool> {
    match system.status(file) {
        Ok(status) => Ok(Former::of(&status) == *former),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
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
