//! The host's reader of batches: checks every rule of `proto/batch.md`, then
//! gives views into the bytes without a copy.
//!
//! Whatever comes in, nothing here panics: a batch comes from a guest. It knows
//! nothing of codecs; a value is bytes.

use crate::element::Column;
use std::fmt;

pub use crate::batch_builder::{BatchBuilder, TextBatchBuilder};
pub use crate::batch_hash::hash_key;

/// `HDB1`, read as a little-endian number.
pub const MAGIC: u32 = 0x3142_4448;
pub const FLAG_TIMESTAMPS: u32 = 1;
pub const FLAG_HASHES: u32 = 2;
/// Bytes before the directory.
pub const HEADER_LENGTH: usize = 24;
/// Bytes of one directory entry.
pub const ENTRY_LENGTH: usize = 8;
/// Bytes behind the last section.
pub const PADDING: usize = 16;
/// Most bytes of a batch.
pub const MAX_LENGTH: usize = 64 * 1024 * 1024;
/// Most records of a batch.
pub const MAX_ROWS: u32 = 16_777_216;

/// A part of a batch, as error messages name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    Timestamps,
    Hashes,
    /// The values of a fixed-width column.
    Fixed(usize),
    /// The end offsets of a column of any length.
    Ends(usize),
    /// The bytes of a column of any length.
    Bytes(usize),
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Section::Timestamps => f.write_str("the timestamps"),
            Section::Hashes => f.write_str("the hashes"),
            Section::Fixed(column) => write!(f, "the values of column {column}"),
            Section::Ends(column) => write!(f, "the end offsets of column {column}"),
            Section::Bytes(column) => write!(f, "the bytes of column {column}"),
        }
    }
}

/// The rule that a batch breaks. Offsets count from the batch's first byte,
/// except that end offsets count from the first byte of their column.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    #[error("it is {length} bytes long, a batch has at least {least}")]
    TooShort { length: usize, least: usize },
    #[error("it is {length} bytes long, the limit is {MAX_LENGTH}")]
    TooLong { length: usize },
    #[error("it starts with {found:#010x} instead of the magic {MAGIC:#010x}")]
    Magic { found: u32 },
    #[error("its header says {stated} bytes at offset 16, but it is {actual} bytes long")]
    Length { stated: u32, actual: usize },
    #[error("its header says {rows} records at offset 4, allowed are 1 to {MAX_ROWS}")]
    Rows { rows: u32 },
    #[error("it has unknown flags {flags:#x} at offset 8, only bits 0 and 1 have a meaning")]
    Flags { flags: u32 },
    #[error("it has {stated} columns, the element type of its edge has {expected}")]
    Columns { stated: u32, expected: usize },
    #[error("the number at offset 20 is {value}, it has to be 0")]
    Reserved { value: u32 },
    #[error(
        "{section} lie at offset {offset} with {length} bytes, sections lie between {earliest} and {latest}"
    )]
    OutOfBounds { section: Section, offset: u32, length: u32, earliest: usize, latest: usize },
    #[error("{section} have {length} bytes, {rows} records need {expected}")]
    SectionLength { section: Section, length: u32, rows: u32, expected: u64 },
    #[error("{section} decrease at row {row}, from {previous} to {end}")]
    Decreasing { section: Section, row: usize, previous: u32, end: u32 },
    #[error("{section} finish at {end} in row {row}, the column has {length} bytes")]
    LastEnd { section: Section, row: usize, end: u32, length: u32 },
    #[error("{section} are not valid UTF-8 in row {row}, at offset {offset}")]
    Utf8 { section: Section, row: usize, offset: usize },
}

/// Checks a batch against the rules and the columns of its edge's element type.
pub fn validate<'a>(bytes: &'a [u8], columns: &'a [Column]) -> Result<BatchView<'a>, BatchError> {
    let shortest = HEADER_LENGTH + PADDING;
    if bytes.len() < shortest {
        return Err(BatchError::TooShort { length: bytes.len(), least: shortest });
    }
    if bytes.len() > MAX_LENGTH {
        return Err(BatchError::TooLong { length: bytes.len() });
    }
    let magic = u32_at(bytes, 0);
    if magic != MAGIC {
        return Err(BatchError::Magic { found: magic });
    }
    let stated = u32_at(bytes, 16);
    if stated as usize != bytes.len() {
        return Err(BatchError::Length { stated, actual: bytes.len() });
    }
    let rows = u32_at(bytes, 4);
    if rows == 0 || rows > MAX_ROWS {
        return Err(BatchError::Rows { rows });
    }
    let flags = u32_at(bytes, 8);
    if flags & !(FLAG_TIMESTAMPS | FLAG_HASHES) != 0 {
        return Err(BatchError::Flags { flags });
    }
    let stated = u32_at(bytes, 12);
    if stated as usize != columns.len() {
        return Err(BatchError::Columns { stated, expected: columns.len() });
    }
    let value = u32_at(bytes, 20);
    if value != 0 {
        return Err(BatchError::Reserved { value });
    }

    let view = BatchView { bytes, rows, flags, columns };
    let earliest = HEADER_LENGTH + view.sections() * ENTRY_LENGTH;
    if bytes.len() < earliest + PADDING {
        return Err(BatchError::TooShort { length: bytes.len(), least: earliest + PADDING });
    }
    let check = Check { bytes, rows, earliest };
    let mut index = 0;
    let mut next = || {
        index += 1;
        index - 1
    };
    if flags & FLAG_TIMESTAMPS != 0 {
        check.sized(next(), Section::Timestamps, 8)?;
    }
    if flags & FLAG_HASHES != 0 {
        check.sized(next(), Section::Hashes, 4)?;
    }
    for (column, kind) in columns.iter().enumerate() {
        match kind {
            Column::Fixed(width) => {
                check.sized(next(), Section::Fixed(column), *width)?;
            }
            Column::Bytes | Column::Utf8 => {
                let ends = check.sized(next(), Section::Ends(column), 4)?;
                let (start, content) = check.bounded(next(), Section::Bytes(column))?;
                check_ends(ends, content.len(), column)?;
                if *kind == Column::Utf8 {
                    check_utf8(ends, content, start, column)?;
                }
            }
        }
    }
    Ok(view)
}

