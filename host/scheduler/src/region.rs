//! Pipelined regions: the sets of subtasks that exchange data while they run
//! and so start and restart together.
//!
//! All exchanges are pipelined, hence a region is a connected component of the
//! physical wiring; pointwise edges leave several. Knows only indices.

/// Joins subtasks, named by dense indices, into regions.
#[derive(Debug)]
pub(crate) struct RegionBuilder {
    parent: Vec<usize>,
}

impl RegionBuilder {
    pub(crate) fn new(subtasks: usize) -> Self {
        Self { parent: (0..subtasks).collect() }
    }

    pub(crate) fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        // The smaller index is the root, so that regions are numbered in the
        // order of their first subtask.
        self.parent[a.max(b)] = a.min(b);
    }

    fn root(&mut self, mut index: usize) -> usize {
        while self.parent[index] != index {
            self.parent[index] = self.parent[self.parent[index]];
            index = self.parent[index];
        }
        index
    }

    /// The members of each region, ascending.
    pub(crate) fn regions(mut self) -> Vec<Vec<usize>> {
        let mut regions: Vec<Vec<usize>> = Vec::new();
        let mut region_of_root = vec![usize::MAX; self.parent.len()];
        for index in 0..self.parent.len() {
            let root = self.root(index);
            if region_of_root[root] == usize::MAX {
                region_of_root[root] = regions.len();
                regions.push(Vec::new());
            }
            regions[region_of_root[root]].push(index);
        }
        regions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joined_subtasks_form_a_region() {
        let mut builder = RegionBuilder::new(6);
        builder.join(4, 1);
        builder.join(5, 4);
        builder.join(3, 2);
        builder.join(2, 3);
        assert_eq!(builder.regions(), [vec![0], vec![1, 4, 5], vec![2, 3]]);
    }
}
