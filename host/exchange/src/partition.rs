//! The producer's end: a result partition and its channels.
//!
//! A channel is a queue behind one lock. Its producer waits for room, its
//! consumer is told only when the queue stops being empty. What is set aside
//! for a channel (batches × batch size) bounds what it holds; a single larger
//! batch takes the rest from the process's network memory, or fails.

use crate::back_pressure::BackPressure;
use crate::error::Error;
use crate::gate::ReadyList;
use crate::manager::Manager;
use crate::memory::{NetworkMemory, Reservation, in_words};
use crate::wake::{queued, wake_producer};
use bytes::Bytes;
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::ResultPartitionId;
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::task::{Context, Poll, Waker};

/// What travels in a channel.
#[derive(Debug)]
pub(crate) enum Buffer {
    Batch(Bytes),
    /// Nothing comes behind it.
    EndOfPartition,
}

/// What a consumer gets out of a channel.
pub(crate) enum Taken {
    /// A batch, and whether the channel has more.
    Batch(Bytes, bool),
    End,
    Nothing,
    /// There is a batch, and the consumer does not admit it now.
    Blocked,
    Fault(Error),
}

#[derive(Default)]
struct ChannelState {
    queue: VecDeque<Buffer>,
    queued_bytes: u64,
    /// For one batch that is larger than the channel's share.
    overdraft: Option<Reservation>,
    /// Who reads, and as which of its channels.
    consumer: Option<(Arc<ReadyList>, u32)>,
    /// Whether the consumer has the channel on its list of ready ones.
    listed: bool,
    /// Producers that wait for room.
    senders: Vec<Waker>,
    ended: bool,
    /// The consumer took the end, or a fault made it pointless.
    drained: bool,
    fault: Option<Error>,
}

pub(crate) struct Partition {
    pub(crate) id: ResultPartitionId,
    channels: Box<[Mutex<ChannelState>]>,
    /// Batches that a channel holds.
    capacity: usize,
    /// Bytes that were set aside for a channel.
    share: u64,
    memory: Arc<NetworkMemory>,
    reservation: Mutex<Option<Reservation>>,
    undrained: AtomicU32,
    finished: AtomicBool,
    back_pressure: BackPressure,
    manager: Weak<Manager>,
}

impl Partition {
    pub(crate) fn new(
        id: ResultPartitionId,
        subpartitions: u32,
        capacity: u32,
        batch_size: u32,
        memory: Arc<NetworkMemory>,
        reservation: Reservation,
        manager: Weak<Manager>,
    ) -> Arc<Self> {
        Arc::new(Self {
            id,
            channels: (0..subpartitions).map(|_| Mutex::default()).collect(),
            capacity: capacity as usize,
            share: u64::from(capacity) * u64::from(batch_size),
            memory,
            reservation: Mutex::new(Some(reservation)),
            undrained: AtomicU32::new(subpartitions),
            finished: AtomicBool::new(false),
            back_pressure: BackPressure::default(),
            manager,
        })
    }