/// Number of records of a batch that was validated before; 0 of anything too
/// short to be one.
pub fn row_count(validated: &[u8]) -> u32 {
    if validated.len() < 8 { 0 } else { u32_at(validated, 4) }
}

/// A batch that passed `validate`.
#[derive(Clone, Copy, Debug)]
pub struct BatchView<'a> {
    bytes: &'a [u8],
    rows: u32,
    flags: u32,
    columns: &'a [Column],
}

impl<'a> BatchView<'a> {
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// The whole batch.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    pub fn columns(&self) -> &'a [Column] {
        self.columns
    }

    pub fn timestamps(&self) -> Option<Timestamps<'a>> {
        (self.flags & FLAG_TIMESTAMPS != 0).then(|| Timestamps { bytes: self.section(0) })
    }

    pub fn hashes(&self) -> Option<Hashes<'a>> {
        let index = usize::from(self.flags & FLAG_TIMESTAMPS != 0);
        (self.flags & FLAG_HASHES != 0).then(|| Hashes { bytes: self.section(index) })
    }

    /// Panics if the element type has no such column.
    pub fn column(&self, column: usize) -> ColumnView<'a> {
        let kind = self.columns[column];
        let index = self.leading() + self.columns[..column].iter().map(sections_of).sum::<usize>();
        match kind {
            Column::Fixed(width) => {
                ColumnView::Fixed { width: usize::from(width), bytes: self.section(index) }
            }
            Column::Bytes | Column::Utf8 => {
                ColumnView::Var(VarColumn { ends: self.section(index), bytes: self.section(index + 1) })
            }
        }
    }

    /// Sections before the columns.
    fn leading(&self) -> usize {
        self.flags.count_ones() as usize
    }

    fn sections(&self) -> usize {
        self.leading() + self.columns.iter().map(sections_of).sum::<usize>()
    }

    fn section(&self, index: usize) -> &'a [u8] {
        let entry = HEADER_LENGTH + index * ENTRY_LENGTH;
        let offset = u32_at(self.bytes, entry) as usize;
        &self.bytes[offset..offset + u32_at(self.bytes, entry + 4) as usize]
    }
}

/// The values of one column.
#[derive(Clone, Copy, Debug)]
pub enum ColumnView<'a> {
    /// `rows × width` bytes.
    Fixed {
        width: usize,
        bytes: &'a [u8],
    },
    Var(VarColumn<'a>),
}

impl<'a> ColumnView<'a> {
    /// The bytes of one row. Panics if there is no such row.
    pub fn get(&self, row: usize) -> &'a [u8] {
        match self {
            ColumnView::Fixed { width, bytes } => &bytes[row * width..(row + 1) * width],
            ColumnView::Var(column) => column.get(row),
        }
    }
}

/// A `bytes` or `utf8` column.
#[derive(Clone, Copy, Debug)]
pub struct VarColumn<'a> {
    ends: &'a [u8],
    bytes: &'a [u8],
}

impl<'a> VarColumn<'a> {
    /// The bytes of one row. Panics if there is no such row.
    #[inline]
    pub fn get(&self, row: usize) -> &'a [u8] {
        let start = if row == 0 { 0 } else { u32_at(self.ends, (row - 1) * 4) };
        &self.bytes[start as usize..u32_at(self.ends, row * 4) as usize]
    }

    /// The bytes of all rows, in order and without gaps.
    pub fn all(&self) -> &'a [u8] {
        self.bytes
    }

    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let (bytes, mut start) = (self.bytes, 0);
        words(self.ends).map(move |end| {
            let value = &bytes[start..end as usize];
            start = end as usize;
            value
        })
    }
}

