//! Which files a `text-files` source reads, and how they are cut into splits:
//! large files into pieces, small ones packed together.

use super::{local_path, path_of};
use crate::invalid;
use globset::{GlobBuilder, GlobMatcher};
use heddle_model::failure::Failure;
use heddle_model::plan::ConnectorSpec;
use heddle_model::task::InputSplit;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use walkdir::WalkDir;

/// Largest split: what one subtask may have in hand when the others are done.
const MAX_SPLIT: u64 = 64 << 20;
/// Smallest: below it asking for splits costs more than it balances.
const MIN_SPLIT: u64 = 1 << 20;
/// Splits for each subtask, so that a slow one gets fewer.
const SPLITS_PER_SUBTASK: u64 = 4;
/// What opening a file costs, in bytes that could be read meanwhile.
const FILE_COST: u64 = 16 << 10;
/// A split is one message to a subtask.
const MAX_PIECES: usize = 4096;

/// What a split holds: pieces, to be read one behind the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Split {
    pub(crate) pieces: Vec<Piece>,
}

/// The lines of a file that begin at or behind `start` and before `end`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Piece {
    file: FileName,
    pub(crate) start: u64,
    pub(crate) end: u64,
}

/// A path as JSON: a text if it is one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum FileName {
    Text(String),
    Bytes(Vec<u8>),
}

impl Piece {
    pub(crate) fn new(file: &Path, start: u64, end: u64) -> Self {
        let file = match file.to_str() {
            Some(text) => FileName::Text(text.to_owned()),
            None => FileName::Bytes(file.as_os_str().as_bytes().to_vec()),
        };
        Self { file, start, end }
    }

    pub(crate) fn path(&self) -> PathBuf {
        match &self.file {
            FileName::Text(text) => PathBuf::from(text),
            FileName::Bytes(bytes) => PathBuf::from(OsString::from_vec(bytes.clone())),
        }
    }
}

/// Whether the text has any character that globs give a meaning.
pub(crate) fn is_glob(text: &str) -> bool {
    text.contains(['*', '?', '[', '{'])
}

/// `*` and `?` stop at a `/`, `**` does not.
pub(crate) fn glob(text: &str) -> Result<GlobMatcher, globset::Error> {
    let glob = GlobBuilder::new(local_path(text)).literal_separator(true).backslash_escape(true).build()?;
    Ok(glob.compile_matcher())
}

/// Hidden files and those that other systems set aside (`_SUCCESS`,
/// `_temporary`, our own `.heddle-…`) are no input, as in Flink and Hadoop.
fn is_hidden(name: &[u8]) -> bool {
    matches!(name.first(), Some(b'.' | b'_'))
}

pub(crate) fn enumerate_splits(spec: &ConnectorSpec, parallelism: u32) -> Result<Vec<InputSplit>, Failure> {
    let files = find_files(spec)?;
    let splits = cut(&files, parallelism);
    let as_message = |(index, split): (usize, Split)| InputSplit {
        index: index as u32,
        content: serde_json::to_vec(&split).expect("plain data with text keys"),
    };
    Ok(splits.into_iter().enumerate().map(as_message).collect())
}

/// The files with their sizes, in the order of their paths.
fn find_files(spec: &ConnectorSpec) -> Result<Vec<(PathBuf, u64)>, Failure> {
    let text = spec.option("path").unwrap_or_default();
    let path = path_of(spec);
    let mut files = match fs::metadata(&path) {
        Ok(metadata) if metadata.is_file() => return Ok(vec![(path, metadata.len())]),
        Ok(metadata) if metadata.is_dir() => {
            let files = walk(&path, None, false)?;
            if files.is_empty() {
                return Err(invalid(format!(
                    "the folder `{}` has no file to read (names that begin with `.` or `_` are skipped)",
                    path.display()
                )));
            }
            files
        }
        Ok(_) => {
            return Err(invalid(format!("the input `{}` is neither a file nor a folder", path.display())));
        }
        Err(_) if is_glob(text) => {
            let matcher = glob(text)
                .map_err(|error| invalid(format!("`{text}` is not a valid glob: {}", error.kind())))?;
            let base = glob_base(&path);
            // A pattern that names hidden files wants them.
            let hidden = path
                .strip_prefix(base)
                .unwrap_or(&path)
                .iter()
                .any(|part| part.len() > 1 && part != ".." && is_hidden(part.as_bytes()));
            let files = walk(base, Some(&matcher), hidden)?;
            if files.is_empty() {
                return Err(invalid(format!("no file matches `{text}`{}", seen_from(&path))));
            }
            files
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(invalid(format!(
                "the input `{}` does not exist{}",
                path.display(),
                seen_from(&path)
            )));
        }
        Err(error) => return Err(invalid(format!("the input `{}` cannot be read: {error}", path.display()))),
    };
    files.sort();
    Ok(files)
}

