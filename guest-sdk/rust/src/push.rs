//! How elements go from one operator to the next inside a chain: one dynamic
//! call a record, a block or a batch, whichever the producer can give. Knows
//! neither the graph nor the host.

use crate::batch::reader::Batch;
use crate::element::Element;
use crate::error::Result;
use crate::position;
use std::any::Any;
use std::mem::MaybeUninit;

/// What passes down a chain beside elements, in order with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// The call from the host is about to end: pass on what is staged.
    EndBatch,
    /// Send what is buffered.
    Flush,
    /// Write cached state to the host.
    FlushState,
    /// The input has ended: last results, state and buffers go out.
    Finish,
}

/// Takes the elements of a stream.
///
/// `push_block` and `push_batch` are there for speed: their default loops are
/// compiled for each operator, so that `push` is inlined into them.
pub trait Push<T: Element> {
    /// Takes one element.
    fn push(&mut self, value: T::View<'_>);

    /// Takes a block of elements; the block is empty afterwards.
    #[inline]
    fn push_block<'a>(&mut self, block: &mut Block<T::View<'a>>) {
        block.enter();
        block.drain(|row, value| {
            position::row(row);
            self.push(value);
        });
    }

    /// Takes all elements of a batch.
    #[inline]
    fn push_batch(&mut self, batch: &Batch<'_, T>) {
        let mut cursor = batch.cursor();
        position::leave_block();
        for row in 0..batch.rows() {
            position::row(row);
            // SAFETY: rows are read in order and below the batch's count.
            self.push(unsafe { T::read(&mut cursor, row as usize) });
        }
    }

    /// Acts on a signal and passes it on.
    fn signal(&mut self, signal: Signal) -> Result<()>;
}

/// The next operator of a chain.
pub(crate) type Next<T> = Box<dyn Push<T>>;

/// A `Next` of any element type, as the runtime holds it while it builds.
pub(crate) trait AnyNext {
    fn signal(&mut self, signal: Signal) -> Result<()>;
    fn as_any(&mut self) -> &mut dyn Any;
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
}

/// A `Next` of one element type, behind [`AnyNext`].
pub(crate) struct Typed<T: Element>(pub(crate) Next<T>);

