//! Splitting text into words at memory speed: sixteen bytes are classified at
//! once, and words are taken from bit masks, without a branch a byte.

/// Bytes that one mask stands for.
const CHUNK: usize = 64;

/// What words are made of.
trait Classify {
    /// Bit `i` is set if byte `from + i`, of at most 64, belongs to a word.
    fn word_bits(text: &[u8], from: usize) -> u64;
}

/// The bits of up to 64 bytes, by a function that gives those of sixteen.
#[inline(always)]
fn by_sixteen(text: &[u8], from: usize, of_sixteen: impl Fn(&[u8; 16]) -> u16) -> u64 {
    let bits = |bytes: &[u8]| u64::from(of_sixteen(bytes.try_into().expect("sixteen bytes")));
    let chunk = &text[from..text.len().min(from + CHUNK)];
    let mut all = 0;
    let mut at = 0;
    while at + 16 <= chunk.len() {
        all |= bits(&chunk[at..at + 16]) << at;
        at += 16;
    }
    let rest = chunk.len() - at;
    if rest == 0 {
        return all;
    }
    let end = from + chunk.len();
    if end >= 16 {
        // The last sixteen bytes, some of which were seen before.
        return all | bits(&text[end - 16..end]) >> (16 - rest) << at;
    }
    let mut padded = [b' '; 16];
    for (to, byte) in padded.iter_mut().zip(&chunk[at..]) {
        *to = *byte;
    }
    all | bits(&padded) << at
}

/// Everything but the whitespace of `char::is_ascii_whitespace`.
struct NotSpace;

/// The letters and digits of ASCII.
struct Alphanumeric;

#[cfg(target_arch = "x86_64")]
mod sixteen {
    use super::{Alphanumeric, Classify, NotSpace, by_sixteen};
    use std::arch::x86_64::*;

    fn load(bytes: &[u8; 16]) -> __m128i {
        // SAFETY: sixteen bytes are readable; SSE2 is part of x86-64.
        unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
    }

    /// Lanes of `v` within `from..=to`, as unsigned bytes.
    #[inline(always)]
    fn within(v: __m128i, from: u8, to: u8) -> __m128i {
        // SAFETY: SSE2 is part of x86-64.
        unsafe {
            let shifted = _mm_sub_epi8(v, _mm_set1_epi8(from as i8));
            let span = _mm_set1_epi8((to - from) as i8);
            _mm_cmpeq_epi8(_mm_max_epu8(shifted, span), span)
        }
    }

    impl Classify for NotSpace {
        fn word_bits(text: &[u8], from: usize) -> u64 {
            by_sixteen(text, from, |bytes| {
                let v = load(bytes);
                // SAFETY: SSE2 is part of x86-64.
                unsafe {
                    let space = _mm_cmpeq_epi8(v, _mm_set1_epi8(b' ' as i8));
                    let tab = _mm_cmpeq_epi8(v, _mm_set1_epi8(0x0B));
                    let control = _mm_andnot_si128(tab, within(v, 9, 13));
                    !(_mm_movemask_epi8(_mm_or_si128(space, control)) as u16)
                }
            })
        }
    }

    impl Classify for Alphanumeric {
        fn word_bits(text: &[u8], from: usize) -> u64 {
            by_sixteen(text, from, |bytes| {
                let v = load(bytes);
                // SAFETY: SSE2 is part of x86-64.
                unsafe {
                    let lower = _mm_or_si128(v, _mm_set1_epi8(0x20));
                    let letters = within(lower, b'a', b'z');
                    _mm_movemask_epi8(_mm_or_si128(letters, within(v, b'0', b'9'))) as u16
                }
            })
        }
    }
}

#[cfg(target_family = "wasm")]
mod sixteen {
    use super::{Alphanumeric, Classify, NotSpace, by_sixteen};
    use std::arch::wasm32::*;

    #[inline]
    #[target_feature(enable = "simd128")]
    fn load(bytes: &[u8; 16]) -> v128 {
        // SAFETY: sixteen bytes are readable.
        unsafe { v128_load(bytes.as_ptr().cast()) }
    }

    /// Lanes of `v` within `from..=to`, as unsigned bytes.
    #[inline]
    #[target_feature(enable = "simd128")]
    fn within(v: v128, from: u8, to: u8) -> v128 {
        u8x16_le(u8x16_sub(v, u8x16_splat(from)), u8x16_splat(to - from))
    }

    impl Classify for NotSpace {
        #[inline]
        fn word_bits(text: &[u8], from: usize) -> u64 {
            #[target_feature(enable = "simd128")]
            fn bits(text: &[u8], from: usize) -> u64 {
                by_sixteen(text, from, |bytes| {
                    let v = load(bytes);
                    let space = u8x16_eq(v, u8x16_splat(b' '));
                    let control = v128_andnot(within(v, 9, 13), u8x16_eq(v, u8x16_splat(0x0B)));
                    !u8x16_bitmask(v128_or(space, control))
                })
            }
            bits(text, from)
        }
    }

