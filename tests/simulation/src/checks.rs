//! What must be true of a cluster that was left alone for a while.

use crate::cluster::Cluster;
use crate::world::{short, subtask};
use heddle_model::job_status::{ExecutionState, JobStatus};
use heddle_rpc::JobMasterGateway;
use std::collections::{BTreeMap, BTreeSet};

/// Tasks of the runtime that each process may have at rest: its loops, and a
/// call on its way here and there.
const TASKS_PER_PROCESS: usize = 12;

/// Every job is terminal or runs, each of its subtasks once, in a slot of its
/// own, and nobody holds anything else. Says what is not so.
pub async fn settled(cluster: &Cluster) -> Result<(), String> {
    let Some(leading) = cluster.leading() else { return Err("nobody leads".into()) };
    let world = &cluster.world;
    let open: Vec<_> = world.state().graphs.keys().copied().collect();
    let mut expected = BTreeMap::new();
    for job_id in open {
        let Some(master) = leading.masters.get(&job_id) else {
            return Err(format!("job-{} has no master", job_id.0));
        };
        let details = match master.handle.request_job(master.id).await {
            Ok(details) => details,
            Err(error) => return Err(format!("the master of job-{} does not answer: {error}", job_id.0)),
        };
        let status = details.overview.status;
        if status != JobStatus::Running {
            return Err(format!("job-{} is {status}", job_id.0));
        }
        if !world.jobs[&job_id].streaming {
            return Err(format!("job-{} has not finished", job_id.0));
        }
        for vertex in &details.vertices {
            for (number, subtask) in vertex.subtasks.iter().enumerate() {
                if subtask.state != ExecutionState::Running {
                    return Err(format!("job-{} {}[{number}] is {}", job_id.0, vertex.name, subtask.state));
                }
                expected.insert((job_id, vertex.vertex_id, number as u32), master.id);
            }
        }
    }
    let overview = leading.resource_manager.overview().await;
    let overview = overview.map_err(|error| format!("the resource manager does not answer: {error}"))?;
    let state = world.state();
    let mut running = BTreeMap::new();
    for task in state.running.values() {
        let name = short(&task.attempt);
        if running.insert(subtask(&task.attempt), task.token).is_some() {
            return Err(format!("a second attempt of {name} runs on {}", task.host));
        }
    }
    if running != expected {
        return Err(format!("{} tasks run where {} should", running.len(), expected.len()));
    }
    let allocations: BTreeSet<_> = state.running.values().map(|task| task.allocation).collect();
    let at: BTreeSet<_> = state.running.values().map(|task| (task.allocation, task.process)).collect();
    if at.len() != allocations.len() {
        return Err("a slot is owned twice".into());
    }
    let slots = state.slots;
    let in_use = overview.slots - overview.free_slots;
    if slots != allocations.len() || in_use != allocations.len() {
        return Err(format!(
            "{} slots have tasks, TaskExecutors hold {slots}, and the resource manager counts {in_use} of {}",
            allocations.len(),
            overview.slots
        ));
    }
    if overview.waiting_requests > 0 {
        return Err(format!("{} slot requests wait", overview.waiting_requests));
    }
    let users: BTreeSet<_> = state.running.values().map(|task| (task.process, task.attempt.job_id)).collect();
    if state.held != users {
        return Err(format!("jobs are held by processes {:?}, used by {users:?}", state.held));
    }
    drop(state);
    let workers = cluster.task_executors().len();
    if overview.task_executors != workers {
        return Err(format!("{} of {workers} TaskExecutors are registered", overview.task_executors));
    }
    let processes = cluster.processes().len();
    if processes != workers + 1 {
        return Err(format!("{processes} processes run"));
    }
    let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let most = processes * TASKS_PER_PROCESS + 2 * expected.len() + 2 * leading.masters.len() * workers;
    if tasks > most {
        return Err(format!("{tasks} tasks of the runtime are alive, {most} are plenty"));
    }
    Ok(())
}
