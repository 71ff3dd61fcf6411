//! Blocks: some elements that go from one operator to the next together, with
//! the records that they came from.

pub(crate) mod turns;

use crate::position;
use std::mem::MaybeUninit;
use turns::{NONE, each_of_three, each_place, keep};

/// Most values in a block: a block of integers stays in the first-level cache.
pub const BLOCK: usize = 128;

/// The records that the values of a block came from, as bits: bit 0 stands for
/// the block's base. The value at an index came from the record of the set bit
/// that has so many set bits below it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Rows([u64; 2]);

impl Rows {
    /// Records that follow each other.
    const EACH: Self = Self([u64::MAX; 2]);

    /// The record, from the base on, of the value at an index.
    pub(crate) fn row(&self, index: u32) -> u32 {
        let [low, high] = self.0;
        let below = low.count_ones();
        let (mut bits, mut left, mut row) =
            if index < below { (low, index, 0) } else { (high, index - below, u64::BITS) };
        if bits == u64::MAX {
            return row + left;
        }
        // The half of the bits that has the wanted one, six times.
        let mut width = u64::BITS / 2;
        while width > 0 {
            let half = bits & ((1 << width) - 1);
            let count = half.count_ones();
            if left < count {
                bits = half;
            } else {
                left -= count;
                bits >>= width;
                row += width;
            }
            width /= 2;
        }
        row
    }

    /// The records of those values whose index is a set bit of `kept`.
    #[inline(always)]
    fn keep(self, kept: [u64; 2]) -> Self {
        if self == Self::EACH { Self(kept) } else { self.keep_some(kept) }
    }

    #[inline(never)]
    fn keep_some(self, kept: [u64; 2]) -> Self {
        let mut kept = u128::from(kept[0]) | u128::from(kept[1]) << 64;
        Self(self.0.map(|mut rows| {
            let (count, mut choice, mut chosen) = (rows.count_ones(), kept as u64, 0);
            while rows != 0 {
                chosen |= (rows & rows.wrapping_neg()) & (choice & 1).wrapping_neg();
                choice >>= 1;
                rows &= rows - 1;
            }
            kept >>= count;
            chosen
        }))
    }
}

/// Some elements with the positions of the records that they came from.
pub struct Block<V> {
    len: usize,
    /// Index within the batch of the record that `rows` counts from.
    base: u32,
    rows: Rows,
    values: [MaybeUninit<V>; BLOCK],
}

impl<V> Block<V> {
    #[inline(always)]
    pub fn new() -> Self {
        Self { len: 0, base: 0, rows: Rows::EACH, values: [const { MaybeUninit::uninit() }; BLOCK] }
    }

    /// The places of all values, written or not.
    #[inline(always)]
    pub(crate) fn places(&mut self) -> *mut V {
        self.values.as_mut_ptr().cast()
    }

    /// Fills an empty block with the values of records that follow each other
    /// from row `base` on; `value` is given the index in the block.
    ///
    /// # Panics
    /// If `count` is more than [`BLOCK`].
    #[inline(always)]
    pub fn fill(&mut self, base: u32, count: u32, mut value: impl FnMut(u32) -> V) {
        debug_assert_eq!(self.len, 0);
        let count = count as usize;
        assert!(count <= BLOCK);
        self.base = base;
        self.rows = Rows::EACH;
        // The length is written once: as a memory operand of each turn it
        // would cost more than the rest of a short body.
        // SAFETY: there are places for `count` values.
        unsafe { each_place(count, self.places(), |index, to| put(to, value(index as u32))) };
        self.len = count;
    }

    /// The same, of the values that come with `true`, without a branch where
    /// that is cheap.
    #[inline(always)]
    pub fn fill_if(&mut self, base: u32, count: u32, mut value: impl FnMut(u32) -> (V, bool)) {
        debug_assert_eq!(self.len, 0);
        let count = count as usize;
        assert!(count <= BLOCK);
        self.base = base;
        // SAFETY: there are places for `count` values.
        let (kept, len) = unsafe { keep(count, self.places(), |index, _| value(index as u32)) };
        self.rows = Rows(kept);
        self.len = len;
    }

