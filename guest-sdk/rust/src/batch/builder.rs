//! Builds batches of one element type in one buffer, laid out for a number of
//! rows: every column has a fixed position, so that a full batch is sent as it
//! lies. It adapts the layout to the lengths that it sees, and knows nothing
//! of channels or the host.

use super::layout::{Kind, Regions, Section, put_entry};
use super::reader::Sections;
use super::{ENTRY, HASHES, HEADER, MAGIC, MAX_LENGTH, MAX_ROWS, PADDING};
use crate::element::{Element, columns_of};
use crate::runtime::bindings::types::Column;
use std::marker::PhantomData;

/// First guess of the length of a value of a variable column.
const FIRST_GUESS: usize = 8;
/// More rows than this make no batch better.
const ROWS_MAX: usize = 1 << 16;
/// Room behind each variable region, for copies of sixteen bytes at once.
const SLACK: usize = 16;

/// One batch in the making.
pub struct BatchBuilder<T: Element> {
    rows: usize,
    /// Rows that the buffer is laid out for.
    capacity: usize,
    /// Rows that it takes, at most the capacity.
    limit: usize,
    hashes: *mut u8,
    writer: Option<T::Writer>,
    buffer: Vec<u8>,
    sections: Vec<Section>,
    hashed: bool,
    target: usize,
    rows_max: usize,
    /// Whether a batch with large gaps is moved together before it is given.
    compacts: bool,
    /// Expected length of a value, for each variable column.
    lengths: Vec<usize>,
    _element: PhantomData<fn(T)>,
}

impl<T: Element> BatchBuilder<T> {
    /// A builder of batches of about `target` bytes. Takes no buffer before
    /// the first record.
    pub fn new(hashed: bool, target: usize) -> Self {
        let mut sections = Vec::new();
        let section = |kind| Section { kind, at: 0, capacity: 0 };
        if hashed {
            sections.push(section(Kind::Hashes));
        }
        let mut lengths = Vec::new();
        for column in columns_of::<T>() {
            match column {
                Column::Fixed(width) => sections.push(section(Kind::Fixed(usize::from(width)))),
                Column::Bytes | Column::Utf8 => {
                    sections.push(section(Kind::Ends));
                    sections.push(section(Kind::Bytes));
                    lengths.push(FIRST_GUESS);
                }
            }
        }
        Self {
            rows: 0,
            capacity: 0,
            limit: 0,
            hashes: std::ptr::null_mut(),
            writer: None,
            buffer: Vec::new(),
            sections,
            hashed,
            target,
            rows_max: ROWS_MAX.min(MAX_ROWS),
            compacts: true,
            lengths,
            _element: PhantomData,
        }
    }

    /// A builder of batches that stay in this instance: at most `rows_max`
    /// records each, gaps as they may be.
    pub fn staging(target: usize, rows_max: usize) -> Self {
        Self { rows_max, compacts: false, ..Self::new(false, target) }
    }

    /// Records in the batch.
    #[inline(always)]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Says that there is no room for more than so many rows, if there is for
    /// as many; until the next batch.
    pub fn set_limit(&mut self, rows: usize) {
        self.limit = self.capacity.min(rows);
    }

    /// Adds a record, with its hash if the batch has hashes, or without one
    /// that `set_hashes` gives it before the batch is finished; `false` says
    /// that there is no room for it.
    #[inline(always)]
    #[must_use]
    pub fn push(&mut self, hash: Option<u32>, value: &T::View<'_>) -> bool {
        debug_assert!(hash.is_none() || self.hashed);
        let row = self.rows;
        if row == self.limit {
            return false;
        }
        // SAFETY: a limit above 0 means that the buffer is laid out, and `row` is
        // below it.
        unsafe {
            let writer = self.writer.as_mut().unwrap_unchecked();
            if !T::write(writer, row, value) {
                return false;
            }
            if let Some(hash) = hash {
                self.hashes.add(row * 4).cast::<u32>().write_unaligned(hash.to_le());
            }
        }
        self.rows = row + 1;
        true
    }

