//! The dispatcher's loop: leadership, messages, ends of jobs and of stored
//! steps.

use crate::finished::{FinishedJob, FinishedJobs};
use crate::job_masters::{JobMaster, JobMasters, LocalJobMasters};
use crate::jobs::{Job, Phase};
use crate::leadership::{self, State};
use crate::message::{Command, Handle, MAX_WAITING_MESSAGES, Reply};
use crate::persistence::{Persistence, Recovered};
use crate::{Error, Options, submission};
use heddle_blob::BlobServer;
use heddle_ha::{JobResultEntry, LeaderElection, Leadership, Services};
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::{JobId, JobMasterId};
use heddle_model::job_graph::JobGraph;
use heddle_model::job_status::JobStatus;
use heddle_rpc::{Address, JobDetails, JobMasterGateway, JobResult, RpcService};
use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

/// What a step off the loop led to.
enum Done {
    Recovered(Result<Recovered, heddle_ha::Error>),
    TakenIn(Box<JobGraph>, Result<(), Failure>),
    /// The job's last details, and whether its result is stored.
    ResultStored(Box<FinishedJob>, bool),
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
    commands: mpsc::Receiver<Command>,
    election: Box<dyn LeaderElection>,
    persistence: Persistence,
    job_masters: Box<dyn JobMasters>,
    state: State,
    jobs: BTreeMap<JobId, Job>,
    finished: FinishedJobs,
    masters: JoinSet<JobResult>,
    job_of_task: HashMap<Id, JobId>,
    /// Steps that the end of the leader process waits for.
    steps: JoinSet<Done>,
    /// Cancelled when the leader process is to stop.
    stop: CancellationToken,
    stop_deadline: Option<Instant>,
}

impl Service {
    /// Serves at its address from now on; messages wait until it runs and leads.
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
        let handle = Handle { address: options.address.clone(), commands: sender, blobs: blobs.clone() };
        rpc.serve_dispatcher(options.address.clone(), Arc::new(handle.clone()));
        let persistence = Persistence {
            job_graphs: ha.job_graphs,
            job_results: ha.job_results,
            blobs,
            backoff: options.clean_up_backoff,
            upload_lifetime: options.upload_lifetime,
        };
        let service = Self {
            finished: FinishedJobs::new(options.max_finished_jobs),
            options,
            rpc,
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
        self.rpc.stop_serving(&self.options.address);
        info!("dispatcher stopped");
        outcome
    }

