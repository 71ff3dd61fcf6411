//! The consumer's end of a connection: requests and credit go out, batches come
//! in and are handed to their channels. One task; it never waits for a gate,
//! because nothing arrives that its channel did not give credit for.

use super::incoming::{Incoming, RemoteChannel, Wanted};
use super::peer::Peer;
use super::receive::{Admission, FrameReader};
use super::transmit::FrameWriter;
use super::{Liveness, Protocol};
use crate::error::Error;
use crate::memory::NetworkMemory;
use crate::wire::{Encoded, Frame, Header, Kind, WireError};
use heddle_model::failure::Failure;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// What gates and the connection's task share.
pub(crate) struct Connection {
    shared: Mutex<Shared>,
    outbox_filled: Notify,
}

#[derive(Default)]
struct Shared {
    channels: HashMap<u32, Arc<Incoming>>,
    next_number: u32,
    /// Frames to send. A channel has one request, one close and two credits
    /// here at most.
    outbox: Vec<Encoded>,
    /// Nothing can be requested any more, and why.
    closed: Option<Error>,
}

impl Connection {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { shared: Mutex::default(), outbox_filled: Notify::new() })
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().expect("no holder of a connection panics")
    }

    pub fn is_closed(&self) -> bool {
        self.shared().closed.is_some()
    }

    /// Asks for a channel.
    ///
    /// # Errors
    /// The connection has ended meanwhile.
    pub fn request(
        self: &Arc<Self>,
        wanted: Wanted,
        memory: &Arc<NetworkMemory>,
    ) -> Result<RemoteChannel, Error> {
        let mut shared = self.shared();
        if let Some(error) = &shared.closed {
            return Err(error.clone());
        }
        let number = shared.next_number;
        shared.next_number = number.wrapping_add(1);
        let incoming = Arc::new(Incoming::new(number, wanted, Arc::clone(self), Arc::clone(memory)));
        shared.channels.insert(number, Arc::clone(&incoming));
        let request = incoming.request();
        self.put(shared, request);
        Ok(RemoteChannel::new(incoming))
    }

    pub fn send(&self, frame: Frame) {
        self.put(self.shared(), frame);
    }

    /// The gate reads no more of a channel.
    pub fn close(&self, channel: u32, cause: Failure) {
        let mut shared = self.shared();
        let removed = shared.channels.remove(&channel);
        if removed.is_some() {
            self.put(shared, Frame::Close { channel, cause });
        }
    }

    fn put(&self, mut shared: MutexGuard<'_, Shared>, frame: Frame) {
        if shared.closed.is_some() {
            return;
        }
        let first = shared.outbox.is_empty();
        shared.outbox.push(frame.encode());
        drop(shared);
        if first {
            self.outbox_filled.notify_one();
        }
    }

    fn channel(&self, number: u32) -> Option<Arc<Incoming>> {
        self.shared().channels.get(&number).cloned()
    }

    fn was_requested(&self, number: u32) -> bool {
        number < self.shared().next_number
    }

    fn empty_outbox(&self, writer: &mut FrameWriter) {
        let mut shared = self.shared();
        shared.outbox.drain(..).for_each(|frame| writer.push(frame));
    }

    /// Nothing goes on here: every channel gets the error.
    fn end(&self, error: &Error) {
        let channels = {
            let mut shared = self.shared();
            shared.closed.get_or_insert_with(|| error.clone());
            shared.outbox = Vec::new();
            std::mem::take(&mut shared.channels)
        };
        for channel in channels.into_values() {
            channel.fail(error.clone());
        }
    }

    /// Closes it if nobody uses it.
    fn close_if_unused(&self, peer: &Peer) -> bool {
        let mut shared = self.shared();
        let unused = shared.channels.is_empty() && shared.outbox.is_empty();
        if unused {
            shared.closed = Some(peer.lost("nobody used it"));
        }
        unused
    }

    // --- what arrives

    fn admit(&self, header: &Header) -> Result<Admission, WireError> {
        match header.kind {
            Kind::Request | Kind::Credit | Kind::Close => Err(WireError::Direction(header.kind)),
            Kind::Ping | Kind::Accepted | Kind::End | Kind::Failed => Ok(Admission::Keep),
            Kind::Data => match self.channel(header.channel) {
                Some(channel) => channel.admit(header.sequence, header.length),
                None if self.was_requested(header.channel) => Ok(Admission::Discard),
                None => Err(WireError::NoSuchChannel(header.channel)),
            },
        }
    }

    fn receive(&self, frame: Frame) -> Result<(), WireError> {
        let (channel, over) = match &frame {
            Frame::Accepted { channel } | Frame::Data { channel, .. } => (*channel, false),
            Frame::End { channel, .. } | Frame::Failed { channel, .. } => (*channel, true),
            _ => return Ok(()),
        };
        let incoming = match over {
            false => self.channel(channel),
            true => self.shared().channels.remove(&channel),
        };
        let Some(incoming) = incoming else {
            // It was closed while this was under way.
            return if self.was_requested(channel) { Ok(()) } else { Err(WireError::NoSuchChannel(channel)) };
        };
        match frame {
            Frame::Accepted { .. } => incoming.accepted(),
            Frame::Data { batch, .. } => incoming.deliver(batch),
            Frame::End { sequence, .. } => {
                if let Err(error) = incoming.end(sequence) {
                    // Its end must come from what breaks the connection.
                    self.shared().channels.insert(channel, incoming);
                    return Err(error);
                }
            }
            Frame::Failed { reason, cause, .. } => incoming.failed(reason, cause),
            Frame::Request { .. } | Frame::Credit { .. } | Frame::Close { .. } | Frame::Ping => {}
        }
        Ok(())
    }
}