    /// Adds records, with their hashes if the batch has hashes, until there is
    /// no room; gives how many it took.
    #[inline(always)]
    pub fn push_all(&mut self, hashes: Option<&[u32]>, values: &[T::View<'_>]) -> usize {
        debug_assert_eq!(hashes.is_some(), self.hashed);
        assert!(hashes.is_none_or(|hashes| hashes.len() >= values.len()));
        let room = values.len().min(self.limit - self.rows);
        let Some(writer) = self.writer.as_mut().filter(|_| room > 0) else { return 0 };
        // A copy, which need not lie in memory.
        let mut writing = *writer;
        let mut taken = 0;
        let mut write = |taken: usize| {
            let row = self.rows + taken;
            // SAFETY: `row` is below the capacity, so the buffer is laid out
            // for it; there are as many hashes as values.
            unsafe {
                let written = T::write(&mut writing, row, values.get_unchecked(taken));
                if let (true, Some(hashes)) = (written, hashes) {
                    let hash = hashes.get_unchecked(taken).to_le();
                    self.hashes.add(row * 4).cast::<u32>().write_unaligned(hash);
                }
                written
            }
        };
        // Four a turn: a turn has its price in the sandbox.
        while taken + 4 <= room && write(taken) {
            taken += 1;
            if !write(taken) {
                break;
            }
            taken += 1;
            if !write(taken) {
                break;
            }
            taken += 1;
            if !write(taken) {
                break;
            }
            taken += 1;
        }
        while taken < room && write(taken) {
            taken += 1;
        }
        *writer = writing;
        self.rows += taken;
        taken
    }

    /// Reads what was written, from a row on.
    pub fn cursor_at(&mut self, row: usize) -> T::Cursor<'_> {
        assert!(row < self.rows);
        // As far as there is room: how far it is used is known at the end.
        for (index, section) in self.sections.iter().enumerate() {
            let length = match section.kind {
                Kind::Hashes | Kind::Ends => self.rows * 4,
                Kind::Fixed(width) => self.rows * width,
                Kind::Bytes => section.capacity,
            };
            put_entry(&mut self.buffer, index, section.at, length);
        }
        let mut cursor = T::cursor(&mut Sections::new(&self.buffer, usize::from(self.hashed)));
        if row > 0 {
            // SAFETY: rows below the count are written; what is read of a row
            // depends on the row before it alone.
            unsafe { T::skip(&mut cursor, row - 1) };
        }
        cursor
    }

    /// Sets the hashes of the rows from `first` on.
    pub fn set_hashes(&mut self, first: usize, hashes: &[u32]) {
        assert!(self.hashed && first + hashes.len() <= self.rows);
        for (index, hash) in hashes.iter().enumerate() {
            // SAFETY: the layout has a hash for each row.
            unsafe { self.hashes.add((first + index) * 4).cast::<u32>().write_unaligned(hash.to_le()) };
        }
    }

    /// Makes room for a record that did not fit an empty batch.
    #[cold]
    pub fn grow(&mut self) {
        debug_assert_eq!(self.rows, 0);
        if self.capacity == 0 {
            self.lay_out();
            return;
        }
        for length in &mut self.lengths {
            *length = (*length * 2).max(self.target / 2);
        }
        let needed: usize = self.lengths.iter().sum();
        assert!(needed < MAX_LENGTH, "an element is longer than a batch may be ({MAX_LENGTH} bytes)");
        self.lay_out();
    }

    /// The finished batch, or none if it has no record. The buffer is used
    /// again for the next one.
    pub fn finish(&mut self) -> Option<&[u8]> {
        let rows = self.rows;
        if rows == 0 {
            return None;
        }
        self.rows = 0;
        let mut lengths = [0usize; 2 * crate::element::COLUMNS_MAX + 1];
        let mut used = 0;
        let mut end = HEADER + self.sections.len() * ENTRY;
        let mut ends_at = 0;
        let mut variable = self.lengths.len();
        let mut variable_lengths = std::mem::take(&mut self.lengths);
        let mut any_oversized = false;
        for (section, length) in self.sections.iter().zip(&mut lengths) {
            *length = match section.kind {
                Kind::Hashes => rows * 4,
                Kind::Fixed(width) => rows * width,
                Kind::Ends => {
                    ends_at = section.at;
                    rows * 4
                }
                Kind::Bytes => {
                    let last = ends_at + (rows - 1) * 4;
                    let length = u32::from_le_bytes(self.buffer[last..last + 4].try_into().expect("four"));
                    let index = variable_lengths.len() - variable;
                    variable -= 1;
                    let average = (length as usize).div_ceil(rows);
                    let before = variable_lengths[index];
                    let oversized = before > 2 * average + 64;
                    any_oversized |= oversized;
                    // A few records say little, unless the layout was far off.
                    variable_lengths[index] =
                        if rows >= 64 || oversized { average } else { (3 * before + average).div_ceil(4) };
                    length as usize
                }
            };
            used += *length;
            end = end.max(section.at + *length);
        }
        let directory_end = HEADER + self.sections.len() * ENTRY;
        if self.compacts && end - directory_end > used + used / 8 + 64 {
            end = self.compact(&lengths);
        }
        let length = end + PADDING;
        let count = self.sections.len();
        let columns = count - usize::from(self.hashed) - variable_lengths.len();
        let header =
            [MAGIC, rows as u32, if self.hashed { HASHES } else { 0 }, columns as u32, length as u32, 0];
        for (at, word) in header.into_iter().enumerate() {
            self.buffer[at * 4..at * 4 + 4].copy_from_slice(&word.to_le_bytes());
        }
        for (index, section) in self.sections.iter().enumerate() {
            put_entry(&mut self.buffer, index, section.at, lengths[index]);
        }
        self.adapt(rows, variable_lengths, any_oversized);
        Some(&self.buffer[..length])
    }

