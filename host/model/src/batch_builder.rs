//! Builders of batches on the host's side: text for the connectors, any shape
//! for tests. Guests have their own in the SDK.

use crate::batch::{ENTRY_LENGTH, FLAG_HASHES, FLAG_TIMESTAMPS, HEADER_LENGTH, MAGIC, MAX_LENGTH, PADDING};
use crate::batch::{MAX_ROWS, Section};
use crate::element::Column;

/// Bytes before the text of a text batch: the header and two entries.
const TEXT_START: usize = HEADER_LENGTH + 2 * ENTRY_LENGTH;

/// Builds batches of `ElementType::text()`: one `utf8` column.
///
/// The text is written where it stays; the end offsets follow it, so that
/// `finish` copies only them.
#[derive(Debug)]
pub struct TextBatchBuilder {
    /// The header's place, then the text.
    out: Vec<u8>,
    ends: Vec<u32>,
    capacity: usize,
}

impl TextBatchBuilder {
    /// `bytes`: about how long a batch will be.
    pub fn with_capacity(bytes: usize) -> Self {
        let mut builder = Self { out: Vec::new(), ends: Vec::new(), capacity: bytes };
        builder.start();
        builder
    }

    fn start(&mut self) {
        self.out = Vec::with_capacity(self.capacity.max(TEXT_START + PADDING));
        self.out.resize(TEXT_START, 0);
    }

    /// Adds a record. Readers refuse a batch beyond the limits, so ask `fits`
    /// before a text of unknown length.
    #[inline]
    pub fn push(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
        self.ends.push((self.out.len() - TEXT_START) as u32);
    }

    /// Whether a record of that many bytes keeps the batch within the limits.
    pub fn fits(&self, text_length: usize) -> bool {
        self.byte_len().saturating_add(text_length).saturating_add(4) <= MAX_LENGTH
            && (self.ends.len() as u64) < u64::from(MAX_ROWS)
    }

    pub fn rows(&self) -> u32 {
        self.ends.len() as u32
    }

    /// How long the batch would be now.
    #[inline]
    pub fn byte_len(&self) -> usize {
        self.out.len() + self.ends.len() * 4 + PADDING
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The batch, if there is any record; the builder starts anew.
    pub fn finish(&mut self) -> Option<Vec<u8>> {
        if self.is_empty() {
            return None;
        }
        let text_length = self.out.len() - TEXT_START;
        let mut out = std::mem::take(&mut self.out);
        out.reserve_exact(self.ends.len() * 4 + PADDING);
        for end in &self.ends {
            out.extend_from_slice(&end.to_le_bytes());
        }
        out.resize(out.len() + PADDING, 0);
        let ends_start = TEXT_START + text_length;
        let header = [MAGIC, self.rows(), 0, 1, out.len() as u32, 0];
        let directory =
            [ends_start as u32, self.ends.len() as u32 * 4, TEXT_START as u32, text_length as u32];
        for (place, value) in out.chunks_exact_mut(4).zip(header.into_iter().chain(directory)) {
            place.copy_from_slice(&value.to_le_bytes());
        }
        self.ends.clear();
        self.start();
        Some(out)
    }
}

/// Builds a batch of any element type, record by record. For tests and
/// samples: it does not check what it is given beyond widths.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    columns: Vec<Column>,
    rows: u32,
    timestamps: Option<Vec<u8>>,
    hashes: Option<Vec<u8>>,
    values: Vec<ColumnBuilder>,
}

#[derive(Clone, Debug, Default)]
struct ColumnBuilder {
    ends: Vec<u8>,
    bytes: Vec<u8>,
}

impl BatchBuilder {
    pub fn new(columns: &[Column]) -> Self {
        Self {
            columns: columns.to_vec(),
            rows: 0,
            timestamps: None,
            hashes: None,
            values: vec![ColumnBuilder::default(); columns.len()],
        }
    }

    /// Adds a record: one value a column. Panics if their number or the width
    /// of a fixed one is wrong.
    pub fn push(&mut self, values: &[&[u8]]) -> &mut Self {
        assert_eq!(values.len(), self.columns.len(), "one value a column");
        for ((column, value), builder) in self.columns.iter().zip(values).zip(&mut self.values) {
            builder.bytes.extend_from_slice(value);
            match column {
                Column::Fixed(width) => assert_eq!(value.len(), usize::from(*width), "width of the column"),
                Column::Bytes | Column::Utf8 => {
                    builder.ends.extend_from_slice(&(builder.bytes.len() as u32).to_le_bytes());
                }
            }
        }
        self.rows += 1;
        self
    }

    /// Gives the batch timestamps, one a record.
    pub fn timestamps(&mut self, timestamps: &[i64]) -> &mut Self {
        self.timestamps = Some(timestamps.iter().flat_map(|t| t.to_le_bytes()).collect());
        self
    }

    /// Gives the batch hashes, one a record.
    pub fn hashes(&mut self, hashes: &[u32]) -> &mut Self {
        self.hashes = Some(hashes.iter().flat_map(|h| h.to_le_bytes()).collect());
        self
    }

    /// The batch, with its sections in the order of the directory.
    pub fn build(&self) -> Vec<u8> {
        self.build_with_gap(0)
    }

    /// The same with `gap` bytes of 0xEE before each section.
    pub fn build_with_gap(&self, gap: usize) -> Vec<u8> {
        let sections = self.sections();
        let mut flags = 0;
        if self.timestamps.is_some() {
            flags |= FLAG_TIMESTAMPS;
        }
        if self.hashes.is_some() {
            flags |= FLAG_HASHES;
        }
        let start = HEADER_LENGTH + sections.len() * ENTRY_LENGTH;
        let length = start + sections.iter().map(|(_, s)| s.len() + gap).sum::<usize>() + PADDING;
        let mut out = Vec::with_capacity(length);
        for word in [MAGIC, self.rows, flags, self.columns.len() as u32, length as u32, 0] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        let mut offset = start;
        for (_, section) in &sections {
            offset += gap;
            out.extend_from_slice(&(offset as u32).to_le_bytes());
            out.extend_from_slice(&(section.len() as u32).to_le_bytes());
            offset += section.len();
        }
        for (_, section) in &sections {
            out.resize(out.len() + gap, 0xEE);
            out.extend_from_slice(section);
        }
        out.resize(length, 0);
        out
    }

    /// Where the directory entry of a section stands in the batch: for tests
    /// that spoil it.
    pub fn entry_of(&self, section: Section) -> Option<usize> {
        let index = self.sections().iter().position(|(name, _)| *name == section)?;
        Some(HEADER_LENGTH + index * ENTRY_LENGTH)
    }

    fn sections(&self) -> Vec<(Section, &[u8])> {
        let mut sections: Vec<(Section, &[u8])> = Vec::new();
        sections.extend(self.timestamps.as_deref().map(|bytes| (Section::Timestamps, bytes)));
        sections.extend(self.hashes.as_deref().map(|bytes| (Section::Hashes, bytes)));
        for (index, (column, values)) in self.columns.iter().zip(&self.values).enumerate() {
            match column {
                Column::Fixed(_) => sections.push((Section::Fixed(index), &values.bytes)),
                Column::Bytes | Column::Utf8 => {
                    sections.push((Section::Ends(index), &values.ends));
                    sections.push((Section::Bytes(index), &values.bytes));
                }
            }
        }
        sections
    }
}
