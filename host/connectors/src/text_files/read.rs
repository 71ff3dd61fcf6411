//! Reads the lines of a split, a piece of input at a time, and makes batches
//! of them. Blocking.
//!
//! Every piece of a split is first cut to whole lines: it begins behind the
//! first newline at or behind `start - 1` and ends behind the first one at or
//! behind `end - 1`. So each line of a file belongs to exactly one piece. From
//! there on the pieces are one stream of lines, in which files do not matter.

use super::Place;
use super::splits::{Piece, Split};
use crate::batch_lines::Encoder;
use crate::{invalid, io_failed};
use bytes::Bytes;
use heddle_filesystem::{FileSystems, Reader};
use heddle_model::failure::Failure;
use heddle_model::task::InputSplit;
use memchr::{memchr, memrchr};
use std::collections::VecDeque;
use std::io;
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
    reader: Box<dyn Reader>,
    place: Place,
    position: u64,
    end: u64,
    /// Of the file, when it was cut into pieces.
    length: u64,
}

pub(crate) struct SplitReader {
    files: FileSystems,
    batch_size: usize,
    max_line_length: usize,
    pieces: VecDeque<Piece>,
    open: Option<OpenFile>,
    /// Its first `filled` bytes were read and are not in a batch yet; they
    /// begin with a line. The rest is room that was cleared once.
    buffer: Vec<u8>,
    filled: usize,
    encoder: Encoder,
    read_size: usize,
    /// The file that was opened last, for messages.
    last_path: PathBuf,
}