    async fn lead(&mut self, shutdown: CancellationToken) -> Result<(), Error> {
        let mut sweep = tokio::time::interval(self.options.upload_lifetime.max(Duration::from_secs(1)));
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
                    self.leadership(leadership::Input::Revoked).await;
                }
                Event::Leadership(Leadership::Granted { session }) => {
                    self.leadership(leadership::Input::Granted { session }).await;
                }
                Event::Leadership(Leadership::Revoked) => {
                    self.leadership(leadership::Input::Revoked).await;
                }
                Event::Command(command) => self.command(command),
                Event::JobEnded(ended) => self.job_ended(ended),
                Event::Done(Ok(done)) => self.done(done).await?,
                Event::Done(Err(error)) if error.is_cancelled() => {}
                Event::Done(Err(error)) => error!(%error, "a step of the dispatcher panicked"),
                Event::Sweep => {
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
            self.check_stopped().await;
        }
        Ok(())
    }

    async fn leadership(&mut self, input: leadership::Input) {
        let (next, command) = self.state.next(input);
        self.state = next;
        match command {
            Some(leadership::Command::Recover { session }) => {
                info!(session = %format_args!("{session:032x}"), "leadership granted, recovering");
                self.stop = CancellationToken::new();
                let persistence = self.persistence.clone();
                self.steps.spawn(async move { Done::Recovered(persistence.recover().await) });
            }
            Some(leadership::Command::Serve { session }) => {
                if let Err(error) = self.election.confirm(session, &self.options.address.0).await {
                    // The revocation follows.
                    warn!(%error, "leadership could not be confirmed");
                }
            }
            Some(leadership::Command::Stop) => {
                info!(jobs = self.jobs.len(), "leadership ended, suspending the jobs");
                self.stop.cancel();
                self.stop_deadline = Some(Instant::now() + self.options.stop_timeout);
            }
            None => {}
        }
    }

    async fn check_stopped(&mut self) {
        let stopping = matches!(self.state, State::Stopping { .. });
        if !stopping || !self.masters.is_empty() || !self.steps.is_empty() {
            return;
        }
        self.stop_deadline = None;
        self.job_of_task.clear();
        for (job_id, job) in std::mem::take(&mut self.jobs) {
            job.suspended(job_id);
        }
        self.leadership(leadership::Input::Stopped).await;
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
            Command::Result(job_id, reply) => match self.jobs.get_mut(&job_id) {
                Some(job) => job.wait_for_result(reply),
                None => {
                    let known = self.finished.get(job_id).map(|job| job.result.clone());
                    let _ = reply.send(known.ok_or_else(|| self.unknown(job_id).into()));
                }
            },
            Command::Cancel(job_id, reply) => self.cancel(job_id, reply),
        }
    }

    fn unknown(&self, job_id: JobId) -> Failure {
        let finished = self.finished.iter().map(|job| job.result.job_id);
        submission::unknown_job(job_id, self.jobs.keys().copied().chain(finished))
    }

    fn submit(&mut self, job: JobGraph, reply: Reply<JobId>) {
        let job_id = job.job_id;
        let refused = if self.jobs.contains_key(&job_id) {
            Err(submission::duplicate(job_id))
        } else if self.finished.get(job_id).is_some() {
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
                info!(job = %job_id, %failure, "a job is refused");
                if let Some(job) = self.jobs.remove(&job_id) {
                    job.refused(failure);
                }
            }
            // It is stored: the next leader runs it.
            Ok(()) if self.stop.is_cancelled() => {}
            Ok(()) => {
                job.accept(job_id);
                self.start_job(graph);
            }
        }
    }

    /// Starts a job master for a job that is stored.
    fn start_job(&mut self, graph: JobGraph) {
        let job_id = graph.job_id;
        let id = JobMasterId::from_bits(rand::random());
        let address = Address(format!("{}/jobmanager/{job_id}", self.options.address));
        let job = self.jobs.entry(job_id).or_insert_with(|| Job::recovered(graph.name.clone(), now_ms()));
        let JobMaster { gateway, run } = self.job_masters.create(graph, id, address.clone());
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

    fn job_ended(&mut self, ended: Result<(Id, JobResult), JoinError>) {
        let (task, outcome) = match ended {
            Ok((task, result)) => (task, Ok(result)),
            Err(error) => (error.id(), Err(error)),
        };
        let Some(job_id) = self.job_of_task.remove(&task) else { return };
        let Some(job) = self.jobs.get_mut(&job_id) else { return };
        let result = match outcome {
            Ok(result) => result,
            // Dropped after the stop's time-out: suspended, as the others.
            Err(error) if error.is_cancelled() => return,
            Err(error) => {
                let reason = panic_message(error);
                error!(job = %job_id, reason, "a job master panicked");
                let message = format!("the job master of `{}` panicked: {reason}", job.name);
                let result =
                    job.result(job_id, JobStatus::Failed, Some(Failure::new(ErrorCode::Internal, message)));
                self.bury_job_master(job_id);
                result
            }
        };
        let Some(job) = self.jobs.get_mut(&job_id) else { return };
        if !result.status.is_globally_terminal() {
            info!(job = %job_id, status = %result.status, "job suspended");
            if let Some(job) = self.jobs.remove(&job_id) {
                job.answer_waiters(&result);
            }
            return;
        }
        info!(job = %job_id, status = %result.status, runtime_ms = result.runtime_ms, "job ended");
        let known = job.details(job_id, &result);
        let last = match &job.phase {
            Phase::Running { gateway, id, .. } => Some((gateway.clone(), *id)),
            Phase::Submitting { .. } | Phase::Ending => None,
        };
        let entry = JobResultEntry {
            job_id,
            job_name: job.name.clone(),
            status: result.status,
            failure: result.failure.clone(),
            start_time_ms: job.start_time_ms,
            runtime_ms: result.runtime_ms,
            accumulators: result.accumulators.clone(),
        };
        job.phase = Phase::Ending;
        let (persistence, stop) = (self.persistence.clone(), self.stop.clone());
        let limit = self.options.rpc_timeout;
        self.steps.spawn(async move {
            let details = match last {
                Some((gateway, id)) => bounded(limit, gateway.request_job(id)).await.unwrap_or(known),
                None => known,
            };
            let stored = persistence.store_result(entry, &stop).await;
            Done::ResultStored(Box::new(FinishedJob { details, result }), stored)
        });
    }

    /// After a panic: nobody else tells the resource manager, and nothing
    /// answers at the address.
    fn bury_job_master(&mut self, job_id: JobId) {
        if let Some(Phase::Running { address, .. }) = self.jobs.get(&job_id).map(|job| &job.phase) {
            self.rpc.stop_serving(address);
        }
        let (rpc, limit) = (self.rpc.clone(), self.options.rpc_timeout);
        let (address, token) = (self.options.resource_manager.clone(), self.options.resource_manager_id);
        self.steps.spawn(async move {
            let told = async { rpc.resource_manager(&address)?.disconnect_job_master(token, job_id).await };
            if let Err(error) = bounded(limit, told).await {
                warn!(job = %job_id, %error, "the resource manager was not told of the job master's end");
            }
            Done::Answered
        });
    }

    async fn done(&mut self, done: Done) -> Result<(), Error> {
        match done {
            Done::Recovered(Ok(recovered)) => self.recovered(recovered).await,
            Done::Recovered(Err(error)) => {
                error!(%error, "the jobs of the former leader could not be recovered");
                self.stop.cancel();
                return Err(Error::Recovery(error));
            }
            Done::TakenIn(graph, outcome) => self.taken_in(*graph, outcome),
            Done::ResultStored(job, stored) => {
                let job_id = job.result.job_id;
                let ended = self.jobs.remove(&job_id);
                if !stored {
                    // The next leader runs the job again.
                    if let Some(ended) = ended {
                        ended.suspended(job_id);
                    }
                    return Ok(());
                }
                if let Some(ended) = ended {
                    ended.answer_waiters(&job.result);
                }
                self.finished.insert(*job);
                self.clean_up(job_id);
            }
            Done::CleanedUp | Done::Answered => {}
        }
        Ok(())
    }

    fn clean_up(&mut self, job_id: JobId) {
        let (persistence, stop) = (self.persistence.clone(), self.stop.clone());
        self.steps.spawn(async move {
            persistence.clean_up(job_id, &stop).await;
            Done::CleanedUp
        });
    }

    async fn recovered(&mut self, recovered: Recovered) {
        if !matches!(self.state, State::Created { .. }) {
            return;
        }
        for entry in recovered.dirty {
            info!(job = %entry.job_id, status = %entry.status, "cleaning up after a job of the former leader");
            let job_id = entry.job_id;
            if self.finished.get(job_id).is_none() {
                self.finished.insert(finished_of(entry));
            }
            self.clean_up(job_id);
        }
        for graph in recovered.graphs {
            info!(job = %graph.job_id, name = graph.name, "recovering a job");
            self.start_job(graph);
        }
        self.leadership(leadership::Input::Recovered).await;
    }

    fn list(&mut self, reply: Reply<Vec<heddle_rpc::JobOverview>>) {
        let mut jobs: Vec<_> = self.finished.iter().map(|job| job.details.overview.clone()).collect();
        let mut asked: JoinSet<heddle_rpc::JobOverview> = JoinSet::new();
        for (job_id, job) in &self.jobs {
            let known = job.overview(*job_id);
            let Phase::Running { gateway, id, .. } = &job.phase else {
                jobs.push(known);
                continue;
            };
            let (gateway, id, limit) = (gateway.clone(), *id, self.options.rpc_timeout);
            asked.spawn(async move {
                match bounded(limit, gateway.request_job(id)).await {
                    Ok(details) => details.overview,
                    Err(_) => known,
                }
            });
        }
        self.steps.spawn(async move {
            while let Some(answer) = asked.join_next().await {
                jobs.extend(answer.ok());
            }
            jobs.sort_by_key(|job| (job.start_time_ms, job.job_id));
            let _ = reply.send(Ok(jobs));
            Done::Answered
        });
    }

    fn details(&mut self, job_id: JobId, reply: Reply<JobDetails>) {
        let Some(job) = self.jobs.get(&job_id) else {
            let known = self.finished.get(job_id).map(|job| job.details.clone());
            let _ = reply.send(known.ok_or_else(|| self.unknown(job_id).into()));
            return;
        };
        let known = job.details_without_master(job_id);
        let Phase::Running { gateway, id, .. } = &job.phase else {
            let _ = reply.send(Ok(known));
            return;
        };
        let (gateway, id, limit) = (gateway.clone(), *id, self.options.rpc_timeout);
        self.steps.spawn(async move {
            let _ = reply.send(Ok(ask(limit, gateway, id, known).await));
            Done::Answered
        });
    }

    fn cancel(&mut self, job_id: JobId, reply: Reply<()>) {
        let Some(job) = self.jobs.get_mut(&job_id) else {
            let _ = reply.send(match self.finished.get(job_id).map(|job| job.result.status) {
                Some(JobStatus::Canceled) => Ok(()),
                Some(status) => Err(submission::not_cancellable(job_id, status).into()),
                None => Err(self.unknown(job_id).into()),
            });
            return;
        };
        match &job.phase {
            Phase::Submitting { .. } => {
                job.cancel_when_running = true;
                let _ = reply.send(Ok(()));
            }
            Phase::Ending => {
                let _ = reply.send(Ok(()));
            }
            Phase::Running { gateway, id, .. } => {
                info!(job = %job_id, "cancelling a job");
                let (gateway, id, limit) = (gateway.clone(), *id, self.options.rpc_timeout);
                self.steps.spawn(async move {
                    let _ = reply.send(bounded(limit, gateway.cancel(id)).await);
                    Done::Answered
                });
            }
        }
    }
}

