//! What a buggy or hostile program may send as its plan, and the line that its
//! user reads.

use crate::plan_script::{plan, settings, show_stream, stream};
use expect_test::{Expect, expect};
use heddle_model::element::{Column, ElementType};
use heddle_model::failure::ErrorCode;
use heddle_model::plan::{JobPlan, TransformationKind};
use heddle_model::stream_graph::{GraphSettings, StreamGraph};

fn check(script: &str, expected: Expect) {
    expected.assert_eq(&show_stream(&stream(script)));
}

fn check_plan(plan: &JobPlan, expected: Expect) {
    expected.assert_eq(&show_stream(&StreamGraph::from_plan(plan, &settings())));
}

#[test]
fn nothing_to_run() {
    check_plan(
        &JobPlan::default(),
        expect![[r#"
        H1102 no operators defined in streaming topology: the program made no stream; start with a source and end with a sink
    "#]],
    );
    check(
        "1 source a\n2 one Map < 1",
        expect![[r#"
        H1102 no operators defined in streaming topology: the program has no sink, so nothing would come out of it; add one, for example behind operator 'Map' (id 2)
    "#]],
    );
    check(
        "1 sink s",
        expect![[r#"
        H1102 sink 's' (id 1) has 0 inputs, its kind takes 1
    "#]],
    );
}

#[test]
fn ids_and_inputs() {
    check(
        "1 source a\n1 source b\n2 sink s < 1",
        expect![[r#"
        H1102 source 'b' (id 1) has the same id as source 'a' (id 1)
    "#]],
    );
    check(
        "1 source a\n2 sink s < 9",
        expect![[r#"
        H1102 sink 's' (id 2) reads transformation 9, which does not exist
    "#]],
    );
    check(
        "1 source a\n2 sink s < 1\n3 one Map < 2",
        expect![[r#"
        H1102 operator 'Map' (id 3) reads sink 's' (id 2), which gives out nothing
    "#]],
    );
    check(
        "1 source a < 2\n2 source b\n3 sink s < 1",
        expect![[r#"
        H1102 source 'a' (id 1) has 1 inputs, its kind takes 0
    "#]],
    );
    check(
        "1 source a\n2 two Join < 1\n3 sink s < 2",
        expect![[r#"
        H1102 operator 'Join' (id 2) has 1 inputs, its kind takes 2
    "#]],
    );
    check(
        "1 source a\n2 union All\n3 sink s < 2",
        expect![[r#"
        H1102 union 'All' (id 2) has 0 inputs, its kind takes 1 to 1000
    "#]],
    );
    check(
        "1 source a\n2 one Map < 1 1\n3 sink s < 2",
        expect![[r#"
        H1102 operator 'Map' (id 2) has 2 inputs, its kind takes 1
    "#]],
    );
}

#[test]
fn cycles() {
    check(
        "1 source a
         2 union All < 1 4
         3 one Map < 2
         4 one Filter < 3
         5 sink s < 4",
        expect![[r#"
            H1102 operator 'Map' (id 3) is part of a cycle: 'Map' -> 'Filter' -> 'All' -> 'Map'; streams only flow forward
        "#]],
    );
    check(
        "1 source a\n2 union Self < 1 2\n3 sink s < 2",
        expect![[r#"
        H1102 union 'Self' (id 2) is part of a cycle: 'Self' -> 'Self'; streams only flow forward
    "#]],
    );
}

#[test]
fn element_types() {
    check(
        "1 source a type=u64\n2 out file < 1",
        expect![[r#"
        H1103 sink 'file' (id 2) of connector 'text-files' takes 'str' as columns [utf8], but source 'a' (id 1) gives out 'u64' as columns [fixed(8)]; map the elements to text first
    "#]],
    );
    check(
        "1 source a type=u64\n2 source b type=i64\n3 union All < 1 2 type=u64\n4 sink s < 3",
        expect![[r#"
            H1103 union 'All' (id 3) passes on 'u64' as columns [fixed(8)], but source 'b' (id 2) gives out 'i64' as columns [fixed(8)]; both ends of a stream need the same element type
        "#]],
    );
    check(
        "1 source a type=u64\n2 rebalance r < 1 type=i64\n3 sink s < 2",
        expect![[r#"
        H1103 partition 'r' (id 2) passes on 'i64' as columns [fixed(8)], but source 'a' (id 1) gives out 'u64' as columns [fixed(8)]; both ends of a stream need the same element type
    "#]],
    );
    check(
        "1 text a type=u64\n2 sink s < 1",
        expect![[r#"
        H1103 source 'a' (id 1) of connector 'text-files' gives out 'str' as columns [utf8], but the program reads it as 'u64' as columns [fixed(8)]
    "#]],
    );
    check(
        "1 source a type=u64
         2 key k < 1 type=u64
         3 side late < 2 type=i64
         4 one Map < 3
         5 sink s < 4",
        expect![[r#"
            H1103 partition 'k' (id 2) spreads u64 as columns, but operator 'Map' (id 4) reads a side output of i64 as columns through it; partition the side output
        "#]],
    );
    let mut missing = plan("1 source a\n2 sink s < 1");
    missing.transformations[0].output = None;
    check_plan(
        &missing,
        expect![[r#"
        H1102 source 'a' (id 1) has no element type for its output
    "#]],
    );
    let mut too_many = plan("1 source a\n2 sink s < 1");
    too_many.transformations[1].output = Some(ElementType::text());
    check_plan(
        &too_many,
        expect![[r#"
        H1102 sink 's' (id 2) is a sink, but has an element type for an output
    "#]],
    );
    let mut width = plan("1 source a\n2 sink s < 1");
    width.transformations[0].output.as_mut().unwrap().columns = vec![Column::Fixed(3)];
    check_plan(
        &width,
        expect![[r#"
        H1102 source 'a' (id 1) has a column of fixed width 3; the widths are 1, 2, 4 and 8 bytes
    "#]],
    );
}

#[test]
fn keyed_operators_need_keyed_streams() {
    check(
        "1 source a\n2 one Sum < 1 keyed\n3 sink s < 2",
        expect![[r#"
        H1102 operator 'Sum' (id 2) is keyed, but its input from source 'a' (id 1) is spread by FORWARD; put key_by between them
    "#]],
    );
    check(
        "1 source a\n2 key k < 1\n3 rebalance r < 2\n4 one Sum < 3 keyed\n5 sink s < 4",
        expect![[r#"
        H1102 operator 'Sum' (id 4) is keyed, but its input from source 'a' (id 1) is spread by REBALANCE; put key_by between them
    "#]],
    );
    check(
        "1 source a\n2 key k < 1\n3 two Join < 2 1 keyed\n4 sink s < 3",
        expect![[r#"
        H1102 operator 'Join' (id 3) is keyed, but its input from source 'a' (id 1) is spread by FORWARD; put key_by between them
    "#]],
    );
    check(
        "1 source a\n2 broadcast b < 1\n3 two Join < 2 2 keyed\n4 sink s < 3",
        expect![[r#"
        H1102 operator 'Join' (id 3) is keyed, but none of its inputs is; put key_by before it
    "#]],
    );
    check(
        "1 source a\n2 key k < 1\n3 key l < 1 keytype=u64\n4 two Join < 2 3 keyed\n5 sink s < 4",
        expect![[r#"
            H1103 operator 'Join' (id 4) has inputs with different keys: str as columns and u64 as columns
        "#]],
    );
    check(
        "1 source a keyed\n2 sink s < 1",
        expect![[r#"
        H1102 source 'a' (id 1) is keyed, but a source has no input
    "#]],
    );
}

#[test]
fn parallelism() {
    check(
        "1 source a p=0\n2 sink s < 1",
        expect![[r#"
        H1104 source 'a' (id 1) has parallelism 0; it has to be 1 to 32768
    "#]],
    );
    check(
        "1 source a p=9 max=8\n2 sink s < 1",
        expect![[r#"
        H1104 source 'a' (id 1) has parallelism 9, above its max parallelism of 8
    "#]],
    );
    check(
        "1 source a p=40000\n2 sink s < 1",
        expect![[r#"
        H1104 source 'a' (id 1) has parallelism 40000, above the largest max parallelism of 32768
    "#]],
    );
    check(
        "1 source a max=0\n2 sink s < 1",
        expect![[r#"
        H1104 source 'a' (id 1) has max parallelism 0; it has to be 1 to 32768
    "#]],
    );
    check(
        "1 source a max=32769\n2 sink s < 1",
        expect![[r#"
        H1104 source 'a' (id 1) has max parallelism 32769; it has to be 1 to 32768
    "#]],
    );
    check(
        "1 source a p=3\n2 forward f < 1\n3 sink s < 2 p=4",
        expect![[r#"
        H1102 source 'a' (id 1) has parallelism 3 and forwards to sink 's' (id 3) of parallelism 4; forward needs the same on both sides, use rebalance or rescale instead
    "#]],
    );
    check(
        "1 source a p=32768\n2 key k < 1\n3 sink s < 2 p=32768",
        expect![[r#"
        H1104 the job has 1073741824 channels between its subtasks, the limit is 16777216; lower the parallelism, for example of source 'a' (id 1) and sink 's' (id 3)
    "#]],
    );
    let plan = plan("1 source a\n2 sink s < 1");
    let with = |settings| show_stream(&StreamGraph::from_plan(&plan, &settings));
    expect![[r#"
        H1104 the default parallelism is 0; it has to be 1 to 32768
    "#]]
    .assert_eq(&with(GraphSettings { default_parallelism: 0, ..settings() }));
    expect![[r#"
        H1104 the default max parallelism is 40000; it has to be 1 to 32768
    "#]]
    .assert_eq(&with(GraphSettings { default_max_parallelism: Some(40_000), ..settings() }));
    expect![[r#"
        H1104 source 'a' (id 1) has parallelism 5, above the default max parallelism of 4
    "#]]
    .assert_eq(&with(GraphSettings {
        default_parallelism: 5,
        default_max_parallelism: Some(4),
        ..settings()
    }));
}

#[test]
fn uids_are_unique() {
    check(
        "1 source a uid=x\n2 one Map < 1 uid=x\n3 sink s < 2",
        expect![[r#"
        H1102 operator 'Map' (id 2) has the uid 'x', which source 'a' (id 1) has too; uids are unique
    "#]],
    );
    check(
        "1 source a uid=\n2 sink s < 1",
        expect![[r#"
        H1102 source 'a' (id 1) has an empty uid; give it a text, or leave it out
    "#]],
    );
}

#[test]
fn side_outputs_belong_to_operators() {
    check(
        "1 source a\n2 side x < 1\n3 side y < 2\n4 sink s < 3",
        expect![[r#"
        H1102 side output 'y' (id 3) belongs to side output 'x' (id 2); only an operator has side outputs, so read it from the operator
    "#]],
    );
    check(
        "1 text a\n2 side x < 1\n3 sink s < 2",
        expect![[r#"
        H1102 side output 'x' (id 2) belongs to source 'a' (id 1), and a connector has no side outputs
    "#]],
    );
    // The same tag twice with different types.
    check(
        "1 source a\n2 side x < 1\n3 sink s < 2\n4 side x < 1 type=u64\n5 sink t < 4",
        expect![[r#"
            H1103 side output 'x' (id 4) reads u64 as columns, but side output 'x' (id 2) reads the same tag 'x' of source 'a' (id 1) as str as columns; give the tag one type
        "#]],
    );
}

#[test]
fn names_stay_names() {
    let mut long = plan("1 source a\n2 sink s < 1");
    long.transformations[0].name = "x".repeat(1001);
    check_plan(
        &long,
        expect![[r#"
        H1102 source 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…' (id 1) is not accepted: its name is longer than 1000 characters
    "#]],
    );
    let mut control = plan("1 source a\n2 sink s < 1");
    control.transformations[0].name = "a\nH9001 all is lost".into();
    check_plan(
        &control,
        expect![[r#"
        H1102 source 'a�H9001 all is lost' (id 1) is not accepted: its name has the control character '\n'
    "#]],
    );
    let mut tag = plan("1 source a\n2 side x < 1\n3 sink s < 2");
    tag.transformations[1].kind = TransformationKind::SideOutput("\u{1b}[2J".into());
    check_plan(
        &tag,
        expect![[r#"
        H1102 side output 'x' (id 2) is not accepted: its tag has the control character '\u{1b}'
    "#]],
    );
}

#[test]
fn graphs_have_limits() {
    let failure = |script: &str| StreamGraph::from_plan(&plan(script), &settings()).unwrap_err();
    let mut many = String::from("0 source a\n");
    (1..=10_000).for_each(|id| many += &format!("{id} sink s < 0\n"));
    assert_eq!(failure(&many).code, ErrorCode::PlanInvalid);

    // Each union doubles what it reads: 2^40 edges.
    let mut bomb = String::from("0 source a\n");
    (1..=40).for_each(|id| bomb += &format!("{id} union u < {} {}\n", id - 1, id - 1));
    bomb += "41 sink s < 40";
    expect![[r#"
        union 'u' (id 16) makes the graph too large: more than 100000 edges
    "#]]
    .assert_eq(&format!("{}\n", failure(&bomb)));

    // A chain of the greatest length is fine.
    let mut chain = String::from("0 source a\n");
    (1..9_999).for_each(|id| chain += &format!("{id} one Map < {}\n", id - 1));
    chain += "9999 sink s < 9998";
    let graph = crate::plan_script::job_of(&chain);
    assert_eq!(graph.vertices.len(), 1);
    assert!(graph.vertices[0].name.chars().count() < 2_100);

    // So is a chain of virtual nodes.
    let mut virtuals = String::from("0 source a\n");
    (1..9_999).for_each(|id| virtuals += &format!("{id} rebalance r < {}\n", id - 1));
    virtuals += "9999 sink s < 9998";
    assert_eq!(stream(&virtuals).unwrap().edges.len(), 1);

    // Few edges with large types.
    let mut large = plan("0 source a\n1 one b < 0\n2 sink s < 1");
    for transformation in &mut large.transformations {
        if let Some(element) = &mut transformation.output {
            element.schema = "x".repeat(40 << 20);
        }
    }
    expect![[r#"
        H1102 sink 's' (id 2) makes the graph too large: 67108864 bytes of element types
    "#]]
    .assert_eq(&show_stream(&StreamGraph::from_plan(&large, &settings())));
}

#[test]
fn operators_of_one_place_are_of_one_slot_sharing_group() {
    check(
        "1 source a with=pair\n2 one Map chain=never group=slow with=pair < 1\n3 sink s < 2",
        expect![[r#"
            H1102 operator 'Map' (id 2) is in the co-location group 'pair' with source 'a' (id 1), but in the slot sharing group 'slow' and that in 'default'; subtasks share a slot only within one slot sharing group, so set the same
        "#]],
    );
    let two_groups = stream(
        "1 source a with=pair\n2 one Map chain=never with=pair < 1\n3 sink s group=slow with=other < 2",
    );
    assert!(two_groups.is_ok(), "{two_groups:?}");
}
