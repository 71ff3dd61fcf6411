//! The execution graph: regions, and what is deployed where.

use crate::jobs::JobBuilder;
use expect_test::{Expect, expect};
use heddle_model::id::{AllocationId, ResourceId};
use heddle_model::job_graph::{Distribution, JobGraph};
use heddle_scheduler::execution_graph::ExecutionGraph;
use heddle_scheduler::scheduler::{Action, Event, Options, Scheduler};
use heddle_scheduler::slot_pool::Fulfilled;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

fn check_regions(job: JobBuilder, expected: Expect) {
    let graph = ExecutionGraph::new(job.build()).expect("the graph is valid");
    let mut text = String::new();
    for region in graph.regions() {
        let names: Vec<_> = region.iter().map(|index| graph.subtask_name(*index)).collect();
        writeln!(text, "{}", names.join(", ")).expect("a string takes all");
    }
    expected.assert_eq(&text);
}

/// Deploys the job, slot by slot on two TaskExecutors in turn, and shows each
/// message.
fn check_deployment(job: JobBuilder, expected: Expect) {
    let options = Options { cancellation_timeout: Duration::from_secs(10), jitter_seed: 0 };
    let mut scheduler = Scheduler::new(job.build(), options).expect("the graph is valid");
    scheduler.step(Duration::ZERO, Event::Start);
    let actions = scheduler.step(Duration::ZERO, Event::Prepared(Ok(BTreeMap::new())));
    let requests = actions.iter().find_map(|action| match action {
        Action::RequestSlots(requests) => Some(requests.clone()),
        _ => None,
    });
    let slots = requests
        .expect("a job needs slots")
        .into_iter()
        .map(|request| Fulfilled {
            request,
            allocation_id: AllocationId(request.0),
            resource_id: ResourceId(format!("te-{}", request.0 % 2)),
        })
        .collect();
    let mut text = String::new();
    for action in scheduler.step(Duration::ZERO, Event::SlotsAllocated(slots)) {
        let Action::SubmitTasks { resource_id, tasks } = action else { continue };
        writeln!(text, "{resource_id}").expect("a string takes all");
        for task in tasks {
            write!(text, "  {}.{} slot {}", task.vertex.name, task.attempt.subtask, task.allocation_id.0)
                .expect("a string takes all");
            for output in &task.outputs {
                write!(text, ", output {} in {}", output.output, output.subpartitions)
                    .expect("a string takes all");
            }
            for (gate, input) in task.inputs.iter().enumerate() {
                let channels: Vec<_> = input
                    .channels
                    .iter()
                    .map(|c| format!("{}/{}@{}", c.partition.producer.subtask, c.subpartition, c.producer))
                    .collect();
                write!(text, ", gate {gate} from {}", channels.join(" ")).expect("a string takes all");
            }
            text.push('\n');
        }
    }
    expected.assert_eq(&text);
}

fn check_refused(job: Arc<JobGraph>, expected: Expect) {
    let failure = ExecutionGraph::new(job).expect_err("the graph is not valid");
    expected.assert_eq(&format!("{} {failure}", failure.code));
}

#[test]
fn an_all_to_all_edge_makes_one_region() {
    check_regions(
        JobBuilder::new().source(2).sink(3).edge(0, 1, Distribution::AllToAll),
        expect![[r#"
            v0 (1/2), v0 (2/2), v1 (1/3), v1 (2/3), v1 (3/3)
        "#]],
    );
}

#[test]
fn pointwise_edges_leave_a_region_for_each_line() {
    check_regions(
        JobBuilder::new().source(2).sink(4).edge(0, 1, Distribution::Pointwise),
        expect![[r#"
            v0 (1/2), v1 (1/4), v1 (2/4)
            v0 (2/2), v1 (3/4), v1 (4/4)
        "#]],
    );
}

#[test]
fn vertices_without_an_edge_are_apart() {
    check_regions(
        JobBuilder::new().source(2).source(1),
        expect![[r#"
            v0 (1/2)
            v0 (2/2)
            v1 (1/1)
        "#]],
    );
}

#[test]
fn subtasks_with_one_number_share_a_slot_and_each_worker_gets_one_message() {
    check_deployment(
        JobBuilder::new().source(2).map(3).edge(0, 1, Distribution::AllToAll),
        expect![[r#"
            te-0
              v0.0 slot 0, output 0 in 3
              v1.0 slot 0, gate 0 from 0/0@te-0 1/0@te-1
              v1.2 slot 2, gate 0 from 0/2@te-0 1/2@te-1
            te-1
              v0.1 slot 1, output 0 in 3
              v1.1 slot 1, gate 0 from 0/1@te-0 1/1@te-1
        "#]],
    );
}

#[test]
fn groups_do_not_share_slots_and_pointwise_edges_find_their_channels() {
    check_deployment(
        JobBuilder::new()
            .source(1)
            .map(2)
            .group("other")
            .sink(1)
            .edge(0, 1, Distribution::Pointwise)
            .edge(1, 2, Distribution::Pointwise)
            .edge(0, 2, Distribution::AllToAll),
        expect![[r#"
            te-0
              v0.0 slot 0, output 0 in 2, output 1 in 1
              v1.1 slot 2, output 0 in 1, gate 0 from 0/1@te-0
              v2.0 slot 0, gate 0 from 0/0@te-1 1/0@te-0, gate 1 from 0/0@te-0
            te-1
              v1.0 slot 1, output 0 in 1, gate 0 from 0/0@te-0
        "#]],
    );
}

#[test]
fn a_graph_that_does_not_fit_together_is_refused() {
    check_refused(
        JobBuilder::new().build(),
        expect!["H1102 the graph of job `sample` is not valid: it has no vertex"],
    );
    check_refused(
        JobBuilder::new().source(0).build(),
        expect!["H1104 `v0` of job `sample` has parallelism 0; it needs at least 1"],
    );
    let mut job = (*JobBuilder::new().source(1).sink(1).edge(0, 1, Distribution::AllToAll).build()).clone();
    job.vertices[0].outputs.clear();
    check_refused(
        Arc::new(job.clone()),
        expect!["H1102 the graph of job `sample` is not valid: no vertex produces an input of `v1`"],
    );
    job.vertices[1] = job.vertices[0].clone();
    check_refused(
        Arc::new(job),
        expect!["H1102 the graph of job `sample` is not valid: two vertices have the same id"],
    );
}
