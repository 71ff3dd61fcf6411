//! Blobs over a connection: pieces in both directions, each of which must come
//! in time.

use super::peer::{Remote, Via, no_answer};
use super::proto::blob_server_client::BlobServerClient;
use super::proto::blob_server_server::BlobServer;
use super::proto::put_blob_request::Part;
use super::proto::{BlobChunk, GetBlobRequest, PutBlobHead, PutBlobRequest};
use super::server::Answers;
use super::wire;
use crate::{BlobContent, BlobServerGateway, Error, Result};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{BoxStream, Stream, StreamExt};
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::BlobKey;
use std::pin::pin;
use std::time::Duration;
use tokio::sync::watch;
use tonic::{Code, Request, Response, Status, Streaming};

/// Bytes in a second that an upload must bring at least, on average: who sends
/// a byte at a time must not stay for ever.
const SLOWEST: u64 = 64 * 1024;

/// How long an upload of that many bytes may take.
pub(crate) fn longest_transfer(size: u64) -> Duration {
    Duration::from_secs(size / SLOWEST)
}

pub(crate) fn too_slow(longest: Duration) -> Error {
    let message = format!("the upload of a blob was ended after {longest:?}: it was too slow; try again");
    Error::Failure(Failure::new(ErrorCode::Blob, message))
}

/// Whether another try may bring it undamaged.
pub(crate) fn is_corrupted(error: &Error) -> bool {
    matches!(error, Error::Failure(failure) if failure.code == ErrorCode::BlobCorrupted)
}

/// The messages of an upload, and how many of them have been taken. An error of
/// the content ends the upload before its size is reached, which the receiver
/// refuses.
pub(crate) fn upload(
    head: PutBlobHead,
    content: BlobContent,
) -> (impl Stream<Item = PutBlobRequest> + Send + 'static, watch::Receiver<u64>) {
    let (taken, progress) = watch::channel(0);
    let head = futures_util::stream::iter([PutBlobRequest { part: Some(Part::Head(head)) }]);
    let chunks = content.into_stream().take_while(|chunk| std::future::ready(chunk.is_ok()));
    let chunks = chunks.filter_map(|chunk| std::future::ready(chunk.ok())).map(move |chunk| {
        taken.send_modify(|count| *count += 1);
        PutBlobRequest { part: Some(Part::Chunk(chunk)) }
    });
    (head.chain(chunks), progress)
}

/// Waits for a long call for as long as it makes progress.
pub(crate) async fn while_it_moves<T>(
    remote: &Remote,
    name: &'static str,
    mut progress: watch::Receiver<u64>,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T> {
    let metrics = &remote.peer.metrics;
    let timeout = remote.peer.limits.ask_timeout;
    metrics.calls_sent.add_one();
    let mut call = pin!(call);
    let mut sending = true;
    loop {
        tokio::select! {
            result = &mut call => {
                return match result {
                    Ok(response) => Ok(response.into_inner()),
                    Err(status) => Err(remote.failed(name, &status)),
                };
            }
            // Once all is sent, the answer has its own time.
            changed = progress.changed(), if sending => sending = changed.is_ok(),
            () = tokio::time::sleep(timeout) => {
                metrics.calls_unanswered.add_one();
                return Err(no_answer(name, &remote.address, timeout));
            }
        }
    }
}

/// Ends what does not come in time.
pub(crate) async fn within<T>(
    time: Duration,
    message: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    match tokio::time::timeout(time, message).await {
        Ok(result) => result,
        Err(_) => Err(Status::new(Code::DeadlineExceeded, format!("nothing came for {time:?}"))),
    }
}

/// The messages of a stream, each of which comes in time.
pub(crate) fn chunks<T: Send + 'static>(
    messages: Streaming<T>,
    idle: Duration,
    failed: impl Fn(Status) -> Error + Send + 'static,
) -> BoxStream<'static, Result<T>> {
    let next = move |messages: Option<Streaming<T>>| async move {
        let mut messages = messages?;
        match within(idle, messages.message()).await {
            Ok(Some(message)) => Some((Ok(message), Some(messages))),
            Ok(None) => None,
            Err(status) => Some((Err(status), None)),
        }
    };
    let messages = futures_util::stream::unfold(Some(messages), next);
    messages.map(move |message| message.map_err(&failed)).boxed()
}

pub(crate) fn interrupted(status: &Status) -> Error {
    let message = format!("a blob stopped coming half way: {}; try again", wire::root_cause(status));
    Error::Failure(Failure::new(ErrorCode::Blob, message))
}

pub(crate) struct RemoteBlobServer {
    remote: Remote,
    client: BlobServerClient<Via>,
}

impl RemoteBlobServer {
    pub(crate) fn new(remote: Remote) -> Self {
        let most = remote.peer.limits.max_message_size;
        let client = BlobServerClient::new(remote.peer.via.clone());
        let client = client.max_decoding_message_size(most).max_encoding_message_size(most);
        Self { remote, client }
    }
}

#[async_trait]
impl BlobServerGateway for RemoteBlobServer {
    async fn get_blob(&self, key: BlobKey) -> Result<BlobContent> {
        let request =
            GetBlobRequest { endpoint: self.remote.endpoint(), key: Bytes::copy_from_slice(&key.0) };
        let mut messages = self.remote.call("get_blob", self.client.clone().get_blob(request)).await?;
        // The head tells whether there is such a blob at all.
        let idle = self.remote.peer.limits.ask_timeout;
        let head = within(idle, messages.message()).await;
        let head = head.map_err(|status| self.remote.failed("get_blob", &status))?;
        let head = wire::present(head, "the first chunk of a blob")?;
        let size = wire::present(head.size, "the size of a blob")?;
        let remote = self.remote.clone();
        let rest = chunks(messages, idle, move |status| remote.failed("get_blob", &status));
        let rest = rest.map(|message| message.map(|message| message.chunk));
        Ok(BlobContent::stream(key, size, rest.boxed()))
    }
}

#[async_trait]
impl BlobServer for Answers {
    type GetBlobStream = BoxStream<'static, Result<BlobChunk, Status>>;

    async fn get_blob(
        &self,
        request: Request<GetBlobRequest>,
    ) -> Result<Response<Self::GetBlobStream>, Status> {
        let request = request.into_inner();
        let gateway = self.blob_server(&request.endpoint)?;
        let content = async { gateway.get_blob(wire::blob_key(&request.key)?).await };
        self.answer(content, |content| {
            let head = BlobChunk { chunk: Bytes::new(), size: Some(content.size()) };
            let head = futures_util::stream::iter([Ok(head)]);
            let chunks = content.into_stream().map(|chunk| match chunk {
                Ok(chunk) => Ok(BlobChunk { chunk, size: None }),
                Err(error) => Err(wire::status_of(error)),
            });
            Ok(head.chain(chunks).boxed())
        })
        .await
    }
}
