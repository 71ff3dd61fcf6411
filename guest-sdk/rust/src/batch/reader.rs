//! Reads a batch that the host has validated against the declared columns.

use super::column::FixedCursor;
use super::{ENTRY, HASHES, HEADER, MAGIC, TIMESTAMPS};
use crate::block::BLOCK;
use crate::element::Element;
use std::marker::PhantomData;

/// The sections of a batch, in the order of the directory.
pub struct Sections<'b> {
    bytes: &'b [u8],
    next: usize,
}

impl<'b> Sections<'b> {
    /// The sections of a batch behind the first so many.
    pub(super) fn new(bytes: &'b [u8], leading: usize) -> Self {
        Self { bytes, next: leading }
    }

    /// The next section.
    #[inline]
    pub fn take(&mut self) -> &'b [u8] {
        let at = HEADER + self.next * ENTRY;
        self.next += 1;
        let offset = word(self.bytes, at) as usize;
        let length = word(self.bytes, at + 4) as usize;
        &self.bytes[offset..offset + length]
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// A batch of elements.
///
/// Its columns are read without checks: the host refuses a batch whose
/// sections, ends or text do not match the element type before `process` sees
/// it, and natively only this crate's own encoder makes batches.
pub struct Batch<'b, T: Element> {
    bytes: &'b [u8],
    rows: u32,
    flags: u32,
    _element: PhantomData<fn() -> T>,
}

impl<'b, T: Element> Batch<'b, T> {
    /// A batch over validated bytes.
    ///
    /// # Safety
    /// `bytes` is a valid batch of the columns of `T`.
    #[inline]
    pub unsafe fn new(bytes: &'b [u8]) -> Self {
        debug_assert_eq!(word(bytes, 0), MAGIC);
        debug_assert_eq!(word(bytes, 16) as usize, bytes.len());
        Self { bytes, rows: word(bytes, 4), flags: word(bytes, 8), _element: PhantomData }
    }

    /// Number of records, 1 or more.
    #[inline(always)]
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// Gives a cursor to each block of records in order: where it starts, and
    /// how many there are.
    #[inline(always)]
    pub fn in_blocks(&self, mut each: impl FnMut(u32, u32, &mut T::Cursor<'b>)) {
        let mut cursor = self.cursor();
        let mut base = 0;
        while base < self.rows {
            let count = (self.rows - base).min(BLOCK as u32);
            each(base, count, &mut cursor);
            base += count;
        }
    }

    fn sections(&self, leading: usize) -> Sections<'b> {
        Sections::new(self.bytes, leading)
    }

    /// The value columns, from the first row.
    #[inline]
    pub fn cursor(&self) -> T::Cursor<'b> {
        let leading = (self.flags & (TIMESTAMPS | HASHES)).count_ones() as usize;
        T::cursor(&mut self.sections(leading))
    }

    /// The hash column, if the batch has one.
    #[inline]
    pub fn hashes(&self) -> Option<Hashes<'b>> {
        if self.flags & HASHES == 0 {
            return None;
        }
        let bytes = self.sections((self.flags & TIMESTAMPS) as usize).take();
        Some(Hashes { bytes, column: FixedCursor::new(bytes) })
    }
}

/// The hash column of a batch.
#[derive(Clone, Copy)]
pub struct Hashes<'b> {
    bytes: &'b [u8],
    column: FixedCursor<'b>,
}

impl Hashes<'_> {
    /// Copies the hashes of the rows from `first` on.
    ///
    /// # Panics
    /// If there are fewer.
    #[inline(always)]
    pub fn copy(&self, first: u32, to: &mut [u32]) {
        let bytes = &self.bytes[first as usize * 4..][..to.len() * 4];
        for (hash, bytes) in to.iter_mut().zip(bytes.chunks_exact(4)) {
            *hash = u32::from_le_bytes(bytes.try_into().expect("four bytes"));
        }
    }

    /// The hash of a row, which is below the batch's count.
    #[inline(always)]
    pub fn get(&self, row: u32) -> u32 {
        // SAFETY: the host checked that there is a hash for each row.
        u32::from_le(unsafe { self.column.read(row as usize) })
    }
}
