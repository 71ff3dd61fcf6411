//! The first contact: who is there, and who leads.

use super::introduction::Role;
use super::leaders::Leaders;
use super::peer::{Peers, Remote};
use super::proto::handshake_client::HandshakeClient;
use super::proto::handshake_server::Handshake;
use super::proto::{HelloReply, HelloRequest};
use super::server::Answers;
use super::{NetworkAddress, address, wire};
use crate::{Error, Result};
use async_trait::async_trait;
use heddle_model::failure::{ErrorCode, Failure};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tonic::{Request, Response, Status};
use tracing::{debug, info};

/// Longest time that a question for the leaders is held back while they stay.
pub(crate) const LEADERS_WAIT_MAX: Duration = Duration::from_secs(30);

/// Pause before a JobManager that did not answer is asked again, at first.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(100);

/// The same, at most; it doubles with each try.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(3);

#[async_trait]
impl Handshake for Answers {
    async fn hello(&self, request: Request<HelloRequest>) -> Result<Response<HelloReply>, Status> {
        let HelloRequest { known, wait_ms } = request.into_inner();
        let leaders = async {
            let mut leaders = self.shared.leaders.subscribe();
            if let Some(known) = known {
                let known = Leaders::try_from(known)?;
                let wait = Duration::from_millis(wait_ms.into()).min(LEADERS_WAIT_MAX);
                // They changed, it took too long, or this process ends: all are answered.
                tokio::select! {
                    _ = tokio::time::timeout(wait, leaders.wait_for(|now| *now != known)) => {}
                    () = self.shared.closing.cancelled() => {}
                }
            }
            let now = leaders.borrow().clone();
            Ok(now)
        };
        let identity = &self.shared.identity;
        self.answer(leaders, |leaders| {
            Ok(HelloReply {
                protocol: identity.protocol,
                build: identity.build.clone(),
                role: identity.role.word().to_owned(),
                cluster_id: identity.cluster_id.clone().unwrap_or_default(),
                leaders: Some(leaders.into()),
            })
        })
        .await
    }
}

/// Says who leads, by asking the JobManager, and again whenever that changes.
pub struct LeaderRetrieval {
    peers: Arc<Peers>,
    /// `host:port` of the JobManager.
    authority: String,
    known: Option<Leaders>,
}

impl LeaderRetrieval {
    pub(crate) fn new(peers: Arc<Peers>, authority: String) -> Self {
        Self { peers, authority, known: None }
    }

    /// The leaders, once they are others than it gave before. Asks for ever, as
    /// long as nobody answers or the answer is a refusal.
    pub async fn next(&mut self) -> Leaders {
        let mut pause = RETRY_PAUSE_MIN;
        loop {
            match self.ask().await {
                Ok(leaders) if self.known.as_ref() == Some(&leaders) => pause = RETRY_PAUSE_MIN,
                Ok(leaders) => {
                    info!(job_manager = self.authority, ?leaders, "leaders retrieved");
                    self.known = Some(leaders.clone());
                    return leaders;
                }
                Err((error, cause)) => {
                    debug!(job_manager = self.authority, %error, cause, "leaders not retrieved, trying again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(RETRY_PAUSE_MAX);
                }
            }
        }
    }

    /// The first answer that names a leading dispatcher and resource manager.
    ///
    /// # Errors
    /// H3307 if there is none within `patience`: the address, how long it was
    /// tried, what was found there. H3301 and H3302 at once: no patience helps.
    pub async fn first(&mut self, patience: Duration) -> Result<Leaders, Failure> {
        let started = Instant::now();
        let mut pause = RETRY_PAUSE_MIN;
        let mut tries = 0_u32;
        let mut found = "it was not tried".to_owned();
        loop {
            let left = patience.saturating_sub(started.elapsed());
            if left.is_zero() {
                let message = format!(
                    "no JobManager answers at {} ({tries} tries in {:.1?}): {found}; check that it runs, \
                     `jobmanager.rpc.address` and `jobmanager.rpc.port`, and that no firewall is in between",
                    self.authority,
                    started.elapsed()
                );
                return Err(Failure::new(ErrorCode::Unreachable, message));
            }
            tries += 1;
            match tokio::time::timeout(left, self.ask()).await {
                Ok(Ok(leaders)) if leaders.dispatcher.is_some() && leaders.resource_manager.is_some() => {
                    self.known = Some(leaders.clone());
                    return Ok(leaders);
                }
                Ok(Ok(leaders)) => {
                    self.known = Some(leaders);
                    found = "it answers, but does not lead yet".to_owned();
                }
                Ok(Err((Error::Failure(failure), _))) if !failure.code.retry_helps() => return Err(failure),
                Ok(Err((Error::Unreachable { .. }, cause))) => found = cause,
                Ok(Err((error, _))) => found = error.to_string(),
                // The last try; what the one before found says more.
                Err(_) if tries == 1 => found = "it did not answer in time".to_owned(),
                Err(_) => {}
            }
            tokio::time::sleep(pause.min(patience.saturating_sub(started.elapsed()))).await;
            pause = (pause * 2).min(RETRY_PAUSE_MAX);
        }
    }

    /// One question; with an error its root cause.
    async fn ask(&self) -> Result<Leaders, (Error, String)> {
        let told = |error: Error| {
            let text = error.to_string();
            (error, text)
        };
        if !address::is_authority(&self.authority) {
            let message = format!("`{}` is not host:port of a JobManager", self.authority);
            return Err(told(Failure::new(ErrorCode::ConfigurationInvalid, message).into()));
        }
        let address = NetworkAddress::to_address(&self.authority, Role::JobManager.word());
        let remote = self.peers.remote(&address).map_err(told)?;
        let Remote { peer, .. } = &remote;
        let most = peer.limits.max_message_size;
        let mut client = HandshakeClient::new(peer.via.clone()).max_decoding_message_size(most);
        let wait = peer.limits.ask_timeout.min(LEADERS_WAIT_MAX);
        let request = HelloRequest {
            known: self.known.clone().map(Into::into),
            wait_ms: u32::try_from(wait.as_millis()).unwrap_or(u32::MAX),
        };
        peer.metrics.calls_sent.add_one();
        let timeout = wait + peer.limits.ask_timeout;
        let reply = match tokio::time::timeout(timeout, client.hello(request)).await {
            Ok(Ok(reply)) => reply.into_inner(),
            Ok(Err(status)) => return Err((remote.failed("hello", &status), wire::root_cause(&status))),
            Err(_) => {
                peer.metrics.calls_unanswered.add_one();
                return Err(told(super::peer::no_answer("hello", &address, timeout)));
            }
        };
        if reply.role != Role::JobManager.word() {
            let message = format!(
                "what answers at {} is a {}, not a JobManager; check jobmanager.rpc.address and \
                 jobmanager.rpc.port",
                self.authority, reply.role
            );
            return Err(told(Failure::new(ErrorCode::OtherCluster, message).into()));
        }
        let leaders = wire::present(reply.leaders, "the leaders").map_err(told)?;
        Leaders::try_from(leaders).map_err(told)
    }
}
