//! The samples of `proto/golden`: each is what its description says, and none
//! has changed since it was written. `UPDATE_EXPECT=1` writes them anew, after
//! a new version of the format.

use heddle_model::batch::{
    BatchBuilder, BatchView, HEADER_LENGTH, Section, TextBatchBuilder, hash_key, validate,
};
use heddle_model::element::Column;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::PathBuf;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../proto/golden")
}

struct Sample {
    name: &'static str,
    columns: Vec<Column>,
    bytes: Vec<u8>,
}

/// What a sample is, as JSON: its columns, and its records or its error.
fn description(sample: &Sample) -> Value {
    let columns: Vec<Value> = sample.columns.iter().map(|column| json!(column_text(column))).collect();
    match validate(&sample.bytes, &sample.columns) {
        Ok(view) => json!({
            "columns": columns,
            "rows": view.rows(),
            "timestamps": view.timestamps().map(|all| all.iter().collect::<Vec<_>>()),
            "hashes": view.hashes().map(|all| all.iter().collect::<Vec<_>>()),
            "records": (0..view.rows() as usize).map(|row| record(&view, row)).collect::<Vec<_>>(),
        }),
        Err(error) => json!({ "columns": columns, "error": error.to_string() }),
    }
}

fn column_text(column: &Column) -> String {
    match column {
        Column::Fixed(width) => format!("fixed({width})"),
        Column::Bytes => "bytes".into(),
        Column::Utf8 => "utf8".into(),
    }
}

/// Text as text, all else as the hexadecimal digits of its bytes.
fn record(view: &BatchView<'_>, row: usize) -> Value {
    let columns = view.columns().iter().enumerate();
    let values = columns.map(|(index, column)| {
        let value = view.column(index).get(row);
        match column {
            Column::Utf8 => json!(std::str::from_utf8(value).expect("validated")),
            Column::Fixed(_) | Column::Bytes => json!(hex(value)),
        }
    });
    values.collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const WORDS: [&str; 4] = ["to", "be", "", "größer — 大"];

fn words() -> BatchBuilder {
    let mut builder = BatchBuilder::new(&[Column::Utf8]);
    WORDS.iter().for_each(|word| {
        builder.push(&[word.as_bytes()]);
    });
    builder
}

fn good() -> Vec<Sample> {
    let mut text = TextBatchBuilder::with_capacity(64);
    WORDS.iter().for_each(|word| text.push(word));

    let pair = [Column::Utf8, Column::Fixed(8)];
    let mut counts = BatchBuilder::new(&pair);
    let mut hashes = Vec::new();
    for (count, word) in WORDS.iter().enumerate() {
        counts.push(&[word.as_bytes(), &(count as u64 + 1).to_le_bytes()]);
        hashes.push(hash_key(word.as_bytes()));
    }
    counts.hashes(&hashes);

    let all =
        [Column::Fixed(1), Column::Bytes, Column::Fixed(2), Column::Utf8, Column::Fixed(4), Column::Fixed(8)];
    let mut everything = BatchBuilder::new(&all);
    for row in 0u64..3 {
        let number = row.wrapping_sub(1).to_le_bytes();
        let bytes = vec![0xF0 + row as u8; row as usize * 20];
        let text = "é".repeat(2 - row as usize);
        everything.push(&[&number[..1], &bytes, &number[..2], text.as_bytes(), &number[..4], &number]);
    }
    everything.hashes(&[0, 1 << 31, u32::MAX]).timestamps(&[i64::MIN, 0, 1_700_000_000_000]);

    let mut unit = BatchBuilder::new(&[]);
    (0..5).for_each(|_| {
        unit.push(&[]);
    });

    vec![
        Sample { name: "words", columns: vec![Column::Utf8], bytes: words().build() },
        Sample {
            name: "words-text-first",
            columns: vec![Column::Utf8],
            bytes: text.finish().expect("words"),
        },
        Sample { name: "counts-hashed", columns: pair.to_vec(), bytes: counts.build() },
        Sample { name: "everything", columns: all.to_vec(), bytes: everything.build() },
        Sample { name: "everything-with-gaps", columns: all.to_vec(), bytes: everything.build_with_gap(3) },
        Sample { name: "unit", columns: vec![], bytes: unit.build() },
    ]
}

/// Changes one word of a good batch.
fn bad() -> Vec<Sample> {
    let builder = words();
    let good = builder.build();
    let ends = HEADER_LENGTH + 16;
    let entry = |section| builder.entry_of(section).expect("a section of the batch");
    let spoil = |name: &'static str, at: usize, word: u32| {
        let mut bytes = good.clone();
        bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
        Sample { name, columns: vec![Column::Utf8], bytes }
    };
    let with_text = |name: &'static str, values: &[&[u8]]| {
        let mut builder = BatchBuilder::new(&[Column::Utf8]);
        values.iter().for_each(|value| {
            builder.push(&[value]);
        });
        Sample { name, columns: vec![Column::Utf8], bytes: builder.build() }
    };
    let length = good.len() as u32;
    let mut cut = good.clone();
    cut.truncate(good.len() - 1);
    vec![
        spoil("bad-magic", 0, 0x3242_4448),
        spoil("bad-rows-none", 4, 0),
        spoil("bad-rows-too-few", 4, 3),
        spoil("bad-rows-too-many", 4, 5),
        spoil("bad-rows-huge", 4, u32::MAX),
        spoil("bad-flags", 8, 4),
        spoil("bad-flags-without-section", 8, 2),
        spoil("bad-columns", 12, 2),
        spoil("bad-length", 16, length - 1),
        spoil("bad-reserved", 20, 1),
        spoil("bad-section-in-directory", entry(Section::Ends(0)), 24),
        spoil("bad-section-in-padding", entry(Section::Bytes(0)) + 4, 33),
        spoil("bad-section-4-gib-long", entry(Section::Bytes(0)) + 4, u32::MAX),
        spoil("bad-section-4-gib-away", entry(Section::Bytes(0)), u32::MAX),
        spoil("bad-section-wraps", entry(Section::Bytes(0)), u32::MAX - 7),
        spoil("bad-ends-length", entry(Section::Ends(0)) + 4, 12),
        spoil("bad-ends-decrease", ends + 4, 1),
        spoil("bad-ends-overrun", ends + 12, 1000),
        spoil("bad-ends-short", ends + 12, 19),
        spoil("bad-ends-4-gib", ends, u32::MAX),
        with_text("bad-utf8", &[b"fine", b"f\xFFne", b"fine"]),
        with_text("bad-utf8-split", &[b"fine", b"gr\xC3", b"\xB6\xC3\x9Fer"]),
        Sample { name: "bad-cut", columns: vec![Column::Utf8], bytes: cut },
        Sample { name: "bad-empty", columns: vec![Column::Utf8], bytes: Vec::new() },
    ]
}

