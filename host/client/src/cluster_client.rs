//! What a client asks of a cluster: submit a job, follow it, cancel it, list
//! what there is. The same for a cluster in this process and for one on a
//! network: they differ in the gateway of the dispatcher.

use crate::leading_dispatcher::LeadingDispatcher;
use crate::{Connection, Job, from_rpc, internal};
use heddle_model::config::Configuration;
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::JobId;
use heddle_rpc::{BlobContent, ClusterOverview, DispatcherGateway, JobDetails, JobOverview, JobResult};
use heddle_wasm::Component;
use std::sync::Arc;

/// How often a component is uploaded: the cluster may lose it before the
/// submission, when its JobManager is restarted in between.
const UPLOADS_MAX: u32 = 3;

/// A client of one cluster. Cheap to clone.
#[derive(Clone)]
pub struct ClusterClient {
    dispatcher: Arc<dyn DispatcherGateway>,
}

impl ClusterClient {
    pub fn new(dispatcher: Arc<dyn DispatcherGateway>) -> Self {
        Self { dispatcher }
    }

    /// A client of the cluster on a network that the configuration names;
    /// `connection` hears when it is lost and found again. Nothing is sent yet.
    ///
    /// # Errors
    /// H1201: the configuration names no place where a JobManager can be found.
    pub fn remote(configuration: &Configuration, connection: Arc<dyn Connection>) -> Result<Self, Failure> {
        Ok(Self::new(Arc::new(LeadingDispatcher::new(configuration, connection)?)))
    }

    /// Submits the job, and uploads its component if the cluster does not have
    /// it.
    ///
    /// # Errors
    /// H3101, H32xx, H33xx, or what the dispatcher finds wrong with the graph.
    pub async fn submit(&self, job: Job) -> Result<RunningJob, Failure> {
        let (graph, content, component) = job.into_submission();
        let mut uploads = 0;
        let job_id = loop {
            match self.dispatcher.submit_job(graph.clone()).await.map_err(from_rpc) {
                Err(failure) if failure.code == ErrorCode::Blob && uploads < UPLOADS_MAX => {
                    tracing::debug!(job = %graph.job_id, %failure, "the component is uploaded");
                }
                submitted => break submitted?,
            }
            uploads += 1;
            let blob = BlobContent::named(graph.component, content.clone());
            match self.dispatcher.put_blob(blob).await.map_err(from_rpc) {
                Ok(key) if key != graph.component => {
                    return Err(internal(format!("the blob server stored {} as {key}", graph.component)));
                }
                // A full disk has room again where others' components gave way.
                Err(failure) if failure.code == ErrorCode::Blob && uploads < UPLOADS_MAX => {
                    tracing::info!(job = %graph.job_id, %failure, "the component is uploaded again");
                }
                stored => drop(stored?),
            }
        };
        Ok(RunningJob { _component: Some(component), ..self.job(job_id) })
    }

    /// A job that was submitted by whomever; whether there is one shows when it
    /// is asked for.
    pub fn job(&self, job_id: JobId) -> RunningJob {
        RunningJob { job_id, dispatcher: Arc::clone(&self.dispatcher), _component: None }
    }

    /// All jobs that the cluster knows, the oldest first.
    pub async fn list(&self) -> Result<Vec<JobOverview>, Failure> {
        self.dispatcher.list_jobs().await.map_err(from_rpc)
    }

    /// Asks the cluster to end, with its jobs; returns before it has.
    pub async fn shut_down(&self) -> Result<(), Failure> {
        self.dispatcher.shut_down_cluster().await.map_err(from_rpc)
    }

    /// TaskExecutors, slots and jobs in numbers.
    pub async fn overview(&self) -> Result<ClusterOverview, Failure> {
        self.dispatcher.request_cluster_overview().await.map_err(from_rpc)
    }
}

/// A job that was submitted. Cheap to clone.
#[derive(Clone)]
pub struct RunningJob {
    job_id: JobId,
    dispatcher: Arc<dyn DispatcherGateway>,
    /// The compiled code stays mapped, whether a task of this process has it
    /// yet or not.
    _component: Option<Component>,
}

impl RunningJob {
    pub fn id(&self) -> JobId {
        self.job_id
    }

    /// As it stands now.
    pub async fn details(&self) -> Result<JobDetails, Failure> {
        self.dispatcher.request_job(self.job_id).await.map_err(from_rpc)
    }

    /// Waits for its end.
    pub async fn result(&self) -> Result<JobResult, Failure> {
        self.dispatcher.request_job_result(self.job_id).await.map_err(from_rpc)
    }

    /// Asks for its cancellation; [`result`](Self::result) tells when it is done.
    pub async fn cancel(&self) -> Result<(), Failure> {
        self.dispatcher.cancel_job(self.job_id).await.map_err(from_rpc)
    }
}
