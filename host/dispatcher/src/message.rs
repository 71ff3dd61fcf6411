//! What the dispatcher is told, and the handle that tells it.

use async_trait::async_trait;
use heddle_blob::BlobServer;
use heddle_model::failure::Failure;
use heddle_model::id::{BlobKey, JobId};
use heddle_model::job_graph::JobGraph;
use heddle_rpc::{
    Address, BlobContent, ClusterOverview, DispatcherGateway, Error, JobDetails, JobOverview, JobResult,
    Result,
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Messages that may wait for the dispatcher; a sender beyond that waits.
pub(crate) const MAX_WAITING_MESSAGES: usize = 256;

pub(crate) type Reply<T> = oneshot::Sender<Result<T>>;

pub(crate) enum Command {
    Submit(Box<JobGraph>, Reply<JobId>),
    List(Reply<Vec<JobOverview>>),
    Details(JobId, Reply<JobDetails>),
    Result(JobId, Reply<JobResult>),
    Cancel(JobId, Reply<()>),
    Overview(Reply<ClusterOverview>),
}

impl Command {
    /// Answers that nobody leads here.
    pub(crate) fn refuse(self, address: &Address) {
        let error = Error::Unreachable { address: address.clone() };
        // Nobody waits any more: nothing to tell.
        match self {
            Command::Submit(_, reply) => drop(reply.send(Err(error))),
            Command::List(reply) => drop(reply.send(Err(error))),
            Command::Details(_, reply) => drop(reply.send(Err(error))),
            Command::Result(_, reply) => drop(reply.send(Err(error))),
            Command::Cancel(_, reply) => drop(reply.send(Err(error))),
            Command::Overview(reply) => drop(reply.send(Err(error))),
        }
    }
}

/// How others talk to a dispatcher in the same process.
#[derive(Clone)]
pub struct Handle {
    pub(crate) address: Address,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) blobs: BlobServer,
    pub(crate) shut_down: CancellationToken,
}

impl Handle {
    /// Cancelled when a client asks for the end of the cluster. What ends it is
    /// whoever runs the dispatcher.
    pub fn shut_down_requested(&self) -> CancellationToken {
        self.shut_down.clone()
    }

    async fn call<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T> {
        let unreachable = || Error::Unreachable { address: self.address.clone() };
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| unreachable())?;
        answer.await.map_err(|_| unreachable())?
    }
}

#[async_trait]
impl DispatcherGateway for Handle {
    /// Does not pass through the dispatcher's loop: it may be large.
    async fn put_blob(&self, content: BlobContent) -> Result<BlobKey> {
        self.blobs.put_content(content).await.map_err(|error| Failure::from(error).into())
    }

    async fn submit_job(&self, job: JobGraph) -> Result<JobId> {
        self.call(|reply| Command::Submit(Box::new(job), reply)).await
    }

    async fn list_jobs(&self) -> Result<Vec<JobOverview>> {
        self.call(Command::List).await
    }

    async fn request_job(&self, job_id: JobId) -> Result<JobDetails> {
        self.call(|reply| Command::Details(job_id, reply)).await
    }

    async fn request_job_result(&self, job_id: JobId) -> Result<JobResult> {
        self.call(|reply| Command::Result(job_id, reply)).await
    }

    async fn shut_down_cluster(&self) -> Result<()> {
        self.shut_down.cancel();
        Ok(())
    }

    async fn cancel_job(&self, job_id: JobId) -> Result<()> {
        self.call(|reply| Command::Cancel(job_id, reply)).await
    }

    async fn request_cluster_overview(&self) -> Result<ClusterOverview> {
        self.call(Command::Overview).await
    }
}
