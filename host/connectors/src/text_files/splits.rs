//! Which files a `text-files` source reads, and how they are cut into splits:
//! large files into pieces, small ones packed together.

use super::Place;
use crate::invalid;
use globset::{GlobBuilder, GlobMatcher};
use heddle_filesystem::{FileSystems, Kind, Status, is_unavailable};
use heddle_model::failure::Failure;
use heddle_model::plan::ConnectorSpec;
use heddle_model::task::InputSplit;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

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

/// A file that is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    /// With its file system.
    address: PathBuf,
    length: u64,
    /// 0: it is not in blocks.
    block_bytes: u64,
}

/// The lines of a file that begin at or behind `start` and before `end`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Piece {
    file: FileName,
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// Of the file, when it was cut: what comes behind it later is not read.
    pub(crate) length: u64,
}

/// A path as JSON: a text if it is one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum FileName {
    Text(String),
    Bytes(Vec<u8>),
}

impl Piece {
    pub(crate) fn new(file: &Path, start: u64, end: u64, length: u64) -> Self {
        let file = match file.to_str() {
            Some(text) => FileName::Text(text.to_owned()),
            None => FileName::Bytes(file.as_os_str().as_bytes().to_vec()),
        };
        Self { file, start, end, length }
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
    let glob = GlobBuilder::new(text).literal_separator(true).backslash_escape(true).build()?;
    Ok(glob.compile_matcher())
}

/// Hidden files and those that other systems set aside (`_SUCCESS`,
/// `_temporary`, our own `.heddle-…`) are no input, as in Flink and Hadoop.
fn is_hidden(name: &[u8]) -> bool {
    matches!(name.first(), Some(b'.' | b'_'))
}

pub(crate) fn enumerate_splits(
    spec: &ConnectorSpec,
    parallelism: u32,
    files: &FileSystems,
) -> Result<Vec<InputSplit>, Failure> {
    let files = find_files(&Place::of(spec, files)?)?;
    let splits = cut(&files, parallelism);
    let as_message = |(index, split): (usize, Split)| InputSplit {
        index: index as u32,
        content: serde_json::to_vec(&split).expect("plain data with text keys"),
    };
    Ok(splits.into_iter().enumerate().map(as_message).collect())
}

/// The files in the order of their paths.
fn find_files(input: &Place) -> Result<Vec<Found>, Failure> {
    let path = &input.path;
    let found = |path: PathBuf, status: &Status| {
        let place = Place { path, ..input.clone() };
        Found { address: place.address(), length: status.length, block_bytes: status.block_bytes }
    };
    let files = match input.system.status(path) {
        Ok(status) if status.kind == Kind::File => vec![(path.clone(), status)],
        Ok(status) if status.kind == Kind::Folder => {
            let files = walk(input, path, None, false)?;
            if files.is_empty() {
                return Err(invalid(format!(
                    "the folder `{}` has no file to read (names that begin with `.` or `_` are skipped)",
                    input.show()
                )));
            }
            files
        }
        Ok(_) => {
            return Err(invalid(format!("the input `{}` is neither a file nor a folder", input.show())));
        }
        Err(error) if path.to_str().is_some_and(is_glob) && !is_unavailable(&error) => {
            let text = path.to_str().unwrap_or_default();
            let matcher = glob(text).map_err(|error| {
                invalid(format!("`{}` is not a valid glob: {}", input.show(), error.kind()))
            })?;
            let base = glob_base(path);
            // A pattern that names hidden files wants them.
            let hidden = path
                .strip_prefix(base)
                .unwrap_or(path)
                .iter()
                .any(|part| part.len() > 1 && part != ".." && is_hidden(part.as_bytes()));
            let files = walk(input, base, Some(&matcher), hidden)?;
            if files.is_empty() {
                return Err(invalid(format!("no file matches `{}`{}", input.show(), seen_from(path))));
            }
            files
        }
        Err(_) if input.system.is_local() && path.is_symlink() => return Err(leads_nowhere(input)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(invalid(format!("the input `{}` does not exist{}", input.show(), seen_from(path))));
        }
        Err(error) => {
            let message = format!("the input `{}` cannot be read: {error}", input.show());
            return Err(input.unusable(message, &error));
        }
    };
    if input.system.is_local() {
        for (path, _) in files.iter().filter(|(_, status)| status.length == 0) {
            check_empty(&Place { path: path.clone(), ..input.clone() })?;
        }
    }
    let mut files: Vec<Found> = files.into_iter().map(|(path, status)| found(path, &status)).collect();
    files.sort_by(|one, other| one.address.cmp(&other.address));
    Ok(files)
}

fn leads_nowhere(link: &Place) -> Failure {
    invalid(format!(
        "the input `{}` is a link that leads nowhere; remove it, or mend what it names",
        link.show()
    ))
}

/// Its length says that there is nothing to read. Files of the kernel (`/proc`)
/// say so too, and give something.
fn check_empty(input: &Place) -> Result<(), Failure> {
    let cannot = |error: io::Error| {
        let message = format!("the input `{}` cannot be read: {error}", input.show());
        input.unusable(message, &error)
    };
    let read = input.system.open(&input.path).and_then(|mut file| file.read_at(&mut [0], 0));
    if read.map_err(cannot)? > 0 && input.system.status(&input.path).map_err(cannot)?.length == 0 {
        return Err(invalid(format!(
            "the input `{}` has no length, but is not empty; copy it to a regular file first",
            input.show()
        )));
    }
    Ok(())
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
fn walk(
    input: &Place,
    base: &Path,
    matcher: Option<&GlobMatcher>,
    hidden: bool,
) -> Result<Vec<(PathBuf, Status)>, Failure> {
    let listed = match input.system.status(base) {
        Ok(status) if status.kind != Kind::Folder => return Ok(Vec::new()),
        Ok(_) => input.system.walk(base, &|name| hidden || !is_hidden(name.as_bytes())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => Err(error),
    };
    let listed = listed.map_err(|error| {
        let base = Place { path: base.to_path_buf(), ..input.clone() };
        base.unusable(format!("the input below `{}` cannot be listed: {error}", base.show()), &error)
    })?;
    let mut files = Vec::new();
    for (file, status) in listed {
        let depth = file.strip_prefix(base).unwrap_or(&file).components().count().max(1);
        // A pattern without a folder matches `name`, the walk says `./name`.
        let path = file.strip_prefix("./").unwrap_or(&file);
        let matches = |matcher: &GlobMatcher| {
            path.ancestors().take(depth).any(|part| matcher.is_match(part))
                || file.ancestors().take(depth).any(|part| matcher.is_match(part))
        };
        if matcher.is_none_or(matches) {
            if status.kind != Kind::File {
                let link = Place { path: path.to_path_buf(), ..input.clone() };
                return Err(leads_nowhere(&link));
            }
            files.push((path.to_path_buf(), status));
        }
    }
    Ok(files)
}

/// How long the pieces of a file should be: those of a file in blocks lie in
/// one block each, or are some whole blocks.
fn step(size: u64, block_bytes: u64) -> u64 {
    match block_bytes {
        0 => size,
        block if block <= size => size / block * block,
        block => block.div_ceil(block.div_ceil(size)),
    }
}

/// Where the piece ends that begins at `start`.
fn piece_end(start: u64, length: u64, size: u64, block_bytes: u64) -> u64 {
    let left = length - start;
    // A rest that is little more than a split is not cut once more.
    let ends_block = block_bytes == 0 || start / block_bytes == (length - 1) / block_bytes;
    if left <= size + size / 8 && (ends_block || block_bytes <= size) {
        return length;
    }
    let end = start + step(size, block_bytes);
    let end = if block_bytes > size { end.min((start / block_bytes + 1) * block_bytes) } else { end };
    end.min(length)
}

fn cut(files: &[Found], parallelism: u32) -> Vec<Split> {
    let total: u64 = files.iter().map(|file| file.length + FILE_COST).sum();
    let wanted = total / (u64::from(parallelism.max(1)) * SPLITS_PER_SUBTASK);
    let size = wanted.clamp(MIN_SPLIT, MAX_SPLIT);
    let mut splits = Vec::new();
    let mut pieces = Vec::new();
    let mut filled = 0;
    for file in files {
        let mut start = 0;
        while start < file.length {
            let end = piece_end(start, file.length, size, file.block_bytes);
            let cost = end - start + FILE_COST;
            if !pieces.is_empty() && (filled + cost > size + size / 8 || pieces.len() == MAX_PIECES) {
                splits.push(Split { pieces: std::mem::take(&mut pieces) });
                filled = 0;
            }
            pieces.push(Piece::new(&file.address, start, end, file.length));
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

    fn found(name: &str, length: u64, block_bytes: u64) -> Found {
        Found { address: PathBuf::from(name), length, block_bytes }
    }

    #[test]
    fn many_small_files_share_a_split() {
        let files: Vec<_> = (0..30_000).map(|n| found(&format!("f{n:05}"), 9_000, 0)).collect();
        let splits = cut(&files, 2);
        assert!((8..=14).contains(&splits.len()), "{} splits", splits.len());
        assert_eq!(splits.iter().map(|split| split.pieces.len()).sum::<usize>(), 30_000);
    }

    #[test]
    fn pieces_cover_a_large_file_without_gap_or_overlap() {
        for length in [0, 1, MIN_SPLIT, MIN_SPLIT + 1, 10 * MIN_SPLIT + 12345, 1 << 30] {
            for block_bytes in [0, 1 << 20, 3 << 20, 128 << 20, (128 << 20) + 1] {
                let splits = cut(&[found("f", length, block_bytes)], 3);
                let mut at = 0;
                for piece in splits.iter().flat_map(|split| &split.pieces) {
                    assert_eq!(piece.start, at);
                    at = piece.end;
                    assert!(piece.end - piece.start <= MAX_SPLIT * 9 / 8);
                }
                assert_eq!(at, length);
            }
        }
    }

    #[test]
    fn a_piece_lies_in_one_block_where_blocks_are_large() {
        let block = 128 << 20;
        let splits = cut(&[found("f", 5 * block + 7, block)], 2);
        let pieces: Vec<_> = splits.iter().flat_map(|split| &split.pieces).collect();
        assert_eq!(pieces.len(), 11);
        for piece in pieces {
            assert_eq!(piece.start / block, (piece.end - 1) / block, "{piece:?}");
        }
    }

    #[test]
    fn a_path_that_is_no_text_survives() {
        let path = PathBuf::from(OsString::from_vec(b"caf\xe9.txt".to_vec()));
        let piece = Piece::new(&path, 1, 2, 2);
        let read: Piece = serde_json::from_slice(&serde_json::to_vec(&piece).unwrap()).unwrap();
        assert_eq!(read.path(), path);
    }
}
