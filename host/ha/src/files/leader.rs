//! `leader.json`: who leads, under which epoch. Each grant raises the epoch;
//! who wrote an older one may not write any more.

use super::folder::{Folder, Found};
use crate::Error;
use heddle_model::id::DispatcherId;
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use tracing::error;

pub(super) const FILE: &str = "leader.json";
pub(super) const KIND: &str = "leader";

/// What the folder tells of the leader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaderInformation {
    /// Grows with each new leader.
    pub epoch: u64,
    /// The fencing token of everything that the leader leads.
    pub session: DispatcherId,
    /// Where it is reached; none until it is ready.
    pub address: Option<String>,
    /// The process, as its machine knows it.
    pub host: String,
    pub process_id: u32,
    /// When it was granted, milliseconds since 1970.
    pub since_ms: u64,
}

/// This process's part in the leadership. Its session, while it leads, is what
/// permits its stores to write.
#[derive(Debug)]
pub(super) struct LeaderFile {
    folder: Arc<Folder>,
    own: Mutex<Option<LeaderInformation>>,
}

impl LeaderFile {
    pub(super) fn new(folder: Arc<Folder>) -> Self {
        Self { folder, own: Mutex::new(None) }
    }

    fn own(&self) -> Option<LeaderInformation> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_own(&self, own: Option<LeaderInformation>) {
        *self.own.lock().unwrap_or_else(PoisonError::into_inner) = own;
    }

    /// Raises the epoch; the caller holds the lock.
    pub(super) fn grant(&self, random: u64) -> Result<DispatcherId, Error> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let epoch = match self.folder.read::<LeaderInformation>(FILE, KIND)? {
            Found::Nothing => 1,
            Found::Good(former) => former.epoch + 1,
            Found::Corrupted(reason) => {
                let place = self.folder.set_aside(FILE)?;
                // Counted epochs do not come near the seconds since 1970, so
                // that this one is above whatever the file said.
                let epoch = now.as_secs();
                error!(
                    file = %self.folder.path(FILE).display(), reason, set_aside = %place.display(), epoch,
                    "the leader file is corrupted; going on with an epoch above all former ones"
                );
                epoch
            }
        };
        let session = DispatcherId(u128::from(epoch) << 64 | u128::from(random));
        let own = LeaderInformation {
            epoch,
            session,
            address: None,
            host: host_name(),
            process_id: std::process::id(),
            since_ms: now.as_millis() as u64,
        };
        self.folder.write(FILE, KIND, &own, || Ok(()))?;
        self.set_own(Some(own));
        Ok(session)
    }

    /// Publishes the address of the leader, if this is it.
    pub(super) fn confirm(&self, session: u128, address: &str) -> Result<(), Error> {
        let own = self.own().filter(|own| own.session.0 == session).ok_or(Error::NotLeader { session })?;
        let confirmed = LeaderInformation { address: Some(address.to_owned()), ..own };
        self.folder.write(FILE, KIND, &confirmed, || self.check())?;
        self.set_own(Some(confirmed));
        Ok(())
    }

    /// Whether this process is the leader by the file too: a stalled one that
    /// comes back finds a higher epoch there.
    pub(super) fn check(&self) -> Result<(), Error> {
        let Some(own) = self.own() else { return Err(Error::NotLeader { session: 0 }) };
        match self.folder.read::<LeaderInformation>(FILE, KIND)? {
            Found::Good(stored) if stored.session == own.session => Ok(()),
            Found::Good(_) | Found::Nothing => Err(Error::NotLeader { session: own.session.0 }),
            Found::Corrupted(reason) => {
                let reason = format!("{}: {reason}", self.folder.path(FILE).display());
                Err(Error::Storage { operation: "reading the leader file", reason })
            }
        }
    }

    /// This process leads no longer.
    pub(super) fn revoke(&self) {
        self.set_own(None);
    }

    /// Takes its address out, so that nobody looks for it there, if the file
    /// is still its own.
    pub(super) fn resign(&self) {
        let Some(own) = self.own() else { return };
        let resigned = LeaderInformation { address: None, ..own };
        if let Err(error) = self.folder.write(FILE, KIND, &resigned, || self.check()) {
            tracing::debug!(%error, "the leader's address stays in the leader file");
        }
        self.revoke();
    }
}

/// The name of this machine, for people who look for the process.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = if name.trim().is_empty() { std::env::var("HOSTNAME").unwrap_or_default() } else { name };
    if name.trim().is_empty() { "localhost".to_owned() } else { name.trim().to_owned() }
}
