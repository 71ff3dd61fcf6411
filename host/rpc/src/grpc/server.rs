//! Answers the calls of other processes with what this one serves.

use super::Limits;
use super::introduction::Identity;
use super::leaders::Leaders;
use super::metrics::RpcMetrics;
use super::proto::Empty;
use super::proto::blob_server_server::BlobServerServer;
use super::proto::dispatcher_server::DispatcherServer;
use super::proto::handshake_server::HandshakeServer;
use super::proto::job_master_server::JobMasterServer;
use super::proto::resource_manager_server::ResourceManagerServer;
use super::proto::task_executor_server::TaskExecutorServer;
use super::{dispatcher, handshake, wire};
use crate::service::AddressBook;
use crate::{
    BlobServerGateway, DispatcherGateway, Error, JobMasterGateway, ResourceManagerGateway, Result,
    TaskExecutorGateway,
};
use http::{Request, Response as HttpResponse};
use hyper::body::Incoming;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::server::NamedService;
use tonic::{Code, Response, Status};
use tracing::{debug, warn};

/// What all connections of a process share.
pub(crate) struct Shared {
    pub(crate) identity: Identity,
    /// `host:port` under which others reach this process.
    pub(crate) advertised: String,
    pub(crate) limits: Limits,
    pub(crate) book: AddressBook,
    pub(crate) leaders: watch::Sender<Leaders>,
    pub(crate) metrics: Arc<RpcMetrics>,
    /// Cancelled when the process ends: calls that only wait are answered.
    pub(crate) closing: CancellationToken,
}

/// Implements the generated services.
#[derive(Clone)]
pub(crate) struct Answers {
    pub(crate) shared: Arc<Shared>,
}

macro_rules! served {
    ($($method:ident: $gateway:ident;)*) => {$(
        pub(crate) fn $method(&self, endpoint: &str) -> Result<Arc<dyn $gateway>, Status> {
            self.shared.metrics.calls_received.add_one();
            self.shared.book.$method(endpoint).ok_or_else(|| {
                self.shared.metrics.calls_failed.add_one();
                wire::unknown_endpoint(endpoint)
            })
        }
    )*};
}

impl Answers {
    served! {
        dispatcher: DispatcherGateway;
        resource_manager: ResourceManagerGateway;
        job_master: JobMasterGateway;
        task_executor: TaskExecutorGateway;
        blob_server: BlobServerGateway;
    }

    /// The reply to a call, or the status that tells its error.
    pub(crate) async fn answer<T, R>(
        &self,
        call: impl Future<Output = Result<T>>,
        reply: impl FnOnce(T) -> Result<R>,
    ) -> Result<Response<R>, Status> {
        match call.await.and_then(reply) {
            Ok(reply) => Ok(Response::new(reply)),
            Err(error) => {
                self.shared.metrics.calls_failed.add_one();
                if let Error::Fenced { expected, got } = &error {
                    self.shared.metrics.stale_messages.add_one();
                    debug!(expected, got, "stale message dropped");
                }
                Err(wire::status_of(error))
            }
        }
    }

    /// The same of a call that gives nothing.
    pub(crate) async fn done(
        &self,
        call: impl Future<Output = Result<()>>,
    ) -> Result<Response<Empty>, Status> {
        self.answer(call, |()| Ok(Empty {})).await
    }

    pub(crate) fn malformed(&self, what: &str) -> Status {
        self.shared.metrics.calls_refused.add_one();
        wire::status_of(wire::malformed(what).into())
    }
}

/// The services of one connection.
#[derive(Clone)]
pub(crate) struct Services {
    shared: Arc<Shared>,
    remote: SocketAddr,
    handshake: HandshakeServer<Answers>,
    dispatcher: DispatcherServer<Answers>,
    resource_manager: ResourceManagerServer<Answers>,
    job_master: JobMasterServer<Answers>,
    task_executor: TaskExecutorServer<Answers>,
    blob_server: BlobServerServer<Answers>,
}

macro_rules! limited {
    ($service:ident, $answers:ident, $most:ident) => {
        $service::from_arc(Arc::clone(&$answers))
            .max_decoding_message_size($most)
            .max_encoding_message_size($most)
    };
}

impl Services {
    pub(crate) fn new(shared: &Arc<Shared>, remote: SocketAddr) -> Self {
        let answers = Arc::new(Answers { shared: Arc::clone(shared) });
        let most = shared.limits.max_message_size;
        Self {
            shared: Arc::clone(shared),
            remote,
            handshake: limited!(HandshakeServer, answers, most),
            dispatcher: limited!(DispatcherServer, answers, most),
            resource_manager: limited!(ResourceManagerServer, answers, most),
            job_master: limited!(JobMasterServer, answers, most),
            task_executor: limited!(TaskExecutorServer, answers, most),
            blob_server: limited!(BlobServerServer, answers, most),
        }
    }

    /// Answers one call.
    pub(crate) async fn call(self, request: Request<Incoming>) -> Result<HttpResponse<Body>, Infallible> {
        let Shared { identity, advertised, metrics, limits, .. } = &*self.shared;
        if let Err(failure) = identity.check(request.headers(), advertised, &self.remote.to_string()) {
            metrics.calls_refused.add_one();
            warn!(remote = %self.remote, error = %failure, "call refused");
            return Ok(wire::status_of(failure.into()).into_http());
        }
        let path = request.uri().path();
        let service = path.trim_start_matches('/').split('/').next().unwrap_or_default().to_owned();
        // An upload is bounded piece by piece instead.
        let upload = path.ends_with("/PutBlob");
        let call = self.clone().dispatch(service, request);
        if upload {
            return call.await.inspect(|response| self.count(response));
        }
        // Longer than any sender waits, so that a message of which half came
        // does not stay for ever.
        let longest = dispatcher::RESULT_WAIT_MAX.max(handshake::LEADERS_WAIT_MAX) + limits.ask_timeout * 2;
        match tokio::time::timeout(longest, call).await {
            Ok(response) => response.inspect(|response| self.count(response)),
            Err(_) => {
                metrics.calls_failed.add_one();
                Ok(overdue(longest).into_http())
            }
        }
    }

    /// A status without details is not of a gateway: the message could not be
    /// read.
    fn count(&self, response: &HttpResponse<Body>) {
        let headers = response.headers();
        let refused = headers.get("grpc-status").is_some_and(|status| status != "0");
        if refused && !headers.contains_key("grpc-status-details-bin") {
            self.shared.metrics.calls_refused.add_one();
            debug!(remote = %self.remote, ?headers, "message refused");
        }
    }

    async fn dispatch(
        mut self,
        service: String,
        request: Request<Incoming>,
    ) -> Result<HttpResponse<Body>, Infallible> {
        match service.as_str() {
            HandshakeServer::<Answers>::NAME => self.handshake.call(request).await,
            DispatcherServer::<Answers>::NAME => self.dispatcher.call(request).await,
            ResourceManagerServer::<Answers>::NAME => self.resource_manager.call(request).await,
            JobMasterServer::<Answers>::NAME => self.job_master.call(request).await,
            TaskExecutorServer::<Answers>::NAME => self.task_executor.call(request).await,
            BlobServerServer::<Answers>::NAME => self.blob_server.call(request).await,
            _ => Ok(Status::unimplemented("no such service").into_http()),
        }
    }
}

fn overdue(longest: Duration) -> Status {
    Status::new(Code::DeadlineExceeded, format!("not answered within {longest:?}"))
}
