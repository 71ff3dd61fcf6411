//! The key hash of `proto/batch.md` and the short-key form that it shares with
//! the state table: a key's first sixteen bytes as two words.

use std::ptr;

const K0: u64 = 0x9E37_79B9_7F4A_7C15;
const K1: u64 = 0xD6E8_FEB8_6659_FD93;
const K2: u64 = 0xA076_1D64_78BD_642F;

/// Memory is mapped in pages of at least this size, natively and in Wasm.
const PAGE: usize = 4096;

/// `MASKS[n]` keeps the first `n` bytes of two words.
static MASKS: [[u64; 2]; 17] = masks();

const fn masks() -> [[u64; 2]; 17] {
    let mut masks = [[0u64; 2]; 17];
    let mut n = 0;
    while n <= 16 {
        masks[n][0] = if n >= 8 { u64::MAX } else { (1u64 << (8 * n)) - 1 };
        masks[n][1] = if n >= 16 {
            u64::MAX
        } else if n > 8 {
            (1u64 << (8 * (n - 8))) - 1
        } else {
            0
        };
        n += 1;
    }
    masks
}

/// Whether sixteen bytes can be read where a value of `len` bytes lies, and
/// cover it: none of them is in another page than its first byte. An empty
/// value has no first byte; its address may be anything.
#[inline(always)]
pub(crate) fn covered_by_one_read(at: *const u8, len: usize) -> bool {
    len.wrapping_sub(1) < 16 && (at as usize) & (PAGE - 1) <= PAGE - 16
}

/// The same address, of which the compiler knows no object: where it sees that
/// a value is a literal of two bytes it would take a wider read for impossible.
/// Measured: eight nanoseconds a word less than `black_box`, which also makes
/// the compiler forget all that it knows of memory.
#[inline(always)]
fn opaque(at: *const u8) -> *const u8 {
    at.wrapping_add(NOTHING.load(std::sync::atomic::Ordering::Relaxed))
}

/// Always 0, but marked as used from outside, so that nobody may count on it.
#[used]
static NOTHING: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);

/// The first sixteen bytes of a value of `len` bytes as two words, filled up
/// with zeros.
///
/// # Safety
/// `len` bytes are readable at `at`.
#[inline(always)]
pub(crate) unsafe fn load16(at: *const u8, len: usize) -> (u64, u64) {
    if covered_by_one_read(at, len) {
        let at = opaque(at);
        // SAFETY: the bytes behind the value lie in the same page as its
        // start, so the read cannot fault; they are masked off below. The mask
        // exists, `len` is at most 16.
        unsafe {
            let a = ptr::read_unaligned(at.cast::<u64>());
            let b = ptr::read_unaligned(at.add(8).cast::<u64>());
            let mask = MASKS.get_unchecked(len);
            (u64::from_le(a) & mask[0], u64::from_le(b) & mask[1])
        }
    } else {
        // SAFETY: the caller's promise.
        unsafe { load_exact(at, len) }
    }
}

#[cold]
#[inline(never)]
unsafe fn load_exact(at: *const u8, len: usize) -> (u64, u64) {
    let mut bytes = [0u8; 16];
    // SAFETY: the caller of `load16` promises `len` readable bytes.
    unsafe { ptr::copy_nonoverlapping(at, bytes.as_mut_ptr(), len.min(16)) };
    let word = |i: usize| u64::from_le_bytes(bytes[i..i + 8].try_into().expect("eight bytes"));
    (word(0), word(8))
}

/// Copies `len` bytes and writes up to fifteen bytes more behind them.
///
/// # Safety
/// `len` bytes are readable at `from`, `len + 16` writable at `to`, and the
/// two do not overlap.
#[inline(always)]
pub(crate) unsafe fn copy_short(from: *const u8, to: *mut u8, len: usize) {
    if covered_by_one_read(from, len) {
        let from = opaque(from);
        // SAFETY: see `load16` for the read; there is room for sixteen bytes.
        unsafe {
            let a: u64 = ptr::read_unaligned(from.cast());
            let b: u64 = ptr::read_unaligned(from.add(8).cast());
            ptr::write_unaligned(to.cast(), a);
            ptr::write_unaligned(to.add(8).cast(), b);
        }
    } else {
        // SAFETY: the caller's promise.
        unsafe { copy_long(from, to, len) }
    }
}

