//! Key groups: the unit in which keyed state is owned and moved. The formulas
//! are those of `proto/batch.md`; state outlives a change of parallelism only
//! because they never change.

use std::ops::Range;

/// Most key groups that a job may have.
pub const MAX_PARALLELISM_LIMIT: u32 = 32_768;

/// Key group of a hash.
#[inline]
pub fn key_group_of(hash: u32, max_parallelism: u32) -> u32 {
    ((u64::from(hash) * u64::from(max_parallelism)) >> 32) as u32
}

/// Subtask that owns a key group.
#[inline]
pub fn subtask_of(key_group: u32, parallelism: u32, max_parallelism: u32) -> u32 {
    (u64::from(key_group) * u64::from(parallelism) / u64::from(max_parallelism)) as u32
}

/// The key groups that a subtask owns.
pub fn key_groups_of(subtask: u32, parallelism: u32, max_parallelism: u32) -> Range<u32> {
    let start = |s: u64| -> u32 {
        let (p, m) = (u64::from(parallelism), u64::from(max_parallelism));
        (s * m).div_ceil(p) as u32
    };
    start(u64::from(subtask))..start(u64::from(subtask) + 1)
}

/// The default number of key groups for a parallelism: Flink's rule, 1.5 times
/// the parallelism rounded up to a power of two, between 128 and 32,768.
pub fn default_max_parallelism(parallelism: u32) -> u32 {
    let wanted = parallelism.saturating_add(parallelism / 2).max(1).next_power_of_two();
    wanted.clamp(128, MAX_PARALLELISM_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_group_has_the_owner_that_its_range_says() {
        for max_parallelism in [1, 2, 7, 128, 1000] {
            for parallelism in 1..=max_parallelism.min(130) {
                for subtask in 0..parallelism {
                    for group in key_groups_of(subtask, parallelism, max_parallelism) {
                        assert_eq!(subtask_of(group, parallelism, max_parallelism), subtask);
                    }
                }
                let total: usize =
                    (0..parallelism).map(|s| key_groups_of(s, parallelism, max_parallelism).len()).sum();
                assert_eq!(total as u32, max_parallelism);
            }
        }
    }
}
