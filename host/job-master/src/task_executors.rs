//! What the job master holds of a TaskExecutor: the calls to it, and when it
//! was last heard.
//!
//! Decides when a TaskExecutor counts as lost; what follows from it is decided
//! elsewhere.

use crate::call_queue::CallQueue;
use crate::service::Event;
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::{AllocationId, ExecutionAttemptId, JobId, JobMasterId, ResourceId};
use heddle_model::task::{DataAddress, JobInformation, TaskDeploymentDescriptor};
use heddle_rpc::{Error, Result, TaskExecutorGateway};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// A peer that is alive answers at once. Longer than the heartbeat time-out, so
/// that normally the heartbeats tell a dead one.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// One failed call may be an accident of the network (Flink's
/// `heartbeat.rpc-failure-threshold`).
const UNREACHABLE_MAX: u32 = 2;

pub(crate) enum Call {
    Submit { job: Arc<JobInformation>, tasks: Vec<TaskDeploymentDescriptor> },
    Cancel(Vec<ExecutionAttemptId>),
    Free { allocation_id: AllocationId, cause: Failure },
}

/// How a call ended.
pub(crate) enum Called {
    Submitted { attempts: Vec<ExecutionAttemptId>, result: Result<()> },
    Cancelled(Result<()>),
    Freed(Result<()>),
}

pub(crate) struct TaskExecutor {
    pub gateway: Arc<dyn TaskExecutorGateway>,
    /// Where its result partitions are read, if not in its own process only.
    pub data_address: Option<DataAddress>,
    /// Distinguishes registrations: answers to an older one are dropped.
    pub generation: u64,
    calls: CallQueue<Call>,
    heard: Duration,
    unreachable: u32,
    heartbeat_under_way: bool,
}

impl TaskExecutor {
    pub fn new(
        gateway: Arc<dyn TaskExecutorGateway>,
        data_address: Option<DataAddress>,
        generation: u64,
        now: Duration,
    ) -> Self {
        Self {
            gateway,
            data_address,
            generation,
            calls: CallQueue::new(),
            heard: now,
            unreachable: 0,
            heartbeat_under_way: false,
        }
    }

    pub fn heard(&mut self, now: Duration) {
        self.heard = now;
        self.unreachable = 0;
    }

    pub fn push(&mut self, call: Call) {
        self.calls.push(call);
    }

    pub fn call_ended(&mut self) {
        self.calls.ended();
    }

    /// Slots whose release still waits to be told.
    pub fn unsent_releases(&mut self) -> Vec<(AllocationId, Failure)> {
        self.calls
            .drain()
            .filter_map(|call| match call {
                Call::Free { allocation_id, cause } => Some((allocation_id, cause)),
                Call::Submit { .. } | Call::Cancel(_) => None,
            })
            .collect()
    }

    /// Makes the next call, if none is under way.
    pub fn make_next_call(&mut self, id: &ResourceId, token: JobMasterId, calls: &mut JoinSet<Event>) {
        let Some(call) = self.calls.next() else { return };
        let (gateway, generation, resource_id) = (Arc::clone(&self.gateway), self.generation, id.clone());
        calls.spawn(async move {
            let called = match call {
                Call::Submit { job, tasks } => {
                    let attempts = tasks.iter().map(|task| task.attempt).collect();
                    let result = bounded(gateway.submit_tasks(token, job, tasks)).await;
                    Called::Submitted { attempts, result }
                }
                Call::Cancel(attempts) => {
                    Called::Cancelled(bounded(gateway.cancel_tasks(token, attempts)).await)
                }
                Call::Free { allocation_id, cause } => {
                    Called::Freed(bounded(gateway.free_slot(token, allocation_id, cause)).await)
                }
            };
            Event::TaskExecutorCalled { resource_id, generation, called }
        });
    }

    pub fn send_heartbeat(
        &mut self,
        id: &ResourceId,
        token: JobMasterId,
        job_id: JobId,
        calls: &mut JoinSet<Event>,
    ) {
        if self.heartbeat_under_way {
            return;
        }
        self.heartbeat_under_way = true;
        let (gateway, generation, resource_id) = (Arc::clone(&self.gateway), self.generation, id.clone());
        calls.spawn(async move {
            let result = bounded(gateway.heartbeat_from_job_master(token, job_id)).await;
            Event::HeartbeatAnswered { resource_id, generation, result }
        });
    }

    /// Gives why the TaskExecutor counts as lost, if it does.
    pub fn heartbeat_answered(
        &mut self,
        id: &ResourceId,
        now: Duration,
        result: Result<()>,
    ) -> Option<Failure> {
        self.heartbeat_under_way = false;
        match result {
            Ok(()) => {
                self.heard(now);
                None
            }
            Err(error @ Error::Unreachable { .. }) => {
                self.unreachable += 1;
                (self.unreachable >= UNREACHABLE_MAX).then(|| lost(id, &error.to_string()))
            }
            Err(Error::Fenced { .. }) => Some(lost(id, "it no longer knows this job master")),
            // It answers, hence it lives.
            Err(Error::Failure(_)) => None,
        }
    }

    pub fn silent(&self, id: &ResourceId, now: Duration, timeout: Duration) -> Option<Failure> {
        (now.saturating_sub(self.heard) > timeout)
            .then(|| lost(id, &format!("it was silent for {timeout:?} (`heartbeat.timeout`)")))
    }
}

/// What its slots and tasks fail with.
pub(crate) fn lost(id: &ResourceId, why: &str) -> Failure {
    Failure::new(ErrorCode::WorkerLost, format!("TaskExecutor {id} was lost: {why}"))
}

/// Ends a call that is never answered.
pub(crate) async fn bounded<T>(call: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(CALL_TIMEOUT, call).await.unwrap_or_else(|_| {
        let message = format!("a call was not answered within {CALL_TIMEOUT:?}");
        Err(Failure::new(ErrorCode::WorkerLost, message).into())
    })
}
