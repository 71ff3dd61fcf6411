//! The dispatcher's loop: leadership, messages, submissions. What clients ask
//! of jobs is in `asked`, how jobs end in `ended`.

mod asked;
mod ended;

use crate::archive::Archive;
use crate::finished::{FinishedJobs, Kept, Limits};
use crate::job_masters::{JobMaster, JobMasters, LocalJobMasters};
use crate::jobs::{Job, Phase};
use crate::leadership::{self, State};
use crate::message::{Command, Handle, MAX_WAITING_MESSAGES, Reply};
use crate::persistence::{KeptCommitments, Persistence, Recovered};
use crate::{Error, Options, submission};
use heddle_blob::BlobServer;
use heddle_ha::{LeaderElection, Leadership, Services};
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::{DispatcherId, JobId, JobMasterId, ResourceManagerId};
use heddle_model::job_graph::JobGraph;
use heddle_model::task::Commitment;
use heddle_rpc::{Address, JobResult, RpcService};
use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

/// What a step off the loop led to.
enum Done {
    Recovered(Result<Recovered, heddle_ha::Error>),
    TakenIn(Box<JobGraph>, Result<(), Failure>),
    /// The result outlives this leader from now on.
    ResultStored(Kept),
    ResultNotStored(JobId),
    CleanedUp,
    Answered,
}

enum Event {
    Leadership(Leadership),
    Command(Command),
    JobEnded(Result<(Id, JobResult), JoinError>),
    Done(Result<Done, JoinError>),
    Sweep,
    StopTimeout,
    Shutdown,
}

pub struct Service {
    options: Options,
    rpc: Arc<dyn RpcService>,
    /// What is served while it leads.
    handle: Handle,
    /// Where, if it leads: an address of this leader's own.
    served_at: Option<Address>,
    commands: mpsc::Receiver<Command>,
    election: Box<dyn LeaderElection>,
    persistence: Persistence,
    job_masters: Box<dyn JobMasters>,
    state: State,
    jobs: BTreeMap<JobId, Job>,
    finished: FinishedJobs,
    archive: Archive,
    masters: JoinSet<JobResult>,
    job_of_task: HashMap<Id, JobId>,
    /// Steps that the end of the leader process waits for.
    steps: JoinSet<Done>,
    /// Cancelled when the leader process is to stop.
    stop: CancellationToken,
    stop_deadline: Option<Instant>,
}

impl Service {
    /// The handle's messages wait until it runs and leads.
    pub fn new(
        options: Options,
        rpc: Arc<dyn RpcService>,
        ha: Services,
        blobs: BlobServer,
    ) -> (Self, Handle) {
        let job_masters = Box::new(LocalJobMasters::new(options.clone(), rpc.clone()));
        Self::with_job_masters(options, rpc, ha, blobs, job_masters)
    }

    /// As [`new`](Self::new), with job masters from elsewhere.
    pub fn with_job_masters(
        options: Options,
        rpc: Arc<dyn RpcService>,
        ha: Services,
        blobs: BlobServer,
        job_masters: Box<dyn JobMasters>,
    ) -> (Self, Handle) {
        let (sender, commands) = mpsc::channel(MAX_WAITING_MESSAGES);
        let handle = Handle {
            address: options.address.clone(),
            commands: sender,
            blobs: blobs.clone(),
            shut_down: CancellationToken::new(),
        };
        blobs.use_copies(ha.blobs.clone());
        let persistence = Persistence {
            job_graphs: ha.job_graphs,
            job_results: ha.job_results,
            blobs,
            blob_copies: ha.blobs,
            backoff: options.clean_up_backoff,
            upload_lifetime: options.upload_lifetime,
        };
        let service = Self {
            finished: FinishedJobs::new(Limits {
                capacity: options.max_finished_jobs,
                expiration: options.finished_job_lifetime,
                cache_size: options.finished_job_cache,
            }),
            archive: Archive {
                store: options.finished_job_folder.clone(),
                archive: options.archive_folder.clone(),
            },
            options,
            rpc,
            handle: handle.clone(),
            served_at: None,
            commands,
            election: ha.dispatcher_election,
            persistence,
            job_masters,
            state: State::Idle,
            jobs: BTreeMap::new(),
            masters: JoinSet::new(),
            job_of_task: HashMap::new(),
            steps: JoinSet::new(),
            stop: CancellationToken::new(),
            stop_deadline: None,
        };
        (service, handle)
    }

