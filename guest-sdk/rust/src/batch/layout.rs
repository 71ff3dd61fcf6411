//! Where the sections of a batch in the making lie in its buffer.

use super::column::{FixedWriter, VarWriter};
use super::{ENTRY, HEADER};

#[derive(Clone, Copy)]
pub(super) enum Kind {
    Hashes,
    Fixed(usize),
    Ends,
    Bytes,
}

#[derive(Clone, Copy)]
pub(super) struct Section {
    pub kind: Kind,
    pub at: usize,
    /// Bytes of a variable region, without the slack.
    pub capacity: usize,
}

/// Hands out the positions of the value columns, in order.
pub struct Regions<'r> {
    pub(super) buffer: *mut u8,
    pub(super) sections: std::slice::Iter<'r, Section>,
}

impl Regions<'_> {
    fn next(&mut self) -> &Section {
        self.sections.next().expect("an element asks for the columns that it declares")
    }

    /// The writer of the next column, which is `fixed`.
    pub fn fixed(&mut self) -> FixedWriter {
        let at = self.next().at;
        // SAFETY: the layout lies within the buffer.
        FixedWriter::new(unsafe { self.buffer.add(at) })
    }

    /// The writer of the next column, which is `bytes` or `utf8`.
    pub fn var(&mut self) -> VarWriter {
        let ends = self.next().at;
        let bytes = *self.next();
        // SAFETY: the layout lies within the buffer.
        unsafe { VarWriter::new(self.buffer.add(ends), self.buffer.add(bytes.at), bytes.capacity) }
    }
}

/// Writes an entry of the directory.
pub(super) fn put_entry(buffer: &mut [u8], index: usize, offset: usize, length: usize) {
    let entry = &mut buffer[HEADER + index * ENTRY..][..8];
    entry[..4].copy_from_slice(&(offset as u32).to_le_bytes());
    entry[4..].copy_from_slice(&(length as u32).to_le_bytes());
}
