//! The stores and the election of a cluster that lives in one process: in
//! memory, gone with the process.

use crate::{
    BlobStore, Commitments, Error, JobGraphStore, JobGraphs, JobResultEntry, JobResultStore, LeaderElection,
    Leadership, ResultState,
};
use async_trait::async_trait;
use heddle_model::id::{BlobKey, JobId};
use heddle_model::job_graph::JobGraph;
use heddle_model::task::Commitment;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Most clean results that are remembered to refuse a second submission; the
/// oldest goes first. An id is 16 bytes: this bounds the store to some MiB.
const MAX_CLEAN_RESULTS: usize = 100_000;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every critical section is a single map operation: a poisoned map is whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug, Default)]
pub struct EmbeddedJobGraphStore {
    graphs: Mutex<BTreeMap<JobId, JobGraph>>,
}

#[async_trait]
impl JobGraphStore for EmbeddedJobGraphStore {
    async fn put(&self, graph: &JobGraph) -> Result<(), Error> {
        lock(&self.graphs).insert(graph.job_id, graph.clone());
        Ok(())
    }

    async fn remove(&self, job_id: JobId) -> Result<(), Error> {
        lock(&self.graphs).remove(&job_id);
        Ok(())
    }

    async fn list(&self) -> Result<JobGraphs, Error> {
        Ok(JobGraphs { graphs: lock(&self.graphs).values().cloned().collect(), unreadable: Vec::new() })
    }
}

#[derive(Debug, Default)]
struct Results {
    committing: BTreeMap<JobId, Commitment>,
    dirty: BTreeMap<JobId, JobResultEntry>,
    clean: BTreeSet<JobId>,
    /// In the order in which they became clean.
    cleaned: VecDeque<JobId>,
}

impl Results {
    fn state(&self, job_id: JobId) -> ResultState {
        if self.dirty.contains_key(&job_id) {
            ResultState::Dirty
        } else if self.clean.contains(&job_id) {
            ResultState::Clean
        } else if self.committing.contains_key(&job_id) {
            ResultState::Committing
        } else {
            ResultState::Absent
        }
    }
}

#[derive(Debug, Default)]
pub struct EmbeddedJobResultStore {
    results: Mutex<Results>,
}

#[async_trait]
impl JobResultStore for EmbeddedJobResultStore {
    async fn create_committing(&self, commitment: Commitment) -> Result<(), Error> {
        let (mut results, job_id) = (lock(&self.results), commitment.job_id);
        match results.state(job_id) {
            ResultState::Absent => {
                results.committing.insert(job_id, commitment);
                Ok(())
            }
            ResultState::Committing if results.committing.get(&job_id) == Some(&commitment) => Ok(()),
            from => Err(Error::Transition { what: "the result", job_id, from, to: ResultState::Committing }),
        }
    }

    async fn create_dirty(&self, entry: JobResultEntry) -> Result<(), Error> {
        let mut results = lock(&self.results);
        match results.state(entry.job_id) {
            ResultState::Absent | ResultState::Committing => {
                results.committing.remove(&entry.job_id);
                results.dirty.insert(entry.job_id, entry);
                Ok(())
            }
            ResultState::Dirty if results.dirty.get(&entry.job_id) == Some(&entry) => Ok(()),
            from => Err(Error::Transition {
                what: "the result",
                job_id: entry.job_id,
                from,
                to: ResultState::Dirty,
            }),
        }
    }

    async fn mark_clean(&self, job_id: JobId) -> Result<(), Error> {
        let mut results = lock(&self.results);
        match results.state(job_id) {
            ResultState::Dirty => {
                results.dirty.remove(&job_id);
                results.clean.insert(job_id);
                results.cleaned.push_back(job_id);
                if results.cleaned.len() > MAX_CLEAN_RESULTS
                    && let Some(oldest) = results.cleaned.pop_front()
                {
                    results.clean.remove(&oldest);
                }
                Ok(())
            }
            ResultState::Clean => Ok(()),
            from @ (ResultState::Absent | ResultState::Committing) => {
                Err(Error::Transition { what: "the result", job_id, from, to: ResultState::Clean })
            }
        }
    }

    async fn state(&self, job_id: JobId) -> Result<ResultState, Error> {
        Ok(lock(&self.results).state(job_id))
    }

    async fn committing(&self) -> Result<Commitments, Error> {
        let good = lock(&self.results).committing.values().cloned().collect();
        Ok(Commitments { good, unreadable: Vec::new() })
    }

    async fn dirty(&self) -> Result<Vec<JobResultEntry>, Error> {
        Ok(lock(&self.results).dirty.values().cloned().collect())
    }

    /// Their content is not kept: nobody restarts what lives in memory.
    async fn clean(&self, _most: usize) -> Result<Vec<JobResultEntry>, Error> {
        Ok(Vec::new())
    }
}

/// Keeps nothing: the blob server lives as long as the jobs do.
#[derive(Debug, Default)]
pub struct EmbeddedBlobStore;

#[async_trait]
impl BlobStore for EmbeddedBlobStore {
    fn keeps(&self) -> bool {
        false
    }

    async fn put(&self, _job_id: JobId, _key: BlobKey, _file: &Path) -> Result<(), Error> {
        Ok(())
    }

    async fn get(&self, _job_id: JobId, _key: BlobKey) -> Result<Option<PathBuf>, Error> {
        Ok(None)
    }

    async fn remove(&self, _job_id: JobId) -> Result<(), Error> {
        Ok(())
    }
}

/// Grants leadership once, at once.
#[derive(Debug)]
pub struct EmbeddedElection {
    session: u128,
    granted: bool,
}

impl EmbeddedElection {
    /// `session` is drawn at random by the caller.
    pub fn new(session: u128) -> Self {
        Self { session, granted: false }
    }
}

#[async_trait]
impl LeaderElection for EmbeddedElection {
    async fn next(&mut self) -> Leadership {
        if self.granted {
            return std::future::pending().await;
        }
        self.granted = true;
        Leadership::Granted { session: self.session }
    }

    async fn confirm(&mut self, session: u128, _address: &str) -> Result<(), Error> {
        if session == self.session { Ok(()) } else { Err(Error::NotLeader { session }) }
    }
}
