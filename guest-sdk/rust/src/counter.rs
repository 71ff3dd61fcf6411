//! Counters: accumulators of the job. Adds are local; the sums go to the host
//! with a flush and at the end.

use crate::runtime::host;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

/// A counter of the job, summed over all subtasks. A cheap handle: clones
/// count together.
#[derive(Clone, Debug, Default)]
pub struct Counter {
    added: Rc<Cell<i64>>,
}

impl Counter {
    /// Adds a number.
    #[inline]
    pub fn add(&self, n: i64) {
        self.added.set(self.added.get().wrapping_add(n));
    }

    /// Adds one.
    #[inline]
    pub fn inc(&self) {
        self.add(1);
    }
}

/// The counters of an instance, by name.
#[derive(Clone, Default)]
pub(crate) struct Counters(Rc<RefCell<BTreeMap<String, Counter>>>);

impl Counters {
    pub(crate) fn get(&self, name: &str) -> Counter {
        if let Some(counter) = self.0.borrow().get(name) {
            return counter.clone();
        }
        self.0.borrow_mut().entry(name.to_string()).or_default().clone()
    }

    /// Sends what was added since the last time.
    pub(crate) fn send(&self) {
        let mut values = Vec::new();
        for (name, counter) in self.0.borrow().iter() {
            match counter.added.take() {
                0 => {}
                added => values.push((name.clone(), added)),
            }
        }
        if !values.is_empty() {
            host::add_metrics(&values);
        }
    }
}