/// Copies `len` bytes and writes no other. In Wasm a copy of a length that the
/// compiler does not know is a call to the host: ten nanoseconds.
///
/// # Safety
/// `len` bytes are readable at `from` and writable at `to`, and the two do not
/// overlap.
#[inline(always)]
pub(crate) unsafe fn copy_exact(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: the caller's promise; the halves of a value overlap unless it is
    // as long as both.
    unsafe {
        match len {
            8..=16 => {
                let first: u64 = ptr::read_unaligned(from.cast());
                let last: u64 = ptr::read_unaligned(from.add(len - 8).cast());
                ptr::write_unaligned(to.cast(), first);
                ptr::write_unaligned(to.add(len - 8).cast(), last);
            }
            4..=7 => {
                let first: u32 = ptr::read_unaligned(from.cast());
                let last: u32 = ptr::read_unaligned(from.add(len - 4).cast());
                ptr::write_unaligned(to.cast(), first);
                ptr::write_unaligned(to.add(len - 4).cast(), last);
            }
            1..=3 => {
                let (first, middle, last) = (*from, *from.add(len / 2), *from.add(len - 1));
                *to = first;
                *to.add(len / 2) = middle;
                *to.add(len - 1) = last;
            }
            _ => copy_long(from, to, len),
        }
    }
}

#[inline(never)]
unsafe fn copy_long(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: the caller of `copy_short` promises the ranges.
    unsafe { ptr::copy_nonoverlapping(from, to, len) }
}

/// A key in the form that is hashed and compared.
#[derive(Clone, Copy)]
pub struct KeyRef {
    /// Length in bytes.
    pub len: u32,
    /// The first sixteen bytes, filled up with zeros.
    pub a: u64,
    pub b: u64,
    /// All bytes; only read for keys of more than sixteen. Valid as long as
    /// the value that the key was made of.
    pub bytes: *const u8,
}

impl KeyRef {
    /// The key of `bytes`.
    #[inline(always)]
    pub fn of_bytes(bytes: &[u8]) -> Self {
        // SAFETY: the slice is readable.
        let (a, b) = unsafe { load16(bytes.as_ptr(), bytes.len()) };
        Self { len: bytes.len() as u32, a, b, bytes: bytes.as_ptr() }
    }

    /// The key of one fixed column of `width` bytes, widened with zeros.
    #[inline(always)]
    pub fn of_word(word: u64, width: u32) -> Self {
        Self { len: width, a: word, b: 0, bytes: std::ptr::null() }
    }

    /// The hash of `proto/batch.md`.
    #[inline(always)]
    pub fn hash(&self) -> u32 {
        if self.len <= 16 {
            finish(block(u64::from(self.len).wrapping_mul(K0), self.a, self.b))
        } else {
            // SAFETY: a key of more than sixteen bytes points at them.
            hash_long(unsafe { std::slice::from_raw_parts(self.bytes, self.len as usize) })
        }
    }

    /// Whether two keys are the same.
    pub fn same(&self, other: &KeyRef) -> bool {
        if (self.len, self.a) != (other.len, other.a) {
            return false;
        }
        if self.len <= 16 {
            return self.b == other.b;
        }
        let len = self.len as usize;
        // SAFETY: a key of more than sixteen bytes points at them.
        unsafe { std::slice::from_raw_parts(self.bytes, len) == std::slice::from_raw_parts(other.bytes, len) }
    }

