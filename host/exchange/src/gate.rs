//! The consumer's end: an input gate over one channel of each producer.
//!
//! Channels with something to read stand on a list, in the order in which they
//! became ready; each gives one batch and goes to the list's end. So a gate
//! over a thousand idle channels costs nothing, and a busy one starves none.

use crate::error::Error;
use crate::memory::Reservation;
use crate::network::RemoteChannel;
use crate::partition::{Partition, Taken};
use bytes::Bytes;
use heddle_model::failure::{ErrorCode, Failure};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

/// Channels that became ready since the consumer looked last.
#[derive(Default)]
pub(crate) struct ReadyList {
    news: Mutex<News>,
    any: AtomicBool,
}

#[derive(Default)]
struct News {
    channels: Vec<u32>,
    waker: Option<Waker>,
}

impl ReadyList {
    pub(crate) fn push(&self, channel: u32) {
        let waker = {
            let mut news = self.news.lock().expect("no holder of a ready list panics");
            news.channels.push(channel);
            self.any.store(true, Ordering::Release);
            news.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Moves what is new to the end of `ready`, if anything is.
    pub(crate) fn drain_news(&self, ready: &mut VecDeque<u32>) {
        if self.any.load(Ordering::Acquire) {
            self.drain(ready, None);
        }
    }

    /// Moves what is new to the end of `ready`; notes who waits if there is
    /// nothing.
    pub(crate) fn drain(&self, ready: &mut VecDeque<u32>, waker: Option<&Waker>) {
        let mut news = self.news.lock().expect("no holder of a ready list panics");
        self.any.store(false, Ordering::Relaxed);
        ready.extend(news.channels.drain(..));
        if let Some(waker) = waker
            && ready.is_empty()
            && !news.waker.as_ref().is_some_and(|known| known.will_wake(waker))
        {
            news.waker = Some(waker.clone());
        }
    }
}

/// What comes out of a gate. Channels are numbered as in its descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GateEvent {
    Batch {
        channel: u32,
        batch: Bytes,
    },
    /// Nothing more comes from this channel.
    EndOfChannel {
        channel: u32,
    },
    /// All channels have ended; given again by each further call.
    EndOfGate,
}

/// Where a channel's batches come from.
pub(crate) enum Channel {
    /// The producer's channel itself.
    Local(Arc<Partition>, u32),
    /// What a connection brings.
    Remote(RemoteChannel),
}

impl Channel {
    fn take(&mut self) -> Taken {
        match self {
            Channel::Local(partition, subpartition) => partition.take(*subpartition, |_| true),
            Channel::Remote(channel) => channel.take(),
        }
    }
}

struct Source {
    channel: Channel,
    ended: bool,
}

/// One input of a subtask. Dropped before its end, it breaks its channels, and
/// the producers get an error.
pub struct InputGate {
    sources: Vec<Source>,
    open: usize,
    ready: VecDeque<u32>,
    shared: Arc<ReadyList>,
    broken: Option<Error>,
    /// Memory of the channels that come from other processes.
    _memory: Option<Reservation>,
}

impl std::fmt::Debug for InputGate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "InputGate({} of {} channels open)", self.open, self.sources.len())
    }
}

impl InputGate {
    /// Attaches to all channels. If one refuses, those before it are broken.
    pub(crate) fn attach(
        channels: Vec<Channel>,
        shared: Arc<ReadyList>,
        memory: Option<Reservation>,
    ) -> Result<Self, Error> {
        let mut gate = Self {
            sources: Vec::with_capacity(channels.len()),
            open: 0,
            ready: VecDeque::new(),
            shared,
            broken: None,
            _memory: memory,
        };
        for (index, channel) in channels.into_iter().enumerate() {
            if let Channel::Local(partition, subpartition) = &channel
                && partition.attach(*subpartition, &gate.shared, index as u32)?
            {
                gate.ready.push_back(index as u32);
            }
            gate.sources.push(Source { channel, ended: false });
            gate.open += 1;
        }
        Ok(gate)
    }

    /// Whether a channel's batches come from another process.
    pub fn is_remote(&self, channel: u32) -> bool {
        let source = self.sources.get(channel as usize);
        source.is_some_and(|source| matches!(source.channel, Channel::Remote(_)))
    }

    pub fn channels(&self) -> usize {
        self.sources.len()
    }

    /// The next event. Cancel-safe: dropped before it is ready, it has taken
    /// nothing. An error is final and is given again by each further call.
    pub async fn next(&mut self) -> Result<GateEvent, Error> {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// See [`InputGate::next`].
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<GateEvent, Error>> {
        let progress = std::task::ready!(tokio::task::coop::poll_proceed(context));
        let event = loop {
            if let Some(event) = self.take() {
                break event;
            }
            self.shared.drain(&mut self.ready, Some(context.waker()));
            if self.ready.is_empty() {
                return Poll::Pending;
            }
        };
        progress.made_progress();
        Poll::Ready(event)
    }

    /// The next event if there is one now.
    fn take(&mut self) -> Option<Result<GateEvent, Error>> {
        if let Some(error) = &self.broken {
            return Some(Err(error.clone()));
        }
        if self.open == 0 {
            return Some(Ok(GateEvent::EndOfGate));
        }
        self.shared.drain_news(&mut self.ready);
        while let Some(channel) = self.ready.pop_front() {
            let source = &mut self.sources[channel as usize];
            match source.channel.take() {
                Taken::Batch(batch, more) => {
                    if more {
                        self.ready.push_back(channel);
                    }
                    return Some(Ok(GateEvent::Batch { channel, batch }));
                }
                Taken::End => {
                    source.ended = true;
                    self.open -= 1;
                    return Some(Ok(GateEvent::EndOfChannel { channel }));
                }
                Taken::Nothing | Taken::Blocked => {}
                Taken::Fault(error) => {
                    source.ended = true;
                    self.broken = Some(error.clone());
                    return Some(Err(error));
                }
            }
        }
        None
    }

    /// Breaks the channels that have not ended: their producers get `cause`.
    pub fn fail(mut self, cause: Failure) {
        self.detach(cause);
    }

    fn detach(&mut self, cause: Failure) {
        let cause = Arc::new(cause);
        for source in self.sources.drain(..).filter(|source| !source.ended) {
            match source.channel {
                Channel::Local(partition, subpartition) => {
                    let cause = Arc::clone(&cause);
                    partition.detach(subpartition, &Error::PeerGone { partition: partition.id, cause });
                }
                Channel::Remote(mut channel) => channel.close(Failure::clone(&cause)),
            }
        }
        self.open = 0;
    }
}

impl Drop for InputGate {
    fn drop(&mut self) {
        if self.open > 0 {
            self.detach(Failure::new(ErrorCode::PeerGone, "its consumer ended before its input did"));
        }
    }
}
