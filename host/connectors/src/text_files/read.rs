//! Reads the lines of a split, a piece of input at a time, and makes batches
//! of them. Blocking.
//!
//! Every piece of a split is first cut to whole lines: it begins behind the
//! first newline at or behind `start - 1` and ends behind the first one at or
//! behind `end - 1`. So each line of a file belongs to exactly one piece. From
//! there on the pieces are one stream of lines, in which files do not matter.

use super::splits::{Piece, Split};
use crate::batch_lines;
use crate::{invalid, io_failed};
use bytes::Bytes;
use heddle_model::failure::Failure;
use heddle_model::task::InputSplit;
use memchr::{memchr, memrchr};
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// How much is read at once: it still fits into a core's cache when it is cut
/// into lines.
const READ_SIZE: usize = 256 << 10;
/// The first read of a split is smaller, so that its first record comes soon.
const FIRST_READ_SIZE: usize = 64 << 10;
/// Step in which the ends of a piece are looked for.
const SEARCH_SIZE: usize = 4 << 10;
/// Files that one blocking job opens at most: on a slow file system each takes
/// milliseconds.
const MAX_FILES_AT_ONCE: usize = 64;

/// A batch of nothing but empty lines must stay below the most rows of a batch.
const MAX_BATCH: usize = 8 << 20;

/// A file of which the bytes from `position` to `end` are still to be read.
struct OpenFile {
    file: File,
    path: PathBuf,
    position: u64,
    end: u64,
}

pub(crate) struct SplitReader {
    batch_size: usize,
    max_line_length: usize,
    pieces: VecDeque<Piece>,
    open: Option<OpenFile>,
    /// Bytes that were read and are not in a batch yet; they begin with a line.
    buffer: Vec<u8>,
    read_size: usize,
    /// The file that was opened last, for messages.
    last_path: PathBuf,
}

impl SplitReader {
    pub(crate) fn new(batch_size: usize, max_line_length: usize) -> Self {
        Self {
            batch_size: batch_size.clamp(1, MAX_BATCH),
            max_line_length,
            pieces: VecDeque::new(),
            open: None,
            buffer: Vec::new(),
            read_size: FIRST_READ_SIZE,
            last_path: PathBuf::new(),
        }
    }

    pub(crate) fn start(&mut self, split: &InputSplit) -> Result<(), Failure> {
        let split: Split = serde_json::from_slice(&split.content)
            .map_err(|error| invalid(format!("split {} cannot be read: {error}", split.index)))?;
        self.pieces = split.pieces.into();
        self.read_size = FIRST_READ_SIZE;
        Ok(())
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.pieces.is_empty() && self.open.is_none() && self.buffer.is_empty()
    }

    /// Reads on and gives the batches that became full; at the end of the
    /// split the last one too.
    pub(crate) fn read_piece(&mut self) -> Result<Vec<Bytes>, Failure> {
        let mut wanted = self.read_size;
        let mut files = 0;
        self.read_size = READ_SIZE;
        while wanted > 0 && files < MAX_FILES_AT_ONCE {
            if self.open.is_none() {
                let Some(piece) = self.pieces.pop_front() else { break };
                self.open = open(&piece, self.max_line_length)?;
                self.last_path = piece.path();
                files += 1;
            }
            if let Some(open) = &mut self.open {
                let before = self.buffer.len();
                let at_end = fill(open, &mut self.buffer, wanted)?;
                wanted = wanted.saturating_sub((self.buffer.len() - before).max(1));
                if at_end {
                    self.open = None;
                    if self.buffer.last().is_some_and(|byte| *byte != b'\n') {
                        self.buffer.push(b'\n');
                    }
                }
            }
        }
        self.cut_into_batches()
    }

