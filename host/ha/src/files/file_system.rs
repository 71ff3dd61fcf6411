//! Where the folder is: what its stores need of a file system. Blocking, and
//! called off the async threads. Knows no store.

use heddle_filesystem::CreateOptions;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

/// Copied at once.
const PIECE_BYTES: usize = 1 << 20;
/// What is stored is its owner's alone.
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// Errors tell by their kind what is missing ([`ErrorKind::NotFound`]) and
/// what is there already ([`ErrorKind::AlreadyExists`]).
pub trait FileSystem: fmt::Debug + Send + Sync {
    /// Whether a lock on a file keeps other processes from having it.
    fn has_locks(&self) -> bool;
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
    fn has_locks(&self) -> bool {
        true
    }

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

/// A folder on another file system, such as HDFS. It has no links and no locks.
pub struct Elsewhere {
    files: Arc<dyn heddle_filesystem::FileSystem>,
    /// Copies of files for who wants them on this machine.
    copies: TempDir,
}

impl Elsewhere {
    /// # Errors
    /// No folder for copies can be made.
    pub fn new(files: Arc<dyn heddle_filesystem::FileSystem>) -> io::Result<Self> {
        Ok(Self { files, copies: tempfile::Builder::new().prefix("heddle-ha-").tempdir()? })
    }
}

impl fmt::Debug for Elsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Elsewhere").field(&self.files.root()).finish()
    }
}

impl FileSystem for Elsewhere {
    fn has_locks(&self) -> bool {
        false
    }

    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        self.files.create_folders(folder, Some(FOLDER_MODE))
    }

    fn files(&self, folder: &Path) -> io::Result<Vec<(String, SystemTime)>> {
        let mut files = Vec::new();
        for name in self.files.names(folder)? {
            let Ok(name) = name.into_string() else { continue };
            match self.files.status(&folder.join(&name)) {
                Ok(status) => {
                    let changed = Duration::from_millis(u64::try_from(status.modified_ms).unwrap_or(0));
                    files.push((name, UNIX_EPOCH + changed));
                }
                // It went meanwhile.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(files)
    }

    fn read(&self, file: &Path) -> io::Result<Vec<u8>> {
        match self.files.read(file) {
            // It may have been replaced while it was read.
            Err(error) if error.kind() != ErrorKind::NotFound => self.files.read(file),
            read => read,
        }
    }

    fn create(&self, file: &Path, content: &[u8]) -> io::Result<()> {
        self.files.write(file, content, &CreateOptions { mode: Some(FILE_MODE), ..CreateOptions::default() })
    }

    fn copy_in(&self, from: &Path, file: &Path) -> io::Result<()> {
        let mut from = File::open(from)?;
        let options = CreateOptions { mode: Some(FILE_MODE), ..CreateOptions::default() };
        let mut writer = self.files.create(file, &options)?;
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let length = from.read(&mut piece)?;
            if length == 0 {
                return writer.finish();
            }
            writer.write_all(&piece[..length])?;
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.files.rename(from, to)
    }

    fn link(&self, _: &Path, _: &Path) -> io::Result<()> {
        Err(ErrorKind::Unsupported.into())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.files.exists(path)
    }

    fn remove_file(&self, file: &Path) -> io::Result<()> {
        self.files.remove_file(file)
    }

    fn remove_folder(&self, folder: &Path) -> io::Result<()> {
        self.files.remove_all(folder)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.files.sync_folder(folder)
    }

    fn on_this_machine(&self, file: &Path) -> io::Result<PathBuf> {
        let mut reader = self.files.open(file)?;
        let name = file.file_name().ok_or(ErrorKind::InvalidInput)?;
        let copy = self.copies.path().join(name);
        let mut out = File::create(&copy)?;
        let (mut piece, mut position) = (vec![0; PIECE_BYTES], 0);
        loop {
            let length = reader.read_at(&mut piece, position)?;
            if length == 0 {
                return Ok(copy);
            }
            out.write_all(&piece[..length])?;
            position += length as u64;
        }
    }
}