/// Fails the channels however the connection's task ends.
struct EndOnDrop<'a> {
    connection: &'a Connection,
    error: Error,
}

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.connection.end(&self.error);
    }
}

/// Runs a connection until it breaks, nobody uses it any more, or `shutdown`.
pub(crate) async fn run(
    connection: Arc<Connection>,
    stream: TcpStream,
    peer: &Peer,
    liveness: Liveness,
    shutdown: CancellationToken,
) -> Result<(), Protocol> {
    let error = peer.lost("this process ended its network");
    let mut guard = EndOnDrop { connection: &connection, error };
    let result = exchange(&connection, &stream, peer, liveness, &shutdown).await;
    if let Err(error) = &result {
        guard.error = peer.lost(error);
    }
    result
}

async fn exchange(
    connection: &Connection,
    stream: &TcpStream,
    peer: &Peer,
    liveness: Liveness,
    shutdown: &CancellationToken,
) -> Result<(), Protocol> {
    let (mut reader, mut writer) = (FrameReader::new(), FrameWriter::default());
    let mut liveness = liveness.start();
    let mut unused_since_last_tick = false;
    loop {
        connection.empty_outbox(&mut writer);
        if writer.is_stuck() {
            return Err(Protocol::NotReading);
        }
        if !writer.is_empty() && super::unless_blocked(writer.write(stream))?.is_some() {
            liveness.wrote();
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            readable = stream.readable() => {
                readable?;
                match super::unless_blocked(reader.read(stream))? {
                    Some(0) => return Err(Protocol::Closed),
                    Some(_) => liveness.heard(),
                    None => {}
                }
                while let Some(frame) = reader.next_frame(|header| connection.admit(header))? {
                    connection.receive(frame)?;
                }
            }
            writable = stream.writable(), if !writer.is_empty() => writable?,
            () = connection.outbox_filled.notified() => {}
            ping = liveness.tick() => {
                if ping? {
                    writer.push(Frame::Ping.encode());
                }
                // Twice in a row, so that one that was just opened is kept.
                let unused = connection.shared().channels.is_empty();
                if unused && unused_since_last_tick && connection.close_if_unused(peer) {
                    return Ok(());
                }
                unused_since_last_tick = unused;
            }
        }
        tokio::task::coop::consume_budget().await;
    }
}
