//! The samples of `proto/golden` as the SDK reads them, and its own batches as
//! the format asks for them.

use heddle::batch::hash::KeyRef;
use heddle::batch::reader::Batch;
use heddle::element::Element;
use heddle::element::text::{Bytes, Str};
use serde_json::Value;
use std::path::PathBuf;

fn golden(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../proto/golden").join(file)
}

fn json(file: &str) -> Value {
    serde_json::from_slice(&std::fs::read(golden(file)).expect("a sample")).expect("JSON")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Checks a valid sample: `row` gives the columns of a record as the
/// description writes them.
fn check<T: Element>(name: &str, row: impl for<'a> Fn(T::View<'a>) -> Vec<String>) {
    let bytes = std::fs::read(golden(&format!("{name}.hdb"))).expect("a sample");
    let expected = json(&format!("{name}.json"));
    // SAFETY: the sample is valid; the test of the host's reader checks it.
    let batch = unsafe { Batch::<T>::new(&bytes) };
    assert_eq!(u64::from(batch.rows()), expected["rows"].as_u64().unwrap(), "{name}");
    let hashes = batch.hashes();
    assert_eq!(hashes.is_some(), !expected["hashes"].is_null(), "{name}");
    let mut cursor = batch.cursor();
    for index in 0..batch.rows() {
        // SAFETY: rows are read in order and below the batch's count.
        let view = unsafe { T::read(&mut cursor, index as usize) };
        let record = serde_json::json!(row(view));
        assert_eq!(record, expected["records"][index as usize], "{name}, record {index}");
        if let Some(hashes) = hashes {
            assert_eq!(u64::from(hashes.get(index)), expected["hashes"][index as usize].as_u64().unwrap());
        }
    }
}

#[test]
fn samples_read_as_described() {
    check::<Str>("words", |word| vec![word.to_string()]);
    check::<Str>("words-text-first", |word| vec![word.to_string()]);
    check::<()>("unit", |()| vec![]);
    check::<(Str, u64)>("counts-hashed", |(word, n)| vec![word.to_string(), hex(&n.to_le_bytes())]);
    for name in ["everything", "everything-with-gaps"] {
        check::<(u8, Bytes, u16, Str, u32, u64)>(name, |(a, b, c, d, e, f)| {
            vec![
                hex(&[a]),
                hex(b),
                hex(&c.to_le_bytes()),
                d.to_string(),
                hex(&e.to_le_bytes()),
                hex(&f.to_le_bytes()),
            ]
        });
    }
}

#[test]
fn keys_hash_as_described() {
    for case in json("hashes.json").as_array().expect("a list") {
        let text = case["key"].as_str().expect("a key");
        let key: Vec<u8> =
            (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect();
        assert_eq!(u64::from(KeyRef::of_bytes(&key).hash()), case["hash"].as_u64().unwrap(), "{text}");
    }
}

#[test]
fn a_key_of_several_columns_is_its_row() {
    let mut scratch = Vec::new();
    let key = <(Str, u16)>::key(&("ab", 0x0102), &mut scratch);
    let mut row = Vec::new();
    key.write(&mut row);
    assert_eq!(row, [2, 0, 0, 0, b'a', b'b', 2, 1]);
    let sole = <(Str,)>::key(&("ab",), &mut scratch);
    assert_eq!(sole.hash(), Str::key(&"ab", &mut Vec::new()).hash());
}
