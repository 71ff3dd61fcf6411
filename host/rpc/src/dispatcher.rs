//! What clients ask the dispatcher.

use crate::{BlobContent, ResourceOverview, Result};
use async_trait::async_trait;
use heddle_model::failure::Failure;
use heddle_model::id::{BlobKey, JobId, ResourceId, VertexId};
use heddle_model::job_graph::JobGraph;
use heddle_model::job_status::{ExecutionState, JobStatus};
use heddle_model::task::TaskMetrics;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A line of the list of jobs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobOverview {
    pub job_id: JobId,
    pub name: String,
    pub status: JobStatus,
    /// Milliseconds since the epoch.
    pub start_time_ms: u64,
    pub end_time_ms: Option<u64>,
}

/// The current attempt of a subtask.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SubtaskDetails {
    pub state: ExecutionState,
    /// From 0 on.
    pub attempt: u32,
    /// Where it runs, or ran; none before it is deployed.
    pub task_executor: Option<ResourceId>,
    pub metrics: TaskMetrics,
}

/// A failure that a job survived, or died of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobFailure {
    /// Milliseconds since the epoch.
    pub at_ms: u64,
    pub failure: Failure,
}

/// A vertex of a job, summed over its subtasks' current attempts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VertexDetails {
    pub vertex_id: VertexId,
    pub name: String,
    pub parallelism: u32,
    /// How many subtasks are in each state.
    pub states: BTreeMap<String, u32>,
    pub subtasks: Vec<SubtaskDetails>,
    pub metrics: TaskMetrics,
}

/// A job as it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobDetails {
    pub overview: JobOverview,
    pub restarts: u32,
    pub vertices: Vec<VertexDetails>,
    pub accumulators: BTreeMap<String, i64>,
    /// The last failure, also if the job was restarted after it.
    pub failure: Option<Failure>,
    /// The latest failures, the oldest first.
    pub failures: Vec<JobFailure>,
}

/// The cluster in numbers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClusterOverview {
    pub resources: ResourceOverview,
    /// Jobs that have not ended.
    pub jobs_running: u32,
    /// Of the jobs that it remembers.
    pub jobs_finished: u32,
    pub jobs_canceled: u32,
    pub jobs_failed: u32,
    /// What the JobManager counts of its messages and connections.
    pub rpc: BTreeMap<String, u64>,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobResult {
    pub job_id: JobId,
    pub status: JobStatus,
    pub failure: Option<Failure>,
    pub runtime_ms: u64,
    /// From submission to the first record at a sink.
    pub first_record_ms: Option<u64>,
    pub accumulators: BTreeMap<String, i64>,
    /// What `collect` sinks gathered: name of the sink, lines in the order of
    /// subtasks.
    pub collected: BTreeMap<String, Vec<String>>,
}

#[async_trait]
pub trait DispatcherGateway: Send + Sync {
    /// Stores a blob (a component) and gives its key; the same content is
    /// stored once. Content that does not have the key it comes with is
    /// refused.
    async fn put_blob(&self, content: BlobContent) -> Result<BlobKey>;
    /// Persists and starts a job.
    async fn submit_job(&self, job: JobGraph) -> Result<JobId>;
    async fn list_jobs(&self) -> Result<Vec<JobOverview>>;
    async fn request_job(&self, job_id: JobId) -> Result<JobDetails>;
    /// Waits until the job is terminal.
    async fn request_job_result(&self, job_id: JobId) -> Result<JobResult>;
    /// Asks for cancellation; returns before it is done.
    async fn cancel_job(&self, job_id: JobId) -> Result<()>;
    /// Asks the whole cluster to end, with its jobs; returns before it has.
    async fn shut_down_cluster(&self) -> Result<()>;
    async fn request_cluster_overview(&self) -> Result<ClusterOverview>;
}
