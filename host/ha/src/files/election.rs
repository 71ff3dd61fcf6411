//! The election. By lock: who holds that of `leader.lock` leads; the kernel lets
//! go of it when the process ends, however it ends, and the others stand by. By
//! order of arrival: who comes last leads at once, and whoever led before finds
//! a higher epoch in the folder.

use super::Election;
use super::folder::{Folder, Found};
use super::leader::{FILE, KIND, LeaderFile, LeaderInformation};
use super::{blocking, storage};
use crate::{Error, LeaderElection, Leadership};
use async_trait::async_trait;
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{info, warn};

const LOCK: &str = "leader.lock";

/// How often a contender says that it still stands by.
const STANDBY_NOTICE: Duration = Duration::from_secs(60);

/// One contender. Dropping it leaves the election, and the leadership.
pub struct FileElection {
    folder: Arc<Folder>,
    leader: Arc<LeaderFile>,
    poll_interval: Duration,
    rule: Election,
    state: State,
    /// A look that is under way: it goes on when the call that began it is
    /// dropped, and two at once would take over from each other.
    looking: Option<JoinHandle<Result<Look, Error>>>,
    /// When the last one began.
    looked: Option<Instant>,
    failed: Option<Error>,
    noticed: Option<Instant>,
}

enum State {
    Contending,
    /// With the lock, if there is one.
    Leading(Option<Arc<File>>),
    /// It led once, and does not come back.
    Superseded,
}

/// What one look at the folder led to.
enum Look {
    Granted {
        session: u128,
        lock: Option<File>,
    },
    /// Another process leads.
    Taken(Option<LeaderInformation>),
    /// This one still leads.
    Kept,
    /// It did, and does no longer.
    Lost,
}

impl FileElection {
    pub(super) fn new(
        folder: Arc<Folder>,
        leader: Arc<LeaderFile>,
        poll_interval: Duration,
        rule: Election,
    ) -> Self {
        Self {
            folder,
            leader,
            poll_interval,
            rule,
            state: State::Contending,
            looking: None,
            looked: None,
            failed: None,
            noticed: None,
        }
    }

    fn notice(&mut self, by: Option<LeaderInformation>) {
        if self.noticed.is_some_and(|at| at.elapsed() < STANDBY_NOTICE) {
            return;
        }
        self.noticed = Some(Instant::now());
        let folder = self.folder.path("").display().to_string();
        match by {
            Some(by) => info!(
                folder,
                epoch = by.epoch,
                host = by.host,
                process = by.process_id,
                address = by.address.as_deref().unwrap_or("not ready yet"),
                "another JobManager leads this cluster; standing by"
            ),
            None => info!(folder, "another JobManager leads this cluster; standing by"),
        }
    }
}

/// Whether the lock and the epoch are still this process's.
fn look_after(folder: &Folder, leader: &LeaderFile, lock: Option<&File>) -> Result<Look, Error> {
    let path = folder.path(LOCK);
    let same = match lock {
        None => true,
        Some(lock) => {
            let held = lock.metadata().map_err(|error| storage("looking at the lock", &path, &error))?;
            // Somebody may have removed the file and locked another one.
            std::fs::metadata(&path).is_ok_and(|there| (there.dev(), there.ino()) == (held.dev(), held.ino()))
        }
    };
    match leader.check() {
        Ok(()) if same => Ok(Look::Kept),
        Ok(()) | Err(Error::NotLeader { .. }) => Ok(Look::Lost),
        Err(error) => Err(error),
    }
}

fn look(folder: &Folder, leader: &LeaderFile, rule: Election) -> Result<Look, Error> {
    if rule == Election::LastComer {
        folder.remove_half_written()?;
        let session = leader.grant(rand::random())?.0;
        return Ok(Look::Granted { session, lock: None });
    }
    let path = folder.path(LOCK);
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|error| storage("opening the lock", &path, &error))?;
    match lock.try_lock() {
        Ok(()) => {
            folder.remove_half_written()?;
            let session = leader.grant(rand::random())?.0;
            Ok(Look::Granted { session, lock: Some(lock) })
        }
        Err(TryLockError::WouldBlock) => Ok(Look::Taken(match folder.read(FILE, KIND)? {
            Found::Good(by) => Some(by),
            Found::Nothing | Found::Corrupted(_) => None,
        })),
        Err(TryLockError::Error(error)) => Err(storage("locking", &path, &error)),
    }
}

#[async_trait]
impl LeaderElection for FileElection {
    async fn next(&mut self) -> Leadership {
        loop {
            let look = match &mut self.looking {
                Some(look) => look,
                None => {
                    if let Some(last) = self.looked {
                        tokio::time::sleep_until(last + self.poll_interval).await;
                    }
                    self.looked = Some(Instant::now());
                    let (folder, leader, rule) = (self.folder.clone(), self.leader.clone(), self.rule);
                    let lock = match &self.state {
                        State::Contending => None,
                        State::Leading(lock) => Some(lock.clone()),
                        State::Superseded => return std::future::pending().await,
                    };
                    self.looking.insert(tokio::spawn(blocking(move || match lock {
                        None => look(&folder, &leader, rule),
                        Some(lock) => look_after(&folder, &leader, lock.as_deref()),
                    })))
                }
            };
            let found = look.await;
            self.looking = None;
            match found {
                Ok(Ok(Look::Granted { session, lock })) => {
                    self.state = State::Leading(lock.map(Arc::new));
                    (self.noticed, self.failed) = (None, None);
                    return Leadership::Granted { session };
                }
                Ok(Ok(Look::Taken(by))) => {
                    self.failed = None;
                    self.notice(by);
                }
                Ok(Ok(Look::Kept)) => self.failed = None,
                Ok(Ok(Look::Lost)) => {
                    warn!(
                        folder = %self.folder.path("").display(),
                        "another leader took over, or the lock was removed; this one leads no longer"
                    );
                    self.leader.revoke();
                    self.state = match self.rule {
                        Election::Lock => State::Contending,
                        Election::LastComer => State::Superseded,
                    };
                    return Leadership::Revoked;
                }
                // While it leads nobody else can have taken over as far as is known.
                Ok(Err(error)) => say_once(&mut self.failed, error),
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(_) => return std::future::pending().await,
                },
            }
        }
    }

    async fn confirm(&mut self, session: u128, address: &str) -> Result<(), Error> {
        let (leader, address) = (self.leader.clone(), address.to_owned());
        blocking(move || leader.confirm(session, &address)).await
    }
}

impl Drop for FileElection {
    fn drop(&mut self) {
        if matches!(self.state, State::Leading(_)) {
            match self.rule {
                Election::Lock => self.leader.resign(),
                // Its folder may be on a network; and nobody stands by.
                Election::LastComer => self.leader.revoke(),
            }
        }
    }
}

/// The same trouble is told once, not at each try.
fn say_once(failed: &mut Option<Error>, error: Error) {
    if failed.as_ref() != Some(&error) {
        warn!(%error, "the election does not go on; trying again");
        *failed = Some(error);
    }
}