impl SplitReader {
    pub(crate) fn new(files: FileSystems, batch_size: usize, max_line_length: usize) -> Self {
        Self {
            files,
            batch_size: batch_size.clamp(1, MAX_BATCH),
            max_line_length,
            pieces: VecDeque::new(),
            open: None,
            buffer: Vec::new(),
            filled: 0,
            encoder: Encoder::default(),
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
        self.pieces.is_empty() && self.open.is_none() && self.filled == 0
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
                self.open = open(&self.files, &piece, self.max_line_length)?;
                self.last_path = piece.path();
                files += 1;
            }
            if let Some(open) = &mut self.open {
                let length = open.left().min(wanted as u64) as usize;
                // One byte more, for the newline that a last line may lack.
                if self.buffer.len() < self.filled + length + 1 {
                    self.buffer.resize(self.filled + length + 1, 0);
                }
                open.read(&mut self.buffer[self.filled..][..length])?;
                self.filled += length;
                wanted = wanted.saturating_sub(length.max(1));
                if open.left() == 0 {
                    self.open = None;
                    if self.filled > 0 && self.buffer[self.filled - 1] != b'\n' {
                        self.buffer[self.filled] = b'\n';
                        self.filled += 1;
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
        while start < self.filled {
            let rest = &self.buffer[start..self.filled];
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
            batches.push(self.encoder.encode(lines));
            start += lines.len();
        }
        self.buffer.copy_within(start..self.filled, 0);
        self.filled -= start;
        // A long line's memory is not kept for the next split.
        if self.filled == 0 && self.buffer.len() > 4 * READ_SIZE {
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
         check that it is a text file (a job may allow longer lines, by its source's option `max-line-length`)",
        path.display()
    ))
}

fn read_failed(place: &Place, error: &io::Error) -> Failure {
    place.failed(format!("the input `{}` cannot be read: {error}", place.show()), error)
}

/// Of a file that had this length when it was cut into pieces, and ends before.
fn too_short(place: &Place, length: u64) -> Failure {
    let name = place.show();
    match place.system.status(&place.path) {
        Ok(status) if status.length < length => io_failed(format!(
            "the input `{name}` has {} bytes, but had {length} when the job began; \
             a file must not become shorter while it is read",
            status.length
        )),
        Ok(_) => io_failed(format!(
            "the input `{name}` ends before its length of {length} bytes; copy it to a regular file first"
        )),
        Err(error) => read_failed(place, &error),
    }
}

impl OpenFile {
    fn left(&self) -> u64 {
        self.end - self.position
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<(), Failure> {
        let read = self.reader.read_at(buffer, self.position);
        let read = read.map_err(|error| read_failed(&self.place, &error))?;
        if read < buffer.len() {
            return Err(too_short(&self.place, self.length));
        }
        self.position += read as u64;
        Ok(())
    }
}

/// Opens the file of a piece and cuts it to whole lines; none if no line
/// begins in it.
fn open(files: &FileSystems, piece: &Piece, max_line_length: usize) -> Result<Option<OpenFile>, Failure> {
    let place = Place::at(&piece.path(), files)?;
    let mut reader = place.system.open(&place.path).map_err(|error| read_failed(&place, &error))?;
    let limit = max_line_length as u64 + 1;
    let mut line_start = |position: u64, limit: u64| -> Result<Option<u64>, Failure> {
        if position == 0 {
            return Ok(Some(0));
        }
        let limit = limit.min(piece.length - (position - 1));
        behind_newline(&mut *reader, position - 1, limit).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => too_short(&place, piece.length),
            _ => read_failed(&place, &error),
        })
    };
    // No need to look further than the piece: a line that begins behind it is
    // another piece's.
    let Some(start) = line_start(piece.start, piece.end - piece.start)? else { return Ok(None) };
    if start >= piece.end {
        return Ok(None);
    }
    // A line that goes on too long is found when it is read.
    let end = line_start(piece.end, limit)?.unwrap_or(piece.length.min(piece.end + limit));
    Ok(Some(OpenFile { reader, place, position: start, end, length: piece.length }))
}

/// The position behind the first newline at or behind `position`, if there is
/// one within `limit` bytes, which the file has.
fn behind_newline(reader: &mut dyn Reader, position: u64, limit: u64) -> io::Result<Option<u64>> {
    let mut block = [0; SEARCH_SIZE];
    let mut searched = 0;
    while searched < limit {
        let length = (limit - searched).min(SEARCH_SIZE as u64) as usize;
        let read = reader.read_at(&mut block[..length], position + searched)?;
        if let Some(newline) = memchr(b'\n', &block[..read]) {
            return Ok(Some(position + searched + newline as u64 + 1));
        }
        if read < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        searched += read as u64;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch_lines;
    use proptest::prelude::*;
    use std::io::Write;

    /// What the source must give: like `str::lines`, with the `\r` of a last
    /// line that has no newline dropped too, as Flink does.
    fn model(content: &[u8]) -> Vec<String> {
        let mut text = String::from_utf8_lossy(content).into_owned();
        if text.ends_with('\r') {
            text.push('\n');
        }
        text.lines().map(str::to_owned).collect()
    }

    fn read(reader: &mut SplitReader, pieces: Vec<Piece>) -> Result<Vec<String>, Failure> {
        let content = serde_json::to_vec(&Split { pieces }).unwrap();
        reader.start(&InputSplit { index: 0, content })?;
        let mut lines = Vec::new();
        while !reader.is_at_end() {
            for batch in reader.read_piece()? {
                for line in batch_lines::lines(&batch)? {
                    lines.push(String::from_utf8(line.to_vec()).expect("batches hold valid UTF-8"));
                }
            }
        }
        Ok(lines)
    }

    fn new_reader(batch_size: usize, max_line_length: usize) -> SplitReader {
        SplitReader::new(FileSystems::new(Default::default()), batch_size, max_line_length)
    }

    fn file_of(content: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        file
    }

    fn content() -> impl Strategy<Value = Vec<u8>> {
        let part = prop_oneof![
            3 => Just(b"\n".to_vec()),
            2 => Just(b"\r\n".to_vec()),
            4 => "[a-z ]{0,12}".prop_map(String::into_bytes),
            1 => "\\PC{0,4}".prop_map(String::into_bytes),
            1 => prop::collection::vec(any::<u8>(), 0..4),
            1 => (100_usize..5000).prop_map(|length| vec![b'x'; length]),
        ];
        prop::collection::vec(part, 0..60).prop_map(|parts| parts.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

        #[test]
        fn no_cut_loses_or_doubles_a_line(
            contents in prop::collection::vec(content(), 1..4),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
            splits in 1_usize..4,
            batch_size in 1_usize..3000,
        ) {
            let files: Vec<_> = contents.iter().map(|content| file_of(content)).collect();
            let mut pieces = Vec::new();
            for (content, file) in contents.iter().zip(&files) {
                let length = content.len();
                let mut points: Vec<usize> = cuts.iter().map(|cut| cut.index(length + 1)).collect();
                points.extend([0, length]);
                points.sort();
                points.dedup();
                let ranges = points.windows(2);
                pieces.extend(ranges.map(|at| Piece::new(file.path(), at[0] as u64, at[1] as u64, length as u64)));
            }
            let expected: Vec<String> = contents.iter().flat_map(|content| model(content)).collect();
            let mut reader = new_reader(batch_size, 1 << 20);
            let mut found = Vec::new();
            for split in pieces.chunks(pieces.len().div_ceil(splits).max(1)) {
                found.extend(read(&mut reader, split.to_vec()).unwrap());
            }
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn lines_longer_than_any_buffer_are_read() {
        let lines: Vec<String> =
            [10, READ_SIZE - 1, READ_SIZE, READ_SIZE + 1, 5 * READ_SIZE, 3].map(|n| "y".repeat(n)).into();
        let file = file_of(lines.join("\n").as_bytes());
        let length = file.as_file().metadata().unwrap().len();
        for cut in [1, 11, 12, 2 * READ_SIZE as u64, length - 1] {
            let mut reader = new_reader(32 << 10, 16 << 20);
            let mut found = read(&mut reader, vec![Piece::new(file.path(), 0, cut, length)]).unwrap();
            found.extend(read(&mut reader, vec![Piece::new(file.path(), cut, length, length)]).unwrap());
            assert_eq!(found, lines);
        }
    }

    #[test]
    fn the_longest_line_is_bounded_wherever_it_stands() {
        for (limit, batch_size) in [(100, 10), (100, 100), (100, 100_000), (1 << 20, 32 << 10)] {
            for before in [0, 1, 3 * limit, 1 << 20] {
                let head = "a\n".repeat(before / 2);
                let fits = file_of(format!("{head}{}\nb\n", "z".repeat(limit)).as_bytes());
                let too_long = file_of(format!("{head}{}\nb\n", "z".repeat(limit + 1)).as_bytes());
                let whole = |file: &tempfile::NamedTempFile| {
                    let length = file.as_file().metadata().unwrap().len();
                    read(&mut new_reader(batch_size, limit), vec![Piece::new(file.path(), 0, length, length)])
                };
                assert_eq!(whole(&fits).unwrap().len(), before / 2 + 2);
                let failure = whole(&too_long).unwrap_err();
                let path = too_long.path().display().to_string();
                assert!(failure.message.contains(&path), "{failure}");
                assert!(failure.message.contains("max-line-length"), "{failure}");
            }
        }
    }

    #[test]
    fn a_file_without_any_newline_costs_no_more_than_the_limit() {
        let file = file_of(&vec![0; 40 << 20]);
        let mut reader = new_reader(32 << 10, 1 << 20);
        let failure = read(&mut reader, vec![Piece::new(file.path(), 0, 40 << 20, 40 << 20)]).unwrap_err();
        assert!(failure.message.contains("longer than 1048576 bytes"), "{failure}");
        assert!(reader.buffer.capacity() < 4 << 20);
        // A piece in the middle has no line of its own.
        let middle = vec![Piece::new(file.path(), 8 << 20, 16 << 20, 40 << 20)];
        assert_eq!(read(&mut new_reader(32 << 10, 1 << 20), middle).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_file_that_went_away_is_named() {
        let piece = Piece::new(Path::new("/nowhere/at.all"), 0, 10, 10);
        let failure = read(&mut new_reader(100, 100), vec![piece]).unwrap_err();
        assert_eq!(
            failure.message,
            "the input `/nowhere/at.all` cannot be read: No such file or directory (os error 2)"
        );
    }
}
