//! The process of a JobManager: the resource manager and the job masters are
//! the real ones, the dispatcher is as thin as can be. It runs every job that
//! is stored and has no result, and stores results for as long as it leads.

use crate::cluster::{Cluster, Leading, Master};
use crate::outputs::SimulatedOutputs;
use crate::process::{Process, ProcessRpc};
use crate::random::Random;
use heddle_job_master as job_master;
use heddle_model::id::{JobId, JobMasterId, ResourceManagerId};
use heddle_model::job_graph::JobGraph;
use heddle_model::memory::{ResourceProfile, WorkerResourceSpec};
use heddle_resource_manager::{self as resource_manager, StandaloneDriver};
use heddle_rpc::{JobResult, RpcService};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub const RESOURCE_MANAGER: &str = "resourcemanager";

pub const PROFILE: ResourceProfile = ResourceProfile { task_memory: 1, managed_memory: 1, network_memory: 1 };

/// How long suspending the jobs may take.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

pub async fn run(
    cluster: &Arc<Cluster>,
    process: &Arc<Process>,
    session: ResourceManagerId,
    revoked: CancellationToken,
) {
    let rpc: Arc<dyn RpcService> = Arc::new(ProcessRpc(Arc::clone(process)));
    let address = rpc.address(RESOURCE_MANAGER);
    let worker = WorkerResourceSpec { slots: 1, slot: PROFILE };
    let options = resource_manager::Options {
        max_workers: Some(0),
        idle_timeout: Duration::from_secs(100 * 365 * 86_400),
        ..resource_manager::Options::new(session, address.clone(), worker)
    };
    let (service, handle) = resource_manager::Service::new(options, rpc.clone(), Box::new(StandaloneDriver));
    let (stop_manager, stop_masters) = (CancellationToken::new(), CancellationToken::new());
    let mut managers = JoinSet::new();
    let (stop, on) = (stop_manager.clone(), Arc::clone(process));
    managers.spawn(async move { on.run(service.run(stop)).await });

    let mut dispatcher = Dispatcher {
        cluster: Arc::clone(cluster),
        process: Arc::clone(process),
        rpc,
        session,
        resource_manager: handle,
        masters: JoinSet::new(),
        started: BTreeMap::new(),
        stop: stop_masters.clone(),
    };
    loop {
        let submitted = cluster.submitted.get();
        dispatcher.start_masters();
        tokio::select! {
            biased;
            () = revoked.cancelled() => break,
            Some(ended) = managers.join_next() => {
                cluster.world.violation(format!("the resource manager of {} ended: {ended:?}", process.host));
                return;
            }
            Some(ended) = dispatcher.masters.join_next() => match ended {
                Ok((job_id, result)) => dispatcher.ended(job_id, &result),
                Err(error) => cluster.world.violation(format!("a job master ended badly: {error}")),
            },
            _ = cluster.submitted.wait_for(|now| *now != submitted) => {}
        }
    }
    cluster.script.note(format_args!("{} suspends its jobs", process.host));
    stop_masters.cancel();
    let drain = async { while dispatcher.masters.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(STOP_TIMEOUT, drain).await;
    stop_manager.cancel();
    while managers.join_next().await.is_some() {}
    cluster.script.note(format_args!("{} stopped", process.host));
}

struct Dispatcher {
    cluster: Arc<Cluster>,
    process: Arc<Process>,
    rpc: Arc<dyn RpcService>,
    session: ResourceManagerId,
    resource_manager: resource_manager::Handle,
    masters: JoinSet<(JobId, JobResult)>,
    started: BTreeMap<JobId, Master>,
    stop: CancellationToken,
}

impl Dispatcher {
    fn start_masters(&mut self) {
        let graphs: Vec<JobGraph> = self.cluster.world.state().graphs.values().cloned().collect();
        for graph in graphs {
            if !self.started.contains_key(&graph.job_id) {
                self.start_master(graph);
            }
        }
        let leading = || Leading {
            session: self.session,
            resource_manager: self.resource_manager.clone(),
            masters: self.started.clone(),
        };
        self.cluster.show(self.session, leading);
    }

    fn start_master(&mut self, graph: JobGraph) {
        let job_id = graph.job_id;
        let name = [self.session.0 as u64, (self.session.0 >> 64) as u64, job_id.0 as u64];
        let id = JobMasterId(Random::of(self.cluster.world.seed, &name).id());
        let endpoint = format!("jobmanager/{job_id}");
        let address = self.rpc.address(&endpoint);
        self.process.masters().insert(endpoint, id);
        let resource_manager = (self.rpc.address(RESOURCE_MANAGER), self.session);
        let options = job_master::Options {
            cancellation_timeout: Duration::from_secs(60),
            ..job_master::Options::new(graph, id, address, resource_manager, PROFILE)
        };
        let outputs = SimulatedOutputs { world: Arc::clone(&self.cluster.world), job_id };
        let (service, handle) =
            job_master::Service::with_outputs(options, Arc::clone(&self.rpc), Arc::new(outputs));
        self.cluster.script.note(format_args!(
            "{} starts {} of job-{}",
            self.process.host,
            crate::world::token_text(id),
            job_id.0
        ));
        self.started.insert(job_id, Master { id, handle });
        let (stop, process) = (self.stop.clone(), Arc::clone(&self.process));
        self.masters.spawn(async move { (job_id, process.run(service.run(stop)).await) });
    }

    fn ended(&mut self, job_id: JobId, result: &JobResult) {
        let world = &self.cluster.world;
        let why = result.failure.as_ref().map(|failure| format!(": {failure}")).unwrap_or_default();
        world.script.note(format_args!("job-{} is {}{why}", job_id.0, result.status));
        let leads = self.cluster.leader().is_some_and(|leader| leader.session == self.session);
        if result.status.is_globally_terminal() && leads {
            let mut state = world.state();
            state.graphs.remove(&job_id);
            state.results.insert(job_id, result.status);
        }
    }
}
