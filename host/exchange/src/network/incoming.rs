//! The consumer's end of channels whose producers are in another process: what
//! has arrived and was not read, and the credit that goes back for what was.

use super::consumer::Connection;
use crate::error::Error;
use crate::gate::ReadyList;
use crate::memory::{NetworkMemory, Reservation, in_words};
use crate::network::receive::Admission;
use crate::partition::Taken;
use crate::wire::{Frame, Load, Reason, Window, WireError};
use bytes::Bytes;
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::ResultPartitionId;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::Notify;

/// Whose channel it is, and which.
pub(crate) struct Wanted {
    pub partition: ResultPartitionId,
    pub subpartition: u32,
    pub window: Window,
    /// The gate's list, and the channel's place in the gate.
    pub ready: Arc<ReadyList>,
    pub index: u32,
    pub progress: Arc<Progress>,
}

/// Requests of one gate that were not answered yet.
#[derive(Default)]
pub(crate) struct Progress {
    unanswered: AtomicUsize,
    refused: AtomicBool,
    changed: Notify,
}

impl Progress {
    fn asked(&self) {
        self.unanswered.fetch_add(1, Ordering::Relaxed);
    }

    fn answered(&self) {
        if self.unanswered.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.changed.notify_one();
        }
    }

    fn refused(&self) {
        self.refused.store(true, Ordering::Release);
        self.changed.notify_one();
    }

    /// Waits until every request has its answer, or one was refused.
    pub async fn wait(&self) {
        while self.unanswered.load(Ordering::Acquire) > 0 && !self.refused.load(Ordering::Acquire) {
            self.changed.notified().await;
        }
    }
}

/// A channel, shared by its gate and its connection.
pub(crate) struct Incoming {
    pub number: u32,
    wanted: Wanted,
    connection: Arc<Connection>,
    memory: Arc<NetworkMemory>,
    inbox: Mutex<Inbox>,
}

#[derive(Default)]
struct Inbox {
    queue: VecDeque<Bytes>,
    /// What the producer sent and got no credit back for.
    unread: Load,
    /// The part of it that was read.
    read: Load,
    /// For what is above the window.
    overdraft: Option<Reservation>,
    sequence: u32,
    accepted: bool,
    /// Whether the gate has the channel on its list of ready ones.
    listed: bool,
    ended: bool,
    fault: Option<Error>,
}

impl Incoming {
    pub fn new(number: u32, wanted: Wanted, connection: Arc<Connection>, memory: Arc<NetworkMemory>) -> Self {
        wanted.progress.asked();
        Self { number, wanted, connection, memory, inbox: Mutex::default() }
    }

    pub fn request(&self) -> Frame {
        let Wanted { partition, subpartition, window, .. } = self.wanted;
        Frame::Request { channel: self.number, partition, subpartition, window }
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().expect("no holder of an inbox panics")
    }

    // --- the connection's side

    pub fn accepted(&self) {
        if !std::mem::replace(&mut self.inbox().accepted, true) {
            self.wanted.progress.answered();
        }
    }

    /// A batch of this length is about to come.
    pub fn admit(&self, sequence: u32, length: u32) -> Result<Admission, WireError> {
        let mut inbox = self.inbox();
        if inbox.fault.is_some() {
            return Ok(Admission::Discard);
        }
        self.check_sequence(&mut inbox, sequence)?;
        let (window, bytes) = (self.wanted.window, u64::from(length));
        if !window.admits(inbox.unread, bytes) {
            return Err(WireError::NoCredit { channel: self.number, length });
        }
        let held = inbox.overdraft.as_ref().map_or(0, Reservation::bytes);
        let excess = (inbox.unread.bytes + bytes).saturating_sub(window.bytes.saturating_add(held));
        if excess > 0 {
            let Some(more) = self.memory.reserve(excess) else {
                let error = self.too_large(length);
                drop(inbox);
                self.connection.close(self.number, Failure::from(error.clone()));
                self.fail(error);
                return Ok(Admission::Discard);
            };
            match &mut inbox.overdraft {
                Some(overdraft) => overdraft.merge(more),
                none => *none = Some(more),
            }
        }
        inbox.unread.add(bytes);
        Ok(Admission::Keep)
    }

    fn check_sequence(&self, inbox: &mut Inbox, found: u32) -> Result<(), WireError> {
        if !inbox.accepted {
            return Err(WireError::NotAccepted(self.number));
        }
        if inbox.sequence != found {
            return Err(WireError::Sequence { channel: self.number, expected: inbox.sequence, found });
        }
        inbox.sequence = found.wrapping_add(1);
        Ok(())
    }

