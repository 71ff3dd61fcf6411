//! Listens, and owns the connections that others make.
//!
//! A peer is hostile until it speaks: it has a time to do so, a place among a
//! bounded number, and bounded frames. One that misbehaves loses its connection
//! and is counted; nothing else comes of it.

use super::peer::{CONNECTION_WINDOW, Peers, STREAM_WINDOW};
use super::server::{Services, Shared};
use super::wire;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// Calls under way on one connection; a peer with more waits.
const CALLS_PER_CONNECTION_MAX: u32 = 256;

/// Longest frame that is accepted, in bytes: a blob's chunk fits.
const FRAME_MAX: u32 = 512 * 1024;

/// What a peer sends before anything else: the preface of HTTP/2 and the
/// header of its settings.
const PREFACE: usize = 24 + 9;

/// How long open calls may take to end at shutdown.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(1);

/// Pause after the system could not give a connection: out of file
/// descriptors, most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How often unused connections to other processes are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// Accepts connections until it is told to stop.
pub struct Server {
    pub(crate) listener: TcpListener,
    pub(crate) shared: Arc<Shared>,
    pub(crate) peers: Arc<Peers>,
}

enum Event {
    Stop,
    Accepted(io::Result<(TcpStream, SocketAddr)>),
    /// A connection ended.
    Ended,
    Sweep,
}

impl Server {
    /// Until `shutdown`, and then for as long as open calls take, at most a
    /// second.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut connections = JoinSet::new();
        let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
        let most = self.shared.limits.max_connections;
        loop {
            let event = tokio::select! {
                () = shutdown.cancelled() => Event::Stop,
                accepted = self.listener.accept() => Event::Accepted(accepted),
                Some(_) = connections.join_next() => Event::Ended,
                _ = sweep.tick() => Event::Sweep,
            };
            match event {
                Event::Stop => break,
                Event::Accepted(Ok((_, remote))) if connections.len() >= most => {
                    self.shared.metrics.connections_refused.add_one();
                    warn!(%remote, most, "connection closed: too many are open (rpc.max-connections)");
                }
                Event::Accepted(Ok((stream, remote))) => {
                    self.shared.metrics.connections_accepted.add_one();
                    connections.spawn(serve(stream, remote, Arc::clone(&self.shared)));
                }
                Event::Accepted(Err(error)) => {
                    warn!(%error, "no connection could be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
                Event::Ended => {}
                Event::Sweep => self.peers.forget_unused(),
            }
        }
        drop(self.listener);
        self.shared.closing.cancel();
        let all = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(SHUTDOWN_GRACE, all).await.is_err() {
            debug!(connections = connections.len(), "connections closed with calls under way");
        }
    }
}

async fn serve(stream: TcpStream, remote: SocketAddr, shared: Arc<Shared>) {
    // Without it messages wait for each other's acknowledgement; it works
    // without all the same.
    let _ = stream.set_nodelay(true);
    let limits = &shared.limits;
    let spoke = Arc::new(AtomicBool::new(false));
    let stream = Watched {
        stream,
        unread: PREFACE,
        overdue: Box::pin(tokio::time::sleep(limits.handshake_timeout)),
        spoke: Arc::clone(&spoke),
    };
    let services = Services::new(&shared, remote);
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(CALLS_PER_CONNECTION_MAX)
        .max_frame_size(FRAME_MAX)
        .max_header_list_size(wire::HEADERS_MAX)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(limits.keep_alive_interval)
        .keep_alive_timeout(limits.keep_alive_interval);
    let service = service_fn(move |request| services.clone().call(request));
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = shared.closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    let Err(error) = ended else {
        if !spoke.load(Ordering::Relaxed) {
            shared.metrics.bad_connections.add_one();
            debug!(%remote, "connection ended before it spoke");
        }
        return;
    };
    let cause = root_cause(&error);
    let broke = cause.downcast_ref::<io::Error>().is_some() || error.is_incomplete_message();
    if spoke.load(Ordering::Relaxed) && (broke || error.is_timeout()) {
        shared.metrics.connections_lost.add_one();
        debug!(%remote, %cause, "connection lost");
    } else {
        shared.metrics.bad_connections.add_one();
        warn!(%remote, %cause, "connection closed: its other end does not speak the protocol");
    }
}

fn root_cause<'a>(error: &'a (dyn std::error::Error + 'static)) -> &'a (dyn std::error::Error + 'static) {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error
}

/// A connection that must speak in time.
struct Watched {
    stream: TcpStream,
    /// Bytes of the preface that have not come.
    unread: usize,
    overdue: Pin<Box<Sleep>>,
    spoke: Arc<AtomicBool>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if self.unread == 0 {
            return read;
        }
        self.unread = self.unread.saturating_sub(buffer.filled().len() - before);
        if self.unread == 0 {
            self.spoke.store(true, Ordering::Relaxed);
        } else if read.is_pending() && self.overdue.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "it did not speak in time")));
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
