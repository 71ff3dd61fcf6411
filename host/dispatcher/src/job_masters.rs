//! How a job master comes to be.
//!
//! The dispatcher sees a job master as a gateway and a future that ends with
//! the job's result.

use crate::options::Options;
use heddle_job_master::Commitments;
use heddle_model::id::{JobMasterId, ResourceManagerId};
use heddle_model::job_graph::JobGraph;
use heddle_model::task::Commitment;
use heddle_rpc::{Address, JobMasterGateway, JobResult, RpcService};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

pub type Running = Pin<Box<dyn Future<Output = JobResult> + Send>>;

/// A job master that has not begun to run.
pub struct JobMaster {
    /// Answers `request_job` also after the job has ended.
    pub gateway: Arc<dyn JobMasterGateway>,
    /// Runs the job until it ends; cancelling the token suspends it.
    pub run: Box<dyn FnOnce(CancellationToken) -> Running + Send>,
}

pub trait JobMasters: Send {
    /// `resource_manager` is the token of the one that leads with the
    /// dispatcher; `kept` is what a former leader kept in `commitments`.
    fn create(
        &self,
        job: JobGraph,
        id: JobMasterId,
        address: Address,
        resource_manager: ResourceManagerId,
        commitments: Arc<dyn Commitments>,
        kept: Option<Commitment>,
    ) -> JobMaster;
}

/// Job masters that run in the dispatcher's process.
pub struct LocalJobMasters {
    rpc: Arc<dyn RpcService>,
    options: Options,
}

impl LocalJobMasters {
    pub fn new(options: Options, rpc: Arc<dyn RpcService>) -> Self {
        Self { rpc, options }
    }
}

impl JobMasters for LocalJobMasters {
    fn create(
        &self,
        job: JobGraph,
        id: JobMasterId,
        address: Address,
        resource_manager: ResourceManagerId,
        commitments: Arc<dyn Commitments>,
        kept: Option<Commitment>,
    ) -> JobMaster {
        let given = &self.options.job_master;
        let resource_manager = (self.options.resource_manager.clone(), resource_manager);
        let options = heddle_job_master::Options {
            slot_request_timeout: given.slot_request_timeout,
            slot_idle_timeout: given.slot_idle_timeout,
            heartbeat_interval: given.heartbeat_interval,
            heartbeat_timeout: given.heartbeat_timeout,
            cancellation_timeout: given.cancellation_timeout,
            ..heddle_job_master::Options::new(job, id, address, resource_manager, self.options.slot_profile)
        };
        let (service, handle) =
            heddle_job_master::Service::new(options, self.rpc.clone(), self.options.files.clone());
        let service = service.with_commitments(commitments, kept);
        JobMaster {
            gateway: Arc::new(handle),
            run: Box::new(move |shutdown| Box::pin(service.run(shutdown))),
        }
    }
}
