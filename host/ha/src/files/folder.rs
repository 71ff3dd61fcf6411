//! A folder whose files appear whole or not at all: written beside, synced,
//! renamed, and the folder synced. What cannot be read is set aside, never
//! removed. Blocking.

use super::{document, storage};
use crate::Error;
use heddle_filesystem::{CreateOptions, FileSystem};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;
use tracing::warn;

/// Files that a crash left half written have this ending.
const TEMPORARY: &str = ".tmp";

pub(super) const GRAPHS: &str = "job-graphs";
pub(super) const RESULTS: &str = "job-results";
pub(super) const BLOBS: &str = "blobs";
const CORRUPTED: &str = "corrupted";

/// Copied at once.
const PIECE_BYTES: usize = 1 << 20;
/// Elsewhere than on this machine, where its user's mask decides, what is
/// stored is its owner's alone.
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// A stored file, as it was found.
pub(super) enum Found<T> {
    Nothing,
    Good(T),
    /// What is wrong with it.
    Corrupted(String),
}

#[derive(Debug)]
pub(super) struct Folder {
    pub(super) files: Arc<dyn FileSystem>,
    root: PathBuf,
    /// Copies of files that are not this machine's, for who wants them here.
    copies: Mutex<Option<TempDir>>,
    /// Makes the names of temporary files of this process unique.
    next_temporary: AtomicU64,
}

impl Folder {
    pub(super) fn open(files: Arc<dyn FileSystem>, root: &Path) -> Result<Self, Error> {
        let (root, copies) = (root.to_path_buf(), Mutex::default());
        let folder = Self { files, root, copies, next_temporary: AtomicU64::new(0) };
        for part in ["", GRAPHS, RESULTS, BLOBS, CORRUPTED] {
            let path = folder.path(part);
            folder
                .create_folder(&path)
                .map_err(|error| storage("creating the high-availability folder", &path, &error))?;
        }
        Ok(folder)
    }

    /// And those above it; one that is there is fine.
    pub(super) fn create_folder(&self, path: &Path) -> io::Result<()> {
        self.files.create_folders(path, (!self.files.is_local()).then_some(FOLDER_MODE))
    }

