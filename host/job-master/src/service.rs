//! The job master's service: waits for whatever comes next and hands it to the
//! job.
//!
//! One event type, one `select!`, no decision.

use crate::commitments::{Commitments, NotKept};
use crate::handle::{Handle, Mailbox, Message};
use crate::job::Job;
use crate::outputs::{HostOutputs, Outputs, Prepared};
use crate::task_executors::Called;
use heddle_filesystem::FileSystems;
use heddle_model::failure::Failure;
use heddle_model::id::{AllocationId, JobMasterId, ResourceId, ResourceManagerId};
use heddle_model::job_graph::JobGraph;
use heddle_model::memory::ResourceProfile;
use heddle_model::task::Commitment;
use heddle_rpc::{Address, JobResult, Result, RpcService};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

#[derive(Clone, Debug)]
pub struct Options {
    pub job: JobGraph,
    pub job_master_id: JobMasterId,
    /// Where this job master serves itself while it runs.
    pub address: Address,
    pub resource_manager: Address,
    pub resource_manager_id: ResourceManagerId,
    /// What each slot of the job must offer.
    pub slot_profile: ResourceProfile,
    /// `slot.request.timeout`.
    pub slot_request_timeout: Duration,
    /// `slot.idle.timeout`.
    pub slot_idle_timeout: Duration,
    /// `heartbeat.interval`.
    pub heartbeat_interval: Duration,
    /// `heartbeat.timeout`.
    pub heartbeat_timeout: Duration,
    /// `task.cancellation.timeout`.
    pub cancellation_timeout: Duration,
}

impl Options {
    /// Flink's defaults for all time limits.
    pub fn new(
        job: JobGraph,
        job_master_id: JobMasterId,
        address: Address,
        resource_manager: (Address, ResourceManagerId),
        slot_profile: ResourceProfile,
    ) -> Self {
        Self {
            job,
            job_master_id,
            address,
            resource_manager: resource_manager.0,
            resource_manager_id: resource_manager.1,
            slot_profile,
            slot_request_timeout: Duration::from_secs(300),
            slot_idle_timeout: Duration::from_secs(50),
            heartbeat_interval: Duration::from_secs(10),
            heartbeat_timeout: Duration::from_secs(50),
            cancellation_timeout: Duration::from_secs(180),
        }
    }
}

pub(crate) enum Event {
    Message(Message),
    Prepared(Prepared),
    Published(std::result::Result<BTreeMap<String, Vec<String>>, Failure>),
    /// The leader stopped before what is to be published was stored.
    PublishingStopped,
    Discarded(Vec<Failure>),
    RegisteredAtResourceManager(Result<()>),
    SlotRequested {
        allocation_id: AllocationId,
        result: Result<()>,
    },
    SlotRequestCancelled(Result<()>),
    TaskExecutorCalled {
        resource_id: ResourceId,
        generation: u64,
        called: Called,
    },
    HeartbeatAnswered {
        resource_id: ResourceId,
        generation: u64,
        result: Result<()>,
    },
    /// A call whose answer changes nothing.
    Told,
    /// A call panicked.
    CallPanicked(String),
    TimePassed,
    Shutdown,
}

/// One job's master.
pub struct Service {
    options: Options,
    rpc: Arc<dyn RpcService>,
    outputs: Arc<dyn Outputs>,
    commitments: Arc<dyn Commitments>,
    kept: Option<Commitment>,
    handle: Handle,
    mailbox: Mailbox,
}

impl Service {
    /// `files`: where the job's inputs and outputs are.
    pub fn new(options: Options, rpc: Arc<dyn RpcService>, files: FileSystems) -> (Self, Handle) {
        Self::with_outputs(options, rpc, Arc::new(HostOutputs::new(files)))
    }

    /// With connectors other than the host's.
    pub fn with_outputs(
        options: Options,
        rpc: Arc<dyn RpcService>,
        outputs: Arc<dyn Outputs>,
    ) -> (Self, Handle) {
        let (handle, mailbox) = Handle::new(options.address.clone(), options.job_master_id);
        let commitments = Arc::new(NotKept);
        (Self { options, rpc, outputs, commitments, kept: None, handle: handle.clone(), mailbox }, handle)
    }

    /// Where what is to be published is kept, and what a former leader kept of
    /// this job: with that, nothing runs again.
    pub fn with_commitments(self, commitments: Arc<dyn Commitments>, kept: Option<Commitment>) -> Self {
        Self { commitments, kept, ..self }
    }

    /// Serves itself at its address and runs the job until that has ended, its
    /// slots are freed, and its outputs are published or discarded. `shutdown`
    /// suspends the job.
    pub async fn run(self, shutdown: CancellationToken) -> JobResult {
        let Self { options, rpc, outputs, commitments, kept, handle, mut mailbox } = self;
        let address = options.address.clone();
        let mut job = match Job::new(options, Arc::clone(&rpc), outputs, commitments, kept) {
            Ok(job) => job,
            Err(refused) => {
                // From here on the handle answers by itself.
                let _ = mailbox.last.set(refused.details);
                return refused.result;
            }
        };
        rpc.serve_job_master(address.clone(), Arc::new(handle));
        job.start();
        let mut stopping = false;
        while !job.is_over() {
            let deadline = job.next_deadline();
            // The order makes a run repeatable, and keeps time alive beside a
            // flood of messages.
            let event = tokio::select! {
                biased;
                () = shutdown.cancelled(), if !stopping => {
                    stopping = true;
                    Event::Shutdown
                }
                () = tokio::time::sleep_until(deadline) => Event::TimePassed,
                Some(ended) = job.next_call_ended() => ended,
                Some(message) = mailbox.messages.recv() => Event::Message(message),
            };
            job.handle(event);
        }
        let _ = mailbox.last.set(job.details());
        job.clean_up();
        let give_up = tokio::time::sleep_until(Instant::now() + CLEAN_UP_MAX);
        tokio::pin!(give_up);
        loop {
            tokio::select! {
                biased;
                ended = job.next_call_ended() => if ended.is_none() { break },
                Some(message) = mailbox.messages.recv() => job.answer_late(message),
                () = &mut give_up => {
                    tracing::warn!(job_id = %job.id(), "some peers did not hear of the end of the job");
                    break;
                }
            }
        }
        rpc.stop_serving(&address);
        job.result()
    }
}

/// The result does not wait longer for peers that do not answer; they notice
/// the end of the job by its missing heartbeats.
const CLEAN_UP_MAX: Duration = Duration::from_secs(10);
