//! Blobs by content address: the server that keeps them, and the cache on a
//! TaskExecutor that fetches each once.
//!
//! A blob's key is its SHA-256, so that nobody can be given another content
//! than the one he named. Nothing here knows what a blob is for.

mod cache;
mod folder;
mod server;
mod stock;
mod transfer;

pub use cache::{BlobCache, CacheOptions};
pub use server::{BlobServer, ServerOptions};

use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::{BlobKey, JobId};
use std::path::PathBuf;

/// Largest blob by default: components are a few MiB, with a language's whole
/// runtime inside some tens of MiB.
pub const DEFAULT_MAX_BLOB_SIZE: u64 = 512 * 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("a blob of {size} bytes is above the limit of {limit} bytes; raise blob.max-size or ship less")]
    TooLarge { size: u64, limit: u64 },
    #[error("blob {key} is not stored here (any more); upload it again")]
    Unknown { key: BlobKey },
    #[error("blob {key} is corrupted: its content has the checksum {actual}; upload it again")]
    Corrupted { key: BlobKey, actual: BlobKey },
    #[error("the disk of the blob folder {} is full; make room, or set blob.storage.directory or io.tmp.dirs to another disk", .folder.display())]
    DiskFull {
        folder: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "a blob of {size} bytes does not fit into the cache beside the {needed} bytes that running jobs need: the limit is {limit}; raise blob.cache.size"
    )]
    CacheFull { size: u64, needed: u64, limit: u64 },
    #[error("blob {key} is not retained for job {job}")]
    NotRetained { key: BlobKey, job: JobId },
    #[error("{operation} in the blob folder {} failed", .folder.display())]
    Io {
        operation: &'static str,
        folder: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("fetching blob {key} failed")]
    Fetch {
        key: BlobKey,
        #[source]
        source: Failure,
    },
}

impl Error {
    fn is_corrupted(&self) -> bool {
        match self {
            Error::Corrupted { .. } => true,
            Error::Fetch { source, .. } => source.code == ErrorCode::BlobCorrupted,
            _ => false,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let message = match std::error::Error::source(&error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        };
        let code = if error.is_corrupted() { ErrorCode::BlobCorrupted } else { ErrorCode::Blob };
        Failure::new(code, message)
    }
}
