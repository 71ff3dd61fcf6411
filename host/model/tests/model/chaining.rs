//! Stream graphs to job graphs: what fuses, and how chains are connected.

use crate::plan_script::{job, job_of, plan, settings, show_job};
use expect_test::{Expect, expect};
use heddle_model::job_graph::OutputTarget;
use heddle_model::stream_graph::{GraphSettings, StreamGraph};
use std::collections::BTreeSet;

fn check(script: &str, expected: Expect) {
    expected.assert_eq(&show_job(&job_of(script)));
}

const WORD_COUNT: &str = "1 text lines
     2 one Flat_Map < 1
     3 key Key_By < 2
     4 one Sum < 3 keyed
     5 one Format < 4
     6 out counts < 5";

#[test]
fn word_count() {
    check(
        WORD_COUNT,
        expect![[r#"
        [0] Source: lines -> Flat Map p=2/128
            chains 1 → 2
            output 2 to [1] all-to-all max=128
        [1] Sum -> Format -> Sink: counts p=2/128
            chains 4 → 5
            chains 5 → 6
            input 4.0 from [0] HASH all-to-all
            output 5 to sink 6
    "#]],
    );
}

#[test]
fn without_chaining_each_operator_is_alone() {
    let settings = GraphSettings { chaining_enabled: false, ..settings() };
    let stream = StreamGraph::from_plan(&plan(WORD_COUNT), &settings).unwrap();
    expect![[r#"
        [0] Source: lines p=2/128
            output 1 to [1] pointwise max=128
        [1] Flat Map p=2/128
            input 2.0 from [0] FORWARD pointwise
            output 2 to [2] all-to-all max=128
        [2] Sum p=2/128
            input 4.0 from [1] HASH all-to-all
            output 4 to [3] pointwise max=128
        [3] Format p=2/128
            input 5.0 from [2] FORWARD pointwise
            output 5 to [4] pointwise max=128
        [4] Sink: counts p=2/128
            input 6.0 from [3] FORWARD pointwise
    "#]]
    .assert_eq(&show_job(&job(&stream)));
}

#[test]
fn branches_chain_side_outputs_too() {
    check(
        "1 source lines
         2 one Flat_Map < 1
         3 one Map < 1
         4 out out < 3
         5 side late < 3
         6 sink Late < 5",
        expect![[r#"
            [0] Source: lines -> (Flat Map, Map -> (Sink: out, Sink: Late)) p=2/128
                chains 1 → 2
                chains 1 → 3
                chains 3 → 4
                chains 3 → 6 side=late
                output 3 to sink 4
        "#]],
    );
}

#[test]
fn a_union_and_two_inputs_start_a_chain() {
    check(
        "1 source a
         2 source b
         3 union - < 1 2
         4 one Map < 3
         5 two Join < 4 1
         6 sink s < 5",
        expect![[r#"
            [0] Source: a p=2/128
                output 1 to [2] pointwise max=128
                output 1 to [3] pointwise max=128
            [1] Source: b p=2/128
                output 2 to [2] pointwise max=128
            [2] Map p=2/128
                input 4.0 from [0] FORWARD pointwise
                input 4.0 from [1] FORWARD pointwise
                output 4 to [3] pointwise max=128
            [3] Join -> Sink: s p=2/128
                chains 5 → 6
                input 5.0 from [2] FORWARD pointwise
                input 5.1 from [0] FORWARD pointwise
        "#]],
    );
}

#[test]
fn a_stream_read_twice_by_one_operator_is_two_inputs() {
    check(
        "1 source a\n2 union - < 1 1\n3 one Map < 2\n4 sink s < 3",
        expect![[r#"
        [0] Source: a p=2/128
            output 1 to [1] pointwise max=128
            output 1 to [1] pointwise max=128
        [1] Map -> Sink: s p=2/128
            chains 3 → 4
            input 3.0 from [0] FORWARD pointwise
            input 3.0 from [0] FORWARD pointwise
    "#]],
    );
    let graph = job_of("1 source a\n2 union - < 1 1\n3 one Map < 2\n4 sink s < 3");
    let datasets: BTreeSet<_> = graph.vertices[1].inputs.iter().map(|input| input.dataset).collect();
    assert_eq!(datasets.len(), 2);
}

#[test]
fn what_does_not_chain() {
    check(
        "1 source a
         2 one Group < 1 group=g
         3 one Head < 2 chain=head
         4 one Behind < 3
         5 one Never < 4 chain=never
         6 one After < 5
         7 one Wide < 6 p=3
         8 rebalance - < 7
         9 one Spread < 8 p=3
         10 sink s < 9 p=3",
        expect![[r#"
            [0] Source: a p=2/128
                output 1 to [1] pointwise max=128
            [1] Group p=2/128
                input 2.0 from [0] FORWARD pointwise
                output 2 to [2] pointwise max=128
            [2] Head -> Behind p=2/128
                chains 3 → 4
                input 3.0 from [1] FORWARD pointwise
                output 4 to [3] pointwise max=128
            [3] Never p=2/128
                input 5.0 from [2] FORWARD pointwise
                output 5 to [4] pointwise max=128
            [4] After p=2/128
                input 6.0 from [3] FORWARD pointwise
                output 6 to [5] all-to-all max=128
            [5] Wide p=3/128
                input 7.0 from [4] REBALANCE all-to-all
                output 7 to [6] all-to-all max=128
            [6] Spread -> Sink: s p=3/128
                chains 9 → 10
                input 9.0 from [5] REBALANCE all-to-all
        "#]],
    );
}

#[test]
fn a_different_max_parallelism_chains_and_the_head_counts() {
    check(
        "1 source a\n2 key k < 1\n3 one Sum < 2 keyed max=400\n4 sink s < 3",
        expect![[r#"
        [0] Source: a p=2/128
            output 1 to [1] all-to-all max=400
        [1] Sum -> Sink: s p=2/400
            chains 3 → 4
            input 3.0 from [0] HASH all-to-all
    "#]],
    );
}

#[test]
fn each_partitioner_has_its_distribution() {
    check(
        "1 source a
         2 rescale - < 1
         3 sink rescaled < 2 p=4
         4 shuffle - < 1
         5 sink shuffled < 4
         6 global - < 1
         7 sink first < 6
         8 custom mine < 1
         9 sink chosen < 8
         10 forward - < 1
         11 sink forwarded < 10 chain=head",
        expect![[r#"
            [0] Source: a p=2/128
                output 1 to [1] pointwise max=128
                output 1 to [2] all-to-all max=128
                output 1 to [3] all-to-all max=128
                output 1 to [4] all-to-all max=128
                output 1 to [5] pointwise max=128
            [1] Sink: rescaled p=4/128
                input 3.0 from [0] RESCALE pointwise
            [2] Sink: shuffled p=2/128
                input 5.0 from [0] SHUFFLE all-to-all
            [3] Sink: first p=2/128
                input 7.0 from [0] GLOBAL all-to-all
            [4] Sink: chosen p=2/128
                input 9.0 from [0] CUSTOM all-to-all
            [5] Sink: forwarded p=2/128
                input 11.0 from [0] FORWARD pointwise
        "#]],
    );
}

#[test]
fn both_ends_of_an_edge_agree() {
    let graph = job_of(WORD_COUNT);
    for vertex in &graph.vertices {
        for output in &vertex.outputs {
            let OutputTarget::Dataset { dataset, consumer, distribution, .. } = &output.target else {
                continue;
            };
            let consumer = graph.vertex(*consumer).unwrap();
            let input = consumer.inputs.iter().find(|input| input.dataset == *dataset).unwrap();
            assert_eq!(input.producer, vertex.id);
            assert_eq!(input.distribution, *distribution);
            assert_eq!(input.element, output.element);
            assert_eq!(input.partitioner, output.partitioner);
        }
    }
    assert_eq!(graph.required_slots(), 2);
}

#[test]
fn a_lone_connector_sink_has_no_guest() {
    let graph = job_of("1 text a p=1\n2 out b < 1 p=2");
    assert!(graph.vertices[0].has_guest());
    assert!(!graph.vertices[1].has_guest());
    assert_eq!(graph.vertices[1].connector_sinks().count(), 1);
}
