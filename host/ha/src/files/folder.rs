//! A folder whose files appear whole or not at all: written beside, synced,
//! renamed, and the folder synced. What cannot be read is set aside, never
//! removed. Blocking.

use super::file_system::FileSystem;
use super::{document, storage};
use crate::Error;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;
use tracing::warn;

/// Files that a crash left half written have this ending.
const TEMPORARY: &str = ".tmp";

pub(super) const GRAPHS: &str = "job-graphs";
pub(super) const RESULTS: &str = "job-results";
pub(super) const BLOBS: &str = "blobs";
const CORRUPTED: &str = "corrupted";

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
    /// Makes the names of temporary files of this process unique.
    next_temporary: AtomicU64,
}

impl Folder {
    pub(super) fn open(files: Arc<dyn FileSystem>, root: &Path) -> Result<Self, Error> {
        for part in ["", GRAPHS, RESULTS, BLOBS, CORRUPTED] {
            let folder = root.join(part);
            files
                .create_folder(&folder)
                .map_err(|error| storage("creating the high-availability folder", &folder, &error))?;
        }
        Ok(Self { files, root: root.to_path_buf(), next_temporary: AtomicU64::new(0) })
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
        self.files
            .files(&folder)
            .map_err(|error| storage("listing the high-availability folder", &folder, &error))
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
            .create(&temporary, text.as_bytes())
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
        match self.files.read(&path) {
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
                self.files.read(&file).and_then(|content| self.files.create(&place, &content))
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

    /// Copies a file to a place below this folder; the copy appears whole.
    pub(super) fn copy_in(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        let number = self.next_temporary.fetch_add(1, Ordering::Relaxed);
        let temporary = to.with_extension(format!("{}.{number}{TEMPORARY}", std::process::id()));
        let copied = self.files.copy_in(from, &temporary).and_then(|()| self.files.rename(&temporary, to));
        if copied.is_err() {
            // Best effort: it goes with the job's folder otherwise.
            let _ = self.files.remove_file(&temporary);
        }
        copied
    }

    /// A rename is durable only with its folder.
    pub(super) fn sync_parent(&self, path: &Path) -> Result<(), Error> {
        let parent = path.parent().unwrap_or(&self.root);
        self.files.sync_folder(parent).map_err(|error| storage("syncing a folder", parent, &error))
    }
}

fn absent_is_fine(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) }
}