    /// Appends the key's bytes.
    pub fn write(&self, out: &mut Vec<u8>) {
        if self.len <= 16 {
            let mut bytes = [0u8; 16];
            bytes[..8].copy_from_slice(&self.a.to_le_bytes());
            bytes[8..].copy_from_slice(&self.b.to_le_bytes());
            out.extend_from_slice(&bytes[..self.len as usize]);
        } else {
            // SAFETY: a key of more than sixteen bytes points at them.
            out.extend_from_slice(unsafe { std::slice::from_raw_parts(self.bytes, self.len as usize) });
        }
    }
}

#[inline(always)]
fn block(mut h: u64, a: u64, b: u64) -> u64 {
    h = (h ^ a).wrapping_mul(K1);
    h ^= h >> 32;
    h = (h ^ b).wrapping_mul(K2);
    h ^ (h >> 29)
}

#[inline(always)]
fn finish(h: u64) -> u32 {
    (h.wrapping_mul(K1) >> 32) as u32
}

#[cold]
#[inline(never)]
fn hash_long(bytes: &[u8]) -> u32 {
    let mut h = (bytes.len() as u64).wrapping_mul(K0);
    for chunk in bytes.chunks(16) {
        // SAFETY: the chunk is readable.
        let (a, b) = unsafe { load16(chunk.as_ptr(), chunk.len()) };
        h = block(h, a, b);
    }
    finish(h)
}

/// Key group of a hash.
#[inline(always)]
pub fn key_group_of(hash: u32, max_parallelism: u32) -> u32 {
    ((u64::from(hash) * u64::from(max_parallelism)) >> 32) as u32
}

/// Subtask that owns a key group.
#[inline(always)]
pub fn subtask_of(key_group: u32, parallelism: u32, max_parallelism: u32) -> u32 {
    (u64::from(key_group) * u64::from(parallelism) / u64::from(max_parallelism)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The description of `proto/batch.md`, word by word.
    fn reference(bytes: &[u8]) -> u32 {
        let mut h = (bytes.len() as u64).wrapping_mul(K0);
        for chunk in bytes.chunks(16) {
            let mut full = [0u8; 16];
            full[..chunk.len()].copy_from_slice(chunk);
            let a = u64::from_le_bytes(full[..8].try_into().unwrap());
            let b = u64::from_le_bytes(full[8..].try_into().unwrap());
            h = (h ^ a).wrapping_mul(K1);
            h ^= h >> 32;
            h = (h ^ b).wrapping_mul(K2);
            h ^= h >> 29;
        }
        (h.wrapping_mul(K1) >> 32) as u32
    }

    #[test]
    fn hash_is_the_one_of_the_format_at_every_length_and_address() {
        let bytes: Vec<u8> = (0..8192u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for start in (0..64).chain(4000..4100) {
            for len in 0..70 {
                let key = &bytes[start..start + len];
                assert_eq!(KeyRef::of_bytes(key).hash(), reference(key), "start {start}, length {len}");
                let mut written = Vec::new();
                KeyRef::of_bytes(key).write(&mut written);
                assert_eq!(written, key);
            }
        }
    }

    #[test]
    fn an_exact_copy_writes_no_other_byte() {
        let from: Vec<u8> = (1..=200).collect();
        for len in 0..100 {
            let mut to = [0u8; 200];
            // SAFETY: both are longer.
            unsafe { copy_exact(from.as_ptr(), to.as_mut_ptr().add(50), len) };
            assert_eq!(&to[50..50 + len], &from[..len]);
            assert!(to[..50].iter().chain(&to[50 + len..]).all(|&byte| byte == 0), "length {len}");
        }
    }

    #[test]
    fn a_fixed_key_hashes_as_its_bytes() {
        for value in [0u64, 1, 7, u64::MAX, 1 << 40] {
            assert_eq!(KeyRef::of_word(value, 8).hash(), reference(&value.to_le_bytes()));
        }
        assert_eq!(KeyRef::of_word(0xBEEF, 2).hash(), reference(&0xBEEFu16.to_le_bytes()));
    }
}
