//! The dispatcher that leads, wherever that is: found by asking the JobManager,
//! or where the high-availability folder says, and found again when it is lost. A call waits for it meanwhile.
//!
//! Each call may be sent twice, because the answer to the first may be lost:
//! all of them allow it.

use crate::internal;
use async_trait::async_trait;
use heddle_entrypoint::{HighAvailability, LeaderRetriever};
use heddle_model::config::{Configuration, options as o};
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::{BlobKey, JobId};
use heddle_model::job_graph::JobGraph;
use heddle_model::job_status::JobStatus;
use heddle_rpc::grpc::{GrpcClient, Identity, Limits, Role};
use heddle_rpc::{
    Address, BlobContent, ClusterOverview, DispatcherGateway, Error, JobDetails, JobOverview, JobResult,
    Result,
};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tracing::{debug, info};

/// Pause before a lost dispatcher is looked for again, at first and at most; it
/// doubles with each try.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Hears how the connection to the cluster fares.
pub trait Connection: Send + Sync {
    /// The JobManager no longer answers; it is looked for, for at most that long.
    fn lost(&self, cause: &str, patience: Duration);
    /// It was found again, there.
    fn found(&self, address: &str);
}

/// Where it was found.
#[derive(Clone)]
struct Leader {
    address: Address,
    gateway: Arc<dyn DispatcherGateway>,
}

#[derive(Default)]
struct State {
    leader: Option<Leader>,
    /// Whether it has ever answered.
    reached: bool,
    /// It was told that it is lost.
    lost: bool,
}

pub(crate) struct LeadingDispatcher {
    rpc: GrpcClient,
    /// Where who leads is found.
    leaders: HighAvailability,
    connection: Arc<dyn Connection>,
    /// Of a client that has never reached it.
    first_patience: Duration,
    /// Of one that has.
    patience: Duration,
    ask_timeout: Duration,
    state: Mutex<State>,
}

/// How one call fares.
struct Search {
    since: Instant,
    pause: Duration,
    cause: String,
}