impl<T: Element> AnyNext for Typed<T> {
    fn signal(&mut self, signal: Signal) -> Result<()> {
        self.0.signal(signal)
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// Most values in a block: their indices fit one byte, and a block of
/// integers stays in the first-level cache.
pub const BLOCK: usize = 128;

/// The positions of records that follow each other.
const EACH: [u8; BLOCK] = {
    let mut rows = [0; BLOCK];
    let mut row = 0;
    while row < BLOCK {
        rows[row] = row as u8;
        row += 1;
    }
    rows
};

/// Some elements with the positions of the records that they came from.
pub struct Block<V> {
    len: usize,
    /// Index within the batch of the record that `rows` counts from.
    base: u32,
    rows: [u8; BLOCK],
    values: [MaybeUninit<V>; BLOCK],
}

impl<V> Block<V> {
    #[inline(always)]
    pub fn new() -> Self {
        Self { len: 0, base: 0, rows: [0; BLOCK], values: [const { MaybeUninit::uninit() }; BLOCK] }
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
        self.rows = EACH;
        // The length is written once: as a memory operand of each turn it
        // would cost more than the rest of a short body.
        each(count, |index| {
            let value = value(index as u32);
            // SAFETY: the index is below `count`.
            put(unsafe { self.values.get_unchecked_mut(index) }, value);
        });
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
        let mut kept = 0;
        each(count, |index| {
            let (value, keep) = value(index as u32);
            if std::mem::needs_drop::<V>() && !keep {
                return;
            }
            // SAFETY: `kept <= index < count`.
            unsafe {
                *self.rows.get_unchecked_mut(kept) = index as u8;
                self.values.get_unchecked_mut(kept).write(value);
            }
            kept += usize::from(keep);
        });
        self.len = kept;
    }

    /// Fills an empty block with what `f` makes of another's values, which
    /// leaves that one empty.
    #[inline(always)]
    pub fn fill_from<W>(&mut self, from: &mut Block<W>, mut f: impl FnMut(u32, W) -> V) {
        let count = from.len;
        self.take_positions(from);
        from.drain(|index, value| {
            let value = f(index, value);
            // SAFETY: the other block holds at most as many.
            put(unsafe { self.values.get_unchecked_mut(index as usize) }, value);
        });
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

    /// Row of the value at `index`, less the base.
    #[inline(always)]
    pub fn row(&self, index: usize) -> u8 {
        self.rows[index]
    }

    /// Adds a value.
    ///
    /// # Panics
    /// If the block is full.
    #[inline(always)]
    pub fn put(&mut self, row: u8, value: V) {
        // A copy: the compiler takes each write for one that may change it.
        let len = self.len;
        assert!(len < BLOCK);
        self.rows[len] = row;
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
        let mut kept = 0;
        each(len, |index| {
            // SAFETY: `kept <= index < len`, and the first `len` values are
            // written; each is moved or dropped once.
            unsafe {
                let keep = test(index as u32, self.values.get_unchecked(index).assume_init_ref());
                let value = self.values.get_unchecked(index).assume_init_read();
                if std::mem::needs_drop::<V>() && !keep {
                    drop(value);
                    return;
                }
                self.values.get_unchecked_mut(kept).write(value);
                *self.rows.get_unchecked_mut(kept) = *self.rows.get_unchecked(index);
                kept += usize::from(keep);
            }
        });
        self.len = kept;
    }

    /// Makes a panic's position count by this block's rows.
    #[inline(always)]
    pub fn enter(&self) {
        position::enter_block(self.base, self.rows.as_ptr());
    }

    /// Takes all values out, in order, with their index in the block.
    #[inline(always)]
    pub fn drain(&mut self, mut with: impl FnMut(u32, V)) {
        // Should `with` unwind, the values left are leaked, not dropped twice.
        let len = std::mem::take(&mut self.len);
        each(len, |index| {
            // SAFETY: the first `len` values are written, and each is taken once.
            with(index as u32, unsafe { self.values.get_unchecked(index).assume_init_read() });
        });
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
        self.rows = EACH;
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
#[inline(always)]
fn put<V>(to: &mut MaybeUninit<V>, value: V) {
    type Word = MaybeUninit<usize>;
    let words = size_of::<V>() / size_of::<Word>();
    if !std::mem::needs_drop::<V>()
        || words * size_of::<Word>() != size_of::<V>()
        || align_of::<V>() < align_of::<Word>()
        || words > 8
    {
        to.write(value);
        return;
    }
    let value = std::mem::ManuallyDrop::new(value);
    let (from, to) = (std::ptr::from_ref(&*value).cast::<Word>(), to.as_mut_ptr().cast::<Word>());
    for word in 0..words {
        // SAFETY: both have so many words; the value is moved, as it is not
        // dropped here.
        unsafe { to.add(word).write(from.add(word).read_volatile()) };
    }
}

/// Calls `f` for each index below `count`, four a turn: a turn asks the host's
/// clock whether the guest must give way, which costs as much as some of the
/// bodies.
#[inline(always)]
pub(crate) fn each(count: usize, mut f: impl FnMut(usize)) {
    let mut index = 0;
    while index + 4 <= count {
        f(index);
        f(index + 1);
        f(index + 2);
        f(index + 3);
        index += 4;
    }
    while index < count {
        f(index);
        index += 1;
    }
}

/// Gives every element to several operators.
pub(crate) struct Fanout<T: Element> {
    first: Vec<Next<T>>,
    last: Next<T>,
}

impl<T: Element> Push<T> for Fanout<T> {
    fn push(&mut self, value: T::View<'_>) {
        for next in &mut self.first {
            next.push(value.clone());
        }
        self.last.push(value);
    }

    fn push_batch(&mut self, batch: &Batch<'_, T>) {
        for next in &mut self.first {
            next.push_batch(batch);
        }
        self.last.push_batch(batch);
    }

    fn signal(&mut self, signal: Signal) -> Result<()> {
        for next in &mut self.first {
            next.signal(signal)?;
        }
        self.last.signal(signal)
    }
}

/// The end of a stream that nobody reads.
pub(crate) struct Discard;

impl<T: Element> Push<T> for Discard {
    #[inline(always)]
    fn push(&mut self, _: T::View<'_>) {}

    fn push_block<'a>(&mut self, block: &mut Block<T::View<'a>>) {
        if std::mem::needs_drop::<T::View<'a>>() {
            block.drain(|_, value| drop(value))
        } else {
            block.clear()
        }
    }

    fn push_batch(&mut self, _: &Batch<'_, T>) {}

    fn signal(&mut self, _: Signal) -> Result<()> {
        Ok(())
    }
}

impl<V> Block<V> {
    /// Forgets values that need no drop.
    #[inline(always)]
    fn clear(&mut self) {
        debug_assert!(!std::mem::needs_drop::<V>());
        self.len = 0;
    }
}

/// One operator out of those that read a stream.
pub(crate) fn fan_out<T: Element>(mut outputs: Vec<Next<T>>) -> Next<T> {
    match outputs.pop() {
        None => Box::new(Discard),
        Some(last) if outputs.is_empty() => last,
        Some(last) => Box::new(Fanout { first: outputs, last }),
    }
}
