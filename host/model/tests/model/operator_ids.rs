//! Operator ids: the same for the same program, whatever is added beside it.

use crate::plan_script::{job_of, stream};
use expect_test::expect;
use heddle_model::graph_ids::operator_ids;
use heddle_model::id::OperatorId;
use std::collections::{BTreeMap, BTreeSet};

fn ids(script: &str) -> BTreeMap<u32, OperatorId> {
    operator_ids(&stream(script).unwrap())
}

const BASE: &str = "1 source a
     2 one Map < 1
     3 key k < 2
     4 one Sum < 3 keyed
     5 sink s < 4\n";

/// These must never change: state is found by them.
#[test]
fn ids_are_those_of_the_first_release() {
    let text: String = ids(BASE).iter().map(|(number, id)| format!("{number} {id}\n")).collect();
    expect![[r#"
        1 5324121a7e5d22691577e08626b623d2
        2 1d7246192d616b4fb702f41d4dabb958
        4 2d46801f2f36324280f4ce7357803906
        5 4751bc347ae38394b27e4e7ecd3777c7
    "#]]
    .assert_eq(&text);
    expect!["305ee14d58e86706c56749e3d22c1821"]
        .assert_eq(&ids("1 source a uid=my-source\n2 sink s < 1")[&1].to_string());
    let graph = job_of(BASE);
    expect!["2d46801f2f36324280f4ce7357803906 6baa62296a3a8ba3c5800808a6a04254"]
        .assert_eq(&format!("{} {}", graph.vertices[1].id, graph.vertices[1].inputs[0].dataset));
}

#[test]
fn ids_differ_within_a_job() {
    let all = ids("1 source a\n2 source b\n3 sink s < 1\n4 sink s < 1\n5 sink s < 2\n6 one s < 1");
    assert_eq!(all.values().collect::<BTreeSet<_>>().len(), all.len());
}

#[test]
fn names_numbers_and_parallelism_do_not_count() {
    let other =
        ids("10 source z\n20 one Other < 10 p=3\n30 key k < 20\n40 one Sum < 30 keyed p=7\n50 sink t < 40");
    assert_eq!(ids(BASE).values().collect::<Vec<_>>(), other.values().collect::<Vec<_>>());
}

#[test]
fn what_is_added_behind_or_beside_changes_nothing() {
    let before = ids(BASE);
    for added in [
        "6 source b\n7 one Map < 6\n8 sink s < 7",
        "6 one Map < 1\n7 sink s < 6",
        "6 sink t < 4",
        "6 side late < 2\n7 sink t < 6",
        "6 union u < 2 1\n7 sink t < 6",
    ] {
        let after = ids(&format!("{BASE}{added}"));
        assert!(before.iter().all(|(number, id)| after[number] == *id), "{added}");
    }
}

#[test]
fn a_uid_holds_through_any_change() {
    let before = ids("1 source a\n2 one Map < 1 uid=m\n3 sink s < 2");
    let after = ids("1 source a\n7 one New < 1\n2 one Renamed < 7 uid=m\n3 sink s < 2");
    assert_eq!(before[&2], after[&2]);
    // What has no uid follows what it reads: by the uid, nothing changed there.
    assert_eq!(before[&3], after[&3]);
}

#[test]
fn what_an_operator_reads_counts() {
    let one = ids("1 source a\n2 one Map < 1\n3 one Map < 2\n4 sink s < 3");
    assert_ne!(one[&2], one[&3]);
    let keyed = ids("1 source a\n2 key k < 1\n3 one Map < 2\n4 sink s < 3");
    assert_ne!(one[&2], keyed[&3]);
    let side = ids("1 source a\n2 side x < 1\n3 one Map < 2\n4 sink s < 3");
    assert_ne!(one[&2], side[&3]);
}
