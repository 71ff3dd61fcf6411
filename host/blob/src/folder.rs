//! A folder of blobs: written beside and renamed, verified when read.
//!
//! All access goes through a capability for the folder. Blocking; the callers
//! move it off the async threads.

use crate::Error;
use bytes::Bytes;
use cap_std::ambient_authority;
use cap_std::fs::{Dir, File, OpenOptions};
use heddle_model::id::BlobKey;
use sha2::{Digest, Sha256};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Files that a crash left half written have this ending.
const TEMPORARY: &str = "tmp";

/// How much of a blob is hashed and written at a time.
const CHUNK: usize = 256 * 1024;

#[derive(Debug)]
pub(crate) struct Folder {
    dir: Dir,
    root: PathBuf,
    limit: u64,
    durable: bool,
    /// Makes the names of temporary files of this process unique.
    next_temporary: AtomicU64,
}

impl Folder {
    /// Opens or creates the folder and removes what a crash left half written.
    pub(crate) fn open(root: &Path, limit: u64, durable: bool) -> Result<Self, Error> {
        let failed = |operation| move |source| Error::Io { operation, folder: root.to_path_buf(), source };
        std::fs::create_dir_all(root).map_err(failed("creating it"))?;
        let root_absolute = std::fs::canonicalize(root).map_err(failed("resolving it"))?;
        let dir = Dir::open_ambient_dir(&root_absolute, ambient_authority()).map_err(failed("opening it"))?;
        for entry in dir.entries().map_err(failed("listing"))? {
            let name = entry.map_err(failed("listing"))?.file_name();
            if Path::new(&name).extension().is_some_and(|ending| ending == TEMPORARY) {
                dir.remove_file(&name).map_err(failed("removing a half-written file"))?;
            }
        }
        Ok(Self { dir, root: root_absolute, limit, durable, next_temporary: AtomicU64::new(0) })
    }

    fn failed(&self, operation: &'static str) -> impl FnOnce(std::io::Error) -> Error + '_ {
        move |source| match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                Error::DiskFull { folder: self.root.clone(), source }
            }
            _ => Error::Io { operation, folder: self.root.clone(), source },
        }
    }

    /// Largest blob, in bytes.
    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    pub(crate) fn path(&self, key: BlobKey) -> PathBuf {
        self.root.join(key.to_string())
    }

    pub(crate) fn contains(&self, key: BlobKey) -> bool {
        self.dir.exists(key.to_string())
    }

    /// Of the file, if it is there.
    pub(crate) fn length(&self, key: BlobKey) -> Option<u64> {
        self.dir.metadata(key.to_string()).ok().map(|metadata| metadata.len())
    }

    pub(crate) fn keys(&self) -> Result<Vec<BlobKey>, Error> {
        let mut keys = Vec::new();
        for entry in self.dir.entries().map_err(self.failed("listing"))? {
            let name = entry.map_err(self.failed("listing"))?.file_name();
            if let Some(key) = name.to_str().and_then(|name| name.parse().ok()) {
                keys.push(key);
            }
        }
        keys.sort_unstable();
        Ok(keys)
    }

    fn open_blob(&self, key: BlobKey) -> Result<File, Error> {
        match self.dir.open(key.to_string()) {
            Ok(file) => Ok(file),
            Err(e) if e.kind() == ErrorKind::NotFound => Err(Error::Unknown { key }),
            Err(e) => Err(self.failed("opening a blob")(e)),
        }
    }

    /// Gives the content, whose checksum has been verified.
    pub(crate) fn read(&self, key: BlobKey) -> Result<Vec<u8>, Error> {
        let file = self.open_blob(key)?;
        let mut content = Vec::new();
        // One byte more than allowed shows a file that grew.
        file.take(self.limit + 1).read_to_end(&mut content).map_err(self.failed("reading a blob"))?;
        let actual = BlobKey::of(&content);
        if actual != key {
            return Err(Error::Corrupted { key, actual });
        }
        Ok(content)
    }

    /// Verifies the checksum without holding the whole content.
    pub(crate) fn verify(&self, key: BlobKey) -> Result<(), Error> {
        let mut file = self.open_blob(key)?;
        let mut hash = Sha256::new();
        let mut buffer = vec![0; CHUNK];
        loop {
            match file.read(&mut buffer).map_err(self.failed("reading a blob"))? {
                0 => break,
                read => hash.update(&buffer[..read]),
            }
        }
        let actual = BlobKey(hash.finalize().into());
        if actual == key { Ok(()) } else { Err(Error::Corrupted { key, actual }) }
    }

    /// Removing what is not there succeeds.
    pub(crate) fn remove(&self, key: BlobKey) -> Result<(), Error> {
        match self.dir.remove_file(key.to_string()) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(self.failed("removing a blob")(e)),
            _ => Ok(()),
        }
    }
}