fn hashes() -> Value {
    let mut keys: Vec<Vec<u8>> = (0..=33).map(|length| (0..length).map(|i| i * 7 + 1).collect()).collect();
    keys.extend([1u64, 2, u64::MAX].map(|number| number.to_le_bytes().to_vec()));
    keys.extend(WORDS.map(|word| word.as_bytes().to_vec()));
    keys.iter().map(|key| json!({ "key": hex(key), "hash": hash_key(key) })).collect()
}

fn same(name: &str, expected: &[u8]) {
    let path = folder().join(name);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, expected).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
    let found = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(found == expected, "{name} is not what the generator makes of it");
}

fn pretty(value: &Value) -> Vec<u8> {
    format!("{value:#}\n").into_bytes()
}

#[test]
fn samples_are_as_described_and_unchanged() {
    let mut names = BTreeSet::from(["README.md".to_owned(), "hashes.json".to_owned()]);
    for sample in good().into_iter().chain(bad()) {
        let is_bad = validate(&sample.bytes, &sample.columns).is_err();
        assert_eq!(is_bad, sample.name.starts_with("bad-"), "{}", sample.name);
        let (batch, text) = (format!("{}.hdb", sample.name), format!("{}.json", sample.name));
        same(&batch, &sample.bytes);
        same(&text, &pretty(&description(&sample)));
        names.extend([batch, text]);
    }
    same("hashes.json", &pretty(&hashes()));
    let found: BTreeSet<String> = std::fs::read_dir(folder())
        .expect("the folder of samples")
        .map(|entry| entry.expect("an entry"))
        // A folder has the samples of another contract.
        .filter(|entry| entry.path().is_file())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(found, names, "files without a generator, or the other way round");
}

/// The columns of the descriptions are enough to read the files, as another
/// reader of the format does.
#[test]
fn descriptions_are_enough_to_read_the_samples() {
    for entry in std::fs::read_dir(folder()).expect("the folder of samples") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "hdb") {
            continue;
        }
        let bytes = std::fs::read(&path).expect("a sample");
        let text = std::fs::read_to_string(path.with_extension("json")).expect("its description");
        let described: Value = serde_json::from_str(&text).expect("JSON");
        let columns: Vec<Column> =
            described["columns"].as_array().expect("columns").iter().map(column_of).collect();
        match validate(&bytes, &columns) {
            Ok(view) => {
                assert_eq!(described["rows"], view.rows());
                for (row, expected) in described["records"].as_array().expect("records").iter().enumerate() {
                    assert_eq!(&record(&view, row), expected, "{} row {row}", path.display());
                }
            }
            Err(error) => assert_eq!(described["error"], error.to_string(), "{}", path.display()),
        }
    }
}

fn column_of(text: &Value) -> Column {
    match text.as_str().expect("a text") {
        "bytes" => Column::Bytes,
        "utf8" => Column::Utf8,
        fixed => {
            let width = fixed.strip_prefix("fixed(").and_then(|rest| rest.strip_suffix(')'));
            Column::Fixed(width.and_then(|width| width.parse().ok()).expect("a width"))
        }
    }
}
