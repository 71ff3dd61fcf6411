//! A job whose cluster lives for it: the job's end is the cluster's. Its `main`
//! runs in the JobManager, or ran in the client, which then shipped the graph.

use crate::{Job, JobRequest, Sandbox, from_rpc, yarn};
use heddle_entrypoint::ApplicationStatus;
use heddle_model::config::value::HighAvailabilityType;
use heddle_model::config::{Configuration, options as o};
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::{BlobKey, JobId};
use heddle_rpc::{BlobContent, DispatcherGateway, Error, JobResult};
use std::sync::Arc;
use std::time::Duration;
use tracing::{error, info, warn};

/// Pause before a dispatcher that does not lead yet is asked again.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Where the job of a cluster comes from.
#[derive(Clone, Debug)]
pub enum ApplicationJob {
    /// Its `main` runs here.
    Program(JobRequest),
    /// Graph and component lie in the container's folder.
    Shipped,
}

/// How the job of a cluster ended.
#[derive(Clone, Debug)]
pub struct ApplicationEnd {
    pub status: ApplicationStatus,
    /// Why it failed, if it did.
    pub failure: Option<Failure>,
    /// What its user should hear although all went well.
    pub note: Option<String>,
}

/// Runs the job of a cluster to its end.
///
/// # Errors
/// What is wrong with the component, its graph, or its submission. A job that
/// failed is none: its status tells.
pub async fn run_application(
    job: &ApplicationJob,
    configuration: &Configuration,
    dispatcher: Arc<dyn DispatcherGateway>,
) -> Result<ApplicationEnd, Failure> {
    let mut note = None;
    let (graph, content, _component) = match job {
        ApplicationJob::Program(request) => {
            let sandbox = Sandbox::for_planning(configuration)?;
            let mut job = Job::prepare(request, configuration, &sandbox).await?;
            if let Some(job_id) = fixed_job_id(configuration) {
                job.graph.job_id = job_id;
            }
            note = nobody_reads(&job.drop_collected());
            let (graph, content, component) = job.into_submission();
            (graph, content, Some(component))
        }
        ApplicationJob::Shipped => {
            let (graph, content) = yarn::shipped_job()?;
            (graph, content, None)
        }
    };
    let (job_id, name) = (graph.job_id, graph.name.clone());
    until_it_leads(|| dispatcher.put_blob(BlobContent::named(graph.component, content.clone()))).await?;
    match until_it_leads(|| dispatcher.submit_job(graph.clone())).await {
        Ok(job_id) => info!(%job_id, name, "the job of this cluster is submitted"),
        // A former JobManager of this cluster did.
        Err(failure) if failure.code == ErrorCode::DuplicateJob => {
            info!(%job_id, name, "the job of this cluster was submitted before");
        }
        Err(failure) => return Err(failure),
    }
    let JobResult { status, failure, runtime_ms, accumulators, .. } =
        until_it_leads(|| dispatcher.request_job_result(job_id)).await?;
    info!(%job_id, %status, runtime_ms, ?accumulators, "the job of this cluster has ended");
    if let Some(failure) = &failure {
        error!(%job_id, code = %failure.code, details = failure.details, "{failure}");
    }
    Ok(ApplicationEnd { status: status.into(), failure, note })
}

/// The client that started the cluster does not know what `main` makes here.
fn nobody_reads(dropped: &[String]) -> Option<String> {
    if dropped.is_empty() {
        return None;
    }
    let note = format!(
        "lines of this job's `collect` sinks are dropped ({}): no client reads them where `main` runs in the \
         JobManager; run it in a session to see them",
        dropped.join(", ")
    );
    warn!("{note}");
    Some(note)
}

/// With high availability the job is the same for every JobManager of the
/// cluster.
fn fixed_job_id(configuration: &Configuration) -> Option<JobId> {
    if configuration.get(&o::HIGH_AVAILABILITY) == HighAvailabilityType::None {
        return None;
    }
    let digest = BlobKey::of(configuration.get(&o::CLUSTER_ID).as_bytes()).0;
    let bytes = digest.first_chunk::<16>()?;
    Some(JobId(u128::from_be_bytes(*bytes)))
}

async fn until_it_leads<T, F>(call: impl Fn() -> F) -> Result<T, Failure>
where
    F: Future<Output = heddle_rpc::Result<T>>,
{
    loop {
        match call().await {
            Err(Error::Unreachable { .. }) => tokio::time::sleep(RETRY_PAUSE).await,
            answer => return answer.map_err(from_rpc),
        }
    }
}
