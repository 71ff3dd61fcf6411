//! Finds newlines, all of a text at once. Lines are short: a search that is
//! begun anew for each line costs more than the line, and so does a branch
//! that cannot be foretold, such as the end of a loop over one block's newlines.

const BLOCK: usize = 64;
/// Positions that are written for a block whether it has so many or not: few
/// texts have more lines than that in it.
const STEP: usize = 4;

/// Gives the position of each newline, in `found`, which is kept for its
/// memory. The text is shorter than 4 GiB.
pub(crate) fn positions<'a>(text: &[u8], found: &'a mut Vec<u32>) -> &'a [u32] {
    let (blocks, rest) = text.as_chunks::<BLOCK>();
    let mut count = 0;
    for (index, block) in blocks.iter().enumerate() {
        let mut mask = mask(block);
        let here = mask.count_ones() as usize;
        if found.len() < count + BLOCK {
            found.resize((count + BLOCK) * 2, 0);
        }
        let mut written = 0;
        for places in found[count..count + BLOCK].as_chunks_mut::<STEP>().0 {
            for place in places {
                *place = (index * BLOCK) as u32 + mask.trailing_zeros();
                mask &= mask.wrapping_sub(1);
            }
            written += STEP;
            if written >= here {
                break;
            }
        }
        count += here;
    }
    if found.len() < count + rest.len() {
        found.resize(count + rest.len(), 0);
    }
    let start = text.len() - rest.len();
    for (offset, _) in rest.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
        found[count] = (start + offset) as u32;
        count += 1;
    }
    &found[..count]
}

/// Bit n says whether byte n is a newline.
#[cfg(target_arch = "x86_64")]
#[inline]
fn mask(block: &[u8; BLOCK]) -> u64 {
    use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_set1_epi8};
    let (quarters, _) = block.as_chunks::<16>();
    let mut mask = 0;
    for (index, quarter) in quarters.iter().enumerate() {
        // SAFETY: `quarter` is sixteen readable bytes, of any alignment; every
        // x86-64 processor has SSE2.
        let bits = unsafe {
            let bytes = _mm_loadu_si128(quarter.as_ptr().cast());
            _mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'\n' as i8)))
        };
        mask |= u64::from(bits as u32) << (16 * index);
    }
    mask
}

/// Bit n says whether byte n is a newline.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn mask(block: &[u8; BLOCK]) -> u64 {
    let (words, _) = block.as_chunks::<8>();
    let mut mask = 0;
    for (index, word) in words.iter().enumerate() {
        let ones = word.map(|byte| u8::from(byte == b'\n'));
        // The product gathers the lowest bit of each byte in the highest byte.
        let bits = u64::from_le_bytes(ones).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        mask |= bits << (8 * index);
    }
    mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_newline_is_found() {
        let text: Vec<u8> =
            (0..1000_u32).map(|n| if n * n % 7 < 2 { b'\n' } else { (n % 256) as u8 }).collect();
        let mut found = Vec::new();
        for start in 0..70 {
            for end in (start..1000).step_by(31) {
                let text = &text[start..end];
                let found = positions(text, &mut found);
                let expected: Vec<u32> =
                    (0..text.len()).filter(|at| text[*at] == b'\n').map(|at| at as u32).collect();
                assert_eq!(found, expected);
            }
        }
    }
}
