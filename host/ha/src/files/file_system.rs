//! Where the folder is: what its stores need of a file system. Blocking, and
//! called off the async threads. Knows no store.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Errors tell by their kind what is missing ([`ErrorKind::NotFound`]) and
/// what is there already ([`ErrorKind::AlreadyExists`]).
pub trait FileSystem: fmt::Debug + Send + Sync {
    /// Makes a folder and those above it; one that is there is fine.
    fn create_folder(&self, folder: &Path) -> io::Result<()>;
    /// Files of a folder, and when each was last changed.
    fn files(&self, folder: &Path) -> io::Result<Vec<(String, SystemTime)>>;
    fn read(&self, file: &Path) -> io::Result<Vec<u8>>;
    /// Writes a file that is not there; durable when it returns, and not whole
    /// before.
    fn create(&self, file: &Path, content: &[u8]) -> io::Result<()>;
    /// As [`create`](Self::create), with the content of a file of this machine.
    fn copy_in(&self, from: &Path, file: &Path) -> io::Result<()>;
    /// In one step; replaces a file that is there.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// A second name of a file. [`ErrorKind::Unsupported`] where files have one.
    fn link(&self, file: &Path, name: &Path) -> io::Result<()>;
    fn exists(&self, path: &Path) -> io::Result<bool>;
    fn remove_file(&self, file: &Path) -> io::Result<()>;
    /// With all in it.
    fn remove_folder(&self, folder: &Path) -> io::Result<()>;
    /// Makes names durable that were given or taken in it.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
    /// A file of this machine with the same content.
    fn on_this_machine(&self, file: &Path) -> io::Result<PathBuf>;
}

/// A folder that all processes see at the same place.
#[derive(Clone, Copy, Debug, Default)]
pub struct SharedFolders;

impl FileSystem for SharedFolders {
    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        std::fs::create_dir_all(folder)
    }

    fn files(&self, folder: &Path) -> io::Result<Vec<(String, SystemTime)>> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            if let Ok(name) = entry.file_name().into_string() {
                let changed = entry.metadata().and_then(|file| file.modified());
                files.push((name, changed.unwrap_or(UNIX_EPOCH)));
            }
        }
        Ok(files)
    }

    fn read(&self, file: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(file)
    }

    fn create(&self, file: &Path, content: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).open(file)?;
        file.write_all(content)?;
        file.sync_all()
    }

    fn copy_in(&self, from: &Path, file: &Path) -> io::Result<()> {
        std::fs::copy(from, file)?;
        File::open(file)?.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn link(&self, file: &Path, name: &Path) -> io::Result<()> {
        std::fs::hard_link(file, name)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn remove_file(&self, file: &Path) -> io::Result<()> {
        std::fs::remove_file(file)
    }

    fn remove_folder(&self, folder: &Path) -> io::Result<()> {
        std::fs::remove_dir_all(folder)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }

    fn on_this_machine(&self, file: &Path) -> io::Result<PathBuf> {
        if file.try_exists()? { Ok(file.to_path_buf()) } else { Err(ErrorKind::NotFound.into()) }
    }
}
