//! Batches out of a guest: what `validate` accepts can be read to its last
//! byte. An input is the number of columns, a byte for each, and the batch.

use anyhow::Context;
use heddle_model::batch::{self, BatchView};
use heddle_model::element::Column;
use std::path::Path;

const COLUMNS: [Column; 6] =
    [Column::Fixed(1), Column::Fixed(2), Column::Fixed(4), Column::Fixed(8), Column::Bytes, Column::Utf8];
/// More columns take no other path.
const COLUMNS_MAX: usize = 8;

/// The samples of `proto/golden`, good and bad.
pub fn seeds() -> anyhow::Result<Vec<Vec<u8>>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto/golden");
    let mut seeds = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "hdb") {
            continue;
        }
        let description = std::fs::read_to_string(path.with_extension("json"))?;
        let description: serde_json::Value = serde_json::from_str(&description)?;
        let names = description["columns"].as_array().context("the sample has columns")?;
        let position = |name: &serde_json::Value| {
            let names = ["fixed(1)", "fixed(2)", "fixed(4)", "fixed(8)", "bytes", "utf8"];
            names.iter().position(|known| name == known).map(|position| position as u8)
        };
        let mut seed = vec![names.len() as u8];
        seed.extend(names.iter().map(position).collect::<Option<Vec<u8>>>().context("a column's name")?);
        seed.extend(std::fs::read(&path)?);
        seeds.push(seed);
    }
    Ok(seeds)
}

pub fn run(input: &[u8]) -> String {
    let Some((count, rest)) = input.split_first() else { return "too short".to_owned() };
    let count = usize::from(*count) % (COLUMNS_MAX + 1);
    if rest.len() < count {
        return "too short".to_owned();
    }
    let (columns, bytes) = rest.split_at(count);
    let columns: Vec<Column> =
        columns.iter().map(|kind| COLUMNS[usize::from(*kind) % COLUMNS.len()]).collect();
    match batch::validate(bytes, &columns) {
        Ok(view) => {
            read(&view, bytes);
            format!("good, hashes {}, timestamps {}", view.hashes().is_some(), view.timestamps().is_some())
        }
        Err(error) => error.to_string(),
    }
}

/// Reads all that the views of the host and of guests give.
fn read(view: &BatchView<'_>, bytes: &[u8]) {
    let rows = view.rows() as usize;
    assert!(rows > 0, "a batch has records");
    assert_eq!(batch::row_count(bytes) as usize, rows);
    assert_eq!(view.as_bytes().as_ptr(), bytes.as_ptr());
    if let Some(timestamps) = view.timestamps() {
        assert_eq!(timestamps.iter().count(), rows);
        assert_eq!(timestamps.iter().last(), Some(timestamps.get(rows - 1)));
    }
    if let Some(hashes) = view.hashes() {
        assert_eq!(hashes.iter().count(), rows);
        assert_eq!(hashes.iter().last(), Some(hashes.get(rows - 1)));
    }
    for (index, column) in view.columns().iter().enumerate() {
        let column_view = view.column(index);
        for row in 0..rows {
            let value = column_view.get(row);
            match column {
                Column::Fixed(width) => assert_eq!(value.len(), usize::from(*width)),
                Column::Bytes => {}
                // Guests take it for text without a further look.
                Column::Utf8 => assert!(std::str::from_utf8(value).is_ok(), "row {row} is no text"),
            }
            if let Some(last) = value.last() {
                let end = std::ptr::from_ref(last) as usize - bytes.as_ptr() as usize;
                // Guests read up to so many bytes behind a value.
                assert!(end + batch::PADDING < bytes.len(), "row {row} reaches into the padding");
            }
        }
    }
}
