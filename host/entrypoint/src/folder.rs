//! A folder that belongs to a process for as long as it lives.
//!
//! Its file `lock` is locked by its owner. A process that is killed leaves the
//! folder, but not the lock: whoever makes a folder beside it takes it away.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use tempfile::TempDir;
use tracing::{debug, info};

const LOCK: &str = "lock";

pub(crate) struct Folder {
    folder: TempDir,
    /// Held until the folder is gone.
    _lock: File,
}

impl Folder {
    /// Makes a folder `<parent>/<prefix>…`, and removes those with the same
    /// prefix whose owners are dead.
    pub fn create(parent: &Path, prefix: &str) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix(prefix).tempdir_in(parent)?;
        // It gets its name once it is locked: no lock file is ever seen without
        // its owner, unless that is dead.
        let unnamed = folder.path().join(".lock");
        let lock = File::create(&unnamed)?;
        lock.lock()?;
        std::fs::rename(&unnamed, folder.path().join(LOCK))?;
        match remove_abandoned(parent, prefix, folder.path().metadata()?.uid()) {
            Ok(0) => {}
            Ok(removed) => {
                info!(removed, parent = %parent.display(), "removed folders of processes that were killed");
            }
            Err(error) => debug!(parent = %parent.display(), %error, "cannot look for abandoned folders"),
        }
        Ok(Self { folder, _lock: lock })
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn remove(self) {
        let path = self.path().to_owned();
        if let Err(error) = self.folder.close() {
            debug!(folder = %path.display(), %error, "a folder of the process could not be removed");
        }
    }
}

/// Of the user `owner` only: a parent such as `/tmp` has those of others.
fn remove_abandoned(parent: &Path, prefix: &str, owner: u32) -> io::Result<usize> {
    let mut removed = 0;
    for entry in std::fs::read_dir(parent)? {
        let path = entry?.path();
        let named = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix));
        if named && is_folder_of(&path, owner) && is_abandoned(&path) {
            match std::fs::remove_dir_all(&path) {
                Ok(()) => removed += 1,
                Err(error) => debug!(folder = %path.display(), %error, "an abandoned folder stays"),
            }
        }
    }
    Ok(removed)
}

fn is_folder_of(path: &Path, owner: u32) -> bool {
    path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == owner)
}

/// Whether it has a lock that nobody holds. The lock ends here: nobody but its
/// owner, who is dead, would use the folder.
fn is_abandoned(folder: &Path) -> bool {
    let Ok(lock) = File::open(folder.join(LOCK)) else { return false };
    match lock.try_lock() {
        Ok(()) => true,
        Err(TryLockError::WouldBlock) => false,
        Err(TryLockError::Error(error)) => {
            debug!(folder = %folder.display(), %error, "cannot tell whether a folder is abandoned");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(parent: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(parent).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_folder_goes_with_its_owner_or_with_the_next_one() {
        let parent = tempfile::tempdir().unwrap();
        let living = Folder::create(parent.path(), "heddle-x-").unwrap();
        let killed = Folder::create(parent.path(), "heddle-x-").unwrap();
        std::fs::write(killed.path().join("blob"), "of a job").unwrap();
        // What a kill leaves: the folder without the lock.
        let Folder { folder, _lock: lock } = killed;
        let left = folder.keep();
        drop(lock);
        // Not Heddle's, not of this kind, not yet locked.
        for other in ["mine", "heddle-y-1", "heddle-x-new"] {
            std::fs::create_dir(parent.path().join(other)).unwrap();
        }
        std::fs::write(parent.path().join("heddle-y-1").join(LOCK), "").unwrap();

        let next = Folder::create(parent.path(), "heddle-x-").unwrap();
        assert!(!left.exists(), "the abandoned folder is gone");
        assert!(living.path().exists() && next.path().exists());
        living.remove();
        next.remove();
        assert_eq!(names(parent.path()), ["heddle-x-new", "heddle-y-1", "mine"]);
    }
}
