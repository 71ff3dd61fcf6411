//! The `text-files` connector: a line is a record. `splits` and `read` are the
//! source, `write` and `publish` the sink.

mod others;
mod publish;
mod read;
mod splits;
mod write;

pub use others::Reservation;
pub(crate) use publish::{discard, prepare, publish};
pub(crate) use read::SplitReader;
pub(crate) use splits::enumerate_splits;
pub(crate) use write::TextFileWriter;

use crate::{invalid, io_failed};
use heddle_filesystem::{Address, FileSystem, FileSystems, is_unavailable};
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::plan::ConnectorSpec;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Longest line unless the option says otherwise.
const DEFAULT_MAX_LINE_LENGTH: usize = 16 << 20;
/// A line must fit into a batch (64 MiB), even if each of its bytes is invalid
/// and becomes three.
const MAX_MAX_LINE_LENGTH: usize = 20 << 20;

pub(crate) fn check_source_path(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("a file, a folder or a glob".into());
    }
    let path = match address(text)? {
        Address::Local(path) => path,
        Address::Hdfs { path, .. } => Path::new(path),
    };
    if let Some(text) = path.to_str().filter(|text| splits::is_glob(text)) {
        splits::glob(text).map_err(|error| format!("a valid glob: {}", error.kind()))?;
    }
    Ok(())
}

pub(crate) fn check_sink_path(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("a folder".into());
    }
    address(text).map(|_| ())
}

fn address(text: &str) -> Result<Address<'_>, String> {
    Address::parse(Path::new(text))
        .map_err(|error| format!("a local path or an address `hdfs://…` ({error})"))
}

/// A file or a folder on its file system.
#[derive(Clone)]
struct Place {
    system: Arc<dyn FileSystem>,
    path: PathBuf,
}

impl Place {
    /// Where an address leads.
    fn at(address: &Path, files: &FileSystems) -> Result<Self, Failure> {
        let resolved = files.resolve(address);
        let (system, path) =
            resolved.map_err(|error| invalid(format!("`{}`: {error}", address.display())))?;
        Ok(Self { system, path })
    }

    /// What the option `path` of a checked spec names.
    fn of(spec: &ConnectorSpec, files: &FileSystems) -> Result<Self, Failure> {
        Self::at(Path::new(spec.option("path").unwrap_or_default()), files)
    }

    fn join(&self, name: &str) -> Self {
        Self { system: Arc::clone(&self.system), path: self.path.join(name) }
    }

    /// As a user writes it.
    fn address(&self) -> PathBuf {
        let root = self.system.root();
        if root.is_empty() {
            return self.path.clone();
        }
        let mut address = std::ffi::OsString::from(root);
        address.push(&self.path);
        PathBuf::from(address)
    }

    fn show(&self) -> String {
        self.address().display().to_string()
    }

    /// A failure to be mended by the user, unless the file system as a whole
    /// cannot be used.
    fn unusable(&self, message: String, error: &io::Error) -> Failure {
        self.unless_unavailable(invalid(message), error)
    }

    /// A failure while the job runs.
    fn failed(&self, message: String, error: &io::Error) -> Failure {
        self.unless_unavailable(io_failed(message), error)
    }

    fn unless_unavailable(&self, failure: Failure, error: &io::Error) -> Failure {
        if !self.system.root().is_empty() && is_unavailable(error) {
            return Failure { code: ErrorCode::FileSystemUnavailable, ..failure };
        }
        failure
    }
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
