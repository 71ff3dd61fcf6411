//! What must outlive a leader, and how a leader comes to be: the store of job
//! graphs, the store of job results, leader election.
//!
//! Traits with two implementations: embedded (in memory, leadership at once)
//! and [`files`] (a folder, leadership by a lock). Nothing here knows what a
//! dispatcher does with them.

mod blobs;
mod election;
mod embedded;
pub mod files;
mod job_graphs;
mod job_results;

pub use blobs::BlobStore;
pub use election::{LeaderElection, Leadership};
pub use embedded::{EmbeddedBlobStore, EmbeddedElection, EmbeddedJobGraphStore, EmbeddedJobResultStore};
pub use job_graphs::{JobGraphStore, JobGraphs, Unreadable};
pub use job_results::{Commitments, JobResultEntry, JobResultStore, ResultState};

use std::sync::Arc;

/// Why a store or an election could not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The storage behind it failed; trying again may help.
    #[error("{operation} failed: {reason}")]
    Storage { operation: &'static str, reason: String },
    /// The caller asked for a step that the state does not allow.
    #[error("{what} of job {job_id} cannot become {to}: it is {from}")]
    Transition { what: &'static str, job_id: heddle_model::id::JobId, from: ResultState, to: ResultState },
    /// The session ended before it was confirmed.
    #[error("leader session {session:032x} has ended")]
    NotLeader { session: u128 },
}

/// What a dispatcher needs to be highly available.
pub struct Services {
    pub job_graphs: Arc<dyn JobGraphStore>,
    pub job_results: Arc<dyn JobResultStore>,
    pub blobs: Arc<dyn BlobStore>,
    pub dispatcher_election: Box<dyn LeaderElection>,
}

impl Services {
    /// All in memory; the only contender leads at once, under `session`.
    pub fn embedded(session: u128) -> Self {
        Self {
            job_graphs: Arc::new(EmbeddedJobGraphStore::default()),
            job_results: Arc::new(EmbeddedJobResultStore::default()),
            blobs: Arc::new(EmbeddedBlobStore),
            dispatcher_election: Box::new(EmbeddedElection::new(session)),
        }
    }
}
