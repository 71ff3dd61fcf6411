//! The ends of a chain: encoders that spread elements over the channels of an
//! output and send full batches to the host.

mod route;

use crate::batch::builder::BatchBuilder;
use crate::batch::hash::subtask_of;
use crate::batch::reader::Batch;
use crate::block::turns::until;
use crate::block::{BLOCK, Block};
use crate::element::Element;
use crate::error::{Error, Result};
use crate::graph::Channels;
use crate::position;
use crate::push::{AnyNext, Batches, Push, Signal, Typed};
use crate::runtime::bindings::types::Partitioner;
use crate::runtime::host;
use route::{Custom, KeyGroups, RoundRobin, Route, Shuffle, Single};
use std::marker::PhantomData;
use std::ops::ControlFlow;

/// The channel that stands for all of an output's.
const ALL_CHANNELS: u32 = u32::MAX;

/// Buffers of one output together hold about this many batches of full size;
/// with more channels each batch is smaller.
const FULL_BUFFERS: usize = 64;

/// No batch is planned shorter than this: its header would weigh too much.
const BATCH_SIZE_MIN: usize = 2048;

fn target_size(batch_size: usize, channels: u32) -> usize {
    let share = batch_size.saturating_mul(FULL_BUFFERS) / (channels as usize).max(1);
    share.min(batch_size).max(BATCH_SIZE_MIN)
}

/// Reads a batch block by block.
#[inline(always)]
fn blocks<'b, T: Element>(batch: &Batch<'b, T>, mut with: impl FnMut(&mut Block<T::View<'b>>)) {
    batch.in_blocks(|base, count, cursor| {
        let mut block = Block::new();
        // SAFETY: rows are read in order and below the batch's count.
        block.fill(base, count, |index| unsafe { T::read(cursor, (base + index) as usize) });
        block.enter();
        with(&mut block);
    });
}

/// Why a loop over short values stopped at one.
enum Stopped {
    /// It is not short.
    Long,
    /// There is no room for it.
    Full { hash: u32, channel: u32 },
}

/// Encodes elements of `T` into batches, one in the making for each channel.
struct Encoder<T: Element, R> {
    route: R,
    builders: Vec<BatchBuilder<T>>,
    /// The length of a batch, about.
    target: usize,
    output: u32,
    /// The channel of the first builder.
    first_channel: u32,
    _element: PhantomData<fn(T)>,
}

impl<T: Element, R: Route<T>> Encoder<T, R> {
    const OWNS_NOTHING: bool = !std::mem::needs_drop::<T::View<'static>>();

    fn boxed(channels: &Channels, count: u32, first_channel: u32, route: R) -> Box<dyn AnyNext> {
        let target = target_size(channels.batch_size, count);
        let encoder = Self {
            route,
            builders: (0..count).map(|_| BatchBuilder::new(R::HASHED, target)).collect(),
            target,
            output: channels.index,
            first_channel,
            _element: PhantomData,
        };
        Box::new(Typed::<T>(Box::new(encoder)))
    }

    #[inline(always)]
    fn put(&mut self, value: &T::View<'_>) {
        let (hash, channel) = self.route.route(value);
        self.put_routed(value, hash, channel);
    }

    #[inline(always)]
    fn put_routed(&mut self, value: &T::View<'_>, hash: u32, channel: u32) {
        debug_assert!((channel as usize) < self.builders.len());
        // SAFETY: a route gives a channel below the number of builders.
        let builder = unsafe { self.builders.get_unchecked_mut(channel as usize) };
        if !builder.push(R::HASHED.then_some(hash), value) {
            // A copy, so that the value itself need not lie in memory.
            self.overflow(channel, hash, &value.clone());
        }
    }

    /// Spreads a block over several builders.
    #[inline(never)]
    fn spread_block(&mut self, block: &mut Block<T::View<'_>>) {
        if Self::OWNS_NOTHING {
            self.spread_plain(block.as_slice());
            block.clear();
        } else if R::AHEAD {
            let mut hashes = [0; BLOCK];
            self.route.hash_all(block.as_slice(), &mut hashes);
            for (value, hash) in block.as_slice().iter().zip(hashes) {
                self.put_routed(value, hash, self.route.channel_of(hash));
            }
            block.drain(|_, value| drop(value));
        } else {
            block.drain(|index, value| {
                position::row(index);
                self.put(&value);
            });
        }
    }

