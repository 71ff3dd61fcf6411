//! Leader election, seen by one contender.

use crate::Error;
use async_trait::async_trait;

/// A change of the contender's leadership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leadership {
    /// The contender leads from now on; `session` is its fencing token. A
    /// grant while an older session lasts ends the older one.
    Granted { session: u128 },
    /// The contender no longer leads.
    Revoked,
}

/// One contender's view of an election. Dropping it leaves the election.
#[async_trait]
pub trait LeaderElection: Send {
    /// The next change. Cancel-safe: a dropped call loses nothing. Waits for
    /// ever when nothing changes any more.
    async fn next(&mut self) -> Leadership;

    /// Publishes where the leader listens, once it is ready. Fails with
    /// [`Error::NotLeader`] if the session has ended meanwhile.
    async fn confirm(&mut self, session: u128, address: &str) -> Result<(), Error>;
}
