//! Connections to other processes: one a process, made when first needed, made
//! again when lost, forgotten when nobody has used it for a while.

use super::address::NetworkAddress;
use super::metrics::RpcMetrics;
use super::{Limits, wire};
use crate::{Address, Error, Result};
use heddle_model::failure::{ErrorCode, Failure};
use http::HeaderMap;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tonic::metadata::MetadataMap;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};
use tracing::debug;

/// How long a connection that nobody uses is kept: longer than the pauses
/// between heartbeats.
const UNUSED_MAX: Duration = Duration::from_secs(5 * 60);

/// Data of a stream that may be under way, in bytes: the default of HTTP/2,
/// 64 KiB, would make blobs crawl.
pub(crate) const STREAM_WINDOW: u32 = 1 << 20;

/// The same of a connection.
pub(crate) const CONNECTION_WINDOW: u32 = 4 << 20;

/// What a generated client sends through.
pub(crate) type Via = InterceptedService<Channel, Introduce>;

/// Adds who sends it to each message.
#[derive(Clone)]
pub(crate) struct Introduce {
    headers: Arc<HeaderMap>,
}

impl Interceptor for Introduce {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let mut headers = std::mem::take(request.metadata_mut()).into_headers();
        headers.extend(self.headers.iter().map(|(name, value)| (name.clone(), value.clone())));
        *request.metadata_mut() = MetadataMap::from_headers(headers);
        Ok(request)
    }
}

/// Another process.
pub(crate) struct Peer {
    pub(crate) via: Via,
    pub(crate) limits: Limits,
    pub(crate) metrics: Arc<RpcMetrics>,
}

/// All other processes that this one talks to.
pub(crate) struct Peers {
    headers: Arc<HeaderMap>,
    limits: Limits,
    metrics: Arc<RpcMetrics>,
    peers: Mutex<HashMap<String, (Arc<Peer>, Instant)>>,
}

impl Peers {
    pub(crate) fn new(headers: HeaderMap, limits: Limits, metrics: Arc<RpcMetrics>) -> Self {
        Self { headers: Arc::new(headers), limits, metrics, peers: Mutex::default() }
    }

    pub(crate) fn remote(&self, address: &Address) -> Result<Remote> {
        let NetworkAddress { authority, endpoint } = NetworkAddress::parse(address)?;
        let peer = self.peer(authority).ok_or_else(|| Error::Unreachable { address: address.clone() })?;
        Ok(Remote { peer, address: address.clone(), endpoint: endpoint.to_owned() })
    }

    /// None if that cannot be an address.
    fn peer(&self, authority: &str) -> Option<Arc<Peer>> {
        let now = Instant::now();
        let mut peers = self.peers();
        if let Some((peer, used)) = peers.get_mut(authority) {
            *used = now;
            return Some(Arc::clone(peer));
        }
        forget_unused(&mut peers, now);
        let peer = Arc::new(self.connect(authority)?);
        peers.insert(authority.to_owned(), (Arc::clone(&peer), now));
        Some(peer)
    }

    fn connect(&self, authority: &str) -> Option<Peer> {
        let limits = &self.limits;
        let channel = Endpoint::from_shared(format!("http://{authority}"))
            .ok()?
            // Nobody at home must be heard of before the message is given up.
            .connect_timeout(limits.ask_timeout / 2)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(limits.keep_alive_interval)
            .keep_alive_timeout(limits.keep_alive_interval)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .http2_max_header_list_size(wire::HEADERS_MAX)
            .connect_lazy();
        let introduce = Introduce { headers: Arc::clone(&self.headers) };
        Some(Peer {
            via: InterceptedService::new(channel, introduce),
            limits: limits.clone(),
            metrics: Arc::clone(&self.metrics),
        })
    }

    pub(crate) fn forget_unused(&self) {
        forget_unused(&mut self.peers(), Instant::now());
    }

    fn peers(&self) -> MutexGuard<'_, HashMap<String, (Arc<Peer>, Instant)>> {
        // One map operation at a time: a panic leaves nothing half done.
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn forget_unused(peers: &mut HashMap<String, (Arc<Peer>, Instant)>, now: Instant) {
    peers.retain(|_, (peer, used)| {
        if Arc::strong_count(peer) > 1 {
            // Somebody holds a gateway.
            *used = now;
        }
        now.duration_since(*used) < UNUSED_MAX
    });
}

/// One endpoint of another process: what every gateway to it has.
#[derive(Clone)]
pub(crate) struct Remote {
    pub(crate) peer: Arc<Peer>,
    pub(crate) address: Address,
    pub(crate) endpoint: String,
}

impl Remote {
    pub(crate) fn endpoint(&self) -> String {
        self.endpoint.clone()
    }

    /// Refuses a message that no peer would take. (The library would reset the
    /// call, which looks like a broken connection.)
    pub(crate) fn sized<M: prost::Message>(&self, name: &'static str, message: M) -> Result<M> {
        let (length, most) = (message.encoded_len(), self.peer.limits.max_message_size);
        if length <= most {
            return Ok(message);
        }
        let why = format!("it has {length} bytes, the limit is {most}");
        Err(wire::too_large(name, &self.address, &why).into())
    }

    /// Sends a message and waits for its answer, for `rpc.ask.timeout` at most.
    pub(crate) async fn call<T>(
        &self,
        name: &'static str,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T> {
        self.call_for(self.peer.limits.ask_timeout, name, call).await
    }

    pub(crate) async fn call_for<T>(
        &self,
        timeout: Duration,
        name: &'static str,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T> {
        self.peer.metrics.calls_sent.add_one();
        match tokio::time::timeout(timeout, call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(self.failed(name, &status)),
            Err(_) => {
                self.peer.metrics.calls_unanswered.add_one();
                Err(no_answer(name, &self.address, timeout))
            }
        }
    }

    /// What a status that came back means.
    pub(crate) fn failed(&self, name: &'static str, status: &Status) -> Error {
        let error = wire::error_of(status, &self.address, name);
        if let Error::Unreachable { .. } = error {
            self.peer.metrics.calls_unreachable.add_one();
            debug!(address = %self.address, call = name, cause = wire::root_cause(status), "unreachable");
        }
        error
    }
}

pub(crate) fn no_answer(name: &'static str, address: &Address, timeout: Duration) -> Error {
    let message = format!(
        "no answer to `{name}` from {address} within {timeout:?}; its process is stopped, busy or cut off \
         (rpc.ask.timeout)"
    );
    Error::Failure(Failure::new(ErrorCode::NoAnswer, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use heddle_model::config::Configuration;

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_shared_and_forgotten_when_nobody_uses_it() {
        let limits = Limits::from_configuration(&Configuration::new());
        let peers = Peers::new(HeaderMap::new(), limits, Arc::default());
        let remote = |text: &str| peers.remote(&Address(format!("heddle://{text}"))).unwrap();
        let kept = remote("a:1/dispatcher");
        assert!(Arc::ptr_eq(&kept.peer, &remote("a:1/resourcemanager").peer));
        let dropped = Arc::downgrade(&remote("b:1/taskexecutor/w").peer);
        tokio::time::advance(UNUSED_MAX / 2).await;
        peers.forget_unused();
        assert!(dropped.upgrade().is_some());
        tokio::time::advance(UNUSED_MAX).await;
        peers.forget_unused();
        assert!(dropped.upgrade().is_none());
        assert!(Arc::ptr_eq(&kept.peer, &remote("a:1/dispatcher").peer));
    }
}
