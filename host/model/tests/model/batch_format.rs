//! The reader and the builders of batches: what goes in comes out, and bytes
//! of any kind never panic.

use heddle_model::batch::{
    BatchBuilder, BatchError, BatchView, MAX_ROWS, Section, TextBatchBuilder, hash_key, row_count, validate,
};
use heddle_model::element::{Column, ElementType};
use proptest::prelude::*;

/// One record: a value a column.
type Row = Vec<Vec<u8>>;

fn any_column() -> impl Strategy<Value = Column> {
    prop_oneof![
        prop_oneof![Just(1), Just(2), Just(4), Just(8)].prop_map(Column::Fixed),
        Just(Column::Bytes),
        Just(Column::Utf8),
    ]
}

fn any_value(column: Column) -> BoxedStrategy<Vec<u8>> {
    match column {
        Column::Fixed(width) => proptest::collection::vec(any::<u8>(), usize::from(width)).boxed(),
        Column::Bytes => proptest::collection::vec(any::<u8>(), 0..20).boxed(),
        Column::Utf8 => prop_oneof!["[a-z]{0,12}", ".{0,8}"].prop_map(String::into_bytes).boxed(),
    }
}

#[derive(Clone, Debug)]
struct Sample {
    columns: Vec<Column>,
    rows: Vec<Row>,
    timestamps: Option<Vec<i64>>,
    hashes: Option<Vec<u32>>,
    gap: usize,
}

impl Sample {
    fn build(&self) -> Vec<u8> {
        self.builder().build_with_gap(self.gap)
    }

    fn builder(&self) -> BatchBuilder {
        let mut builder = BatchBuilder::new(&self.columns);
        for row in &self.rows {
            builder.push(&row.iter().map(Vec::as_slice).collect::<Vec<_>>());
        }
        if let Some(timestamps) = &self.timestamps {
            builder.timestamps(timestamps);
        }
        if let Some(hashes) = &self.hashes {
            builder.hashes(hashes);
        }
        builder
    }
}

fn any_sample() -> impl Strategy<Value = Sample> {
    (proptest::collection::vec(any_column(), 0..5), 1usize..40, any::<bool>(), any::<bool>(), 0usize..9)
        .prop_flat_map(|(columns, rows, timestamps, hashes, gap)| {
            let row: Vec<_> = columns.iter().map(|column| any_value(*column)).collect();
            let rows_of = proptest::collection::vec(row, rows);
            let timestamps_of = proptest::option::of(proptest::collection::vec(any::<i64>(), rows));
            let hashes_of = proptest::option::of(proptest::collection::vec(any::<u32>(), rows));
            (Just(columns), rows_of, timestamps_of, hashes_of, Just((timestamps, hashes, gap))).prop_map(
                |(columns, rows, t, h, (timestamps, hashes, gap))| Sample {
                    columns,
                    rows,
                    timestamps: t.filter(|_| timestamps),
                    hashes: h.filter(|_| hashes),
                    gap,
                },
            )
        })
}

fn rows_of(view: &BatchView<'_>) -> Vec<Row> {
    (0..view.rows() as usize)
        .map(|row| (0..view.columns().len()).map(|c| view.column(c).get(row).to_vec()).collect())
        .collect()
}

/// Reads all there is: whatever was validated can be read.
fn read_all(view: &BatchView<'_>) {
    rows_of(view);
    view.timestamps().map(|all| all.iter().count());
    view.hashes().map(|all| all.iter().count());
}

