//! The `text-files` connector: a line is a record. `splits` and `read` are the
//! source, `write` and `publish` the sink.

mod publish;
mod read;
mod splits;
mod write;

pub(crate) use publish::{discard, prepare, publish};
pub(crate) use read::SplitReader;
pub(crate) use splits::enumerate_splits;
pub(crate) use write::TextFileWriter;

use heddle_model::plan::ConnectorSpec;
use std::path::PathBuf;

/// Longest line unless the option says otherwise.
const DEFAULT_MAX_LINE_LENGTH: usize = 16 << 20;
/// A line must fit into a batch (64 MiB), even if each of its bytes is invalid
/// and becomes three.
const MAX_MAX_LINE_LENGTH: usize = 20 << 20;

pub(crate) fn check_source_path(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("a file, a folder or a glob".into());
    }
    check_scheme(text)?;
    if splits::is_glob(text) {
        splits::glob(text).map_err(|error| format!("a valid glob: {}", error.kind()))?;
    }
    Ok(())
}

pub(crate) fn check_sink_path(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("a folder".into());
    }
    check_scheme(text)
}

fn check_scheme(text: &str) -> Result<(), String> {
    match text.split_once("://") {
        Some((scheme, _)) if scheme != "file" && scheme.chars().all(|c| c.is_ascii_alphanumeric()) => {
            Err(format!("a local path (`{scheme}:` is not served)"))
        }
        _ => Ok(()),
    }
}

/// The path that an option names: a local path, or a `file:` URL.
fn local_path(text: &str) -> &str {
    text.strip_prefix("file://").or_else(|| text.strip_prefix("file:")).unwrap_or(text)
}

/// The path of a spec that was checked.
fn path_of(spec: &ConnectorSpec) -> PathBuf {
    PathBuf::from(local_path(spec.option("path").unwrap_or_default()))
}

pub(crate) fn max_line_length(spec: &ConnectorSpec) -> usize {
    let given = spec.option("max-line-length").and_then(|text| parse_max_line_length(text).ok());
    given.unwrap_or(DEFAULT_MAX_LINE_LENGTH)
}

pub(crate) fn parse_max_line_length(text: &str) -> Result<usize, String> {
    let expected = "a size from 1 byte to 20 MiB, such as `16 MiB`";
    let digits = text.trim_start().chars().take_while(char::is_ascii_digit).count();
    let (number, unit) = text.trim_start().split_at(digits);
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" | "bytes" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        _ => return Err(expected.into()),
    };
    number
        .parse::<usize>()
        .ok()
        .and_then(|number| number.checked_mul(1 << shift))
        .filter(|bytes| (1..=MAX_MAX_LINE_LENGTH).contains(bytes))
        .ok_or_else(|| expected.into())
}
