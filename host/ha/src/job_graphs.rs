//! The store of job graphs: what a new leader takes up again.

use crate::Error;
use async_trait::async_trait;
use heddle_model::id::JobId;
use heddle_model::job_graph::JobGraph;

/// Graphs of all jobs that are not globally terminal.
#[async_trait]
pub trait JobGraphStore: Send + Sync {
    /// Stores or replaces; durable when it returns.
    async fn put(&self, graph: &JobGraph) -> Result<(), Error>;
    /// Removing what is not there succeeds, so that a clean-up can be repeated.
    async fn remove(&self, job_id: JobId) -> Result<(), Error>;
    /// All stored graphs, ordered by job id.
    async fn list(&self) -> Result<Vec<JobGraph>, Error>;
}
