//! What else lies in an output folder: temporary folders of other jobs. One
//! whose job runs is refused company, one that a killed process left is
//! removed.
//!
//! Whoever runs a job holds the lock of the job's temporary folder; it goes
//! with the process. Only files of this machine can be locked. Elsewhere, and
//! where a lock does not tell, nothing is removed and the log has a word of it.

use super::Place;
use super::publish::{TEMPORARY, is_publishing, temporary_folder};
use crate::invalid;
use heddle_model::failure::Failure;
use heddle_model::id::JobId;
use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::time::Duration;

const LOCK: &str = "lock";
/// Whoever looks around in a folder does so alone, for milliseconds.
const ALONE_TRIES: usize = 500;
const ALONE_PAUSE: Duration = Duration::from_millis(10);

/// While it lives, the output folder is the job's.
#[derive(Debug, Default)]
pub struct Reservation {
    _lock: Option<File>,
}

impl Reservation {
    /// Locks the job's temporary folder. A lock of a former leader of the job
    /// is replaced: it may live on, but it is over.
    pub(super) fn take(place: &Place, job: JobId) -> io::Result<Self> {
        if !place.system.is_local() {
            return Ok(Self::default());
        }
        let folder = place.path.join(temporary_folder(job));
        // It gets its name once it is locked.
        let unnamed = folder.join(".lock");
        let lock = File::create(&unnamed)?;
        let locked = lock.try_lock();
        std::fs::rename(&unnamed, folder.join(LOCK))?;
        if let Err(error) = locked {
            tracing::debug!(folder = %folder.display(), %error, "files cannot be locked here");
        }
        Ok(Self { _lock: Some(lock) })
    }
}

/// Until it is dropped, no other job looks around in the folder or joins it;
/// none if that cannot be.
pub(super) fn alone_in(place: &Place) -> Option<File> {
    let folder = place.system.is_local().then(|| File::open(&place.path).ok()).flatten()?;
    for _ in 0..ALONE_TRIES {
        match folder.try_lock() {
            Ok(()) => return Some(folder),
            Err(TryLockError::WouldBlock) => std::thread::sleep(ALONE_PAUSE),
            Err(TryLockError::Error(_)) => return None,
        }
    }
    None
}

enum Owner {
    Lives,
    Dead,
    Unknown,
}

/// `names`: all that is in the folder. A failure if a job runs that writes
/// into it.
pub(super) fn clear(place: &Place, job: JobId, names: &[String]) -> Result<(), Failure> {
    let own = temporary_folder(job);
    for name in names.iter().filter(|name| name.starts_with(TEMPORARY) && **name != own) {
        let (folder, id) = (place.join(name), &name[TEMPORARY.len()..]);
        match owner(&folder) {
            Owner::Lives => {
                return Err(invalid(format!(
                    "the output folder `{}` is being written by job {id}; choose another, or wait for its end",
                    place.show()
                )));
            }
            Owner::Dead => match folder.system.remove_all(&folder.path) {
                Ok(()) => tracing::info!(folder = %folder.show(), "removed what a killed job left"),
                Err(error) => tracing::warn!(folder = %folder.show(), %error, "what a killed job left stays"),
            },
            Owner::Unknown => tracing::warn!(
                folder = %folder.show(),
                "job {id} writes into the same output folder, or was killed; if it does not run, remove this folder"
            ),
        }
    }
    Ok(())
}

/// Of a temporary folder.
fn owner(folder: &Place) -> Owner {
    if !folder.system.is_local() {
        return Owner::Unknown;
    }
    let Ok(lock) = open_unfollowed(&folder.path.join(LOCK)) else { return Owner::Unknown };
    match lock.try_lock() {
        // A next leader goes on with what is half published.
        Ok(()) if is_publishing(&*folder.system, &folder.path) => Owner::Unknown,
        Ok(()) => Owner::Dead,
        Err(TryLockError::WouldBlock) => Owner::Lives,
        Err(TryLockError::Error(_)) => Owner::Unknown,
    }
}

fn open_unfollowed(path: &Path) -> io::Result<File> {
    if !path.symlink_metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    File::open(path)
}