    impl Classify for Alphanumeric {
        #[inline]
        fn word_bits(text: &[u8], from: usize) -> u64 {
            #[target_feature(enable = "simd128")]
            fn bits(text: &[u8], from: usize) -> u64 {
                by_sixteen(text, from, |bytes| {
                    let v = load(bytes);
                    let letters = within(v128_or(v, u8x16_splat(0x20)), b'a', b'z');
                    u8x16_bitmask(v128_or(letters, within(v, b'0', b'9')))
                })
            }
            bits(text, from)
        }
    }
}

#[cfg(not(any(target_arch = "x86_64", target_family = "wasm")))]
mod sixteen {
    use super::{Alphanumeric, Classify, NotSpace, by_sixteen};

    fn bits(bytes: &[u8; 16], test: impl Fn(u8) -> bool) -> u16 {
        bytes.iter().enumerate().fold(0, |bits, (i, &byte)| bits | u16::from(test(byte)) << i)
    }

    impl Classify for NotSpace {
        fn word_bits(text: &[u8], from: usize) -> u64 {
            by_sixteen(text, from, |bytes| bits(bytes, |byte| !byte.is_ascii_whitespace()))
        }
    }

    impl Classify for Alphanumeric {
        fn word_bits(text: &[u8], from: usize) -> u64 {
            by_sixteen(text, from, |bytes| bits(bytes, |byte| byte.is_ascii_alphanumeric()))
        }
    }
}

/// Runs of bytes of a class.
struct Runs<'t, C> {
    text: &'t str,
    /// Where the current chunk starts, and where the next one does.
    chunk: usize,
    next: usize,
    /// Places in the current chunk where a run starts or ends.
    turns: u64,
    /// Whether the chunk before ended within a run.
    inside: bool,
    class: std::marker::PhantomData<C>,
}

impl<'t, C: Classify> Runs<'t, C> {
    #[inline]
    fn new(text: &'t str) -> Self {
        Self { text, chunk: 0, next: 0, turns: 0, inside: false, class: std::marker::PhantomData }
    }

    /// The place of the next start or end.
    #[inline(always)]
    fn turn(&mut self) -> Option<usize> {
        while self.turns == 0 {
            if self.next >= self.text.len() {
                return None;
            }
            let bits = C::word_bits(self.text.as_bytes(), self.next);
            self.turns = bits ^ (bits << 1 | u64::from(self.inside));
            self.inside = bits >> (CHUNK - 1) != 0;
            self.chunk = self.next;
            self.next += CHUNK;
        }
        let at = self.chunk + self.turns.trailing_zeros() as usize;
        self.turns &= self.turns - 1;
        Some(at)
    }
}

impl<'t, C: Classify> Iterator for Runs<'t, C> {
    type Item = &'t str;

    #[inline(always)]
    fn next(&mut self) -> Option<&'t str> {
        let start = self.turn()?;
        let end = self.turn().unwrap_or(self.text.len());
        debug_assert!(self.text.is_char_boundary(start) && self.text.is_char_boundary(end));
        // SAFETY: turns lie in order within the text, at most at its end, and
        // next to an ASCII byte each: the class is of ASCII bytes, or of all
        // but some ASCII bytes.
        Some(unsafe { self.text.get_unchecked(start..end) })
    }
}

/// The words of a text, as `str::split_ascii_whitespace` gives them.
///
/// ```
/// let words: Vec<_> = heddle::text::split_whitespace(" to be, or\tnot ").collect();
/// assert_eq!(words, ["to", "be,", "or", "not"]);
/// ```
#[inline]
pub fn split_whitespace(text: &str) -> impl Iterator<Item = &str> {
    Runs::<NotSpace>::new(text)
}

/// The runs of ASCII letters and digits of a text.
///
/// ```
/// let words: Vec<_> = heddle::text::ascii_words("To be, or not… 2 bees?").collect();
/// assert_eq!(words, ["To", "be", "or", "not", "2", "bees"]);
/// ```
#[inline]
pub fn ascii_words(text: &str) -> impl Iterator<Item = &str> {
    Runs::<Alphanumeric>::new(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts() -> Vec<String> {
        let mut random = 99u64;
        let mut next = |below: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % below
        };
        let alphabet: Vec<char> = "aZ09 \t\n\x0B\x0C\r,._é中".chars().collect();
        let mut texts = vec![String::new(), " ".repeat(200), "x".repeat(200)];
        for _ in 0..3000 {
            // Every other one is all ASCII.
            let letters = alphabet.len() as u64 - 2 * next(2);
            let length = next(150);
            texts.push((0..length).map(|_| alphabet[next(letters) as usize]).collect());
        }
        texts
    }

    #[test]
    fn whitespace_splits_as_the_standard_library_does() {
        for text in texts() {
            assert!(split_whitespace(&text).eq(text.split_ascii_whitespace()), "{text:?}");
        }
    }

    #[test]
    fn words_are_runs_of_ascii_letters_and_digits() {
        for text in texts() {
            let expected = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
            assert!(ascii_words(&text).eq(expected), "{text:?}");
        }
    }
}