    /// Runs until shutdown, which suspends the jobs, or until a recovery fails.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), Error> {
        info!(address = %self.options.address, "dispatcher started");
        let outcome = self.lead(shutdown).await;
        self.stop_serving();
        info!("dispatcher stopped");
        outcome
    }

    async fn lead(&mut self, shutdown: CancellationToken) -> Result<(), Error> {
        let shortest = self.options.upload_lifetime.min(self.options.finished_job_lifetime);
        let mut sweep = tokio::time::interval(shortest.max(Duration::from_secs(1)));
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ending = false;
        while !(ending && self.state == State::Idle) {
            // A new leader first recovers; what comes meanwhile waits.
            let open = !matches!(self.state, State::Created { .. });
            let stop_deadline = self.stop_deadline;
            let event = tokio::select! {
                biased;
                () = shutdown.cancelled(), if !ending => Event::Shutdown,
                change = self.election.next(), if !ending => Event::Leadership(change),
                Some(ended) = self.masters.join_next_with_id() => Event::JobEnded(ended),
                Some(done) = self.steps.join_next() => Event::Done(done),
                () = until(stop_deadline) => Event::StopTimeout,
                _ = sweep.tick() => Event::Sweep,
                Some(command) = self.commands.recv(), if open => Event::Command(command),
            };
            match event {
                Event::Shutdown => {
                    ending = true;
                    self.leadership(leadership::Input::Revoked).await?;
                }
                Event::Leadership(Leadership::Granted { session }) => {
                    self.leadership(leadership::Input::Granted { session }).await?;
                }
                Event::Leadership(Leadership::Revoked) => {
                    self.leadership(leadership::Input::Revoked).await?;
                }
                Event::Command(command) => self.command(command),
                Event::JobEnded(ended) => self.job_ended(ended),
                Event::Done(Ok(done)) => self.done(done).await?,
                Event::Done(Err(error)) if error.is_cancelled() => {}
                Event::Done(Err(error)) => error!(%error, "a step of the dispatcher panicked"),
                Event::Sweep => {
                    let expired = self.finished.expire(Instant::now());
                    self.remove_finished(expired);
                    let persistence = self.persistence.clone();
                    self.steps.spawn(async move {
                        persistence.sweep_uploads().await;
                        Done::Answered
                    });
                }
                Event::StopTimeout => {
                    warn!("jobs did not suspend in time; they are dropped");
                    self.stop_deadline = None;
                    self.masters.abort_all();
                    self.steps.abort_all();
                }
            }
            self.check_stopped().await?;
        }
        Ok(())
    }

    async fn leadership(&mut self, input: leadership::Input) -> Result<(), Error> {
        let (next, command) = self.state.next(input);
        self.state = next;
        match command {
            Some(leadership::Command::Recover { session }) => {
                info!(session = %format_args!("{session:032x}"), "leadership granted, recovering");
                self.stop = CancellationToken::new();
                let (persistence, most) = (self.persistence.clone(), self.options.max_finished_jobs);
                self.steps.spawn(async move { Done::Recovered(persistence.recover(most).await) });
            }
            Some(leadership::Command::Serve { session }) => {
                let address = self.serve(session);
                match self.election.confirm(session, &address.0).await {
                    Ok(()) => {}
                    Err(error @ heddle_ha::Error::NotLeader { .. }) => {
                        // The revocation follows.
                        warn!(%error, "leadership could not be confirmed");
                    }
                    // It would lead without anybody's knowing.
                    Err(error) => return Err(Error::Confirmation(error)),
                }
            }
            Some(leadership::Command::Stop) => {
                info!(jobs = self.jobs.len(), "leadership ended, suspending the jobs");
                self.stop_serving();
                self.stop.cancel();
                self.stop_deadline = Some(Instant::now() + self.options.stop_timeout);
            }
            None => {}
        }
        Ok(())
    }

    /// Each leader has an address of its own: what was meant for a former one
    /// reaches nobody.
    fn serve(&mut self, session: u128) -> Address {
        let address = Address(format!("{}/{}", self.options.address, DispatcherId(session)));
        let handle = Handle { address: address.clone(), ..self.handle.clone() };
        self.rpc.serve_dispatcher(address.clone(), Arc::new(handle));
        self.served_at = Some(address.clone());
        address
    }

    fn stop_serving(&mut self) {
        if let Some(address) = self.served_at.take() {
            self.rpc.stop_serving(&address);
        }
    }

    async fn check_stopped(&mut self) -> Result<(), Error> {
        let stopping = matches!(self.state, State::Stopping { .. });
        if !stopping || !self.masters.is_empty() || !self.steps.is_empty() {
            return Ok(());
        }
        self.stop_deadline = None;
        self.job_of_task.clear();
        for (job_id, job) in std::mem::take(&mut self.jobs) {
            job.suspended(job_id);
        }
        self.leadership(leadership::Input::Stopped).await
    }

    fn command(&mut self, command: Command) {
        if !matches!(self.state, State::Running { .. }) {
            command.refuse(&self.options.address);
            return;
        }
        match command {
            Command::Submit(job, reply) => self.submit(*job, reply),
            Command::List(reply) => self.list(reply),
            Command::Details(job_id, reply) => self.details(job_id, reply),
            Command::Result(job_id, reply) => self.result(job_id, reply),
            Command::Cancel(job_id, reply) => self.cancel(job_id, reply),
            Command::Overview(reply) => self.overview(reply),
        }
    }

    /// Of the leadership that runs, or starts; 0 without one.
    fn session(&self) -> u128 {
        match self.state {
            State::Created { session } | State::Running { session } => session,
            State::Idle | State::Stopping { .. } => 0,
        }
    }

    fn submit(&mut self, job: JobGraph, reply: Reply<JobId>) {
        let job_id = job.job_id;
        let refused = if self.jobs.contains_key(&job_id) {
            Err(submission::duplicate(job_id))
        } else if self.finished.overview(job_id).is_some() {
            Err(submission::already_finished(job_id))
        } else {
            submission::check(&job)
        };
        if let Err(failure) = refused {
            info!(job = %job_id, %failure, "a job is refused");
            let _ = reply.send(Err(failure.into()));
            return;
        }
        info!(job = %job_id, name = job.name, slots = job.required_slots(), "job submitted");
        self.jobs.insert(job_id, Job::submitting(job.name.clone(), now_ms(), reply));
        let persistence = self.persistence.clone();
        self.steps.spawn(async move {
            let outcome = persistence.take_in(&job).await;
            Done::TakenIn(Box::new(job), outcome)
        });
    }

    fn taken_in(&mut self, graph: JobGraph, outcome: Result<(), Failure>) {
        let job_id = graph.job_id;
        let Some(job) = self.jobs.get_mut(&job_id) else { return };
        match outcome {
            Err(failure) => {
                // A client tries without an upload first: that is no refusal to tell of.
                if failure.code == ErrorCode::Blob {
                    debug!(job = %job_id, %failure, "a job is to come again with its component");
                } else {
                    info!(job = %job_id, %failure, "a job is refused");
                }
                if let Some(job) = self.jobs.remove(&job_id) {
                    job.refused(failure);
                }
            }
            // It is stored: the next leader runs it.
            Ok(()) if self.stop.is_cancelled() => {}
            Ok(()) => {
                job.accept(job_id);
                self.start_job(graph, None);
            }
        }
    }

    /// Starts a job master for a job that is stored. `kept`: its tasks have
    /// finished under a former leader.
    fn start_job(&mut self, graph: JobGraph, kept: Option<Commitment>) {
        let job_id = graph.job_id;
        let id = JobMasterId::from_bits(rand::random());
        let address = Address(format!("{}/jobmanager/{job_id}", self.options.address));
        let resource_manager = ResourceManagerId(self.session());
        let start_time_ms = kept.as_ref().map_or_else(now_ms, |kept| kept.start_time_ms);
        let job =
            self.jobs.entry(job_id).or_insert_with(|| Job::recovered(graph.name.clone(), start_time_ms));
        let commitments =
            Arc::new(KeptCommitments { persistence: self.persistence.clone(), stop: self.stop.clone() });
        let JobMaster { gateway, run } =
            self.job_masters.create(graph, id, address.clone(), resource_manager, commitments, kept);
        let task = self.masters.spawn(run(self.stop.child_token()));
        self.job_of_task.insert(task.id(), job_id);
        job.phase = Phase::Running { gateway: gateway.clone(), id, address };
        info!(job = %job_id, job_master = %id, "job master started");
        if job.cancel_when_running {
            let limit = self.options.rpc_timeout;
            self.steps.spawn(async move {
                if let Err(error) = bounded(limit, gateway.cancel(id)).await {
                    warn!(job = %job_id, %error, "cancelling failed");
                }
                Done::Answered
            });
        }
    }
}

/// A call that takes too long counts as failed.
async fn bounded<T>(
    limit: Duration,
    call: impl Future<Output = heddle_rpc::Result<T>>,
) -> heddle_rpc::Result<T> {
    timeout(limit, call).await.unwrap_or_else(|_| {
        let message = format!("a call was not answered within {} s", limit.as_secs_f64());
        Err(Failure::new(ErrorCode::Internal, message).into())
    })
}

pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
