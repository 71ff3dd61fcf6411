//! The job as clients see it, read off the scheduler.

use crate::job::epoch_ms;
use heddle_model::job_status::JobStatus;
use heddle_model::task::TaskMetrics;
use heddle_rpc::{JobDetails, JobFailure, JobOverview, SubtaskDetails, VertexDetails};
use heddle_scheduler::scheduler::Scheduler;
use std::collections::{BTreeMap, VecDeque};

/// Milliseconds since the epoch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub started_at_ms: u64,
    pub ended_at_ms: Option<u64>,
}

pub(crate) fn overview(scheduler: &Scheduler, status: JobStatus, times: Times) -> JobOverview {
    let job = scheduler.graph().job();
    JobOverview {
        job_id: job.job_id,
        name: job.name.clone(),
        status,
        start_time_ms: times.started_at_ms,
        end_time_ms: times.ended_at_ms,
    }
}

/// `survived`: the latest failures after which the job was restarted.
pub(crate) fn details(scheduler: &Scheduler, times: Times, survived: &VecDeque<JobFailure>) -> JobDetails {
    let graph = scheduler.graph();
    let vertices = graph
        .vertices()
        .iter()
        .map(|vertex| {
            let subtasks: Vec<_> = vertex
                .subtasks()
                .map(|index| &graph.subtask(index).current)
                .map(|execution| SubtaskDetails {
                    state: execution.state,
                    attempt: execution.attempt,
                    task_executor: execution.slot.as_ref().map(|slot| slot.resource_id.clone()),
                    metrics: execution.metrics,
                })
                .collect();
            let mut states = BTreeMap::new();
            for subtask in &subtasks {
                *states.entry(subtask.state.name().to_owned()).or_insert(0) += 1;
            }
            VertexDetails {
                vertex_id: vertex.vertex.id,
                name: vertex.vertex.name.clone(),
                parallelism: vertex.vertex.parallelism,
                states,
                metrics: sum(subtasks.iter().map(|subtask| &subtask.metrics)),
                subtasks,
            }
        })
        .collect();
    let mut failures: Vec<_> = survived.iter().cloned().collect();
    if matches!(scheduler.status(), JobStatus::Failing | JobStatus::Failed)
        && let Some(failure) = scheduler.failure()
    {
        let at_ms = times.ended_at_ms.unwrap_or_else(epoch_ms);
        failures.push(JobFailure { at_ms, failure: failure.clone() });
    }
    JobDetails {
        overview: overview(scheduler, scheduler.status(), times),
        restarts: scheduler.restarts(),
        vertices,
        accumulators: scheduler.accumulators(),
        failure: scheduler.failure().cloned(),
        failures,
    }
}

fn sum<'a>(metrics: impl Iterator<Item = &'a TaskMetrics>) -> TaskMetrics {
    metrics.fold(TaskMetrics::default(), |sum, of| TaskMetrics {
        records_in: sum.records_in.saturating_add(of.records_in),
        records_out: sum.records_out.saturating_add(of.records_out),
        bytes_in: sum.bytes_in.saturating_add(of.bytes_in),
        bytes_out: sum.bytes_out.saturating_add(of.bytes_out),
        busy_ms: sum.busy_ms.saturating_add(of.busy_ms),
        back_pressured_ms: sum.back_pressured_ms.saturating_add(of.back_pressured_ms),
        idle_ms: sum.idle_ms.saturating_add(of.idle_ms),
        first_sink_record_at_ms: [sum.first_sink_record_at_ms, of.first_sink_record_at_ms]
            .into_iter()
            .flatten()
            .min(),
    })
}