    /// For a file that is not there.
    fn options(&self) -> CreateOptions {
        let mode = (!self.files.is_local()).then_some(FILE_MODE);
        CreateOptions { is_new: true, mode, ..CreateOptions::default() }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Removes what a crash left half written. Only for who leads: another
    /// leader may be writing.
    pub(super) fn remove_half_written(&self) -> Result<(), Error> {
        for part in ["", GRAPHS, RESULTS] {
            for name in self.names(part)? {
                if name.ends_with(TEMPORARY) {
                    let path = self.root.join(part).join(name);
                    warn!(file = %path.display(), "removing a half-written file of a former leader");
                    self.files
                        .remove_file(&path)
                        .or_else(absent_is_fine)
                        .map_err(|error| storage("removing a half-written file", &path, &error))?;
                }
            }
        }
        Ok(())
    }

    /// Names of the files of a part, in order.
    pub(super) fn names(&self, part: &str) -> Result<Vec<String>, Error> {
        let mut names: Vec<String> = self.changes(part)?.into_iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// The files of a part, and when each was last changed.
    pub(super) fn changes(&self, part: &str) -> Result<Vec<(String, SystemTime)>, Error> {
        let folder = self.root.join(part);
        let failed = |error| storage("listing the high-availability folder", &folder, &error);
        let mut changes = Vec::new();
        for name in self.files.names(&folder).map_err(failed)? {
            let Ok(name) = name.into_string() else { continue };
            match self.files.status(&folder.join(&name)) {
                Ok(status) => {
                    let changed = Duration::from_millis(u64::try_from(status.modified_ms).unwrap_or(0));
                    changes.push((name, UNIX_EPOCH + changed));
                }
                // It went meanwhile.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(changes)
    }

    /// Stores or replaces a file; durable when it returns. `permitted` is asked
    /// last, right before the file becomes visible.
    pub(super) fn write<T: Serialize>(
        &self,
        name: &str,
        kind: &'static str,
        content: &T,
        permitted: impl FnOnce() -> Result<(), Error>,
    ) -> Result<(), Error> {
        let path = self.path(name);
        let text = document::encode(kind, content)
            .map_err(|reason| Error::Storage { operation: "encoding a file", reason })?;
        let number = self.next_temporary.fetch_add(1, Ordering::Relaxed);
        let temporary = self.path(&format!("{name}.{}.{number}{TEMPORARY}", std::process::id()));
        let written = self
            .files
            .write(&temporary, text.as_bytes(), &self.options())
            .map_err(|error| storage("writing a file", &path, &error))
            .and_then(|()| permitted())
            .and_then(|()| {
                self.files
                    .rename(&temporary, &path)
                    .map_err(|error| storage("renaming a file", &path, &error))
            });
        if written.is_err() {
            // Best effort: the next leader removes it otherwise.
            let _ = self.files.remove_file(&temporary);
        }
        written?;
        self.sync_parent(&path)
    }

    pub(super) fn read<T: DeserializeOwned>(&self, name: &str, kind: &str) -> Result<Found<T>, Error> {
        let path = self.path(name);
        match read(&*self.files, &path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Found::Nothing),
            Err(error) => Err(storage("reading a file", &path, &error)),
            Ok(bytes) => Ok(match document::decode(kind, &bytes) {
                Ok(content) => Found::Good(content),
                Err(reason) => Found::Corrupted(reason),
            }),
        }
    }

    pub(super) fn exists(&self, name: &str) -> Result<bool, Error> {
        let path = self.path(name);
        self.files.exists(&path).map_err(|error| storage("looking for a file", &path, &error))
    }

    /// Durable when it returns.
    pub(super) fn rename(&self, from: &str, to: &str) -> Result<(), Error> {
        let path = self.path(to);
        self.files
            .rename(&self.path(from), &path)
            .map_err(|error| storage("renaming a file", &path, &error))?;
        self.sync_parent(&path)
    }

    /// Removing what is not there succeeds.
    pub(super) fn remove(&self, name: &str) -> Result<(), Error> {
        let path = self.path(name);
        self.files
            .remove_file(&path)
            .or_else(absent_is_fine)
            .map_err(|error| storage("removing a file", &path, &error))?;
        self.sync_parent(&path)
    }

    /// Moves a file that cannot be read to `corrupted`, and gives its place
    /// there.
    pub(super) fn set_aside(&self, name: &str) -> Result<PathBuf, Error> {
        let place = self.corrupted_place(name)?;
        self.files
            .rename(&self.path(name), &place)
            .map_err(|error| storage("setting a corrupted file aside", &place, &error))?;
        self.sync_parent(&place)?;
        self.sync_parent(&self.path(name))?;
        Ok(place)
    }

    /// As [`set_aside`](Self::set_aside), and leaves the file where it is.
    pub(super) fn copy_aside(&self, name: &str) -> Result<PathBuf, Error> {
        let place = self.corrupted_place(name)?;
        let file = self.path(name);
        let linked = match self.files.link(&file, &place) {
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                let content = read(&*self.files, &file);
                content.and_then(|content| self.files.write(&place, &content, &self.options()))
            }
            linked => linked,
        };
        linked.map_err(|error| storage("setting a corrupted file aside", &place, &error))?;
        self.sync_parent(&place)?;
        Ok(place)
    }

    /// A name that is free.
    fn corrupted_place(&self, name: &str) -> Result<PathBuf, Error> {
        let plain = name.rsplit('/').next().unwrap_or(name);
        for number in 0_u32.. {
            let candidate = match number {
                0 => format!("{CORRUPTED}/{plain}"),
                _ => format!("{CORRUPTED}/{plain}.{number}"),
            };
            if !self.exists(&candidate)? {
                return Ok(self.path(&candidate));
            }
        }
        unreachable!("one of four thousand million names is free")
    }

    /// Copies a file of this machine to a place below this folder; the copy
    /// appears whole.
    pub(super) fn copy_in(&self, from: &Path, to: &Path) -> io::Result<()> {
        let number = self.next_temporary.fetch_add(1, Ordering::Relaxed);
        let temporary = to.with_extension(format!("{}.{number}{TEMPORARY}", std::process::id()));
        let copy = || {
            let mut from = File::open(from)?;
            let mut writer = self.files.create(&temporary, &self.options())?;
            pieces(|piece| from.read(piece), |piece| writer.write_all(piece))?;
            writer.finish()
        };
        let copied = copy().and_then(|()| self.files.rename(&temporary, to));
        if copied.is_err() {
            // Best effort: it goes with the job's folder otherwise.
            let _ = self.files.remove_file(&temporary);
        }
        copied
    }

    /// A file of this machine with the content of one of this folder.
    pub(super) fn on_this_machine(&self, file: &Path) -> io::Result<PathBuf> {
        if self.files.is_local() {
            return if self.files.exists(file)? {
                Ok(file.to_path_buf())
            } else {
                Err(ErrorKind::NotFound.into())
            };
        }
        let mut reader = self.files.open(file)?;
        let name = file.file_name().ok_or(ErrorKind::InvalidInput)?;
        let copy = self.copies()?.join(name);
        let mut out = File::create(&copy)?;
        let mut position = 0;
        let read = |piece: &mut [u8]| {
            let length = reader.read_at(piece, position)?;
            position += length as u64;
            Ok(length)
        };
        pieces(read, |piece| out.write_all(piece))?;
        Ok(copy)
    }

    fn copies(&self) -> io::Result<PathBuf> {
        let mut copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = match copies.take() {
            Some(folder) => folder,
            None => tempfile::Builder::new().prefix("heddle-ha-").tempdir()?,
        };
        Ok(copies.insert(folder).path().to_path_buf())
    }

    /// A rename is durable only with its folder.
    pub(super) fn sync_parent(&self, path: &Path) -> Result<(), Error> {
        let parent = path.parent().unwrap_or(&self.root);
        self.files.sync_folder(parent).map_err(|error| storage("syncing a folder", parent, &error))
    }
}

fn absent_is_fine(error: io::Error) -> io::Result<()> {
    if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// The content of a file. It may be replaced while it is read, which an error
/// tells where files are read block by block.
pub(super) fn read(files: &dyn FileSystem, file: &Path) -> io::Result<Vec<u8>> {
    match files.read(file) {
        Err(error) if error.kind() != ErrorKind::NotFound => files.read(file),
        read => read,
    }
}

/// Copies piece by piece, to the end of what is read.
fn pieces(
    mut read: impl FnMut(&mut [u8]) -> io::Result<usize>,
    mut write: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(length) => write(&piece[..length])?,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
