//! Where elements go: the hash and the channel of each, or of a block. Knows
//! nothing of batches.

use crate::batch::hash::key_group_of;
use crate::block::turns::{NONE, each_of_three};
use crate::block::{BLOCK, Block};
use crate::element::Element;
use crate::position;
use std::marker::PhantomData;

/// Picks the channel of each element. Compiled into the encoder.
pub(super) trait Route<T: Element>: 'static {
    /// Whether batches carry the hash column.
    const HASHED: bool;
    /// Whether elements matter to it at all.
    const LOOKS: bool = true;
    /// Whether a block is better hashed as a whole before it is spread.
    const AHEAD: bool = false;
    /// The hash (if any) and the channel, below the number of channels.
    fn route(&mut self, value: &T::View<'_>) -> (u32, u32);

    /// The same of an element that is short; of any other, nothing is done.
    #[inline(always)]
    fn route_short(&mut self, value: &T::View<'_>) -> Option<(u32, u32)> {
        T::is_short(value).then(|| self.route(value))
    }

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

/// Everything to the only builder: forward, global, broadcast.
pub(super) struct Single;

impl<T: Element> Route<T> for Single {
    const HASHED: bool = false;
    const LOOKS: bool = false;
    #[inline(always)]
    fn route(&mut self, _: &T::View<'_>) -> (u32, u32) {
        (0, 0)
    }
}

/// One after the other: rebalance, rescale.
pub(super) struct RoundRobin {
    pub next: u32,
    pub channels: u32,
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
pub(super) struct Shuffle {
    pub state: u64,
    pub channels: u32,
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
pub(super) struct Custom<F> {
    pub select: std::rc::Rc<F>,
    pub channels: u32,
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
pub(super) struct KeyGroups<K, F> {
    pub select: std::rc::Rc<F>,
    pub max_parallelism: u32,
    /// Channel of each key group.
    pub table: Box<[u32]>,
    pub scratch: Vec<u8>,
    pub _key: PhantomData<fn() -> K>,
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
    fn route_short(&mut self, value: &T::View<'_>) -> Option<(u32, u32)> {
        let key = (self.select)(value);
        if !T::is_short(value) || !K::is_short(&key) {
            return None;
        }
        let hash = K::key(&key, &mut self.scratch).hash();
        Some((hash, Route::<T>::channel_of(self, hash)))
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
