//! The hash of a key, as `proto/batch.md` defines it. Guests compute the same;
//! state outlives a version of Heddle only because it never changes.

const K0: u64 = 0x9E37_79B9_7F4A_7C15;
const K1: u64 = 0xD6E8_FEB8_6659_FD93;
const K2: u64 = 0xA076_1D64_78BD_642F;

/// Hash of an encoded key.
pub fn hash_key(key: &[u8]) -> u32 {
    let mut h = (key.len() as u64).wrapping_mul(K0);
    let mut blocks = key.chunks_exact(16);
    for block in &mut blocks {
        h = mix(h, word(&block[..8]), word(&block[8..]));
    }
    let rest = blocks.remainder();
    if !rest.is_empty() {
        let mut block = [0; 16];
        block[..rest.len()].copy_from_slice(rest);
        h = mix(h, word(&block[..8]), word(&block[8..]));
    }
    (h.wrapping_mul(K1) >> 32) as u32
}

#[inline]
fn mix(mut h: u64, a: u64, b: u64) -> u64 {
    h = (h ^ a).wrapping_mul(K1);
    h ^= h >> 32;
    h = (h ^ b).wrapping_mul(K2);
    h ^ (h >> 29)
}

#[inline]
fn word(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("8 bytes"))
}
