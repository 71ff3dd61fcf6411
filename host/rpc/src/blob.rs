//! Blobs on their way: content in chunks, and what TaskExecutors ask the blob
//! server. Keeps no content; `blob` does.

use crate::Result;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt};
use heddle_model::id::BlobKey;
use std::fmt;

/// How much of a blob travels in one message.
pub const BLOB_CHUNK_SIZE: usize = 256 * 1024;

enum Chunks {
    /// All of it, which can be sent again.
    Whole(Bytes),
    Stream(BoxStream<'static, Result<Bytes>>),
}

/// The content of a blob, from whoever has it. The receiver compares it with
/// its key.
pub struct BlobContent {
    key: BlobKey,
    size: u64,
    chunks: Chunks,
}

impl BlobContent {
    /// Content in memory, and its key: hashes it.
    pub fn of(content: Bytes) -> Self {
        Self::named(BlobKey::of(&content), content)
    }

    /// Content in memory whose key is known.
    pub fn named(key: BlobKey, content: Bytes) -> Self {
        Self { key, size: content.len() as u64, chunks: Chunks::Whole(content) }
    }

    /// Content that comes piece by piece; nothing of it is believed.
    pub fn stream(key: BlobKey, size: u64, chunks: BoxStream<'static, Result<Bytes>>) -> Self {
        Self { key, size, chunks: Chunks::Stream(chunks) }
    }

    /// What the sender calls it.
    pub fn key(&self) -> BlobKey {
        self.key
    }

    /// What the sender says of its length, in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The next piece, at most [`BLOB_CHUNK_SIZE`] of what is in memory.
    pub async fn next(&mut self) -> Option<Result<Bytes>> {
        match &mut self.chunks {
            Chunks::Whole(content) if content.is_empty() => None,
            Chunks::Whole(content) => Some(Ok(content.split_to(content.len().min(BLOB_CHUNK_SIZE)))),
            Chunks::Stream(stream) => stream.next().await,
        }
    }

    pub fn into_stream(self) -> BoxStream<'static, Result<Bytes>> {
        match self.chunks {
            Chunks::Stream(stream) => stream,
            Chunks::Whole(_) => futures_util::stream::unfold(self, async |mut content| {
                let next = content.next().await?;
                Some((next, content))
            })
            .boxed(),
        }
    }

    /// The same again, if it can be had again.
    pub fn again(&self) -> Option<Self> {
        match &self.chunks {
            Chunks::Whole(content) => {
                let chunks = Chunks::Whole(content.clone());
                Some(Self { key: self.key, size: self.size, chunks })
            }
            Chunks::Stream(_) => None,
        }
    }
}

impl From<Bytes> for BlobContent {
    fn from(content: Bytes) -> Self {
        Self::of(content)
    }
}

impl fmt::Debug for BlobContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobContent").field("key", &self.key).field("size", &self.size).finish()
    }
}

#[async_trait]
pub trait BlobServerGateway: Send + Sync {
    /// The content. It ends with an error if what is stored does not have this
    /// key; the receiver verifies it as well.
    async fn get_blob(&self, key: BlobKey) -> Result<BlobContent>;
}
