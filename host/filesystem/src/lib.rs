//! File systems behind one trait: this machine's, and HDFS. An address says
//! which: `hdfs://HOST:PORT/path`, `hdfs:///path` of `fs.defaultFS`,
//! `file:/path`, or a path of this machine. With it the configuration of
//! Hadoop, which HDFS needs; nothing here knows YARN, jobs or roles.
//!
//! Every call may wait for a disk or a network: it belongs on a thread that
//! may block (`spawn_blocking`), never on one of an async runtime.

mod hdfs;
mod local;
mod systems;

pub mod hadoop;

pub use local::Local;
pub use systems::{Address, FileSystems, UnknownScheme};

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    File,
    Folder,
    Other,
}

/// What is known of a file or a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    pub kind: Kind,
    /// In bytes.
    pub length: u64,
    /// Milliseconds since 1970.
    pub modified_ms: i64,
    /// Permissions as of Unix.
    pub mode: u32,
    /// A file is stored in blocks of so many bytes, perhaps on several machines;
    /// 0 where that does not matter to readers.
    pub block_bytes: u64,
}

/// How a file is made.
#[derive(Clone, Copy, Debug, Default)]
pub struct CreateOptions {
    /// Fails with `AlreadyExists` if the file is there; else that is emptied.
    pub is_new: bool,
    /// Permissions as of Unix; without it the file system's own.
    pub mode: Option<u32>,
    /// On how many machines each block is; without it the file system's own.
    pub replication: Option<u32>,
    /// Blocks of at least so many bytes; without it the file system's own.
    pub block_bytes: Option<u64>,
}

/// A file system. The kinds of its errors are those of `std::io`, wherever the
/// files are: `NotFound`, `AlreadyExists`, `PermissionDenied`, …; see
/// [`is_unavailable`] too. Paths are absolute, but for the local one.
pub trait FileSystem: fmt::Debug + Send + Sync + 'static {
    /// What stands before a path of it in an address: `hdfs://HOST:PORT`, or
    /// nothing for this machine's.
    fn root(&self) -> &str;

    /// Whether files are this machine's: programs of it open them by their
    /// paths, and may lock them.
    fn is_local(&self) -> bool {
        self.root().is_empty()
    }

    /// Follows links.
    fn status(&self, path: &Path) -> io::Result<Status>;

    /// The names in a folder, in no order.
    fn names(&self, folder: &Path) -> io::Result<Vec<OsString>>;

    /// All files below a folder, in no order; of folders below, those whose
    /// names are wanted, and of files too. A link that leads nowhere is among
    /// them as itself, which is no file.
    fn walk(&self, folder: &Path, wanted: &dyn Fn(&OsStr) -> bool) -> io::Result<Vec<(PathBuf, Status)>>;

    fn open(&self, path: &Path) -> io::Result<Box<dyn Reader>>;

    /// Makes a file. Its folder must be there.
    fn create(&self, path: &Path, options: &CreateOptions) -> io::Result<Box<dyn Writer>>;

    /// Makes a folder and those above it, where they are not there.
    fn create_folders(&self, path: &Path, mode: Option<u32>) -> io::Result<()>;

    /// Moves a file or a folder, at once for all who look. A file that is
    /// there is replaced.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// As [`rename`](Self::rename) of a file, but fails with `AlreadyExists` if
    /// something is there, whoever else makes it at the same time.
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file a second name. `Unsupported` where files have one.
    fn link(&self, file: &Path, name: &Path) -> io::Result<()>;

    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes a folder that is empty.
    fn remove_folder(&self, path: &Path) -> io::Result<()>;

    /// Removes a folder with all in it.
    fn remove_all(&self, path: &Path) -> io::Result<()>;

    /// Makes durable which names are in a folder.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;

    /// The whole content of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let length = self.status(path)?.length;
        let mut content = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        let read = self.open(path)?.read_at(&mut content, 0)?;
        content.truncate(read);
        Ok(content)
    }

    /// Makes a file of that content.
    fn write(&self, path: &Path, content: &[u8], options: &CreateOptions) -> io::Result<()> {
        let mut writer = self.create(path, options)?;
        writer.write_all(content)?;
        writer.finish()
    }

    /// Whether something is there.
    fn exists(&self, path: &Path) -> io::Result<bool> {
        match self.status(path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// An open file. It is cheapest to read on where the last read ended.
pub trait Reader: Send {
    /// Fills the buffer unless the file ends before; gives how much.
    fn read_at(&mut self, buffer: &mut [u8], position: u64) -> io::Result<usize>;
}

/// A file that is made. Dropped, it may have any part of what was written.
pub trait Writer: Send {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// The file is durable, with all that was written.
    fn finish(self: Box<Self>) -> io::Result<()>;
}

/// Whether a file system as a whole cannot be used at the moment: it does not
/// answer, or takes no changes.
pub fn is_unavailable(error: &io::Error) -> bool {
    use io::ErrorKind as K;
    matches!(
        error.kind(),
        K::ConnectionRefused
            | K::ConnectionReset
            | K::ConnectionAborted
            | K::NotConnected
            | K::HostUnreachable
            | K::NetworkUnreachable
            | K::TimedOut
            | K::ReadOnlyFilesystem
    )
}