    fn channel(&self, subpartition: u32) -> Result<MutexGuard<'_, ChannelState>, Error> {
        let channel = self.channels.get(subpartition as usize).ok_or(Error::UnknownSubpartition {
            partition: self.id,
            subpartition,
            subpartitions: self.channels.len() as u32,
        })?;
        Ok(channel.lock().expect("no holder of a channel panics"))
    }

    /// Puts a batch into a channel; gives it back if there is no room, after
    /// noting who waits.
    fn push(&self, subpartition: u32, batch: Bytes, waker: Option<&Waker>) -> Result<(), TrySendError> {
        let mut channel = self.channel(subpartition)?;
        if let Some(fault) = &channel.fault {
            return Err(TrySendError::Closed(fault.clone()));
        }
        if channel.ended {
            return Err(TrySendError::Closed(Error::Finished { partition: self.id }));
        }
        let length = batch.len() as u64;
        let batches = channel.queue.len();
        if batches > 0 && (batches >= self.capacity || channel.queued_bytes + length > self.share) {
            if let Some(waker) = waker
                && !channel.senders.iter().any(|known| known.will_wake(waker))
            {
                channel.senders.push(waker.clone());
            }
            return Err(TrySendError::Full(batch));
        }
        if length > self.share {
            let excess = length - self.share;
            channel.overdraft = Some(self.memory.reserve(excess).ok_or_else(|| self.too_large(length))?);
        }
        channel.queued_bytes += length;
        channel.queue.push_back(Buffer::Batch(batch));
        let batches = channel.queue.len();
        self.announce(channel);
        queued(batches, self.capacity);
        Ok(())
    }

    fn too_large(&self, length: u64) -> Error {
        Error::Memory(Arc::new(Failure::new(
            ErrorCode::NetworkMemory,
            format!(
                "a batch of {} is larger than its channel ({}), and only {} of {} of network memory are left: \
                 raise taskmanager.memory.network.max, or emit smaller records",
                in_words(length),
                in_words(self.share),
                in_words(self.memory.available()),
                in_words(self.memory.total()),
            ),
        )))
    }

    /// Puts the channel on its consumer's list, unless it is there.
    fn announce(&self, mut channel: MutexGuard<'_, ChannelState>) {
        if channel.listed {
            return;
        }
        if let Some((ready, index)) = channel.consumer.clone() {
            channel.listed = true;
            drop(channel);
            ready.push(index);
        }
    }

    /// Ends all channels behind their data.
    fn finish(&self) {
        self.finished.store(true, Ordering::Release);
        for channel in &self.channels {
            let mut channel = channel.lock().expect("no holder of a channel panics");
            if channel.ended || channel.fault.is_some() {
                continue;
            }
            channel.ended = true;
            channel.queue.push_back(Buffer::EndOfPartition);
            let senders = std::mem::take(&mut channel.senders);
            self.announce(channel);
            senders.into_iter().for_each(Waker::wake);
        }
        self.forget_if_drained();
    }

    /// Breaks all channels that are not drained: what is queued is dropped,
    /// both ends get the error.
    pub(crate) fn abort(&self, error: &Error) {
        self.finished.store(true, Ordering::Release);
        for subpartition in 0..self.channels.len() as u32 {
            self.break_channel(subpartition, error);
        }
        self.forget_if_drained();
    }

    fn break_channel(&self, subpartition: u32, error: &Error) {
        let Ok(mut channel) = self.channel(subpartition) else { return };
        if channel.drained {
            return;
        }
        channel.drained = true;
        channel.fault = Some(error.clone());
        channel.queued_bytes = 0;
        let queue = std::mem::take(&mut channel.queue);
        let senders = std::mem::take(&mut channel.senders);
        let overdraft = channel.overdraft.take();
        self.announce(channel);
        drop((queue, overdraft));
        senders.into_iter().for_each(Waker::wake);
        self.undrained.fetch_sub(1, Ordering::AcqRel);
    }

    fn forget_if_drained(&self) {
        if self.finished.load(Ordering::Acquire) && self.undrained.load(Ordering::Acquire) == 0 {
            self.reservation.lock().expect("no holder of a reservation panics").take();
            if let Some(manager) = self.manager.upgrade() {
                manager.forget(self.id);
            }
        }
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.finished.load(Ordering::Acquire)
    }

    // --- the consumer's side

    /// Makes `ready` the reader of a channel; whether there is something to
    /// read already.
    pub(crate) fn attach(
        &self,
        subpartition: u32,
        ready: &Arc<ReadyList>,
        index: u32,
    ) -> Result<bool, Error> {
        let mut channel = self.channel(subpartition)?;
        if channel.consumer.is_some() {
            return Err(Error::AlreadyConnected { partition: self.id, subpartition });
        }
        channel.consumer = Some((ready.clone(), index));
        channel.listed = !channel.queue.is_empty() || channel.fault.is_some();
        Ok(channel.listed)
    }

    /// Takes what comes next, if it is a batch only when its length is admitted.
    pub(crate) fn take(&self, subpartition: u32, admits: impl FnOnce(u64) -> bool) -> Taken {
        let mut channel = match self.channel(subpartition) {
            Ok(channel) => channel,
            Err(error) => return Taken::Fault(error),
        };
        if let Some(fault) = &channel.fault {
            return Taken::Fault(fault.clone());
        }
        if let Some(Buffer::Batch(batch)) = channel.queue.front()
            && !admits(batch.len() as u64)
        {
            return Taken::Blocked;
        }
        match channel.queue.pop_front() {
            Some(Buffer::Batch(batch)) => {
                channel.queued_bytes -= batch.len() as u64;
                let overdraft = channel.overdraft.take();
                channel.listed = !channel.queue.is_empty();
                let more = channel.listed;
                // Half empty: a producer that is woken for each free place
                // costs a switch of tasks for each batch.
                if !channel.senders.is_empty() && channel.queue.len() <= self.capacity / 2 {
                    let senders = std::mem::take(&mut channel.senders);
                    drop(channel);
                    senders.into_iter().for_each(wake_producer);
                } else {
                    drop(channel);
                }
                drop(overdraft);
                Taken::Batch(batch, more)
            }
            Some(Buffer::EndOfPartition) => {
                channel.drained = true;
                channel.queue = VecDeque::new();
                drop(channel);
                self.undrained.fetch_sub(1, Ordering::AcqRel);
                self.forget_if_drained();
                Taken::End
            }
            None => {
                channel.listed = false;
                Taken::Nothing
            }
        }
    }

    /// The consumer of a channel is gone.
    pub(crate) fn detach(&self, subpartition: u32, error: &Error) {
        self.break_channel(subpartition, error);
        self.forget_if_drained();
    }
}