    /// Fills an empty block with what `f` makes of another's values, which
    /// leaves that one empty.
    #[inline(always)]
    pub fn fill_from<W>(&mut self, from: &mut Block<W>, mut f: impl FnMut(u32, W) -> V) {
        // Should `f` unwind, the values left are leaked, not dropped twice.
        let count = std::mem::take(&mut from.len);
        self.take_positions(from);
        let (from, to) = (from.places(), self.places());
        // SAFETY: the first `count` values of the other block are written, and
        // each is taken once; this one has places for as many.
        unsafe {
            each_of_three::<8, _, _, _>(count, (from, to, NONE), |index, from, to, _| {
                put(to, f(index as u32, from.read()));
            });
        }
        self.len = count;
    }

    #[inline(always)]
    pub fn base(&self) -> u32 {
        self.base
    }

    #[inline(always)]
    pub fn len(&self) -> usize {
        self.len
    }

    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a value. Those that are added one by one stand for themselves:
    /// each for the row of its index.
    ///
    /// # Panics
    /// If the block is full.
    #[inline(always)]
    pub fn put(&mut self, value: V) {
        // A copy: the compiler takes each write for one that may change it.
        let len = self.len;
        assert!(len < BLOCK);
        self.rows = Rows::EACH;
        self.values[len].write(value);
        self.len = len + 1;
    }

    /// Makes this empty block's values come from the same records as another's.
    #[inline(always)]
    pub fn take_positions<W>(&mut self, from: &Block<W>) {
        debug_assert_eq!(self.len, 0);
        self.base = from.base;
        self.rows = from.rows;
    }

    /// Writes the value at an index, which counts from `set_len` on.
    ///
    /// # Safety
    /// The index is below [`BLOCK`].
    #[inline(always)]
    pub unsafe fn write(&mut self, index: usize, value: V) {
        debug_assert!(index < BLOCK);
        // SAFETY: the caller's promise.
        unsafe { self.values.get_unchecked_mut(index).write(value) };
    }

    /// Sets the number of values.
    ///
    /// # Safety
    /// So many are written, from the first on.
    #[inline(always)]
    pub unsafe fn set_len(&mut self, len: usize) {
        debug_assert!(len <= BLOCK);
        self.len = len;
    }

    /// Keeps the values that `test` accepts, given their index in the block.
    #[inline(always)]
    pub fn retain(&mut self, mut test: impl FnMut(u32, &V) -> bool) {
        // Should `test` unwind, the values left are leaked, not dropped twice.
        let len = std::mem::take(&mut self.len);
        // SAFETY: the first `len` values are written, and each is taken once.
        let (kept, len) = unsafe {
            keep(len, self.places(), |index, value| {
                let keep = test(index as u32, &*value);
                (value.read(), keep)
            })
        };
        self.rows = self.rows.keep(kept);
        self.len = len;
    }

    /// Makes a panic's position count by this block's rows.
    #[inline(always)]
    pub fn enter(&self) {
        position::enter_block(self.base, &self.rows);
    }

    /// Takes all values out, in order, with their index in the block.
    #[inline(always)]
    pub fn drain(&mut self, mut with: impl FnMut(u32, V)) {
        // Should `with` unwind, the values left are leaked, not dropped twice.
        let len = std::mem::take(&mut self.len);
        // SAFETY: the first `len` values are written, and each is taken once.
        unsafe { each_place(len, self.places(), |index, value| with(index as u32, value.read())) };
    }

    /// Forgets values that need no drop.
    #[inline(always)]
    pub(crate) fn clear(&mut self) {
        debug_assert!(!std::mem::needs_drop::<V>());
        self.len = 0;
    }

