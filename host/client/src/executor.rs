//! Runs a job on the target that the configuration names, and follows it.

use crate::{EmbeddedCluster, Job, Sandbox, from_rpc, internal};
use heddle_connectors::Console;
use heddle_model::config::value::Target;
use heddle_model::config::{Configuration, options as o};
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::JobId;
use heddle_rpc::{DispatcherGateway, JobDetails, JobResult};
use heddle_wasm::Component;
use std::sync::Arc;

/// Whether this build serves the configured target.
///
/// # Errors
/// H1201 with what does work.
pub fn check_target(configuration: &Configuration) -> Result<(), Failure> {
    match configuration.get(&o::EXECUTION_TARGET) {
        Target::Local => Ok(()),
        target => Err(Failure::new(
            ErrorCode::ConfigurationInvalid,
            format!(
                "target `{target}` (from {}) is not served by this version; only `local` is",
                configuration.origin(&o::EXECUTION_TARGET)
            ),
        )),
    }
}

/// Runs jobs in a cluster of its own, within this process.
pub struct LocalExecutor {
    cluster: EmbeddedCluster,
}

impl LocalExecutor {
    /// See [`EmbeddedCluster::start`].
    pub fn start(
        configuration: &Configuration,
        sandbox: &Sandbox,
        console: Arc<dyn Console>,
    ) -> Result<Self, Failure> {
        Ok(Self { cluster: EmbeddedCluster::start(configuration, sandbox, console)? })
    }

    /// Uploads the component and submits the job.
    ///
    /// # Errors
    /// H3101, H32xx, or what the dispatcher finds wrong with the graph.
    pub async fn submit(&self, job: Job) -> Result<RunningJob, Failure> {
        let dispatcher = self.cluster.dispatcher();
        let (graph, content, component) = job.into_submission()?;
        let expected = graph.component;
        let key = dispatcher.put_blob(content.into()).await.map_err(from_rpc)?;
        if key != expected {
            return Err(internal(format!("the blob server stored {expected} as {key}")));
        }
        let job_id = dispatcher.submit_job(graph).await.map_err(from_rpc)?;
        Ok(RunningJob { job_id, dispatcher, _component: component })
    }

    /// Waits until the cluster ends by itself, and tells why.
    pub async fn failed(&mut self) -> Failure {
        self.cluster.failed().await
    }

    pub async fn shut_down(self) {
        self.cluster.shut_down().await;
    }
}

/// A job that was submitted. Cheap to clone.
#[derive(Clone)]
pub struct RunningJob {
    job_id: JobId,
    dispatcher: Arc<dyn DispatcherGateway>,
    /// The compiled code stays mapped, whether a task has it yet or not.
    _component: Component,
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
