//! The store of blob copies: what a new leader's blob server gets back.

use crate::Error;
use async_trait::async_trait;
use heddle_model::id::{BlobKey, JobId};
use std::path::{Path, PathBuf};

/// Copies of the blobs of jobs that are not globally terminal.
#[async_trait]
pub trait BlobStore: Send + Sync {
    /// Whether what is put here comes back.
    fn keeps(&self) -> bool {
        true
    }
    /// Keeps a copy of the local file for the job; durable when it returns.
    async fn put(&self, job_id: JobId, key: BlobKey, file: &Path) -> Result<(), Error>;
    /// A file with the copy, if there is one; who reads it verifies it.
    async fn get(&self, job_id: JobId, key: BlobKey) -> Result<Option<PathBuf>, Error>;
    /// The job needs none of its blobs any more. Repeating it succeeds.
    async fn remove(&self, job_id: JobId) -> Result<(), Error>;
}