    /// Spreads values that own nothing. Those that are not short, and those
    /// that find no room, are left to functions of their own: a call within the
    /// loop would leave it few registers. Measured: 1 ns a record, against
    /// hashing all first and writing each channel's together.
    #[inline(always)]
    fn spread_plain(&mut self, values: &[T::View<'_>]) {
        let mut done = 0;
        while done < values.len() {
            let (index, stopped) = self.spread_short(values, done);
            match stopped {
                None => return,
                Some(Stopped::Long) => self.put_long(&values[index]),
                Some(Stopped::Full { hash, channel }) => self.overflow(channel, hash, &values[index]),
            }
            done = index + 1;
        }
    }

    /// Spreads values from `done` on as long as they are short and find room;
    /// gives the index where it stopped.
    #[inline(always)]
    fn spread_short(&mut self, values: &[T::View<'_>], done: usize) -> (usize, Option<Stopped>) {
        let (route, builders) = (&mut self.route, self.builders.as_mut_slice());
        until(done, values.len(), |index| {
            position::row(index as u32);
            // SAFETY: the index is below the number of values.
            let value = unsafe { values.get_unchecked(index) };
            let Some((hash, channel)) = route.route_short(value) else {
                return ControlFlow::Break(Stopped::Long);
            };
            debug_assert!((channel as usize) < builders.len());
            // SAFETY: a route gives a channel below the number of builders.
            let builder = unsafe { builders.get_unchecked_mut(channel as usize) };
            if builder.push(R::HASHED.then_some(hash), value) {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(Stopped::Full { hash, channel })
            }
        })
    }

    #[inline(never)]
    fn put_long(&mut self, value: &T::View<'_>) {
        self.put(value);
    }

    /// Spreads a batch over several builders.
    fn spread_batch(&mut self, batch: &Batch<'_, T>) {
        if Self::OWNS_NOTHING {
            return blocks(batch, |block| self.spread_block(block));
        }
        let mut cursor = batch.cursor();
        position::leave_block();
        for row in 0..batch.rows() {
            position::row(row);
            // SAFETY: rows are read in order and below the batch's count.
            self.put(&unsafe { T::read(&mut cursor, row as usize) });
        }
    }

    /// Adds a block to the only builder. First all are hashed, then all are
    /// written: each loop is short enough for the registers. Measured: 3 ns a
    /// word less. With several builders it costs 3 more.
    #[inline(never)]
    fn keep_block(&mut self, block: &mut Block<T::View<'_>>) {
        let mut hashes = [0; BLOCK];
        let values = block.as_slice();
        self.route.hash_all(values, &mut hashes);
        let mut done = 0;
        loop {
            done += self.builders[0].push_all(R::HASHED.then_some(&hashes[done..]), &values[done..]);
            if done == values.len() {
                break;
            }
            self.overflow(0, hashes[done], &values[done]);
            done += 1;
        }
        block.drain(|_, value| drop(value));
    }

    #[cold]
    #[inline(never)]
    fn overflow(&mut self, channel: u32, hash: u32, value: &T::View<'_>) {
        self.send_channel(channel);
        let builder = &mut self.builders[channel as usize];
        while !builder.push(R::HASHED.then_some(hash), value) {
            builder.grow();
        }
    }

    fn send_channel(&mut self, channel: u32) {
        if let Some(batch) = self.builders[channel as usize].finish() {
            host::emit(self.output, self.first_channel.wrapping_add(channel), batch);
        }
    }
}

impl<T: Element, R: Route<T>> Push<T> for Encoder<T, R> {
    fn push(&mut self, value: T::View<'_>) {
        self.put(&value);
    }

    fn push_block<'a>(&mut self, block: &mut Block<T::View<'a>>) {
        block.enter();
        if self.builders.len() == 1 { self.keep_block(block) } else { self.spread_block(block) }
    }

    fn push_batch(&mut self, batch: &Batch<'_, T>) {
        if self.builders.len() == 1 {
            blocks(batch, |block| self.keep_block(block));
        } else {
            self.spread_batch(batch);
        }
    }

    fn batches(&self) -> Option<Batches> {
        (self.builders.len() == 1).then_some(Batches { hashed: R::HASHED, size: self.target })
    }

    fn take_rows(&mut self, batch: &mut BatchBuilder<T>, first: usize) {
        let start = first;
        let mut first = first;
        while R::LOOKS && first < batch.rows() {
            let count = (batch.rows() - first).min(BLOCK);
            let mut hashes = [0; BLOCK];
            {
                let mut cursor = batch.cursor_at(first);
                let mut block = Block::new();
                // SAFETY: rows are read in order and below the batch's count.
                block.fill((first - start) as u32, count as u32, |index| unsafe {
                    T::read(&mut cursor, first + index as usize)
                });
                block.enter();
                self.route.hash_all(block.as_slice(), &mut hashes);
            }
            if R::HASHED {
                batch.set_hashes(first, &hashes[..count]);
            }
            first += count;
        }
    }

    fn send(&mut self, batch: &[u8]) {
        host::emit(self.output, self.first_channel, batch);
    }

    fn signal(&mut self, signal: Signal) -> Result<()> {
        if matches!(signal, Signal::Flush | Signal::Finish) {
            for channel in 0..self.builders.len() {
                self.send_channel(channel as u32);
            }
        }
        Ok(())
    }
}

/// The encoder of a stream that is not spread by key or function.
pub(crate) fn encoder<T: Element>(to: &Channels) -> Result<Box<dyn AnyNext>> {
    let channels = to.output.channels;
    Ok(match &to.output.partitioner {
        Partitioner::Broadcast => Encoder::<T, _>::boxed(to, 1, ALL_CHANNELS, Single),
        Partitioner::Forward | Partitioner::Global => Encoder::<T, _>::boxed(to, 1, 0, Single),
        _ if channels == 1 => Encoder::<T, _>::boxed(to, 1, 0, Single),
        Partitioner::Rebalance | Partitioner::Rescale => {
            // Subtasks start at different channels, so that few records of
            // many subtasks do not all meet at the first.
            let next = to.subtask % channels;
            Encoder::<T, _>::boxed(to, channels, 0, RoundRobin { next, channels })
        }
        Partitioner::Shuffle => {
            let state = (u64::from(to.subtask) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            Encoder::<T, _>::boxed(to, channels, 0, Shuffle { state, channels })
        }
        other @ (Partitioner::KeyGroups(_) | Partitioner::Custom(_)) => {
            return Err(Error::new(format_args!("output {} names no partition for {other:?}", to.index)));
        }
    })
}

/// The encoder behind `partition_custom`.
pub(crate) fn custom_encoder<T: Element, F>(to: &Channels, select: std::rc::Rc<F>) -> Box<dyn AnyNext>
where
    F: for<'a, 'b> Fn(&'b T::View<'a>, u32) -> u32 + 'static,
{
    let channels = to.output.channels;
    Encoder::<T, _>::boxed(to, channels, 0, Custom { select, channels })
}

/// The encoder behind `key_by`.
pub(crate) fn key_encoder<T: Element, K: Element, F>(
    to: &Channels,
    select: std::rc::Rc<F>,
) -> Result<Box<dyn AnyNext>>
where
    F: for<'a, 'b> Fn(&'b T::View<'a>) -> K::View<'b> + 'static,
{
    let (channels, max_parallelism) = (to.output.channels, to.output.max_parallelism);
    if channels == 0 || max_parallelism < channels {
        return Err(Error::new(format_args!(
            "output {} has {channels} channels but {max_parallelism} key groups",
            to.index
        )));
    }
    let table = (0..max_parallelism).map(|group| subtask_of(group, channels, max_parallelism)).collect();
    let route = KeyGroups::<K, F> { select, max_parallelism, table, scratch: Vec::new(), _key: PhantomData };
    Ok(Encoder::<T, _>::boxed(to, channels, 0, route))
}
