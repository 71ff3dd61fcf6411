//! Calls to one peer, one after the other: a cancellation must not overtake the
//! deployment it is meant for.
//!
//! Does not know the calls.

use std::collections::VecDeque;

#[derive(Debug)]
pub(crate) struct CallQueue<C> {
    waiting: VecDeque<C>,
    under_way: bool,
}

impl<C> CallQueue<C> {
    pub fn new() -> Self {
        Self { waiting: VecDeque::new(), under_way: false }
    }

    pub fn push(&mut self, call: C) {
        self.waiting.push_back(call);
    }

    /// The next call to make, unless one is under way.
    pub fn next(&mut self) -> Option<C> {
        if self.under_way {
            return None;
        }
        let call = self.waiting.pop_front()?;
        self.under_way = true;
        Some(call)
    }

    /// The call under way has ended.
    pub fn ended(&mut self) {
        self.under_way = false;
    }

    /// What waits, and then waits no more.
    pub fn drain(&mut self) -> impl Iterator<Item = C> {
        self.waiting.drain(..)
    }
}