/// Where a relative path was looked for.
fn seen_from(path: &Path) -> String {
    match std::env::current_dir() {
        Ok(folder) if path.is_relative() => format!(" (looked for in {})", folder.display()),
        _ => String::new(),
    }
}

/// The part of a glob that holds no wildcard.
fn glob_base(pattern: &Path) -> &Path {
    let is_literal = |path: &&Path| !path.to_str().is_some_and(is_glob);
    let base = pattern.ancestors().find(is_literal).unwrap_or(Path::new(""));
    if base.as_os_str().is_empty() { Path::new(".") } else { base }
}

/// All files below a folder that match, or lie in a folder that matches.
fn walk(base: &Path, matcher: Option<&GlobMatcher>, hidden: bool) -> Result<Vec<(PathBuf, u64)>, Failure> {
    if matcher.is_some() && !base.is_dir() {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    let entries = WalkDir::new(base)
        .follow_links(true)
        .into_iter()
        .filter_entry(|entry| entry.depth() == 0 || hidden || !is_hidden(entry.file_name().as_bytes()));
    for entry in entries {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) if is_harmless(&error) => {
                tracing::warn!(%error, "skipped while looking for input");
                continue;
            }
            Err(error) => {
                return Err(invalid(format!(
                    "the input below `{}` cannot be listed: {error}",
                    base.display()
                )));
            }
        };
        if !entry.file_type().is_file() {
            continue;
        }
        // A pattern without a folder matches `name`, the walk says `./name`.
        let path = entry.path().strip_prefix("./").unwrap_or(entry.path());
        let depth = entry.depth().max(1);
        let matches = |matcher: &GlobMatcher| {
            path.ancestors().take(depth).any(|part| matcher.is_match(part))
                || entry.path().ancestors().take(depth).any(|part| matcher.is_match(part))
        };
        if matcher.is_none_or(matches) {
            let metadata = entry.metadata().map_err(|error| {
                invalid(format!("the input `{}` cannot be read: {error}", path.display()))
            })?;
            files.push((path.to_path_buf(), metadata.len()));
        }
    }
    Ok(files)
}

/// A link that leads nowhere or in a circle is no input.
fn is_harmless(error: &walkdir::Error) -> bool {
    error.loop_ancestor().is_some()
        || (error.depth() > 0
            && error.io_error().is_some_and(|error| error.kind() == std::io::ErrorKind::NotFound))
}

fn cut(files: &[(PathBuf, u64)], parallelism: u32) -> Vec<Split> {
    let total: u64 = files.iter().map(|(_, size)| size + FILE_COST).sum();
    let wanted = total / (u64::from(parallelism.max(1)) * SPLITS_PER_SUBTASK);
    let size = wanted.clamp(MIN_SPLIT, MAX_SPLIT);
    let mut splits = Vec::new();
    let mut pieces = Vec::new();
    let mut filled = 0;
    for (path, length) in files {
        let mut start = 0;
        while start < *length {
            // A rest that is little more than a split is not cut once more.
            let left = length - start;
            let end = if left <= size + size / 8 { *length } else { start + size };
            let cost = end - start + FILE_COST;
            if !pieces.is_empty() && (filled + cost > size + size / 8 || pieces.len() == MAX_PIECES) {
                splits.push(Split { pieces: std::mem::take(&mut pieces) });
                filled = 0;
            }
            pieces.push(Piece::new(path, start, end));
            filled += cost;
            start = end;
        }
    }
    if !pieces.is_empty() {
        splits.push(Split { pieces });
    }
    splits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_small_files_share_a_split() {
        let files: Vec<_> = (0..30_000).map(|n| (PathBuf::from(format!("f{n:05}")), 9_000)).collect();
        let splits = cut(&files, 2);
        assert!((8..=14).contains(&splits.len()), "{} splits", splits.len());
        assert_eq!(splits.iter().map(|split| split.pieces.len()).sum::<usize>(), 30_000);
    }

    #[test]
    fn pieces_cover_a_large_file_without_gap_or_overlap() {
        for length in [0, 1, MIN_SPLIT, MIN_SPLIT + 1, 10 * MIN_SPLIT + 12345, 1 << 30] {
            let splits = cut(&[(PathBuf::from("f"), length)], 3);
            let mut at = 0;
            for piece in splits.iter().flat_map(|split| &split.pieces) {
                assert_eq!(piece.start, at);
                at = piece.end;
            }
            assert_eq!(at, length);
            assert!(splits.iter().flat_map(|s| &s.pieces).all(|p| p.end - p.start <= MAX_SPLIT * 9 / 8));
        }
    }

    #[test]
    fn a_path_that_is_no_text_survives() {
        let path = PathBuf::from(OsString::from_vec(b"caf\xe9.txt".to_vec()));
        let piece = Piece::new(&path, 1, 2);
        let read: Piece = serde_json::from_slice(&serde_json::to_vec(&piece).unwrap()).unwrap();
        assert_eq!(read.path(), path);
    }
}
