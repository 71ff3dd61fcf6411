//! What a TaskExecutor holds of one job master: where it is, which session of
//! it is the right one, and the state updates on their way to it.

use crate::service::Event;
use heddle_model::id::{ExecutionAttemptId, JobMasterId, VertexId};
use heddle_model::task::{TaskExecutionState, TaskMetrics};
use heddle_rpc::{Address, Error, JobMasterGateway};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tracing::{debug, warn};

/// State updates that may wait for a slow job master: some for each of 10,000
/// subtasks.
const UPDATES_MAX: usize = 65_536;
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));
/// Tries to deliver one update once the connection has ended.
const DELIVERIES_MAX: u32 = 5;

pub(crate) enum Phase {
    Connecting,
    Registered,
}

pub(crate) struct JobConnection {
    pub address: Address,
    pub token: JobMasterId,
    pub phase: Phase,
    /// When the job master was last heard.
    pub heard: Instant,
    backoff: Duration,
    outbox: Option<mpsc::Sender<TaskExecutionState>>,
    undelivered: Undelivered,
    /// The registration that is under way.
    registration: Option<AbortHandle>,
    /// The newest attempt of each subtask that the job master had run here.
    newest: BTreeMap<(VertexId, u32), u32>,
}

impl Drop for JobConnection {
    /// A job that is forgotten does not register any more.
    fn drop(&mut self) {
        if let Some(registration) = self.registration.take() {
            registration.abort();
        }
    }
}

/// Attempts that have ended while the job master does not know it yet, with
/// their last numbers: they are still reported to it.
#[derive(Clone, Default)]
pub(crate) struct Undelivered(Arc<Mutex<BTreeMap<ExecutionAttemptId, Numbers>>>);

/// Metrics and accumulators.
pub(crate) type Numbers = (TaskMetrics, BTreeMap<String, i64>);

impl Undelivered {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<ExecutionAttemptId, Numbers>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl JobConnection {
    pub fn new(address: Address, token: JobMasterId) -> Self {
        Self {
            address,
            token,
            phase: Phase::Connecting,
            heard: Instant::now(),
            backoff: BACKOFF.0,
            outbox: None,
            undelivered: Undelivered::default(),
            registration: None,
            newest: BTreeMap::new(),
        }
    }

    /// The newest attempt of the same subtask so far, if this one is not newer.
    pub fn superseded_by(&self, attempt: &ExecutionAttemptId) -> Option<u32> {
        let newest = self.newest.get(&(attempt.vertex_id, attempt.subtask)).copied()?;
        (newest >= attempt.attempt).then_some(newest)
    }

    /// Gives the attempt that this one supersedes.
    pub fn supersede(&mut self, attempt: &ExecutionAttemptId) -> Option<ExecutionAttemptId> {
        let former = self.newest.insert((attempt.vertex_id, attempt.subtask), attempt.attempt)?;
        Some(ExecutionAttemptId { attempt: former, ..*attempt })
    }

    pub fn is_registered(&self) -> bool {
        matches!(self.phase, Phase::Registered)
    }

    /// Whether nothing was heard of it for too long.
    pub fn is_silent(&self, timeout: Duration) -> bool {
        self.is_registered() && self.heard.elapsed() > timeout
    }

    pub fn registering(&mut self, call: AbortHandle) {
        self.registration = Some(call);
    }

    pub fn registered(&mut self) {
        self.registration = None;
        self.phase = Phase::Registered;
        self.heard = Instant::now();
        self.backoff = BACKOFF.0;
    }

    /// Nothing is told until the job master answers again.
    pub fn lost(&mut self) {
        self.phase = Phase::Connecting;
        self.heard = Instant::now();
        self.outbox = None;
        self.undelivered = Undelivered::default();
    }

    pub fn next_backoff(&mut self) -> Duration {
        let delay = self.backoff;
        self.backoff = (delay * 2).min(BACKOFF.1);
        delay
    }

    /// What `deliver` needs.
    pub fn open_outbox(&mut self) -> (mpsc::Receiver<TaskExecutionState>, Undelivered) {
        let (sender, receiver) = mpsc::channel(UPDATES_MAX);
        self.outbox = Some(sender);
        (receiver, self.undelivered.clone())
    }

    /// Tasks that have ended without the job master's knowing.
    pub fn undelivered(&self) -> Vec<(ExecutionAttemptId, Numbers)> {
        self.undelivered.lock().iter().map(|(attempt, numbers)| (*attempt, numbers.clone())).collect()
    }

    /// False: the outbox is full, or its other end is gone, which the job master
    /// caused.
    pub fn tell(&mut self, state: TaskExecutionState) -> bool {
        // A job master that registers this TaskExecutor anew counts the tasks of
        // before as lost: it needs no word of them.
        let Some(outbox) = &self.outbox else { return true };
        if state.state.is_terminal() {
            self.undelivered.lock().insert(state.attempt, (state.metrics, state.accumulators.clone()));
        }
        outbox.try_send(state).is_ok()
    }
}

/// Delivers state updates in order until the connection is dropped.
pub(crate) async fn deliver(
    gateway: Arc<dyn JobMasterGateway>,
    token: JobMasterId,
    (mut updates, undelivered): (mpsc::Receiver<TaskExecutionState>, Undelivered),
) -> Event {
    while let Some(update) = updates.recv().await {
        let mut delay = BACKOFF.0;
        for delivery in 1.. {
            match gateway.update_task_execution_state(token, update.clone()).await {
                Ok(()) => {
                    if update.state.is_terminal() {
                        undelivered.lock().remove(&update.attempt);
                    }
                    break;
                }
                Err(Error::Fenced { .. }) => {
                    debug!(task = %update.attempt, "the job master has a newer session");
                    return Event::Told;
                }
                // As long as the job master is there it must hear of it.
                Err(error) if delivery >= DELIVERIES_MAX && updates.is_closed() => {
                    warn!(%error, task = %update.attempt, "the job master is gone");
                    return Event::Told;
                }
                Err(_) => {
                    tokio::time::sleep(delay).await;
                    delay = (delay * 2).min(BACKOFF.1);
                }
            }
        }
    }
    Event::Told
}
