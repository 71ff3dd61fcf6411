//! The producer's end of a connection: requests and credit come in, batches go
//! out. One task reads the ready channels of all partitions that the peer
//! asked for, as a gate would, and takes what each one's credit admits.

use super::peer::Peer;
use super::receive::{Admission, FrameReader};
use super::transmit::FrameWriter;
use super::{Liveness, Protocol};
use crate::error::Error;
use crate::gate::ReadyList;
use crate::manager::PartitionManager;
use crate::partition::{Partition, Taken};
use crate::wire::{Frame, Header, Kind, Load, Reason, Window, WireError};
use heddle_model::failure::Failure;
use heddle_model::id::ResultPartitionId;
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// Channels that one peer may have open: 500 subtasks to 500 subtasks.
const CHANNELS_MAX: usize = 250_000;

enum Source {
    /// The partition is not registered yet.
    Awaited(ResultPartitionId),
    Attached(Arc<Partition>),
}

/// A channel that the peer reads.
struct Outgoing {
    source: Source,
    subpartition: u32,
    window: Window,
    /// Sent, and no credit came back for it.
    unread: Load,
    sequence: u32,
    /// It has a batch and no credit for it.
    blocked: bool,
}

/// Ends its channels however its task ends.
struct Channels {
    partitions: PartitionManager,
    open: HashMap<u32, Outgoing>,
    news: Arc<ReadyList>,
    /// Channels that may have something to send.
    ready: VecDeque<u32>,
    /// What the producers are told when the connection's task ends.
    end: Error,
}

/// Runs a connection until it breaks, the peer closes it, or `shutdown`.
pub(crate) async fn run(
    stream: TcpStream,
    peer: &Peer,
    partitions: PartitionManager,
    liveness: Liveness,
    shutdown: CancellationToken,
) -> Result<(), Protocol> {
    let mut channels = Channels {
        partitions,
        open: HashMap::new(),
        news: Arc::default(),
        ready: VecDeque::new(),
        end: peer.lost("this process ended its network"),
    };
    let result = exchange(&mut channels, &stream, liveness, &shutdown).await;
    match result {
        Ok(()) => Ok(()),
        // Whoever has read everything closes the connection: no failure.
        Err(Protocol::Closed) if channels.open.is_empty() => Ok(()),
        Err(error) => {
            channels.end = peer.lost(&error);
            Err(error)
        }
    }
}

async fn exchange(
    channels: &mut Channels,
    stream: &TcpStream,
    liveness: Liveness,
    shutdown: &CancellationToken,
) -> Result<(), Protocol> {
    let (mut reader, mut writer) = (FrameReader::new(), FrameWriter::default());
    let mut liveness = liveness.start();
    loop {
        while writer.has_room() && channels.send_next(&mut writer) {}
        if !writer.is_empty() && super::unless_blocked(writer.write(stream))?.is_some() {
            liveness.wrote();
        }
        let has_room = writer.has_room();
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            readable = stream.readable(), if writer.has_room_for_answers() => {
                readable?;
                match super::unless_blocked(reader.read(stream))? {
                    Some(0) => return Err(Protocol::Closed),
                    Some(_) => liveness.heard(),
                    None => {}
                }
                while let Some(frame) = reader.next_frame(Channels::admit)? {
                    channels.receive(frame, &mut writer)?;
                }
            }
            writable = stream.writable(), if !writer.is_empty() => writable?,
            () = poll_fn(|context| channels.poll_ready(context)), if has_room => {}
            ping = liveness.tick() => if ping? {
                writer.push(Frame::Ping.encode());
            }
        }
        tokio::task::coop::consume_budget().await;
    }
}

