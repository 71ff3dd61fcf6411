//! The input of the benchmark jobs, the same on both sides: `Words.java` of
//! the peer builds the same table from the same numbers.

use std::collections::HashSet;

/// Words of a line.
pub const WORDS_A_LINE: usize = 10;
const SEED: u64 = 0x4E_DD1E;

/// A table of lines of ten words, built once and cycled.
pub struct Lines {
    text: String,
    /// Ends of the lines in `text`.
    ends: Vec<u32>,
    next: usize,
}

impl Lines {
    /// Each of the `keys` words comes equally often, in a random order. `long`
    /// words have 4 to 14 letters; others are a `w` and a number.
    pub fn new(keys: usize, long: bool) -> Self {
        let words: Vec<String> =
            if long { long_words(keys) } else { (0..keys).map(|key| format!("w{key}")).collect() };
        let lines = (keys / WORDS_A_LINE).max(4000);
        let mut positions: Vec<usize> = (0..lines * WORDS_A_LINE).map(|position| position % keys).collect();
        let mut random = SplitMix(SEED);
        for i in (1..positions.len()).rev() {
            positions.swap(i, random.below(i + 1));
        }
        let (mut text, mut ends) = (String::new(), Vec::new());
        for line in positions.chunks(WORDS_A_LINE) {
            for (place, &key) in line.iter().enumerate() {
                if place > 0 {
                    text.push(' ');
                }
                text.push_str(&words[key]);
            }
            ends.push(text.len() as u32);
        }
        Self { text, ends, next: 0 }
    }

    /// Goes on at a line, so that subtasks do not all give the same ones.
    pub fn start_at(&mut self, line: usize) {
        self.next = line % self.ends.len();
    }

    /// The next line; behind the last one comes the first again.
    #[inline]
    pub fn next_line(&mut self) -> &str {
        let line = self.next;
        self.next = if line + 1 == self.ends.len() { 0 } else { line + 1 };
        let start = if line == 0 { 0 } else { self.ends[line - 1] as usize };
        &self.text[start..self.ends[line] as usize]
    }
}

/// Distinct words.
fn long_words(keys: usize) -> Vec<String> {
    let mut random = SplitMix(SEED + 1);
    let mut seen = HashSet::new();
    let mut words = Vec::with_capacity(keys);
    while words.len() < keys {
        let length = 4 + random.below(11);
        let word: String = (0..length).map(|_| char::from(b'a' + random.below(26) as u8)).collect();
        if seen.insert(word.clone()) {
            words.push(word);
        }
    }
    words
}

/// Steele, Lea, Flood: Fast splittable pseudorandom number generators.
pub struct SplitMix(pub u64);

impl SplitMix {
    pub fn next_number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    /// A number below `bound`; the bias is below 2^-32.
    pub fn below(&mut self, bound: usize) -> usize {
        below(self.next_number(), bound as u64) as usize
    }
}

/// Mixes the bits of a number.
#[inline]
pub fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Maps a random number to one below `bound`, which is at most 2^32.
#[inline]
pub fn below(random: u64, bound: u64) -> u64 {
    ((random >> 32) * bound) >> 32
}

#[cfg(test)]
mod tests {
    use super::Lines;
    use std::collections::HashMap;

    #[test]
    fn every_word_comes_equally_often() {
        for (keys, long) in [(10_000, false), (10_000, true), (50_000, false)] {
            let mut lines = Lines::new(keys, long);
            let count = lines.ends.len();
            let mut counts = HashMap::<String, u32>::new();
            for _ in 0..count {
                for word in lines.next_line().split(' ') {
                    *counts.entry(word.to_owned()).or_default() += 1;
                }
            }
            assert_eq!(counts.len(), keys);
            let each = (count * 10 / keys) as u32;
            assert!(counts.values().all(|&n| n == each));
        }
    }

    /// The first line of the peer's table, printed by it.
    #[test]
    fn the_peer_builds_the_same_table() {
        assert_eq!(
            Lines::new(10_000, false).next_line(),
            "w2890 w5737 w925 w5671 w9405 w7965 w4833 w9728 w8635 w8327"
        );
        assert_eq!(
            Lines::new(10_000, true).next_line(),
            "vogsuez bbcestg xnmtaqykm vztkvhbe kuwv amur seozikydrwiw enpyzun fhchvitd ahsbyijzssryn"
        );
    }
}