    fn too_large(&self, length: u32) -> Error {
        Error::Memory(Arc::new(Failure::new(
            ErrorCode::NetworkMemory,
            format!(
                "a batch of {} is larger than its channel ({}), and only {} of {} of network memory are left: \
                 raise taskmanager.memory.network.max, or emit smaller records",
                in_words(u64::from(length)),
                in_words(self.wanted.window.bytes),
                in_words(self.memory.available()),
                in_words(self.memory.total()),
            ),
        )))
    }

    pub fn deliver(&self, batch: Bytes) {
        let mut inbox = self.inbox();
        if inbox.fault.is_none() {
            inbox.queue.push_back(batch);
            self.announce(inbox);
        }
    }

    pub fn end(&self, sequence: u32) -> Result<(), WireError> {
        let mut inbox = self.inbox();
        self.check_sequence(&mut inbox, sequence)?;
        inbox.ended = true;
        self.announce(inbox);
        Ok(())
    }

    /// What the producer's side says of a broken channel.
    pub fn failed(&self, reason: Reason, cause: Failure) {
        let Wanted { partition, subpartition, .. } = self.wanted;
        let cause = Arc::new(cause);
        self.fail(match reason {
            Reason::PeerGone => Error::PeerGone { partition, cause },
            Reason::Released => Error::Released { partition },
            Reason::Refused => Error::Refused { partition, subpartition, cause },
        });
    }

    pub fn fail(&self, error: Error) {
        let mut inbox = self.inbox();
        // What has arrived completely needs no connection any more.
        if inbox.fault.is_some() || inbox.ended {
            return;
        }
        inbox.fault = Some(error);
        let queue = std::mem::take(&mut inbox.queue);
        let overdraft = inbox.overdraft.take();
        let unanswered = !std::mem::replace(&mut inbox.accepted, true);
        self.announce(inbox);
        drop((queue, overdraft));
        if unanswered {
            self.wanted.progress.refused();
        }
    }

    fn announce(&self, mut inbox: MutexGuard<'_, Inbox>) {
        if !inbox.listed {
            inbox.listed = true;
            drop(inbox);
            self.wanted.ready.push(self.wanted.index);
        }
    }

    // --- the gate's side

    fn take(&self) -> Taken {
        let mut inbox = self.inbox();
        if let Some(fault) = &inbox.fault {
            return Taken::Fault(fault.clone());
        }
        let Some(batch) = inbox.queue.pop_front() else {
            inbox.listed = false;
            return if inbox.ended { Taken::End } else { Taken::Nothing };
        };
        let more = !inbox.queue.is_empty() || inbox.ended;
        inbox.listed = more;
        inbox.read.add(batch.len() as u64);
        if !inbox.ended && self.wanted.window.is_half(inbox.read) {
            let read = std::mem::take(&mut inbox.read);
            let balanced = inbox.unread.subtract(read);
            debug_assert!(balanced, "what was read was unread");
            let overdraft =
                if inbox.unread.bytes <= self.wanted.window.bytes { inbox.overdraft.take() } else { None };
            drop(inbox);
            self.connection.send(Frame::Credit { channel: self.number, read });
            drop(overdraft);
        }
        Taken::Batch(batch, more)
    }
}

/// The gate's hold of a channel; dropped before the end, it closes it.
pub(crate) struct RemoteChannel {
    incoming: Arc<Incoming>,
    over: bool,
}

impl RemoteChannel {
    pub fn new(incoming: Arc<Incoming>) -> Self {
        Self { incoming, over: false }
    }

    pub fn take(&mut self) -> Taken {
        let taken = self.incoming.take();
        self.over |= matches!(taken, Taken::End | Taken::Fault(_));
        taken
    }

    /// Why the channel broke, if it did.
    pub fn fault(&self) -> Option<Error> {
        self.incoming.inbox().fault.clone()
    }

    pub fn is_accepted(&self) -> bool {
        self.incoming.inbox().accepted
    }

    pub fn partition(&self) -> ResultPartitionId {
        self.incoming.wanted.partition
    }

    pub fn close(&mut self, cause: Failure) {
        if std::mem::replace(&mut self.over, true) {
            return;
        }
        self.incoming.connection.close(self.incoming.number, cause);
        let partition = self.partition();
        // Frees what has arrived; what comes still is thrown away.
        let mut inbox = self.incoming.inbox();
        inbox.ended = false;
        drop(inbox);
        self.incoming.fail(Error::Released { partition });
    }
}

impl Drop for RemoteChannel {
    fn drop(&mut self) {
        self.close(Failure::new(ErrorCode::PeerGone, "its consumer ended before its input did"));
    }
}