/// A blob that is being written beside the others; dropped unpublished, it is
/// removed.
#[derive(Debug)]
pub(crate) struct Writer {
    file: File,
    hash: Sha256,
    size: u64,
    temporary: Temporary,
}

impl Writer {
    pub(crate) fn create(folder: &Arc<Folder>) -> Result<Self, Error> {
        let number = folder.next_temporary.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}.{number}.{TEMPORARY}", std::process::id());
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        let file = folder.dir.open_with(&name, &options).map_err(folder.failed("creating a blob"))?;
        let temporary = Temporary { folder: Arc::clone(folder), name: Some(name) };
        Ok(Self { file, hash: Sha256::new(), size: 0, temporary })
    }

    pub(crate) fn write(&mut self, chunk: &[u8]) -> Result<(), Error> {
        let folder = &self.temporary.folder;
        self.size += chunk.len() as u64;
        if self.size > folder.limit {
            return Err(Error::TooLarge { size: self.size, limit: folder.limit });
        }
        self.hash.update(chunk);
        self.file.write_all(chunk).map_err(folder.failed("writing a blob"))
    }

    /// Writes all that the reader gives.
    pub(crate) fn copy(&mut self, mut content: impl Read) -> Result<(), Error> {
        let mut buffer = vec![0; CHUNK];
        loop {
            match content.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(read) => self.write(&buffer[..read])?,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(self.temporary.folder.failed("reading the content of a blob")(e)),
            }
        }
    }

    pub(crate) fn finish(self) -> Result<Prepared, Error> {
        let folder = &self.temporary.folder;
        if folder.durable {
            self.file.sync_all().map_err(folder.failed("syncing a blob"))?;
        }
        Ok(Prepared { key: BlobKey(self.hash.finalize().into()), temporary: self.temporary })
    }
}

/// A whole blob under a temporary name.
#[derive(Debug)]
pub(crate) struct Prepared {
    key: BlobKey,
    temporary: Temporary,
}

impl Prepared {
    pub(crate) fn key(&self) -> BlobKey {
        self.key
    }

    /// Makes it visible; durable when it returns, if the folder is to be. The
    /// same content is stored once.
    pub(crate) fn publish(mut self) -> Result<(), Error> {
        let Some(name) = self.temporary.name.take() else { return Ok(()) };
        let folder = &self.temporary.folder;
        let renamed = folder.dir.rename(&name, &folder.dir, self.key.to_string());
        if let Err(error) = renamed {
            let failed = folder.failed("renaming a blob")(error);
            self.temporary.name = Some(name);
            return Err(failed);
        }
        if folder.durable {
            // The rename itself is durable only with its folder.
            folder.dir.open(".").and_then(|dir| dir.sync_all()).map_err(folder.failed("syncing"))?;
        }
        Ok(())
    }
}

/// A file that is removed unless it was renamed.
#[derive(Debug)]
struct Temporary {
    folder: Arc<Folder>,
    name: Option<String>,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // Best effort: the next start removes it otherwise.
            let _ = self.folder.dir.remove_file(name);
        }
    }
}

/// A blob that is being read, and verified at its end.
#[derive(Debug)]
pub(crate) struct Reader {
    folder: Arc<Folder>,
    key: BlobKey,
    file: File,
    hash: Sha256,
    /// Bytes that are still to come.
    left: u64,
}

impl Reader {
    pub(crate) fn open(folder: &Arc<Folder>, key: BlobKey) -> Result<Self, Error> {
        let file = folder.open_blob(key)?;
        let left = file.metadata().map_err(folder.failed("reading a blob"))?.len();
        Ok(Self { folder: Arc::clone(folder), key, file, hash: Sha256::new(), left })
    }

    /// Bytes that are still to come.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    /// The next piece; none at the end, once the checksum has been found right.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let failed = self.folder.failed("reading a blob");
        if self.left == 0 {
            let actual = BlobKey(std::mem::take(&mut self.hash).finalize().into());
            return if actual == self.key {
                Ok(None)
            } else {
                Err(Error::Corrupted { key: self.key, actual })
            };
        }
        let mut chunk = vec![0; usize::try_from(self.left).unwrap_or(CHUNK).min(CHUNK)];
        self.file.read_exact(&mut chunk).map_err(failed)?;
        self.left -= chunk.len() as u64;
        self.hash.update(&chunk);
        Ok(Some(chunk.into()))
    }
}