    /// Moves the sections together; gives the new end of the last one.
    fn compact(&mut self, lengths: &[usize]) -> usize {
        let mut order: Vec<usize> = (0..self.sections.len()).collect();
        order.sort_by_key(|&i| self.sections[i].at);
        let mut to = HEADER + self.sections.len() * ENTRY;
        for index in order {
            let (from, length) = (self.sections[index].at, lengths[index]);
            self.buffer.copy_within(from..from + length, to);
            self.sections[index].at = to;
            to += length;
        }
        // The writers point at the old positions.
        self.set_capacity(0);
        to
    }

    /// Takes over the lengths that a batch had, if they tell something, and
    /// prepares the buffer for the next one.
    fn adapt(&mut self, rows: usize, seen: Vec<usize>, oversized: bool) {
        let expected: usize = self.row_bytes(&seen);
        let planned = self.target / expected.max(1);
        let telling = rows >= 64 || rows == self.capacity || oversized;
        let off = planned.abs_diff(self.capacity) > self.capacity / 8;
        if self.capacity != 0 && !(telling && off && !seen.is_empty()) {
            self.lengths = seen;
            self.set_capacity(self.capacity);
            self.place();
            return;
        }
        // The layout changes only when the next record comes: the batch that
        // was just finished still lies in the buffer.
        self.lengths = seen;
        self.set_capacity(0);
    }

    fn set_capacity(&mut self, rows: usize) {
        (self.capacity, self.limit) = (rows, rows);
    }

    fn row_bytes(&self, lengths: &[usize]) -> usize {
        let fixed: usize = self
            .sections
            .iter()
            .map(|s| match s.kind {
                Kind::Hashes | Kind::Ends => 4,
                Kind::Fixed(width) => width,
                Kind::Bytes => 0,
            })
            .sum();
        fixed + lengths.iter().sum::<usize>()
    }

    /// Lays the buffer out for the expected lengths.
    fn lay_out(&mut self) {
        let directory_end = HEADER + self.sections.len() * ENTRY;
        let row = self.row_bytes(&self.lengths).max(1);
        let rows = (self.target.saturating_sub(directory_end + PADDING) / row).clamp(1, self.rows_max);
        let mut at = directory_end.next_multiple_of(8);
        for section in &mut self.sections {
            let width = match section.kind {
                Kind::Hashes | Kind::Ends => 4,
                Kind::Fixed(width) => width,
                Kind::Bytes => continue,
            };
            section.at = at;
            at = (at + rows * width).next_multiple_of(8);
        }
        let mut lengths = self.lengths.iter();
        for section in &mut self.sections {
            if let Kind::Bytes = section.kind {
                let expected = lengths.next().expect("a length for each variable column");
                section.at = at;
                section.capacity = rows * expected + rows * expected / 8 + 64;
                at = (at + section.capacity + SLACK).next_multiple_of(8);
            }
        }
        let needed = at + PADDING;
        if self.buffer.len() < needed || self.buffer.len() > 4 * needed {
            self.buffer = vec![0; needed];
        }
        self.set_capacity(rows);
        self.place();
    }

    /// Sets the writers to the first row of the layout.
    fn place(&mut self) {
        let buffer = self.buffer.as_mut_ptr();
        let mut sections = self.sections.iter();
        if self.hashed {
            let at = sections.next().map_or(0, |s| s.at);
            // SAFETY: the layout lies within the buffer.
            self.hashes = unsafe { buffer.add(at) };
        }
        self.writer = Some(T::writer(&mut Regions { buffer, sections }));
    }
}
