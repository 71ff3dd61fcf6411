//! One run: a cluster and jobs drawn from a seed, faults for some minutes, then
//! peace; then everything must be in order, and again once all jobs have ended.

use crate::checks::settled;
use crate::cluster::Cluster;
use crate::forger::Forger;
use crate::network::Network;
use crate::random::Random;
use crate::script::Script;
use crate::world::World;
use crate::{faults, jobs};
use heddle_rpc::JobMasterGateway;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How long a cluster may take until it is in order again: some time-outs one
/// after the other, and the tasks that a job may still have to run.
const PATIENCE: Duration = Duration::from_secs(30 * 60);

/// Between two looks.
const LOOK: Duration = Duration::from_secs(7);

#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    pub forger: Forger,
    /// Each message goes to the script.
    pub trace: bool,
    /// Lines of the script are printed at once.
    pub print: bool,
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub seed: u64,
    pub script: Vec<String>,
    pub violations: Vec<String>,
    /// How long it was for the cluster.
    pub time: Duration,
}

pub fn run(seed: u64, options: Options) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O needs nothing of the system");
    runtime.block_on(one(seed, options))
}

async fn one(seed: u64, options: Options) -> Outcome {
    let script = Arc::new(Script::new(options.trace, options.print));
    let mut random = Random::of(seed, &[1]);
    let mut graphs = Vec::new();
    let mut kinds = BTreeMap::new();
    let mut slots = 0;
    for number in 1..=random.number(1..4) {
        let (graph, kind) = jobs::job(number, &mut random);
        slots += graph.required_slots();
        script.note(format_args!("job-{number}: {kind:?}, {:?}", graph.execution.restart_strategy));
        kinds.insert(graph.job_id, kind);
        graphs.push(graph);
    }
    let network = Network::new(Random::of(seed, &[2]), Arc::clone(&script));
    let world = World::new(Arc::clone(&script), seed, kinds);
    let cluster = Cluster::new(world, network, Random::of(seed, &[3]), options.forger);
    add_hosts(&cluster, slots, &mut random);

    for host in cluster.task_executors() {
        cluster.start_task_executor(&host, false);
    }
    cluster.elect("jm-1");
    let during = random.seconds(60..480);
    for (at, fault) in faults::plan(&cluster, &mut random, during) {
        let cluster = Arc::clone(&cluster);
        tokio::spawn(async move {
            tokio::time::sleep(at).await;
            fault.strike(cluster).await;
        });
    }
    for graph in graphs {
        let (cluster, at) = (Arc::clone(&cluster), random.seconds(0..60));
        let cancel = random.permille(150).then(|| random.seconds(0..300));
        tokio::spawn(async move {
            tokio::time::sleep(at).await;
            let job_id = graph.job_id;
            cluster.script.note(format_args!("job-{} is submitted", job_id.0));
            cluster.world.state().graphs.insert(job_id, graph);
            cluster.submitted.happen();
            if let Some(after) = cancel {
                tokio::time::sleep(after).await;
                cancel_job(&cluster, job_id).await;
            }
        });
    }
    // The longest fault is over by then.
    tokio::time::sleep(during + Duration::from_secs(180)).await;
    faults::heal(&cluster);
    if settle(&cluster, "after the faults").await {
        let open: Vec<_> = cluster.world.state().graphs.keys().copied().collect();
        for job_id in open {
            cancel_job(&cluster, job_id).await;
        }
        settle(&cluster, "after the jobs").await;
    }
    let violations = cluster.world.state().violations.clone();
    Outcome { seed, script: script.take(), violations, time: script.now() }
}

/// Enough slots for all jobs, on two hosts or more, and a few to spare.
fn add_hosts(cluster: &Cluster, slots: u32, random: &mut Random) {
    for host in ["jm-1", "jm-2"] {
        cluster.add_host(host, 0);
    }
    let mut missing = slots + random.number(0..3);
    let mut number = 0;
    while missing > 0 || number < 2 {
        number += 1;
        let slots = random.number(1..5);
        cluster.add_host(&format!("te-{number}"), slots);
        missing = missing.saturating_sub(slots);
    }
}

async fn cancel_job(cluster: &Cluster, job_id: heddle_model::id::JobId) {
    cluster.script.note(format_args!("job-{} is to be cancelled", job_id.0));
    let master = cluster.leading().and_then(|leading| leading.masters.get(&job_id).cloned());
    if let Some(master) = master {
        // One that has just ended is not there any more.
        let _ = master.handle.cancel(master.id).await;
    }
}

async fn settle(cluster: &Cluster, when: &str) -> bool {
    let begin = cluster.script.now();
    loop {
        tokio::time::sleep(LOOK).await;
        if !cluster.world.state().violations.is_empty() {
            return false;
        }
        let Err(reason) = settled(cluster).await else {
            let took = cluster.script.now() - begin;
            cluster.script.note(format_args!("in order {when}, {} s later", took.as_secs()));
            return true;
        };
        if cluster.script.now() - begin > PATIENCE {
            cluster.world.violation(format!("not in order {when}: {reason}"));
            return false;
        }
    }
}