/// Milliseconds since the epoch, one a record.
#[derive(Clone, Copy, Debug)]
pub struct Timestamps<'a> {
    bytes: &'a [u8],
}

impl<'a> Timestamps<'a> {
    /// Panics if there is no such row.
    pub fn get(&self, row: usize) -> i64 {
        i64::from_le_bytes(self.bytes[row * 8..row * 8 + 8].try_into().expect("8 bytes"))
    }

    pub fn iter(&self) -> impl Iterator<Item = i64> + use<'a> {
        self.bytes.chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().expect("8 bytes")))
    }
}

/// Hash of the key, one a record.
#[derive(Clone, Copy, Debug)]
pub struct Hashes<'a> {
    bytes: &'a [u8],
}

impl<'a> Hashes<'a> {
    /// Panics if there is no such row.
    pub fn get(&self, row: usize) -> u32 {
        u32_at(self.bytes, row * 4)
    }

    pub fn iter(&self) -> impl Iterator<Item = u32> + use<'a> {
        words(self.bytes)
    }
}

/// What the checks of one section need to know of the batch.
struct Check<'a> {
    bytes: &'a [u8],
    rows: u32,
    earliest: usize,
}

impl<'a> Check<'a> {
    /// The section of a directory entry, and where it starts.
    fn bounded(&self, index: usize, section: Section) -> Result<(usize, &'a [u8]), BatchError> {
        let entry = HEADER_LENGTH + index * ENTRY_LENGTH;
        let (offset, length) = (u32_at(self.bytes, entry), u32_at(self.bytes, entry + 4));
        let latest = self.bytes.len() - PADDING;
        let end = u64::from(offset) + u64::from(length);
        if (offset as usize) < self.earliest || end > latest as u64 {
            return Err(BatchError::OutOfBounds { section, offset, length, earliest: self.earliest, latest });
        }
        Ok((offset as usize, &self.bytes[offset as usize..end as usize]))
    }

    /// The same for a section of `width` bytes a record.
    fn sized(&self, index: usize, section: Section, width: u8) -> Result<&'a [u8], BatchError> {
        let (_, content) = self.bounded(index, section)?;
        let expected = u64::from(self.rows) * u64::from(width);
        if content.len() as u64 != expected {
            let length = content.len() as u32;
            return Err(BatchError::SectionLength { section, length, rows: self.rows, expected });
        }
        Ok(content)
    }
}

fn check_ends(ends: &[u8], length: usize, column: usize) -> Result<(), BatchError> {
    // No early exit: the loop is one compare of neighbours, which the compiler
    // turns into vector instructions.
    let decreasing = words(ends).zip(words(&ends[4..])).fold(0u32, |bad, (a, b)| bad | u32::from(b < a));
    if decreasing != 0 {
        return Err(first_decrease(ends, column));
    }
    let end = u32_at(ends, ends.len() - 4);
    if end as usize != length {
        let row = ends.len() / 4 - 1;
        return Err(BatchError::LastEnd { section: Section::Ends(column), row, end, length: length as u32 });
    }
    Ok(())
}

#[cold]
fn first_decrease(ends: &[u8], column: usize) -> BatchError {
    let (row, (previous, end)) = words(ends)
        .zip(words(&ends[4..]))
        .enumerate()
        .find(|(_, (a, b))| b < a)
        .expect("the caller saw a decrease");
    BatchError::Decreasing { section: Section::Ends(column), row: row + 1, previous, end }
}

fn check_utf8(ends: &[u8], content: &[u8], start: usize, column: usize) -> Result<(), BatchError> {
    if content.is_ascii() {
        return Ok(());
    }
    // Records are valid if all of them together are and none of them ends
    // within a character.
    let valid = std::str::from_utf8(content)
        .is_ok_and(|text| words(ends).fold(true, |ok, end| ok & text.is_char_boundary(end as usize)));
    if valid { Ok(()) } else { Err(first_invalid(ends, content, start, column)) }
}

#[cold]
fn first_invalid(ends: &[u8], content: &[u8], start: usize, column: usize) -> BatchError {
    let column_view = VarColumn { ends, bytes: content };
    let mut offset = start;
    for (row, value) in column_view.iter().enumerate() {
        if let Err(error) = std::str::from_utf8(value) {
            offset += error.valid_up_to();
            return BatchError::Utf8 { section: Section::Bytes(column), row, offset };
        }
        offset += value.len();
    }
    BatchError::Utf8 { section: Section::Bytes(column), row: ends.len() / 4 - 1, offset }
}

fn sections_of(column: &Column) -> usize {
    match column {
        Column::Fixed(_) => 1,
        Column::Bytes | Column::Utf8 => 2,
    }
}

#[inline]
fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(bytes[offset..offset + 4].try_into().expect("4 bytes"))
}

#[inline]
fn words(bytes: &[u8]) -> impl Iterator<Item = u32> + use<'_> {
    bytes.chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().expect("4 bytes")))
}
