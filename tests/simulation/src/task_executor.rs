//! The process of a TaskExecutor: the real service, with tasks that only
//! pretend.

use crate::cluster::Cluster;
use crate::job_manager::PROFILE;
use crate::process::{Process, ProcessRpc};
use crate::tasks::Runner;
use heddle_model::id::ResourceId;
use heddle_model::memory::WorkerResourceSpec;
use heddle_task_executor::{JobUsers, Options, ResourceManagerLeader, Service};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Until it ends by itself.
pub async fn run(
    cluster: &Arc<Cluster>,
    process: &Arc<Process>,
    name: &str,
    slots: u32,
    resource_manager: watch::Receiver<Option<ResourceManagerLeader>>,
) {
    let options = Options {
        resource_id: ResourceId(name.to_owned()),
        address: crate::process::address(&process.host, &format!("taskexecutor/{name}")),
        data_address: None,
        spec: WorkerResourceSpec { slots, slot: PROFILE },
        resource_manager,
        slot_timeout: Duration::from_secs(10),
        registration_timeout: Duration::from_secs(300),
        heartbeat_timeout: Duration::from_secs(50),
        metrics_interval: Duration::from_secs(5),
    };
    let runner = Runner {
        world: Arc::clone(&cluster.world),
        process: Arc::clone(process),
        jobs: JobUsers::default(),
        workers: tokio::runtime::Handle::current(),
    };
    let rpc = Arc::new(ProcessRpc(Arc::clone(process)));
    let (service, _handle) = Service::new(options, runner, rpc);
    if let Err(error) = service.run(CancellationToken::new()).await {
        cluster.script.note(format_args!("{name} ends: {error}"));
    }
}
