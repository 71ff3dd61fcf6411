//! What outlives the leader: takes a job in, stores its result, cleans up after
//! it, recovers. Each step may be repeated.

use async_trait::async_trait;
use heddle_blob::BlobServer;
use heddle_ha::{
    BlobStore, Error, JobGraphStore, JobGraphs, JobResultEntry, JobResultStore, ResultState, Unreadable,
};
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::JobId;
use heddle_model::job_graph::JobGraph;
use heddle_model::task::Commitment;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

#[derive(Clone)]
pub(crate) struct Persistence {
    pub(crate) job_graphs: Arc<dyn JobGraphStore>,
    pub(crate) job_results: Arc<dyn JobResultStore>,
    pub(crate) blobs: BlobServer,
    /// Copies that a new leader's blob server takes back.
    pub(crate) blob_copies: Arc<dyn BlobStore>,
    /// First and longest pause between two tries.
    pub(crate) backoff: (Duration, Duration),
    /// How long a blob without a job stays.
    pub(crate) upload_lifetime: Duration,
}

/// What a job master keeps its commitment in, while the leader leads.
pub(crate) struct KeptCommitments {
    pub(crate) persistence: Persistence,
    pub(crate) stop: CancellationToken,
}

#[async_trait]
impl heddle_job_master::Commitments for KeptCommitments {
    async fn store(&self, commitment: Commitment) -> bool {
        self.persistence.store_commitment(commitment, &self.stop).await
    }
}

/// What a former leader left.
pub(crate) struct Recovered {
    /// Ended and cleaned up, the latest last.
    pub(crate) clean: Vec<JobResultEntry>,
    pub(crate) dirty: Vec<JobResultEntry>,
    pub(crate) graphs: Vec<JobGraph>,
    /// Those of them whose tasks have finished.
    pub(crate) commitments: BTreeMap<JobId, Commitment>,
    /// Jobs whose graph or commitment cannot be read any more.
    pub(crate) unreadable: Vec<Unreadable>,
}

impl Persistence {
    /// Stores the job unless it has ended before.
    pub(crate) async fn take_in(&self, job: &JobGraph) -> Result<(), Failure> {
        let job_id = job.job_id;
        let storage = |error: Error| {
            let message = format!("job `{}` ({job_id}) could not be stored: {error}", job.name);
            Failure::new(ErrorCode::HighAvailability, message)
        };
        if self.job_results.state(job_id).await.map_err(storage)? != ResultState::Absent {
            return Err(crate::submission::already_finished(job_id));
        }
        self.blobs.retain(job_id, job.component).await?;
        let stored = match self.copy_component(job).await {
            Ok(()) => self.job_graphs.put(job).await.map_err(storage),
            Err(failure) => Err(failure),
        };
        if stored.is_err() {
            if let Err(error) = self.blobs.release(job_id).await {
                warn!(job = %job_id, %error, "the blobs of a job that was not stored stay");
            }
            if let Err(error) = self.blob_copies.remove(job_id).await {
                warn!(job = %job_id, %error, "the copies of blobs of a job that was not stored stay");
            }
        }
        stored
    }

    async fn copy_component(&self, job: &JobGraph) -> Result<(), Failure> {
        if !self.blob_copies.keeps() {
            return Ok(());
        }
        let file = self.blobs.get_path(job.component).await?;
        self.blob_copies.put(job.job_id, job.component, &file).await.map_err(|error| {
            let message = format!("job `{}` ({}) could not be stored: {error}", job.name, job.job_id);
            Failure::new(ErrorCode::HighAvailability, message)
        })
    }

    /// Absent → committing; tries again until it is done. False if stopped
    /// before.
    async fn store_commitment(&self, commitment: Commitment, stop: &CancellationToken) -> bool {
        let job_id = commitment.job_id;
        self.repeat(job_id, "storing what is to be published", stop, || {
            let (results, commitment) = (self.job_results.clone(), commitment.clone());
            async move { results.create_committing(commitment).await.map_err(|e| e.to_string()) }
        })
        .await
    }

    /// Absent or committing → dirty; tries again until it is done. False if stopped before.
    pub(crate) async fn store_result(&self, entry: JobResultEntry, stop: &CancellationToken) -> bool {
        let job_id = entry.job_id;
        self.repeat(job_id, "storing the result", stop, || {
            let (results, entry) = (self.job_results.clone(), entry.clone());
            async move { results.create_dirty(entry).await.map_err(|e| e.to_string()) }
        })
        .await
    }

    /// Removes what the job left, then dirty → clean; tries again until it is
    /// done. False if stopped before.
    pub(crate) async fn clean_up(&self, job_id: JobId, stop: &CancellationToken) -> bool {
        let done = self
            .repeat(job_id, "cleaning up", stop, || {
                let this = self.clone();
                async move {
                    this.job_graphs.remove(job_id).await.map_err(|e| e.to_string())?;
                    this.blob_copies.remove(job_id).await.map_err(|e| e.to_string())?;
                    this.blobs.release(job_id).await.map_err(|e| Failure::from(e).message)?;
                    this.job_results.mark_clean(job_id).await.map_err(|e| e.to_string())
                }
            })
            .await;
        if done {
            info!(job = %job_id, "cleaned up");
        }
        done
    }

    async fn repeat<F>(
        &self,
        job_id: JobId,
        what: &str,
        stop: &CancellationToken,
        step: impl Fn() -> F,
    ) -> bool
    where
        F: Future<Output = Result<(), String>>,
    {
        let (mut pause, longest) = self.backoff;
        loop {
            let Err(reason) = step().await else { return true };
            warn!(job = %job_id, reason, retry_in_ms = pause.as_millis() as u64, "{what} failed");
            tokio::select! {
                () = stop.cancelled() => return false,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(longest);
        }
    }

    /// Dirty results first, then the graphs of jobs that have none, and what
    /// they are to publish.
    pub(crate) async fn recover(&self, max_finished_jobs: usize) -> Result<Recovered, Error> {
        let dirty = self.job_results.dirty().await?;
        let mut clean = self.job_results.clean(max_finished_jobs).await?;
        clean.reverse();
        let ended: BTreeSet<JobId> = dirty.iter().chain(&clean).map(|entry| entry.job_id).collect();
        let JobGraphs { mut graphs, mut unreadable } = self.job_graphs.list().await?;
        let committing = self.job_results.committing().await?;
        let lost: BTreeSet<JobId> = committing.unreadable.iter().map(|lost| lost.job_id).collect();
        // One whose graph is lost too is told once.
        unreadable.retain(|graph| !lost.contains(&graph.job_id));
        unreadable.extend(committing.unreadable);
        graphs.retain(|graph| !ended.contains(&graph.job_id) && !lost.contains(&graph.job_id));
        unreadable.retain(|graph| !ended.contains(&graph.job_id));
        let commitments = committing.good.into_iter().map(|one| (one.job_id, one)).collect();
        for graph in &graphs {
            self.retain(graph).await;
        }
        Ok(Recovered { clean, dirty, graphs, commitments, unreadable })
    }

    /// Has the blob server hold the component of a recovered job.
    async fn retain(&self, graph: &JobGraph) {
        // Without its component the job fails when it is deployed, and says so;
        // the other jobs are not to suffer.
        if let Err(error) = self.blobs.retain(graph.job_id, graph.component).await {
            warn!(job = %graph.job_id, %error, "the component of a recovered job is missing");
        }
    }

    pub(crate) async fn sweep_uploads(&self) {
        if let Err(error) = self.blobs.sweep(self.upload_lifetime).await {
            warn!(%error, "old uploads could not be removed");
        }
    }
}
