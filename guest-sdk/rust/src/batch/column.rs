//! Raw columns of a batch: readers that go through it once, from the first row
//! to the last, and writers into a buffer laid out for so many rows. They know
//! bytes only.

use super::hash::copy_short;
use std::marker::PhantomData;

/// Reads a `fixed(w)` column.
#[derive(Clone, Copy)]
pub struct FixedCursor<'b> {
    at: *const u8,
    _batch: PhantomData<&'b [u8]>,
}

impl<'b> FixedCursor<'b> {
    #[inline(always)]
    pub(crate) fn new(section: &'b [u8]) -> Self {
        Self { at: section.as_ptr(), _batch: PhantomData }
    }

    /// The value of a row.
    ///
    /// # Safety
    /// `row` is below the batch's count, and `V` has the column's width and
    /// takes any bits.
    #[inline(always)]
    pub unsafe fn read<V: Copy>(&self, row: usize) -> V {
        // SAFETY: the host checked that the section has `rows × w` bytes.
        unsafe { self.at.add(row * size_of::<V>()).cast::<V>().read_unaligned() }
    }
}

/// Reads a `bytes` or `utf8` column.
#[derive(Clone, Copy)]
pub struct VarCursor<'b> {
    ends: *const u8,
    bytes: *const u8,
    start: u32,
    _batch: PhantomData<&'b [u8]>,
}

impl<'b> VarCursor<'b> {
    #[inline(always)]
    pub(crate) fn new(ends: &'b [u8], bytes: &'b [u8]) -> Self {
        Self { ends: ends.as_ptr(), bytes: bytes.as_ptr(), start: 0, _batch: PhantomData }
    }

    /// The value of a row.
    ///
    /// # Safety
    /// Rows are read in order from 0, each once, below the batch's count.
    #[inline(always)]
    pub unsafe fn read(&mut self, row: usize) -> &'b [u8] {
        // SAFETY: the host checked that there is an end for each row, that
        // ends never decrease, and that the last is within the section.
        unsafe {
            let end = u32::from_le(self.ends.add(row * 4).cast::<u32>().read_unaligned());
            let start = std::mem::replace(&mut self.start, end);
            std::slice::from_raw_parts(self.bytes.add(start as usize), (end - start) as usize)
        }
    }
}

/// Writes a `fixed(w)` column.
#[derive(Clone, Copy)]
pub struct FixedWriter {
    at: *mut u8,
}

impl FixedWriter {
    pub(crate) fn new(at: *mut u8) -> Self {
        Self { at }
    }

    /// Writes the value of a row.
    ///
    /// # Safety
    /// `row` is below the rows that the buffer is laid out for, and `V` has
    /// the column's width.
    #[inline(always)]
    pub unsafe fn write<V: Copy>(&mut self, row: usize, value: V) {
        // SAFETY: the layout has `rows × w` bytes here.
        unsafe { self.at.add(row * size_of::<V>()).cast::<V>().write_unaligned(value) }
    }
}

/// Writes a `bytes` or `utf8` column.
#[derive(Clone, Copy)]
pub struct VarWriter {
    ends: *mut u8,
    bytes: *mut u8,
    len: usize,
    capacity: usize,
}

impl VarWriter {
    pub(crate) fn new(ends: *mut u8, bytes: *mut u8, capacity: usize) -> Self {
        Self { ends, bytes, len: 0, capacity }
    }

    /// Writes the value of a row, or says that there is no room for it.
    ///
    /// # Safety
    /// Rows are written in order, below the rows of the layout.
    #[inline(always)]
    #[must_use]
    pub unsafe fn write(&mut self, row: usize, value: &[u8]) -> bool {
        let end = self.len + value.len();
        if end > self.capacity {
            return false;
        }
        // SAFETY: the region has `capacity` bytes and sixteen behind them, and
        // an end for each row of the layout.
        unsafe {
            copy_short(value.as_ptr(), self.bytes.add(self.len), value.len());
            self.ends.add(row * 4).cast::<u32>().write_unaligned((end as u32).to_le());
        }
        self.len = end;
        true
    }

    /// Lets `fill` write the value of a row in place; it gives the length, or
    /// none if the room does not suffice.
    ///
    /// # Safety
    /// As for `write`.
    #[must_use]
    pub unsafe fn write_with(&mut self, row: usize, fill: impl FnOnce(&mut [u8]) -> Option<usize>) -> bool {
        // SAFETY: the region has `capacity` bytes, initialised when allocated.
        let room =
            unsafe { std::slice::from_raw_parts_mut(self.bytes.add(self.len), self.capacity - self.len) };
        let Some(written) = fill(room) else { return false };
        self.len += written;
        // SAFETY: there is an end for each row of the layout.
        unsafe { self.ends.add(row * 4).cast::<u32>().write_unaligned((self.len as u32).to_le()) };
        true
    }
}