impl Channels {
    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.news.drain(&mut self.ready, Some(context.waker()));
        if self.ready.is_empty() { Poll::Pending } else { Poll::Ready(()) }
    }

    /// Puts one more frame into the writer; false if there is nothing to send.
    fn send_next(&mut self, writer: &mut FrameWriter) -> bool {
        self.news.drain_news(&mut self.ready);
        while let Some(number) = self.ready.pop_front() {
            // It may have been closed since it became ready.
            let Some(channel) = self.open.get_mut(&number) else { continue };
            let partition = match &channel.source {
                Source::Attached(partition) => partition,
                Source::Awaited(_) => {
                    self.attach(number, writer);
                    return true;
                }
            };
            let (window, unread) = (channel.window, channel.unread);
            let frame = match partition.take(channel.subpartition, |length| window.admits(unread, length)) {
                Taken::Nothing => continue,
                Taken::Blocked => {
                    channel.blocked = true;
                    continue;
                }
                Taken::Batch(batch, more) => {
                    channel.unread.add(batch.len() as u64);
                    let sequence = channel.sequence;
                    channel.sequence = sequence.wrapping_add(1);
                    if more {
                        self.ready.push_back(number);
                    }
                    writer.push(Frame::Data { channel: number, sequence, batch }.encode());
                    return true;
                }
                Taken::End => Frame::End { channel: number, sequence: channel.sequence },
                Taken::Fault(error) => failed(number, error),
            };
            self.open.remove(&number);
            writer.push(frame.encode());
            return true;
        }
        false
    }

    fn admit(header: &Header) -> Result<Admission, WireError> {
        match header.kind {
            Kind::Request | Kind::Credit | Kind::Close | Kind::Ping => Ok(Admission::Keep),
            Kind::Accepted | Kind::Data | Kind::End | Kind::Failed => Err(WireError::Direction(header.kind)),
        }
    }

    fn receive(&mut self, frame: Frame, writer: &mut FrameWriter) -> Result<(), WireError> {
        match frame {
            Frame::Request { channel, partition, subpartition, window } => {
                if self.open.contains_key(&channel) {
                    return Err(WireError::ChannelInUse(channel));
                }
                if self.open.len() >= CHANNELS_MAX {
                    return Err(WireError::TooManyChannels(CHANNELS_MAX));
                }
                if window.batches == 0 || window.bytes == 0 {
                    return Err(WireError::NoWindow(channel));
                }
                let source = Source::Awaited(partition);
                let (unread, sequence, blocked) = (Load::default(), 0, false);
                let outgoing = Outgoing { source, subpartition, window, unread, sequence, blocked };
                self.open.insert(channel, outgoing);
                self.attach(channel, writer);
            }
            Frame::Credit { channel, read } => {
                // Of a channel that has ended it is of no use.
                let Some(outgoing) = self.open.get_mut(&channel) else { return Ok(()) };
                if !outgoing.unread.subtract(read) {
                    return Err(WireError::TooMuchCredit(channel));
                }
                if std::mem::take(&mut outgoing.blocked) {
                    self.ready.push_back(channel);
                }
            }
            Frame::Close { channel, cause } => {
                if let Some(outgoing) = self.open.remove(&channel) {
                    let cause = Arc::new(cause);
                    self.detach(channel, outgoing, |partition| Error::PeerGone { partition, cause });
                }
            }
            Frame::Ping => {}
            Frame::Accepted { .. } | Frame::Data { .. } | Frame::End { .. } | Frame::Failed { .. } => {
                return Err(WireError::Direction(frame.kind()));
            }
        }
        Ok(())
    }

    /// Attaches a channel to its partition, or notes that it waits for it.
    fn attach(&mut self, number: u32, writer: &mut FrameWriter) {
        let Some(channel) = self.open.get_mut(&number) else { return };
        let Source::Awaited(id) = channel.source else { return };
        let Some(partition) = self.partitions.find_or_await(id, &self.news, number) else { return };
        match partition.attach(channel.subpartition, &self.news, number) {
            Ok(listed) => {
                channel.source = Source::Attached(partition);
                if listed {
                    self.ready.push_back(number);
                }
                writer.push(Frame::Accepted { channel: number }.encode());
            }
            Err(error) => {
                self.open.remove(&number);
                writer.push(failed(number, error).encode());
            }
        }
    }

    fn detach(&self, number: u32, channel: Outgoing, error: impl FnOnce(ResultPartitionId) -> Error) {
        match channel.source {
            Source::Attached(partition) => partition.detach(channel.subpartition, &error(partition.id)),
            Source::Awaited(id) => self.partitions.await_no_more(id, &self.news, number),
        }
    }
}

impl Drop for Channels {
    fn drop(&mut self) {
        for (number, channel) in std::mem::take(&mut self.open) {
            self.detach(number, channel, |_| self.end.clone());
        }
    }
}

fn failed(channel: u32, error: Error) -> Frame {
    match error {
        Error::PeerGone { cause, .. } => {
            Frame::Failed { channel, reason: Reason::PeerGone, cause: Failure::clone(&cause) }
        }
        Error::Released { .. } => Frame::Failed { channel, reason: Reason::Released, cause: error.into() },
        _ => Frame::Failed { channel, reason: Reason::Refused, cause: error.into() },
    }
}
