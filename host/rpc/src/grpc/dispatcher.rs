//! The dispatcher's gateway over a connection: both ends.

use super::peer::{Remote, Via};
use super::proto::dispatcher_client::DispatcherClient;
use super::proto::dispatcher_server::Dispatcher;
use super::proto::put_blob_request::Part;
use super::proto::{
    ClusterOverviewReply, ClusterOverviewRequest, DispatcherJobRequest, Empty, JobDetails, JobReference,
    JobResultReply, JobResultRequest, ListJobsReply, ListJobsRequest, PutBlobHead, PutBlobReply,
    PutBlobRequest, ShutDownClusterRequest, SubmitJobRequest,
};
use super::server::Answers;
use super::{blob, wire};
use crate::{BlobContent, ClusterOverview, DispatcherGateway, JobOverview, JobResult, Result};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use heddle_model::id::{BlobKey, JobId};
use heddle_model::job_graph::JobGraph;
use std::time::Duration;
use tonic::{Request, Response, Status, Streaming};
use tracing::warn;

/// Longest time that a question for a job's result is held back while the job
/// runs: then it is asked again, so that neither end waits for a dead one.
pub(crate) const RESULT_WAIT_MAX: Duration = Duration::from_secs(30);

pub(crate) struct RemoteDispatcher {
    remote: Remote,
    client: DispatcherClient<Via>,
}

impl RemoteDispatcher {
    pub(crate) fn new(remote: Remote) -> Self {
        let most = remote.peer.limits.max_message_size;
        let client = DispatcherClient::new(remote.peer.via.clone());
        let client = client.max_decoding_message_size(most).max_encoding_message_size(most);
        Self { remote, client }
    }

    fn job(&self, job_id: JobId) -> DispatcherJobRequest {
        DispatcherJobRequest { endpoint: self.remote.endpoint(), job_id: wire::id(job_id.0) }
    }

    async fn put_once(&self, content: BlobContent) -> Result<BlobKey> {
        let head = PutBlobHead {
            endpoint: self.remote.endpoint(),
            key: Bytes::copy_from_slice(&content.key().0),
            size: content.size(),
        };
        let (messages, progress) = blob::upload(head, content);
        let mut client = self.client.clone();
        let call = client.put_blob(messages);
        let reply = blob::while_it_moves(&self.remote, "put_blob", progress, call).await?;
        wire::blob_key(&reply.key)
    }
}

#[async_trait]
impl DispatcherGateway for RemoteDispatcher {
    async fn put_blob(&self, content: BlobContent) -> Result<BlobKey> {
        let again = content.again();
        match (self.put_once(content).await, again) {
            (Err(error), Some(again)) if blob::is_corrupted(&error) => {
                warn!(address = %self.remote.address, %error, "a blob arrived corrupted, sending it again");
                self.put_once(again).await
            }
            (result, _) => result,
        }
    }

    async fn submit_job(&self, job: JobGraph) -> Result<JobId> {
        let request = SubmitJobRequest { endpoint: self.remote.endpoint(), job_graph: wire::encode(&job)? };
        let request = self.remote.sized("submit_job", request)?;
        let reply = self.remote.call("submit_job", self.client.clone().submit_job(request)).await?;
        Ok(JobId(wire::bits(&reply.job_id, "a job id")?))
    }

    async fn list_jobs(&self) -> Result<Vec<JobOverview>> {
        let request = ListJobsRequest { endpoint: self.remote.endpoint() };
        let reply = self.remote.call("list_jobs", self.client.clone().list_jobs(request)).await?;
        wire::decode(&reply.jobs, "the list of jobs")
    }

    async fn request_job(&self, job_id: JobId) -> Result<crate::JobDetails> {
        let request = self.job(job_id);
        let reply = self.remote.call("request_job", self.client.clone().request_job(request)).await?;
        wire::decode(&reply.details, "the details of a job")
    }

    async fn request_job_result(&self, job_id: JobId) -> Result<JobResult> {
        let ask_timeout = self.remote.peer.limits.ask_timeout;
        let wait = ask_timeout.min(RESULT_WAIT_MAX);
        loop {
            let request = JobResultRequest {
                endpoint: self.remote.endpoint(),
                job_id: wire::id(job_id.0),
                wait_ms: u32::try_from(wait.as_millis()).unwrap_or(u32::MAX),
            };
            let mut client = self.client.clone();
            let call = client.request_job_result(request);
            let reply = self.remote.call_for(wait + ask_timeout, "request_job_result", call).await?;
            if let Some(result) = reply.result {
                return wire::decode(&result, "the result of a job");
            }
        }
    }

    async fn shut_down_cluster(&self) -> Result<()> {
        let request = ShutDownClusterRequest { endpoint: self.remote.endpoint() };
        self.remote.call("shut_down_cluster", self.client.clone().shut_down_cluster(request)).await.map(drop)
    }

