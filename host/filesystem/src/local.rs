//! The file system of this machine, and what is mounted into it.

use crate::{CreateOptions, FileSystem, Kind, Reader, Status, Writer};
use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use walkdir::WalkDir;

#[derive(Clone, Copy, Debug, Default)]
pub struct Local;

fn status_of(metadata: &Metadata) -> Status {
    let kind = match metadata.file_type() {
        kind if kind.is_file() => Kind::File,
        kind if kind.is_dir() => Kind::Folder,
        _ => Kind::Other,
    };
    let modified_ms = metadata.mtime() * 1000 + metadata.mtime_nsec() / 1_000_000;
    Status { kind, length: metadata.len(), modified_ms, mode: metadata.mode() & 0o7777, block_bytes: 0 }
}

impl FileSystem for Local {
    fn root(&self) -> &str {
        ""
    }

    fn status(&self, path: &Path) -> io::Result<Status> {
        Ok(status_of(&fs::metadata(path)?))
    }

    fn names(&self, folder: &Path) -> io::Result<Vec<OsString>> {
        fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect()
    }

    fn walk(&self, folder: &Path, wanted: &dyn Fn(&OsStr) -> bool) -> io::Result<Vec<(PathBuf, Status)>> {
        let entries = WalkDir::new(folder)
            .follow_links(true)
            .into_iter()
            .filter_entry(|entry| entry.depth() == 0 || wanted(entry.file_name()));
        let mut files = Vec::new();
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                // A folder that is above: what is in it is found anyway.
                Err(error) if error.loop_ancestor().is_some() => {
                    tracing::warn!(%error, "skipped while looking for files");
                    continue;
                }
                Err(error) if error.depth() > 0 && leads_nowhere(&error) => {
                    let path = error.path().unwrap_or(folder);
                    let is_wanted = path.file_name().is_none_or(wanted);
                    // None: gone since it was listed.
                    if is_wanted && let Ok(metadata) = path.symlink_metadata() {
                        files.push((path.to_owned(), status_of(&metadata)));
                    }
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            if entry.file_type().is_file() {
                let status = status_of(&entry.metadata()?);
                files.push((entry.into_path(), status));
            }
        }
        Ok(files)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Reader>> {
        Ok(Box::new(LocalReader(File::open(path)?)))
    }

    fn create(&self, path: &Path, options: &CreateOptions) -> io::Result<Box<dyn Writer>> {
        let mut open = fs::OpenOptions::new();
        open.write(true);
        match options.is_new {
            true => open.create_new(true),
            false => open.create(true).truncate(true),
        };
        if let Some(mode) = options.mode {
            open.mode(mode);
        }
        Ok(Box::new(LocalWriter(open.open(path)?)))
    }

    fn create_folders(&self, path: &Path, mode: Option<u32>) -> io::Result<()> {
        let mut builder = fs::DirBuilder::new();
        if let Some(mode) = mode {
            builder.mode(mode);
        }
        builder.recursive(true).create(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // The file system does not know how; it may know links, which
            // replace nothing either.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
            renamed => return Ok(renamed?),
        }
        match fs::hard_link(from, to) {
            // By a rename that got half-way.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && is_same(from, to) => {}
            linked => linked?,
        }
        fs::remove_file(from)
    }

    fn link(&self, file: &Path, name: &Path) -> io::Result<()> {
        fs::hard_link(file, name)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn remove_all(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }
}

/// Whether a file has both names.
fn is_same(one: &Path, other: &Path) -> bool {
    let id = |path: &Path| path.symlink_metadata().map(|metadata| (metadata.dev(), metadata.ino()));
    matches!((id(one), id(other)), (Ok(one), Ok(other)) if one == other)
}

/// Of a link: to what is not there, or to itself.
fn leads_nowhere(error: &walkdir::Error) -> bool {
    let error = error.io_error();
    error.is_some_and(|error| {
        error.kind() == io::ErrorKind::NotFound || Errno::from_io_error(error) == Some(Errno::LOOP)
    })
}

struct LocalReader(File);

impl Reader for LocalReader {
    fn read_at(&mut self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.0.read_at(&mut buffer[filled..], position + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

struct LocalWriter(File);

impl Writer for LocalWriter {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn finish(self: Box<Self>) -> io::Result<()> {
        self.0.sync_all()
    }
}