proptest! {
    #[test]
    fn what_goes_in_comes_out(sample in any_sample()) {
        let bytes = sample.build();
        let view = validate(&bytes, &sample.columns).unwrap();
        prop_assert_eq!(row_count(&bytes) as usize, sample.rows.len());
        prop_assert_eq!(rows_of(&view), sample.rows);
        prop_assert_eq!(view.timestamps().map(|all| all.iter().collect::<Vec<_>>()), sample.timestamps);
        prop_assert_eq!(view.hashes().map(|all| all.iter().collect::<Vec<_>>()), sample.hashes);
    }

    #[test]
    fn text_goes_in_and_comes_out(lines in proptest::collection::vec(".{0,30}", 1..60), capacity in 0usize..400) {
        let mut builder = TextBatchBuilder::with_capacity(capacity);
        let columns = ElementType::text().columns;
        for _ in 0..2 {
            prop_assert!(builder.finish().is_none());
            lines.iter().for_each(|line| builder.push(line));
            prop_assert_eq!(builder.rows() as usize, lines.len());
            let length = builder.byte_len();
            let bytes = builder.finish().unwrap();
            prop_assert_eq!(bytes.len(), length);
            let view = validate(&bytes, &columns).unwrap();
            let read: Vec<_> = rows_of(&view).into_iter().map(|mut row| row.remove(0)).collect();
            prop_assert_eq!(read, lines.iter().map(|line| line.as_bytes().to_vec()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn any_bytes_are_refused_or_read(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        columns in proptest::collection::vec(any_column(), 0..4),
    ) {
        if let Ok(view) = validate(&bytes, &columns) {
            read_all(&view);
        }
        row_count(&bytes);
    }

    /// A valid batch with a few words changed: near enough to a batch that all
    /// checks are reached.
    #[test]
    fn a_spoilt_batch_is_refused_or_read(
        sample in any_sample(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), spoilt_word()), 1..4),
        columns in proptest::option::of(proptest::collection::vec(any_column(), 0..5)),
    ) {
        let mut bytes = sample.build();
        for (place, word) in changes {
            // Mostly header and directory, where words stand at multiples of 4.
            let at = place.index(bytes.len() / 4) * 4;
            let length = bytes.len().min(at + 4) - at;
            bytes[at..at + length].copy_from_slice(&word.to_le_bytes()[..length]);
        }
        if let Ok(view) = validate(&bytes, columns.as_ref().unwrap_or(&sample.columns)) {
            read_all(&view);
        }
    }

    #[test]
    fn a_cut_batch_is_refused(sample in any_sample(), cut in any::<prop::sample::Index>()) {
        let bytes = sample.build();
        let cut = &bytes[..cut.index(bytes.len())];
        prop_assert!(validate(cut, &sample.columns).is_err());
    }

    /// A byte that is no UTF-8 is found, whatever its row.
    #[test]
    fn invalid_text_is_found(lines in proptest::collection::vec("\\PC{0,6}", 1..20), bad in any::<prop::sample::Index>()) {
        let bad = bad.index(lines.len());
        let mut builder = BatchBuilder::new(&[Column::Utf8]);
        for (row, line) in lines.iter().enumerate() {
            let mut line = line.clone().into_bytes();
            if row == bad {
                line.push(0xFF);
            }
            builder.push(&[&line]);
        }
        let bytes = builder.build();
        let Err(BatchError::Utf8 { row, offset, section }) = validate(&bytes, &[Column::Utf8]) else {
            return Err(TestCaseError::fail("accepted"));
        };
        prop_assert_eq!((row, section, bytes[offset]), (bad, Section::Bytes(0), 0xFF));
    }
}

fn spoilt_word() -> impl Strategy<Value = u32> {
    prop_oneof![
        0u32..300,
        Just(u32::MAX),
        Just(u32::MAX - 15),
        Just(1 << 31),
        Just(MAX_ROWS),
        Just(MAX_ROWS + 1),
        any::<u32>(),
    ]
}

#[test]
fn a_text_beyond_the_limit_does_not_fit() {
    let mut builder = TextBatchBuilder::with_capacity(100);
    assert!(builder.fits(1000));
    assert!(!builder.fits(64 << 20));
    assert!(!builder.fits(usize::MAX));
    builder.push(&"x".repeat(64 << 20));
    let bytes = builder.finish().unwrap();
    let error = validate(&bytes, &[Column::Utf8]).unwrap_err();
    assert_eq!(error, BatchError::TooLong { length: bytes.len() });
}

/// The block-wise definition of `proto/batch.md`, word for word.
fn hash_as_described(key: &[u8]) -> u32 {
    let (k0, k1, k2) = (0x9E37_79B9_7F4A_7C15u64, 0xD6E8_FEB8_6659_FD93u64, 0xA076_1D64_78BD_642Fu64);
    let mut h = (key.len() as u64).wrapping_mul(k0);
    for start in (0..key.len()).step_by(16) {
        let byte = |i: usize| u64::from(key.get(start + i).copied().unwrap_or(0));
        let word = |from: usize| (0..8).fold(0, |word, i| word | byte(from + i) << (8 * i));
        h = (h ^ word(0)).wrapping_mul(k1);
        h ^= h >> 32;
        h = (h ^ word(8)).wrapping_mul(k2);
        h ^= h >> 29;
    }
    h = h.wrapping_mul(k1);
    (h >> 32) as u32
}

proptest! {
    #[test]
    fn the_hash_is_the_one_described(key in proptest::collection::vec(any::<u8>(), 0..70)) {
        prop_assert_eq!(hash_key(&key), hash_as_described(&key));
    }
}
