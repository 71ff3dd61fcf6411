//! Lines to batches of one `utf8` column and back, in one pass each; the
//! layout is that of `proto/batch.md`.

use crate::{invalid, newlines};
use bytes::Bytes;
use heddle_model::failure::{ErrorCode, Failure};

const MAGIC: u32 = 0x3142_4448;
const HEADER: usize = 24;
const PADDING: usize = 16;
/// Header and directory of a batch with one `utf8` column.
const FRONT: usize = HEADER + 2 * 8;

/// Makes batches of lines.
#[derive(Default)]
pub(crate) struct Encoder {
    /// Positions of newlines; kept for its memory.
    newlines: Vec<u32>,
}

impl Encoder {
    /// Makes a batch of whole lines: each ends with `\n`, which is dropped,
    /// with the `\r` before it. Invalid UTF-8 becomes U+FFFD. There is a line
    /// at least, and no more than a batch may have.
    pub(crate) fn encode(&mut self, lines: &[u8]) -> Bytes {
        if std::str::from_utf8(lines).is_ok() {
            return self.encode_valid(lines);
        }
        // A newline is never part of an invalid sequence, so that the lines
        // can be mended all at once.
        self.encode_valid(String::from_utf8_lossy(lines).as_bytes())
    }

    fn encode_valid(&mut self, lines: &[u8]) -> Bytes {
        let newlines = newlines::positions(lines, &mut self.newlines);
        let rows = newlines.len();
        let mut batch = vec![0; FRONT + rows * 4 + lines.len() + PADDING];
        let (front, text) = batch.split_at_mut(FRONT + rows * 4);
        let length = compact(lines, newlines, &mut front[FRONT..], text);

        let total = FRONT + rows * 4 + length + PADDING;
        let words = [MAGIC, rows as u32, 0, 1, total as u32, 0];
        let directory = [FRONT, rows * 4, FRONT + rows * 4, length].map(|word| word as u32);
        for (place, word) in front.chunks_exact_mut(4).zip(words.into_iter().chain(directory)) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        batch.truncate(total);
        Bytes::from(batch)
    }
}

/// Short lines are copied in steps of this many bytes.
const STEP: usize = 32;

/// Copies lines without their ends one behind the other, and notes where each
/// ends; gives the number of bytes. `text` is longer than `lines`.
fn compact(lines: &[u8], newlines: &[u32], ends: &mut [u8], text: &mut [u8]) -> usize {
    let (mut start, mut written) = (0, 0);
    for (newline, end) in newlines.iter().zip(ends.chunks_exact_mut(4)) {
        let newline = *newline as usize;
        let mut length = newline - start;
        if length > 0 && lines[newline - 1] == b'\r' {
            length -= 1;
        }
        // What a step writes behind the line, the next line overwrites.
        let mut copied = 0;
        while copied < length {
            let (from, to) = (start + copied, written + copied);
            match (lines.get(from..from + STEP), text.get_mut(to..to + STEP)) {
                (Some(from), Some(to)) if length - copied <= 4 * STEP => to.copy_from_slice(from),
                _ => {
                    text[to..written + length].copy_from_slice(&lines[from..start + length]);
                    break;
                }
            }
            copied += STEP;
        }
        written += length;
        end.copy_from_slice(&(written as u32).to_le_bytes());
        start = newline + 1;
    }
    written
}

/// The records of a validated batch of one `utf8` or `bytes` column. Gives a
/// failure for anything else, and never panics.
pub(crate) fn lines(batch: &[u8]) -> Result<impl Iterator<Item = &[u8]>, Failure> {
    let (ends, text) = sections(batch).ok_or_else(|| {
        let message = "a text sink got a batch that is not one column of text";
        Failure { code: ErrorCode::Internal, ..invalid(message) }
    })?;
    let mut start = 0;
    Ok(ends.chunks_exact(4).map(move |end| {
        let end = u32::from_le_bytes(end.try_into().expect("four bytes")) as usize;
        let line = text.get(start..end).unwrap_or_default();
        start = end;
        line
    }))
}

fn sections(batch: &[u8]) -> Option<(&[u8], &[u8])> {
    let word = |at: usize| {
        batch.get(at..at + 4).map(|bytes| u32::from_le_bytes(bytes.try_into().expect("four bytes")) as usize)
    };
    let section = |index: usize| {
        let start = word(HEADER + index * 8)?;
        batch.get(start..start.checked_add(word(HEADER + index * 8 + 4)?)?)
    };
    if word(0)? != MAGIC as usize || word(12)? != 1 {
        return None;
    }
    // Timestamps and hashes stand in front.
    let before = (word(8)? & 3).count_ones() as usize;
    let (ends, text) = (section(before)?, section(before + 1)?);
    (ends.len() == word(4)?.checked_mul(4)?).then_some((ends, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(lines: &[u8]) -> Vec<String> {
        let batch = Encoder::default().encode(lines);
        super::lines(&batch).unwrap().map(|line| String::from_utf8(line.to_vec()).unwrap()).collect()
    }

    #[test]
    fn lines_of_all_lengths_survive() {
        for carriage_return in ["", "\r"] {
            let expected: Vec<String> = (0..300).chain([5000]).map(|n| "äx".repeat(n)).collect();
            let text: String = expected.iter().map(|line| format!("{line}{carriage_return}\n")).collect();
            assert_eq!(decoded(text.as_bytes()), expected);
        }
    }

    #[test]
    fn invalid_utf8_becomes_the_replacement_character() {
        assert_eq!(decoded(b"a\xffb\n\xe2\x82\nok\n"), ["a\u{fffd}b", "\u{fffd}", "ok"]);
    }

    #[test]
    fn a_foreign_batch_is_refused() {
        assert!(lines(b"").is_err());
        assert!(lines(&[0; 100]).is_err());
        let mut batch = Encoder::default().encode(b"a\nb\n").to_vec();
        batch[28..32].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(lines(&batch).is_err());
    }
}
