//! Transformations to stream graphs: what is folded, what is inherited.

use crate::plan_script::{plan, settings, show_stream, stream};
use expect_test::{Expect, expect};
use heddle_model::stream_graph::{GraphSettings, StreamGraph};

fn check(script: &str, expected: Expect) {
    expected.assert_eq(&show_stream(&stream(script)));
}

#[test]
fn word_count() {
    check(
        "1 text lines
         2 one Flat_Map < 1
         3 key Key_By < 2
         4 one Sum < 3 keyed
         5 out counts < 4",
        expect![[r#"
            1 Source: lines p=2/128 group=default
            2 Flat Map p=2/128 group=default
            4 Sum p=2/128 group=default keyed
            5 Sink: counts p=2/128 group=default
            1 → 2.0 FORWARD str
            2 → 4.0 HASH of 3 str
            4 → 5.0 FORWARD str
        "#]],
    );
}

#[test]
fn an_unset_partitioner_follows_the_parallelism() {
    check(
        "1 source a p=1
         2 one Map < 1 p=4
         3 one Filter < 2
         4 sink discard < 3",
        expect![[r#"
            1 Source: a p=1/128 group=default
            2 Map p=4/128 group=default
            3 Filter p=2/128 group=default
            4 Sink: discard p=2/128 group=default
            1 → 2.0 REBALANCE str
            2 → 3.0 REBALANCE str
            3 → 4.0 FORWARD str
        "#]],
    );
}

#[test]
fn the_last_partition_wins() {
    check(
        "1 source a
         2 rebalance - < 1
         3 shuffle - < 2
         4 one Map < 3
         5 sink discard < 4",
        expect![[r#"
            1 Source: a p=2/128 group=default
            4 Map p=2/128 group=default
            5 Sink: discard p=2/128 group=default
            1 → 4.0 SHUFFLE of 3 str
            4 → 5.0 FORWARD str
        "#]],
    );
}

#[test]
fn unions_become_edges_also_of_unions_and_of_the_same_stream() {
    check(
        "1 source a
         2 source b p=3
         3 union - < 1 2
         4 rescale - < 3
         5 union - < 4 1 1
         6 sink discard < 5",
        expect![[r#"
            1 Source: a p=2/128 group=default
            2 Source: b p=3/128 group=default
            6 Sink: discard p=2/128 group=default
            1 → 6.0 RESCALE of 4 str
            2 → 6.0 RESCALE of 4 str
            1 → 6.0 FORWARD str
            1 → 6.0 FORWARD str
        "#]],
    );
}

#[test]
fn side_outputs_have_their_own_type_and_may_be_partitioned() {
    check(
        "1 source a type=u64
         2 one Parse < 1 type=u64
         3 side late < 2
         4 broadcast - < 3
         5 out errors < 4
         6 sink good < 2",
        expect![[r#"
            1 Source: a p=2/128 group=default
            2 Parse p=2/128 group=default
            5 Sink: errors p=2/128 group=default
            6 Sink: good p=2/128 group=default
            1 → 2.0 FORWARD u64
            2 → 5.0 BROADCAST of 4 side=late str
            2 → 6.0 FORWARD u64
        "#]],
    );
}

#[test]
fn two_inputs_have_two_ports() {
    check(
        "1 source rules
         2 source data
         3 broadcast - < 1
         4 key - < 2
         5 two Join < 3 4 keyed
         6 sink discard < 5",
        expect![[r#"
            1 Source: rules p=2/128 group=default
            2 Source: data p=2/128 group=default
            5 Join p=2/128 group=default keyed
            6 Sink: discard p=2/128 group=default
            1 → 5.0 BROADCAST of 3 str
            2 → 5.1 HASH of 4 str
            5 → 6.0 FORWARD str
        "#]],
    );
}

#[test]
fn groups_are_inherited_if_all_inputs_agree() {
    check(
        "1 source a group=x
         2 source b group=y
         3 one Map < 1
         4 union - < 3 1
         5 one Same < 4
         6 union - < 5 2
         7 one Different < 6
         8 sink s < 7 group=z",
        expect![[r#"
            1 Source: a p=2/128 group=x
            2 Source: b p=2/128 group=y
            3 Map p=2/128 group=x
            5 Same p=2/128 group=x
            7 Different p=2/128 group=default
            8 Sink: s p=2/128 group=z
            1 → 3.0 FORWARD str
            3 → 5.0 FORWARD str
            1 → 5.0 FORWARD str
            5 → 7.0 FORWARD str
            2 → 7.0 FORWARD str
            7 → 8.0 FORWARD str
        "#]],
    );
}

#[test]
fn max_parallelism_is_own_then_default_then_from_parallelism() {
    check(
        "1 source a max=7 p=7
         2 one Map < 1 p=100
         3 sink s < 2 p=1",
        expect![[r#"
            1 Source: a p=7/7 group=default
            2 Map p=100/256 group=default
            3 Sink: s p=1/128 group=default
            1 → 2.0 REBALANCE str
            2 → 3.0 REBALANCE str
        "#]],
    );
    let settings = GraphSettings { default_max_parallelism: Some(500), ..settings() };
    let graph = StreamGraph::from_plan(&plan("1 source a max=7\n2 sink s < 1 p=300"), &settings);
    expect![[r#"
        1 Source: a p=2/7 group=default
        2 Sink: s p=300/500 group=default
        1 → 2.0 REBALANCE str
    "#]]
    .assert_eq(&show_stream(&graph));
}

#[test]
fn a_job_is_bounded_if_all_its_sources_are() {
    let bounded = |script| stream(script).unwrap().bounded;
    assert!(bounded("1 source a\n2 text b\n3 union - < 1 2\n4 sink s < 3"));
    assert!(!bounded("1 source a\n2 endless b\n3 union - < 1 2\n4 sink s < 3"));
}

#[test]
fn the_program_names_the_job_or_the_settings_do() {
    let mut plan = plan("1 source a\n2 sink s < 1");
    assert_eq!(StreamGraph::from_plan(&plan, &settings()).unwrap().job_name, "test");
    plan.name = Some("mine".into());
    assert_eq!(StreamGraph::from_plan(&plan, &settings()).unwrap().job_name, "mine");
}

#[test]
fn operators_that_nobody_reads_run_too() {
    check(
        "1 source a
         2 one Count < 1
         3 sink s < 1
         4 rebalance nobody < 2",
        expect![[r#"
            1 Source: a p=2/128 group=default
            2 Count p=2/128 group=default
            3 Sink: s p=2/128 group=default
            1 → 2.0 FORWARD str
            1 → 3.0 FORWARD str
        "#]],
    );
}
