//! The store of job results: absent → committing → dirty → clean.
//!
//! A job is committing while its outputs are published; one that failed or was
//! cancelled never is. A result is dirty while the job's clean-up is not done.
//! A new leader publishes the rest of committing ones, cleans dirty ones up, and
//! runs none of them again.

use crate::{Error, Unreadable};
use async_trait::async_trait;
use heddle_model::failure::Failure;
use heddle_model::id::JobId;
use heddle_model::job_status::JobStatus;
use heddle_model::task::Commitment;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResultState {
    Absent,
    Committing,
    Dirty,
    Clean,
}

impl ResultState {
    pub const ALL: [ResultState; 4] =
        [ResultState::Absent, ResultState::Committing, ResultState::Dirty, ResultState::Clean];

    /// The legal next states.
    pub const fn next(self) -> &'static [ResultState] {
        match self {
            ResultState::Absent => &[ResultState::Committing, ResultState::Dirty],
            ResultState::Committing => &[ResultState::Dirty],
            ResultState::Dirty => &[ResultState::Clean],
            ResultState::Clean => &[],
        }
    }
}

impl fmt::Display for ResultState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ResultState::Absent => "absent",
            ResultState::Committing => "committing",
            ResultState::Dirty => "dirty",
            ResultState::Clean => "clean",
        })
    }
}

/// What is kept of a job that ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobResultEntry {
    pub job_id: JobId,
    pub job_name: String,
    /// Globally terminal.
    pub status: JobStatus,
    pub failure: Option<Failure>,
    /// Milliseconds since the epoch.
    pub start_time_ms: u64,
    pub runtime_ms: u64,
    pub accumulators: BTreeMap<String, i64>,
    /// What `collect` sinks gathered: a client that reconnects gets it.
    #[serde(default)]
    pub collected: BTreeMap<String, Vec<String>>,
}

/// What the store holds of jobs that are committing, ordered by job id.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Commitments {
    pub good: Vec<Commitment>,
    pub unreadable: Vec<Unreadable>,
}

#[async_trait]
pub trait JobResultStore: Send + Sync {
    /// Absent → committing; durable when it returns. Repeating it with the same
    /// commitment succeeds.
    async fn create_committing(&self, commitment: Commitment) -> Result<(), Error>;
    /// Absent or committing → dirty; durable when it returns. Repeating it with
    /// the same entry succeeds.
    async fn create_dirty(&self, entry: JobResultEntry) -> Result<(), Error>;
    /// Dirty → clean; what was committed is gone. Repeating it succeeds.
    async fn mark_clean(&self, job_id: JobId) -> Result<(), Error>;
    async fn state(&self, job_id: JobId) -> Result<ResultState, Error>;
    /// Jobs that are committing. One that cannot be read is told each time until
    /// it has a result.
    async fn committing(&self) -> Result<Commitments, Error>;
    /// Results whose clean-up is not done, ordered by job id.
    async fn dirty(&self) -> Result<Vec<JobResultEntry>, Error>;
    /// Results whose clean-up is done, the latest first, as far as they are
    /// kept; not more than `most`.
    async fn clean(&self, most: usize) -> Result<Vec<JobResultEntry>, Error>;
}