    /// As `fill`, of a block that may have values: where there is one, `over`
    /// puts the new one in its place, given what both functions share.
    #[inline(always)]
    pub(crate) fn refill<C>(
        &mut self,
        base: u32,
        count: u32,
        shared: &mut C,
        mut over: impl FnMut(&mut C, u32, &mut V),
        mut value: impl FnMut(&mut C, u32) -> V,
    ) {
        let count = count as usize;
        assert!(count <= BLOCK);
        self.base = base;
        self.rows = Rows::EACH;
        let kept = self.len.min(count);
        for index in 0..kept {
            // SAFETY: the first `len` values are written.
            over(shared, index as u32, unsafe { self.values.get_unchecked_mut(index).assume_init_mut() });
        }
        for index in kept..count {
            let value = value(shared, index as u32);
            // SAFETY: the index is below `count`.
            unsafe { self.values.get_unchecked_mut(index).write(value) };
        }
        let former = std::mem::replace(&mut self.len, count);
        for left in self.values.get_mut(count..former).into_iter().flatten() {
            // SAFETY: these were the last of the values that were written.
            unsafe { left.assume_init_drop() };
        }
    }

    /// The values.
    pub fn as_slice(&self) -> &[V] {
        // SAFETY: the first `len` values are written.
        unsafe { std::slice::from_raw_parts(self.values.as_ptr().cast(), self.len) }
    }
}

impl<V> Default for Block<V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V> Drop for Block<V> {
    fn drop(&mut self) {
        if std::mem::needs_drop::<V>() {
            self.drain(|_, value| drop(value));
        }
    }
}

/// Writes a value that a function has just returned. What owns something has
/// been written to memory field by field, and is read as it was written, word
/// by word: a wider read would wait until the writes are through. Measured: 5
/// ns for a string.
///
/// # Safety
/// The place is writable and aligned.
#[inline(always)]
unsafe fn put<V>(to: *mut V, value: V) {
    type Word = MaybeUninit<usize>;
    let words = size_of::<V>() / size_of::<Word>();
    if !std::mem::needs_drop::<V>()
        || words * size_of::<Word>() != size_of::<V>()
        || align_of::<V>() < align_of::<Word>()
        || words > 8
    {
        // SAFETY: the caller's promise.
        unsafe { to.write(value) };
        return;
    }
    let value = std::mem::ManuallyDrop::new(value);
    let (from, to) = (std::ptr::from_ref(&*value).cast::<Word>(), to.cast::<Word>());
    for word in 0..words {
        // SAFETY: both have so many words; the value is moved, as it is not
        // dropped here.
        unsafe { to.add(word).write(from.add(word).read_volatile()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_know_the_records_that_they_came_from_after_several_filters() {
        for count in [0, 1, 7, 8, 9, 63, 64, 65, 100, 127, 128] {
            for divisor in 1..6 {
                let mut block = Block::<String>::new();
                block.fill_if(1000, count, |i| (i.to_string(), i.is_multiple_of(divisor)));
                let mut expected: Vec<u32> = (0..count).filter(|i| i.is_multiple_of(divisor)).collect();
                for round in 2..5 {
                    let rows: Vec<u32> = (0..block.len() as u32).map(|i| block.rows.row(i)).collect();
                    assert_eq!(rows, expected);
                    let texts: Vec<String> = expected.iter().map(u32::to_string).collect();
                    assert_eq!(block.as_slice(), texts);
                    block.retain(|index, _| !index.is_multiple_of(round));
                    let kept = expected
                        .iter()
                        .enumerate()
                        .filter(|(index, _)| !(*index as u32).is_multiple_of(round));
                    expected = kept.map(|(_, row)| *row).collect();
                }
                let mut numbers = Block::new();
                numbers.fill_from(&mut block, |_, text| text.parse::<u32>().unwrap());
                assert_eq!((numbers.as_slice(), numbers.base(), block.len()), (&expected[..], 1000, 0));
                let rows: Vec<u32> = (0..numbers.len() as u32).map(|i| numbers.rows.row(i)).collect();
                assert_eq!(rows, expected);
            }
        }
    }
}
