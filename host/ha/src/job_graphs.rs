//! The store of job graphs: what a new leader takes up again.

use crate::Error;
use async_trait::async_trait;
use heddle_model::id::JobId;
use heddle_model::job_graph::JobGraph;

/// A stored graph or commitment that cannot be read any more. Its file was set
/// aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    pub job_id: JobId,
    /// What is wrong, and where it is now; one line.
    pub reason: String,
}

/// What the store holds, ordered by job id.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JobGraphs {
    pub graphs: Vec<JobGraph>,
    pub unreadable: Vec<Unreadable>,
}

/// Graphs of all jobs that are not globally terminal.
#[async_trait]
pub trait JobGraphStore: Send + Sync {
    /// Stores or replaces; durable when it returns.
    async fn put(&self, graph: &JobGraph) -> Result<(), Error>;
    /// Removing what is not there succeeds, so that a clean-up can be repeated.
    async fn remove(&self, job_id: JobId) -> Result<(), Error>;
    /// All stored graphs. One that cannot be read is told once.
    async fn list(&self) -> Result<JobGraphs, Error>;
}