impl LeadingDispatcher {
    pub(crate) fn new(
        configuration: &Configuration,
        connection: Arc<dyn Connection>,
    ) -> Result<Self, Failure> {
        let limits = Limits::from_configuration(configuration);
        let ask_timeout = limits.ask_timeout;
        let rpc = GrpcClient::new(&Identity::new(Role::Client, None), limits)?;
        Ok(Self {
            leaders: HighAvailability::from_configuration(configuration)?,
            rpc,
            connection,
            first_patience: ask_timeout,
            patience: configuration.get(&o::CLIENT_TIMEOUT),
            ask_timeout,
            state: Mutex::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long it may be looked for.
    fn patience(&self) -> Duration {
        if self.state().reached { self.patience } else { self.first_patience }
    }

    /// The one that is known, or whoever is found to lead within the patience.
    async fn leader(&self, search: Option<&Search>) -> Result<Leader> {
        if let Some(leader) = self.state().leader.clone() {
            return Ok(leader);
        }
        let spent = search.map_or(Duration::ZERO, |search| search.since.elapsed());
        let left = self.patience().saturating_sub(spent);
        let mut retriever = LeaderRetriever::new(&self.leaders, self.rpc.clone())?;
        let leaders = retriever.first(left).await.map_err(|failure| match search {
            Some(search) => failure.with_details(format!("it was lost before: {}", search.cause)),
            None => failure,
        })?;
        let Some((address, _)) = leaders.dispatcher else {
            return Err(internal("a JobManager leads without a dispatcher").into());
        };
        let leader = Leader { gateway: self.rpc.dispatcher(&address)?, address };
        self.state().leader = Some(leader.clone());
        Ok(leader)
    }

    /// It answered.
    fn heard(&self, leader: &Leader) {
        let found = {
            let mut state = self.state();
            state.reached = true;
            std::mem::take(&mut state.lost)
        };
        if found {
            info!(address = %leader.address, "found the leading dispatcher again");
            self.connection.found(&leader.address.0);
        }
    }

    /// It did not answer, or leads no longer.
    fn lose(&self, leader: &Leader, cause: &str) {
        let told = {
            let mut state = self.state();
            state.leader.take_if(|known| known.address == leader.address);
            state.reached && !std::mem::replace(&mut state.lost, true)
        };
        if told {
            info!(address = %leader.address, cause, "lost the leading dispatcher");
            self.connection.lost(cause, self.patience);
        }
    }

    /// Sends a call to whoever leads, again after each loss, until it is
    /// answered or patience ends.
    async fn call<T, F, R>(&self, ask: F) -> Result<T>
    where
        F: Fn(Arc<dyn DispatcherGateway>) -> R + Send + Sync,
        R: Future<Output = Result<T>> + Send,
        T: Send,
    {
        let mut search: Option<Search> = None;
        loop {
            let leader = self.leader(search.as_ref()).await?;
            let asked = Instant::now();
            let error = match ask(Arc::clone(&leader.gateway)).await {
                Err(error) if is_lost(&error) => error,
                answer => {
                    self.heard(&leader);
                    return if search.is_some() { answer.map_err(after_a_loss) } else { answer };
                }
            };
            let cause = error.to_string();
            debug!(address = %leader.address, cause, "a call to the dispatcher was lost");
            self.lose(&leader, &cause);
            // A connection is made in less than that, or not at all: there was one.
            let was_there = matches!(error, Error::Unreachable { .. }) && asked.elapsed() >= self.ask_timeout;
            let search = match &mut search {
                Some(search) if !was_there => search,
                _ => search.insert(Search { since: asked, pause: PAUSE_MIN, cause: String::new() }),
            };
            search.cause = cause;
            if search.since.elapsed() >= self.patience() {
                return Err(given_up(&leader.address, search).into());
            }
            tokio::time::sleep(search.pause).await;
            search.pause = (search.pause * 2).min(PAUSE_MAX);
        }
    }
}

/// Whether another leader, or the same one later, may answer better.
fn is_lost(error: &Error) -> bool {
    match error {
        Error::Unreachable { .. } | Error::Fenced { .. } => true,
        Error::Failure(failure) => matches!(failure.code, ErrorCode::NoAnswer | ErrorCode::Fenced),
    }
}

/// A JobManager that was started anew knows no job of the former one.
fn after_a_loss(error: Error) -> Error {
    match error {
        Error::Failure(mut failure) if failure.code == ErrorCode::NoSuchJob => {
            failure.message.push_str(
                "; the connection was lost meanwhile: if its JobManager ended, its jobs outlive it only with \
                 `high-availability.type: filesystem`",
            );
            failure.into()
        }
        other => other,
    }
}

/// The JobManager tells who leads, but that one is not reached.
fn given_up(address: &Address, search: &Search) -> Failure {
    let message = format!(
        "the leading dispatcher is at {address}, which does not answer ({:.1?}): {}; check that \
         `jobmanager.rpc.address` of the JobManager is a name by which it is reached from here",
        search.since.elapsed(),
        search.cause
    );
    Failure::new(ErrorCode::Unreachable, message)
}

#[async_trait]
impl DispatcherGateway for LeadingDispatcher {
    async fn put_blob(&self, content: BlobContent) -> Result<BlobKey> {
        // Content that can be read only once is sent only once.
        let Some(again) = content.again() else {
            return self.leader(None).await?.gateway.put_blob(content).await;
        };
        let again = Mutex::new(again);
        self.call(|dispatcher| {
            let copy = again.lock().unwrap_or_else(PoisonError::into_inner).again();
            async move {
                match copy {
                    Some(content) => dispatcher.put_blob(content).await,
                    None => Err(internal("a blob in memory cannot be read again").into()),
                }
            }
        })
        .await
    }

    async fn submit_job(&self, job: JobGraph) -> Result<JobId> {
        let sent = AtomicBool::new(false);
        self.call(|dispatcher| {
            let job = job.clone();
            let again = sent.swap(true, Ordering::Relaxed);
            async move {
                let job_id = job.job_id;
                match dispatcher.submit_job(job).await {
                    // It was taken at the first time; the answer was lost.
                    Err(Error::Failure(failure)) if again && failure.code == ErrorCode::DuplicateJob => {
                        Ok(job_id)
                    }
                    submitted => submitted,
                }
            }
        })
        .await
    }

    async fn list_jobs(&self) -> Result<Vec<JobOverview>> {
        self.call(|dispatcher| async move { dispatcher.list_jobs().await }).await
    }

    async fn request_job(&self, job_id: JobId) -> Result<JobDetails> {
        self.call(|dispatcher| async move { dispatcher.request_job(job_id).await }).await
    }

    async fn request_job_result(&self, job_id: JobId) -> Result<JobResult> {
        self.call(|dispatcher| async move {
            let result = dispatcher.request_job_result(job_id).await?;
            if result.status == JobStatus::Suspended {
                let message = format!("the JobManager of job {job_id} stopped; the job is suspended");
                return Err(Failure::new(ErrorCode::Fenced, message).into());
            }
            Ok(result)
        })
        .await
    }

    async fn shut_down_cluster(&self) -> Result<()> {
        self.call(|dispatcher| async move { dispatcher.shut_down_cluster().await }).await
    }

    async fn cancel_job(&self, job_id: JobId) -> Result<()> {
        self.call(|dispatcher| async move { dispatcher.cancel_job(job_id).await }).await
    }

    async fn request_cluster_overview(&self) -> Result<ClusterOverview> {
        self.call(|dispatcher| async move { dispatcher.request_cluster_overview().await }).await
    }
}
