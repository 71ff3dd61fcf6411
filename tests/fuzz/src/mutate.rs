//! Changes of inputs: bits, words that say lengths, pieces moved about. Knows
//! no format beyond that its numbers are little-endian words.

/// A sequence that depends on its seed only (SplitMix64).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Below the limit, which is not 0.
    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

/// Longer inputs only take longer.
const LENGTH_MAX: usize = 16 << 10;
const CHANGES_MAX: usize = 6;

/// An input out of the known ones.
pub fn next(random: &mut Random, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut input = corpus[random.below(corpus.len())].clone();
    for _ in 0..=random.below(CHANGES_MAX) {
        change(random, &mut input, corpus);
    }
    input.truncate(LENGTH_MAX);
    input
}

fn change(random: &mut Random, input: &mut Vec<u8>, corpus: &[Vec<u8>]) {
    if input.is_empty() {
        input.push(random.next() as u8);
        return;
    }
    let at = random.below(input.len());
    match random.below(8) {
        0 => input[at] ^= 1 << random.below(8),
        1 => input[at] = random.next() as u8,
        2 | 3 => change_word(random, input, at),
        4 => input.truncate(at),
        5 => {
            let end = at + random.below((input.len() - at).min(64)) + 1;
            input.drain(at..end);
        }
        6 => {
            let end = at + random.below((input.len() - at).min(64)) + 1;
            let piece = input[at..end].to_vec();
            let to = random.below(input.len());
            input.splice(to..to, piece);
        }
        _ => {
            let other = &corpus[random.below(corpus.len())];
            let from = random.below(other.len().max(1)).min(other.len());
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
    }
}

/// Makes a number one that decoders stumble over.
fn change_word(random: &mut Random, input: &mut [u8], at: usize) {
    let length = input.len() as u32;
    let Some(word) = input.get_mut(at..at + 4) else { return };
    let old = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
    let small = random.below(17) as u32;
    let new = match random.below(8) {
        0 => small,
        1 => old.wrapping_add(small),
        2 => old.wrapping_sub(small),
        3 => length.wrapping_sub(small),
        4 => u32::MAX - small,
        5 => i32::MAX as u32 + small,
        6 => 1 << random.below(32),
        _ => old.rotate_left(8),
    };
    word.copy_from_slice(&new.to_le_bytes());
}
