//! The ends of a chain: encoders that spread elements over the channels of an
//! output and send full batches to the host.

use crate::batch::builder::BatchBuilder;
use crate::batch::hash::{key_group_of, subtask_of};
use crate::batch::reader::Batch;
use crate::block::turns::{NONE, each_of_three};
use crate::block::{BLOCK, Block};
use crate::element::Element;
use crate::error::{Error, Result};
use crate::graph::Channels;
use crate::position;
use crate::push::{AnyNext, Push, Signal, Typed};
use crate::runtime::bindings::types::Partitioner;
use crate::runtime::host;
use std::marker::PhantomData;

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

/// Picks the channel of each element. Compiled into the encoder.
trait Route<T: Element>: 'static {
    /// Whether batches carry the hash column.
    const HASHED: bool;
    /// Whether a block is better routed as a whole before it is spread.
    const AHEAD: bool = false;
    /// The hash (if any) and the channel, below the number of channels.
    fn route(&mut self, value: &T::View<'_>) -> (u32, u32);

    /// The channel of a hash.
    fn channel_of(&self, _hash: u32) -> u32 {
        0
    }

    /// The hashes of a block.
    #[inline(always)]
    fn hash_all(&mut self, values: &[T::View<'_>], hashes: &mut [u32; BLOCK]) {
        for (index, (value, hash)) in values.iter().zip(hashes).enumerate() {
            position::row(index as u32);
            *hash = self.route(value).0;
        }
    }
}

/// Encodes elements of `T` into batches, one in the making for each channel.
struct Encoder<T: Element, R> {
    route: R,
    builders: Vec<BatchBuilder<T>>,
    output: u32,
    /// The channel of the first builder.
    first_channel: u32,
    _element: PhantomData<fn(T)>,
}

impl<T: Element, R: Route<T>> Encoder<T, R> {
    fn boxed(channels: &Channels, count: u32, first_channel: u32, route: R) -> Box<dyn AnyNext> {
        let target = target_size(channels.batch_size, count);
        let encoder = Self {
            route,
            builders: (0..count).map(|_| BatchBuilder::new(R::HASHED, target)).collect(),
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
        if R::AHEAD {
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

    /// Spreads a batch over several builders.
    #[inline(never)]
    fn spread_batch(&mut self, batch: &Batch<'_, T>) {
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

    fn keep_batch(&mut self, batch: &Batch<'_, T>) {
        let mut cursor = batch.cursor();
        let mut base = 0;
        while base < batch.rows() {
            let count = (batch.rows() - base).min(BLOCK as u32);
            let mut block = Block::new();
            // SAFETY: rows are read in order and below the batch's count.
            block.fill(base, count, |index| unsafe { T::read(&mut cursor, (base + index) as usize) });
            block.enter();
            self.keep_block(&mut block);
            base += count;
        }
    }

    #[cold]
    #[inline(never)]
    fn overflow(&mut self, channel: u32, hash: u32, value: &T::View<'_>) {
        self.send(channel);
        let builder = &mut self.builders[channel as usize];
        while !builder.push(R::HASHED.then_some(hash), value) {
            builder.grow();
        }
    }

    fn send(&mut self, channel: u32) {
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
        if self.builders.len() == 1 { self.keep_batch(batch) } else { self.spread_batch(batch) }
    }

    fn signal(&mut self, signal: Signal) -> Result<()> {
        if matches!(signal, Signal::Flush | Signal::Finish) {
            for channel in 0..self.builders.len() {
                self.send(channel as u32);
            }
        }
        Ok(())
    }
}

/// Everything to the only builder: forward, global, broadcast.
struct Single;

impl<T: Element> Route<T> for Single {
    const HASHED: bool = false;
    #[inline(always)]
    fn route(&mut self, _: &T::View<'_>) -> (u32, u32) {
        (0, 0)
    }
}

/// One after the other: rebalance, rescale.
struct RoundRobin {
    next: u32,
    channels: u32,
}

impl<T: Element> Route<T> for RoundRobin {
    const HASHED: bool = false;
    #[inline(always)]
    fn route(&mut self, _: &T::View<'_>) -> (u32, u32) {
        let channel = self.next;
        self.next = if channel + 1 == self.channels { 0 } else { channel + 1 };
        (0, channel)
    }
}

/// Pseudo-random, the same in every run of a subtask.
struct Shuffle {
    state: u64,
    channels: u32,
}

impl<T: Element> Route<T> for Shuffle {
    const HASHED: bool = false;
    #[inline(always)]
    fn route(&mut self, _: &T::View<'_>) -> (u32, u32) {
        // xorshift64*, Vigna 2016.
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        let random = (self.state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) as u32;
        (0, key_group_of(random, self.channels))
    }
}

/// By a function of the program.
struct Custom<F> {
    select: std::rc::Rc<F>,
    channels: u32,
}

impl<T: Element, F> Route<T> for Custom<F>
where
    F: for<'a, 'b> Fn(&'b T::View<'a>, u32) -> u32 + 'static,
{
    const HASHED: bool = false;
    #[inline]
    fn route(&mut self, value: &T::View<'_>) -> (u32, u32) {
        let channel = (self.select)(value, self.channels);
        assert!(
            channel < self.channels,
            "the partition function gave channel {channel}, but there are {} (0 to {})",
            self.channels,
            self.channels - 1
        );
        (0, channel)
    }
}

/// By key group.
struct KeyGroups<K, F> {
    select: std::rc::Rc<F>,
    max_parallelism: u32,
    /// Channel of each key group.
    table: Box<[u32]>,
    scratch: Vec<u8>,
    _key: PhantomData<fn() -> K>,
}

impl<T: Element, K: Element, F> Route<T> for KeyGroups<K, F>
where
    F: for<'a, 'b> Fn(&'b T::View<'a>) -> K::View<'b> + 'static,
{
    const HASHED: bool = true;
    const AHEAD: bool = std::mem::needs_drop::<K::View<'static>>();

    #[inline(always)]
    fn route(&mut self, value: &T::View<'_>) -> (u32, u32) {
        let key = (self.select)(value);
        let hash = K::key(&key, &mut self.scratch).hash();
        (hash, Route::<T>::channel_of(self, hash))
    }

    #[inline(always)]
    fn channel_of(&self, hash: u32) -> u32 {
        let group = key_group_of(hash, self.max_parallelism) as usize;
        // SAFETY: a key group is below the maximum parallelism.
        unsafe { *self.table.get_unchecked(group) }
    }

    /// Keys that own something are made first and hashed then: reading at once
    /// what was just written in other pieces waits for the memory.
    #[inline(always)]
    fn hash_all(&mut self, values: &[T::View<'_>], hashes: &mut [u32; BLOCK]) {
        if <Self as Route<T>>::AHEAD {
            let mut keys = Block::<K::View<'_>>::new();
            keys.fill(0, values.len() as u32, |index| {
                position::row(index);
                (self.select)(&values[index as usize])
            });
            for (key, hash) in keys.as_slice().iter().zip(hashes) {
                *hash = K::key(key, &mut self.scratch).hash();
            }
        } else {
            assert!(values.len() <= BLOCK);
            let arrays = (values.as_ptr().cast_mut(), hashes.as_mut_ptr(), NONE);
            // SAFETY: there are so many values, and places for as many hashes.
            unsafe {
                each_of_three::<4, _, _, _>(values.len(), arrays, |index, value, hash, _| {
                    position::row(index as u32);
                    *hash = K::key(&(self.select)(&*value), &mut self.scratch).hash();
                });
            }
        }
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