/// Why `try_send` did not send.
#[derive(Debug, PartialEq)]
pub enum TrySendError {
    /// No credit; the batch comes back.
    Full(Bytes),
    /// Nothing can be sent any more.
    Closed(Error),
}

impl From<Error> for TrySendError {
    fn from(error: Error) -> Self {
        TrySendError::Closed(error)
    }
}

/// What one subtask produces for one edge. Owned by its task: dropped before
/// `finish`, it breaks its channels, and the consumers get an error.
pub struct ResultPartition {
    partition: Arc<Partition>,
}

impl fmt::Debug for ResultPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ResultPartition({})", self.partition.id)
    }
}

impl ResultPartition {
    pub(crate) fn new(partition: Arc<Partition>) -> Self {
        Self { partition }
    }

    pub fn id(&self) -> ResultPartitionId {
        self.partition.id
    }

    pub fn subpartitions(&self) -> u32 {
        self.partition.channels.len() as u32
    }

    /// Sends if there is room at once.
    pub fn try_send(&self, subpartition: u32, batch: Bytes) -> Result<(), TrySendError> {
        self.partition.push(subpartition, batch, None)
    }

    /// Sends as soon as there is room. The future owns what it needs; dropped
    /// before its end, it has sent nothing.
    pub fn send(&self, subpartition: u32, batch: Bytes) -> Send {
        Send { partition: self.partition.clone(), subpartition, batch: Some(batch), waiting: false }
    }

    /// Sends the same batch to every subpartition. Dropped before its end, it
    /// has sent to some of them only.
    pub fn broadcast(&self, batch: Bytes) -> Broadcast {
        let subpartitions = self.subpartitions();
        Broadcast { next: 1, subpartitions, batch: batch.clone(), current: self.send(0, batch) }
    }

    /// Ends every subpartition behind its data. The channels live on until
    /// their consumers have read them.
    pub fn finish(&self) {
        self.partition.finish();
    }

    /// Breaks every subpartition: consumers get `cause`, what is queued is lost.
    pub fn fail(&self, cause: Failure) {
        self.partition.abort(&Error::PeerGone { partition: self.partition.id, cause: Arc::new(cause) });
    }

    /// How long sends have waited for room.
    pub fn back_pressure(&self) -> BackPressure {
        self.partition.back_pressure.clone()
    }
}

impl Drop for ResultPartition {
    fn drop(&mut self) {
        if !self.partition.finished.load(Ordering::Acquire) {
            self.fail(Failure::new(ErrorCode::PeerGone, "its producer ended before its output did"));
        }
    }
}

/// A batch on its way into a channel.
#[must_use = "nothing is sent unless it is awaited"]
pub struct Send {
    partition: Arc<Partition>,
    subpartition: u32,
    batch: Option<Bytes>,
    waiting: bool,
}

impl Future for Send {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let progress = std::task::ready!(tokio::task::coop::poll_proceed(context));
        let this = &mut *self;
        let Some(batch) = this.batch.take() else { return Poll::Ready(Ok(())) };
        let result = match this.partition.push(this.subpartition, batch, Some(context.waker())) {
            Ok(()) => Ok(()),
            Err(TrySendError::Closed(error)) => Err(error),
            Err(TrySendError::Full(batch)) => {
                this.batch = Some(batch);
                if !this.waiting {
                    this.waiting = true;
                    this.partition.back_pressure.begin();
                }
                return Poll::Pending;
            }
        };
        progress.made_progress();
        this.stop_waiting();
        Poll::Ready(result)
    }
}

impl Send {
    fn stop_waiting(&mut self) {
        if std::mem::take(&mut self.waiting) {
            self.partition.back_pressure.end();
        }
    }
}

impl Drop for Send {
    fn drop(&mut self) {
        self.stop_waiting();
    }
}

/// A batch on its way into every channel of a partition.
#[must_use = "nothing is sent unless it is awaited"]
pub struct Broadcast {
    current: Send,
    batch: Bytes,
    next: u32,
    subpartitions: u32,
}

impl Future for Broadcast {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            std::task::ready!(Pin::new(&mut this.current).poll(context))?;
            if this.next >= this.subpartitions {
                return Poll::Ready(Ok(()));
            }
            this.current.subpartition = this.next;
            this.current.batch = Some(this.batch.clone());
            this.next += 1;
        }
    }
}
