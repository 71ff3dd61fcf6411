//! Content between a folder and the network: piece by piece, verified on the
//! way, no thread held while a peer is waited for.

use crate::Error;
use crate::folder::{Folder, Prepared, Reader, Writer};
use futures_util::StreamExt;
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::BlobKey;
use heddle_rpc::BlobContent;
use std::sync::Arc;

/// Writes what arrives beside the blobs, and verifies it.
pub(crate) async fn receive(folder: &Arc<Folder>, mut content: BlobContent) -> Result<Prepared, Error> {
    let key = content.key();
    if content.size() > folder.limit() {
        return Err(Error::TooLarge { size: content.size(), limit: folder.limit() });
    }
    let interrupted = |source| Error::Fetch { key, source };
    let creating = Arc::clone(folder);
    let mut writer = blocking(move || Writer::create(&creating)).await?;
    let mut left = content.size();
    while let Some(chunk) = content.next().await {
        let chunk = chunk.map_err(|error| interrupted(failure(error)))?;
        if chunk.is_empty() {
            // Else one who sends nothing, again and again, would stay for ever.
            let message = format!("blob {key} comes in empty pieces");
            return Err(interrupted(Failure::new(ErrorCode::MessageMalformed, message)));
        }
        left = left.checked_sub(chunk.len() as u64).ok_or_else(|| {
            // Room was made for as much as was announced.
            let message = format!("blob {key} is longer than was announced");
            interrupted(Failure::new(ErrorCode::BlobCorrupted, message))
        })?;
        writer = blocking(move || writer.write(&chunk).map(|()| writer)).await?;
    }
    let prepared = blocking(move || writer.finish()).await?;
    if prepared.key() == key { Ok(prepared) } else { Err(Error::Corrupted { key, actual: prepared.key() }) }
}

/// The content of a stored blob; it ends with an error if it is corrupted.
pub(crate) async fn send(folder: &Arc<Folder>, key: BlobKey) -> Result<BlobContent, Error> {
    let folder = Arc::clone(folder);
    let reader = blocking(move || Reader::open(&folder, key)).await?;
    let size = reader.left();
    let next = |reader: Option<Reader>| async {
        let mut reader = reader?;
        let (chunk, reader) = blocking(move || (reader.next(), reader)).await;
        match chunk {
            Ok(Some(chunk)) => Some((Ok(chunk), Some(reader))),
            Ok(None) => None,
            Err(error) => Some((Err(Failure::from(error).into()), None)),
        }
    };
    Ok(BlobContent::stream(key, size, futures_util::stream::unfold(Some(reader), next).boxed()))
}

pub(crate) fn failure(error: heddle_rpc::Error) -> Failure {
    match error {
        heddle_rpc::Error::Failure(failure) => failure,
        other => Failure::new(ErrorCode::Blob, other.to_string()),
    }
}

/// Runs file access off the async threads.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(e) => match e.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down: nobody waits for an answer.
            Err(_) => std::future::pending().await,
        },
    }
}
