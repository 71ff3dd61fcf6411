//! Why containers ended that nobody told to end: the last of them, for whoever
//! says how the application ended.

use crate::id::ContainerId;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::timeout;

/// More would not be read.
const LOSSES_MAX: usize = 3;

#[derive(Clone, Default)]
pub(crate) struct Losses(Arc<Inner>);

#[derive(Default)]
struct Inner {
    lines: Mutex<VecDeque<String>>,
    added: Notify,
}

impl Losses {
    pub(crate) fn add(&self, container: ContainerId, reason: &str) {
        let mut lines = self.0.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == LOSSES_MAX {
            lines.pop_front();
        }
        lines.push_back(format!("{container}: {reason}"));
        self.0.added.notify_one();
    }

    fn lines(&self) -> Vec<String> {
        self.0.lines.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// The last ones; if there is none, the next within `patience`.
    pub(crate) async fn told(&self, patience: Duration) -> Vec<String> {
        let added = async {
            while self.lines().is_empty() {
                self.0.added.notified().await;
            }
        };
        // Nothing is known then, and nothing is said.
        let _ = timeout(patience, added).await;
        self.lines()
    }
}