    fn cut_into_batches(&mut self) -> Result<Vec<Bytes>, Failure> {
        let last = self.pieces.is_empty() && self.open.is_none();
        let mut batches = Vec::new();
        let mut start = 0;
        while start < self.buffer.len() {
            let rest = &self.buffer[start..];
            if rest.len() < self.batch_size && !last {
                break;
            }
            let window = &rest[..rest.len().min(self.batch_size)];
            let length = match memrchr(b'\n', window) {
                Some(newline) => newline + 1,
                None => match memchr(b'\n', rest) {
                    Some(newline) if newline <= self.max_line_length => newline + 1,
                    None if rest.len() <= self.max_line_length => break,
                    _ => return Err(line_too_long(&self.last_path, self.max_line_length)),
                },
            };
            let lines = &rest[..length];
            if lines.len() > self.max_line_length {
                self.check_lines(lines)?;
            }
            batches.push(batch_lines::encode(lines));
            start += lines.len();
        }
        self.buffer.drain(..start);
        if last && self.buffer.is_empty() && self.buffer.capacity() > 4 * READ_SIZE {
            self.buffer = Vec::new();
        }
        Ok(batches)
    }

    /// Only where a batch can hold a line that is too long.
    fn check_lines(&self, lines: &[u8]) -> Result<(), Failure> {
        let mut start = 0;
        for newline in memchr::memchr_iter(b'\n', lines) {
            if newline - start > self.max_line_length {
                return Err(line_too_long(&self.last_path, self.max_line_length));
            }
            start = newline + 1;
        }
        Ok(())
    }
}

fn line_too_long(path: &Path, limit: usize) -> Failure {
    invalid(format!(
        "a line of `{}`, or of a file read right before it, is longer than {limit} bytes; \
         raise the source's option `max-line-length`, or check that it is a text file",
        path.display()
    ))
}

fn read_failed(path: &Path, error: &io::Error) -> Failure {
    io_failed(format!("the input `{}` cannot be read: {error}", path.display()))
}

/// Appends up to `wanted` bytes; whether the piece is at its end.
fn fill(open: &mut OpenFile, buffer: &mut Vec<u8>, wanted: usize) -> Result<bool, Failure> {
    let left = open.end - open.position;
    let wanted = left.min(wanted as u64) as usize;
    let before = buffer.len();
    buffer.resize(before + wanted, 0);
    let read = read_at(&open.file, &mut buffer[before..], open.position)
        .map_err(|error| read_failed(&open.path, &error))?;
    buffer.truncate(before + read);
    open.position += read as u64;
    // Fewer bytes than asked for: the file was cut off meanwhile.
    Ok(open.position == open.end || read < wanted)
}

/// Fills the buffer unless the file ends before.
fn read_at(file: &File, buffer: &mut [u8], position: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], position + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Opens the file of a piece and cuts it to whole lines; none if no line
/// begins in it.
fn open(piece: &Piece, max_line_length: usize) -> Result<Option<OpenFile>, Failure> {
    let path = piece.path();
    let file = File::open(&path).map_err(|error| read_failed(&path, &error))?;
    let limit = max_line_length as u64 + 1;
    let line_start = |position: u64, limit: u64| -> Result<Option<u64>, Failure> {
        if position == 0 {
            return Ok(Some(0));
        }
        behind_newline(&file, position - 1, limit).map_err(|error| read_failed(&path, &error))
    };
    // No need to look further than the piece: a line that begins behind it is
    // another piece's.
    let Some(start) = line_start(piece.start, piece.end - piece.start)? else { return Ok(None) };
    if start >= piece.end {
        return Ok(None);
    }
    // A line that goes on too long is found when it is read.
    let end = line_start(piece.end, limit)?.unwrap_or(piece.end + limit);
    Ok(Some(OpenFile { file, path, position: start, end }))
}

/// The position behind the first newline at or behind `position`, if there is
/// one within `limit` bytes.
fn behind_newline(file: &File, position: u64, limit: u64) -> io::Result<Option<u64>> {
    let mut block = [0; SEARCH_SIZE];
    let mut searched = 0;
    while searched < limit {
        let length = (limit - searched).min(SEARCH_SIZE as u64) as usize;
        let read = read_at(file, &mut block[..length], position + searched)?;
        if let Some(newline) = memchr(b'\n', &block[..read]) {
            return Ok(Some(position + searched + newline as u64 + 1));
        }
        if read < length {
            break;
        }
        searched += read as u64;
    }
    Ok(None)
}