/// What the job master says, or what is known without it.
async fn ask(
    limit: Duration,
    gateway: Arc<dyn JobMasterGateway>,
    id: JobMasterId,
    known: JobDetails,
) -> JobDetails {
    bounded(limit, gateway.request_job(id)).await.unwrap_or(known)
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

fn finished_of(entry: JobResultEntry) -> FinishedJob {
    let overview = heddle_rpc::JobOverview {
        job_id: entry.job_id,
        name: entry.job_name,
        status: entry.status,
        start_time_ms: entry.start_time_ms,
        end_time_ms: Some(entry.start_time_ms + entry.runtime_ms),
    };
    let details = JobDetails {
        overview,
        restarts: 0,
        vertices: Vec::new(),
        accumulators: entry.accumulators.clone(),
        failure: entry.failure.clone(),
    };
    let result = JobResult {
        job_id: entry.job_id,
        status: entry.status,
        failure: entry.failure,
        runtime_ms: entry.runtime_ms,
        first_record_ms: None,
        accumulators: entry.accumulators,
        collected: BTreeMap::new(),
    };
    FinishedJob { details, result }
}

fn panic_message(error: JoinError) -> String {
    match error.try_into_panic() {
        Ok(panic) => panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_else(|| "without a message".to_owned()),
        Err(error) => error.to_string(),
    }
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
