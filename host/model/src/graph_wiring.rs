//! The physical wiring between the subtasks of two vertices: which
//! subpartition of which producer a consumer reads. Flink's mapping.

use crate::job_graph::Distribution;

/// What a subtask of the consumer reads, as (subtask of the producer,
/// subpartition), in the order of the channels of its gate. Both
/// parallelisms are 1 or more, and `consumer_subtask` is below its own.
pub fn consumed_partitions(
    distribution: Distribution,
    producer_parallelism: u32,
    consumer_parallelism: u32,
    consumer_subtask: u32,
) -> Vec<(u32, u32)> {
    let (producers, consumers) = (producer_parallelism, consumer_parallelism);
    match distribution {
        Distribution::AllToAll => (0..producers).map(|producer| (producer, consumer_subtask)).collect(),
        Distribution::Pointwise if producers >= consumers => {
            let start = scaled(consumer_subtask, producers, consumers);
            let end = scaled(consumer_subtask + 1, producers, consumers);
            (start..end).map(|producer| (producer, 0)).collect()
        }
        Distribution::Pointwise => {
            let producer = scaled(consumer_subtask, producers, consumers);
            vec![(producer, consumer_subtask - first_consumer(producer, producers, consumers))]
        }
    }
}

/// How many subpartitions a subtask of the producer writes.
pub fn subpartition_count(
    distribution: Distribution,
    producer_subtask: u32,
    producer_parallelism: u32,
    consumer_parallelism: u32,
) -> u32 {
    let (producers, consumers) = (producer_parallelism, consumer_parallelism);
    match distribution {
        Distribution::AllToAll => consumers,
        Distribution::Pointwise if producers >= consumers => 1,
        Distribution::Pointwise => {
            first_consumer(producer_subtask + 1, producers, consumers)
                - first_consumer(producer_subtask, producers, consumers)
        }
    }
}

/// The first consumer of a producer when there are more consumers.
fn first_consumer(producer: u32, producers: u32, consumers: u32) -> u32 {
    (u64::from(producer) * u64::from(consumers)).div_ceil(u64::from(producers)) as u32
}

/// `index × numerator / denominator`, rounded down.
fn scaled(index: u32, numerator: u32, denominator: u32) -> u32 {
    (u64::from(index) * u64::from(numerator) / u64::from(denominator)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_channel_is_written_and_read_exactly_once() {
        for distribution in [Distribution::AllToAll, Distribution::Pointwise] {
            for producers in 1..=24 {
                for consumers in 1..=24 {
                    let mut read = BTreeSet::new();
                    for consumer in 0..consumers {
                        let channels = consumed_partitions(distribution, producers, consumers, consumer);
                        assert!(!channels.is_empty(), "{producers}→{consumers}: {consumer} reads nothing");
                        for channel in channels {
                            assert!(read.insert(channel), "{producers}→{consumers}: {channel:?} read twice");
                        }
                    }
                    let written: BTreeSet<_> = (0..producers)
                        .flat_map(|p| {
                            let count = subpartition_count(distribution, p, producers, consumers);
                            (0..count).map(move |s| (p, s))
                        })
                        .collect();
                    assert_eq!(read, written, "{distribution:?} {producers}→{consumers}");
                }
            }
        }
    }

    #[test]
    fn pointwise_is_spread_as_flink_spreads_it() {
        let read = |producers, consumers| -> Vec<Vec<(u32, u32)>> {
            (0..consumers)
                .map(|c| consumed_partitions(Distribution::Pointwise, producers, consumers, c))
                .collect()
        };
        assert_eq!(read(2, 2), [[(0, 0)], [(1, 0)]]);
        assert_eq!(read(2, 5), [[(0, 0)], [(0, 1)], [(0, 2)], [(1, 0)], [(1, 1)]]);
        assert_eq!(read(5, 2), [vec![(0, 0), (1, 0)], vec![(2, 0), (3, 0), (4, 0)]]);
        assert_eq!(read(3, 1), [[(0, 0), (1, 0), (2, 0)]]);
    }

    #[test]
    fn numbers_near_the_limit_do_not_overflow() {
        let most = 32_768;
        assert_eq!(
            consumed_partitions(Distribution::Pointwise, most - 1, most, most - 1),
            [(most - 2, subpartition_count(Distribution::Pointwise, most - 2, most - 1, most) - 1)]
        );
    }
}
