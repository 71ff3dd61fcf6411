//! A folder of blobs: written beside and renamed, verified when read.
//!
//! All access goes through a capability for the folder. Blocking; the callers
//! move it off the async threads.

use crate::Error;
use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions};
use heddle_model::id::BlobKey;
use sha2::{Digest, Sha256};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
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
        move |source| Error::Io { operation, folder: self.root.clone(), source }
    }

    pub(crate) fn path(&self, key: BlobKey) -> PathBuf {
        self.root.join(key.to_string())
    }

    pub(crate) fn contains(&self, key: BlobKey) -> bool {
        self.dir.exists(key.to_string())
    }

    pub(crate) fn keys(&self) -> Result<Vec<BlobKey>, Error> {
        let mut keys = Vec::new();
        for entry in self.dir.entries().map_err(self.failed("listing"))? {
            let name = entry.map_err(self.failed("listing"))?.file_name();
            if let Some(key) = name.to_str().and_then(parse_key) {
                keys.push(key);
            }
        }
        keys.sort_unstable();
        Ok(keys)
    }

    /// Writes what the reader gives beside the blobs; it is one of them once it
    /// is published.
    pub(crate) fn prepare(&self, mut content: impl Read) -> Result<Prepared<'_>, Error> {
        let number = self.next_temporary.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}.{number}.{TEMPORARY}", std::process::id());
        // From here on a failure removes the file.
        let mut prepared = Prepared { folder: self, name: Some(name.clone()), key: BlobKey([0; 32]) };
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        let mut file = self.dir.open_with(&name, &options).map_err(self.failed("creating a blob"))?;
        let mut hash = Sha256::new();
        let mut buffer = vec![0; CHUNK];
        let mut size = 0_u64;
        loop {
            let read = match content.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => return Err(self.failed("reading the content of a blob")(e)),
            };
            size += read as u64;
            if size > self.limit {
                return Err(Error::TooLarge { size, limit: self.limit });
            }
            hash.update(&buffer[..read]);
            file.write_all(&buffer[..read]).map_err(self.failed("writing a blob"))?;
        }
        if self.durable {
            file.sync_all().map_err(self.failed("syncing a blob"))?;
        }
        prepared.key = BlobKey(hash.finalize().into());
        Ok(prepared)
    }

    /// Gives the content, whose checksum has been verified.
    pub(crate) fn read(&self, key: BlobKey) -> Result<Vec<u8>, Error> {
        let file = match self.dir.open(key.to_string()) {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::NotFound => return Err(Error::Unknown { key }),
            Err(e) => return Err(self.failed("opening a blob")(e)),
        };
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
        let mut file = match self.dir.open(key.to_string()) {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::NotFound => return Err(Error::Unknown { key }),
            Err(e) => return Err(self.failed("opening a blob")(e)),
        };
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

/// A blob under a temporary name; dropped unpublished, it is removed.
#[derive(Debug)]
pub(crate) struct Prepared<'a> {
    folder: &'a Folder,
    name: Option<String>,
    key: BlobKey,
}

impl Prepared<'_> {
    pub(crate) fn key(&self) -> BlobKey {
        self.key
    }

    /// Makes it visible; durable when it returns, if the folder is to be. The
    /// same content is stored once.
    pub(crate) fn publish(mut self) -> Result<(), Error> {
        let folder = self.folder;
        let Some(name) = &self.name else { return Ok(()) };
        folder
            .dir
            .rename(name, &folder.dir, self.key.to_string())
            .map_err(folder.failed("renaming a blob"))?;
        self.name = None;
        if folder.durable {
            // The rename itself is durable only with its folder.
            folder.dir.open(".").and_then(|dir| dir.sync_all()).map_err(folder.failed("syncing"))?;
        }
        Ok(())
    }
}

impl Drop for Prepared<'_> {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // Best effort: the next start removes it otherwise.
            let _ = self.folder.dir.remove_file(name);
        }
    }
}

fn parse_key(text: &str) -> Option<BlobKey> {
    if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let mut key = [0_u8; 32];
    for (byte, digits) in key.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(BlobKey(key))
}

#[cfg(test)]
mod tests {
    use super::parse_key;
    use heddle_model::id::BlobKey;

    #[test]
    fn a_key_is_read_back_from_its_file_name() {
        let key = BlobKey::of(b"x");
        assert_eq!(parse_key(&key.to_string()), Some(key));
        for other in ["", "1.tmp", &"g".repeat(64), &"é".repeat(32)] {
            assert_eq!(parse_key(other), None);
        }
    }
}