    async fn cancel_job(&self, job_id: JobId) -> Result<()> {
        let request = self.job(job_id);
        self.remote.call("cancel_job", self.client.clone().cancel_job(request)).await?;
        Ok(())
    }

    async fn request_cluster_overview(&self) -> Result<ClusterOverview> {
        let request = ClusterOverviewRequest { endpoint: self.remote.endpoint() };
        let mut client = self.client.clone();
        let call = client.request_cluster_overview(request);
        let reply = self.remote.call("request_cluster_overview", call).await?;
        wire::decode(&reply.overview, "the overview of the cluster")
    }
}

#[async_trait]
impl Dispatcher for Answers {
    async fn put_blob(
        &self,
        request: Request<Streaming<PutBlobRequest>>,
    ) -> Result<Response<PutBlobReply>, Status> {
        let mut messages = request.into_inner();
        let idle = self.shared.limits.ask_timeout;
        let head = blob::within(idle, messages.message()).await?;
        let Some(PutBlobRequest { part: Some(Part::Head(head)) }) = head else {
            return Err(self.malformed("an upload without a head"));
        };
        let gateway = self.dispatcher(&head.endpoint)?;
        let chunks =
            blob::chunks(messages, idle, |status| blob::interrupted(&status)).map(|part| match part? {
                PutBlobRequest { part: Some(Part::Chunk(chunk)) } => Ok(chunk),
                _ => Err(wire::malformed("an upload with two heads").into()),
            });
        let longest = idle + blob::longest_transfer(head.size);
        let content = async {
            let key = wire::blob_key(&head.key)?;
            let put = gateway.put_blob(BlobContent::stream(key, head.size, chunks.boxed()));
            tokio::time::timeout(longest, put).await.unwrap_or_else(|_| Err(blob::too_slow(longest)))
        };
        self.answer(content, |key| Ok(PutBlobReply { key: Bytes::copy_from_slice(&key.0) })).await
    }

    async fn submit_job(&self, request: Request<SubmitJobRequest>) -> Result<Response<JobReference>, Status> {
        let request = request.into_inner();
        let gateway = self.dispatcher(&request.endpoint)?;
        let job = async { gateway.submit_job(wire::decode(&request.job_graph, "a job graph")?).await };
        self.answer(job, |job_id| Ok(JobReference { job_id: wire::id(job_id.0) })).await
    }

    async fn list_jobs(&self, request: Request<ListJobsRequest>) -> Result<Response<ListJobsReply>, Status> {
        let gateway = self.dispatcher(&request.into_inner().endpoint)?;
        self.answer(gateway.list_jobs(), |jobs| Ok(ListJobsReply { jobs: wire::encode(&jobs)? })).await
    }

    async fn request_job(
        &self,
        request: Request<DispatcherJobRequest>,
    ) -> Result<Response<JobDetails>, Status> {
        let request = request.into_inner();
        let gateway = self.dispatcher(&request.endpoint)?;
        let details = async { gateway.request_job(job_id(&request.job_id)?).await };
        self.answer(details, |details| Ok(JobDetails { details: wire::encode(&details)? })).await
    }

    async fn request_job_result(
        &self,
        request: Request<JobResultRequest>,
    ) -> Result<Response<JobResultReply>, Status> {
        let request = request.into_inner();
        let gateway = self.dispatcher(&request.endpoint)?;
        let wait = Duration::from_millis(request.wait_ms.into()).min(RESULT_WAIT_MAX);
        let result = async {
            let result = gateway.request_job_result(job_id(&request.job_id)?);
            match tokio::time::timeout(wait, result).await {
                Ok(result) => result.map(Some),
                Err(_) => Ok(None),
            }
        };
        let reply = |result: Option<JobResult>| {
            Ok(JobResultReply { result: result.map(|result| wire::encode(&result)).transpose()? })
        };
        self.answer(result, reply).await
    }

    async fn shut_down_cluster(
        &self,
        request: Request<ShutDownClusterRequest>,
    ) -> Result<Response<Empty>, Status> {
        let gateway = self.dispatcher(&request.into_inner().endpoint)?;
        self.done(gateway.shut_down_cluster()).await
    }

    async fn cancel_job(&self, request: Request<DispatcherJobRequest>) -> Result<Response<Empty>, Status> {
        let request = request.into_inner();
        let gateway = self.dispatcher(&request.endpoint)?;
        let cancelled = async { gateway.cancel_job(job_id(&request.job_id)?).await };
        self.done(cancelled).await
    }

    async fn request_cluster_overview(
        &self,
        request: Request<ClusterOverviewRequest>,
    ) -> Result<Response<ClusterOverviewReply>, Status> {
        let gateway = self.dispatcher(&request.into_inner().endpoint)?;
        self.answer(gateway.request_cluster_overview(), |overview| {
            Ok(ClusterOverviewReply { overview: wire::encode(&overview)? })
        })
        .await
    }
}

fn job_id(bytes: &Bytes) -> Result<JobId> {
    Ok(JobId(wire::bits(bytes, "a job id")?))
}
