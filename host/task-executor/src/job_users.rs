//! Which jobs the TaskExecutors of one process serve. They share the process's
//! partitions and blobs, so what belongs to a job may go only with the last of
//! them. Knows no task and no slot.

use heddle_model::id::JobId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counts users of each job. A cheap handle.
#[derive(Clone, Debug, Default)]
pub struct JobUsers {
    users: Arc<Mutex<HashMap<JobId, u32>>>,
}

impl JobUsers {
    pub(crate) fn join(&self, job_id: JobId) {
        *self.users().entry(job_id).or_default() += 1;
    }

    /// Whether that was the last one.
    pub(crate) fn leave(&self, job_id: JobId) -> bool {
        let mut users = self.users();
        let Some(count) = users.get_mut(&job_id) else { return true };
        *count -= 1;
        let last = *count == 0;
        if last {
            users.remove(&job_id);
        }
        last
    }

    fn users(&self) -> MutexGuard<'_, HashMap<JobId, u32>> {
        // Nothing panics while it holds the lock.
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_one_is_told() {
        let users = JobUsers::default();
        users.join(JobId(1));
        users.clone().join(JobId(1));
        users.join(JobId(2));
        assert!(!users.leave(JobId(1)));
        assert!(users.leave(JobId(2)));
        assert!(users.leave(JobId(1)));
        assert!(users.leave(JobId(3)), "nobody uses it");
    }
}
