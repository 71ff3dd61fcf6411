//! Gives the splits of one connector source to its subtasks, each split once;
//! what a restarted subtask had returns.
//!
//! Pure. Does not know what a split is: only `connectors` reads it.

use heddle_model::task::InputSplit;
use std::collections::{BTreeMap, VecDeque};

/// The splits of one source vertex.
#[derive(Clone, Debug, Default)]
pub struct SplitAssigner {
    unassigned: VecDeque<InputSplit>,
    /// By subtask, in the order in which they were taken.
    assigned: BTreeMap<u32, Vec<InputSplit>>,
}

impl SplitAssigner {
    pub fn new(splits: Vec<InputSplit>) -> Self {
        Self { unassigned: splits.into(), assigned: BTreeMap::new() }
    }

    /// The next split for a subtask; none when all are taken.
    pub fn next(&mut self, subtask: u32) -> Option<InputSplit> {
        let split = self.unassigned.pop_front()?;
        self.assigned.entry(subtask).or_default().push(split.clone());
        Some(split)
    }

    /// The subtask starts from nothing: all that it ever took is read again,
    /// before what nobody took yet.
    pub fn return_splits(&mut self, subtask: u32) {
        for split in self.assigned.remove(&subtask).unwrap_or_default().into_iter().rev() {
            self.unassigned.push_front(split);
        }
    }

    pub fn unassigned(&self) -> usize {
        self.unassigned.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assigner(count: u32) -> SplitAssigner {
        SplitAssigner::new((0..count).map(|index| InputSplit { index, content: vec![] }).collect())
    }

    fn drain(assigner: &mut SplitAssigner, subtask: u32) -> Vec<u32> {
        std::iter::from_fn(|| assigner.next(subtask)).map(|split| split.index).collect()
    }

    #[test]
    fn each_split_is_given_once() {
        let mut assigner = assigner(3);
        assert_eq!(assigner.next(0).map(|s| s.index), Some(0));
        assert_eq!(assigner.next(1).map(|s| s.index), Some(1));
        assert_eq!(drain(&mut assigner, 0), [2]);
        assert_eq!(drain(&mut assigner, 1), Vec::<u32>::new());
    }

    #[test]
    fn only_the_splits_of_the_restarted_subtask_return() {
        let mut assigner = assigner(5);
        for subtask in [0, 1, 0, 1] {
            assigner.next(subtask);
        }
        assigner.return_splits(0);
        assigner.return_splits(7);
        assert_eq!(assigner.unassigned(), 3);
        assert_eq!(drain(&mut assigner, 0), [0, 2, 4]);
        assigner.return_splits(1);
        assert_eq!(drain(&mut assigner, 0), [1, 3]);
    }
}
