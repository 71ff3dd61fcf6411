//! Plans as a user sees them: JSON and pictures.

use crate::plan_script::{job_of, stream};
use expect_test::{Expect, expect};
use heddle_model::plan_json::{plan_json, stream_plan_json};
use heddle_model::plan_picture::{plan_picture, plan_picture_within};

fn picture(script: &str, expected: Expect) {
    expected.assert_eq(&plan_picture(&job_of(script)));
}

const WORD_COUNT: &str = "1 text lines
     2 one Flat_Map < 1
     3 key Key_By < 2
     4 one Sum < 3 keyed
     5 out counts < 4";

const BRANCHES: &str = "1 source access_log
     2 one Parse < 1
     3 side malformed < 2
     4 out malformed_lines < 3
     5 key By_Status < 2
     6 one Count_by_Status < 5 keyed
     7 sink by_status < 6
     8 key By_Path < 2
     9 one Count_by_Path < 8 keyed
     10 sink by_path < 9";

#[test]
fn flink_info() {
    expect![[r#"
        {
          "nodes": [
            {
              "contents": "Source: lines [text-files, path=/data]",
              "id": 1,
              "pact": "Data Source",
              "parallelism": 2,
              "type": "Source: lines"
            },
            {
              "contents": "Flat Map",
              "id": 2,
              "pact": "Operator",
              "parallelism": 2,
              "predecessors": [
                {
                  "id": 1,
                  "ship_strategy": "FORWARD",
                  "side": "first"
                }
              ],
              "type": "Flat Map"
            },
            {
              "contents": "Sum",
              "id": 4,
              "pact": "Operator",
              "parallelism": 2,
              "predecessors": [
                {
                  "id": 2,
                  "ship_strategy": "HASH",
                  "side": "first"
                }
              ],
              "type": "Sum"
            },
            {
              "contents": "Sink: counts [text-files, path=/data]",
              "id": 5,
              "pact": "Data Sink",
              "parallelism": 2,
              "predecessors": [
                {
                  "id": 4,
                  "ship_strategy": "FORWARD",
                  "side": "first"
                }
              ],
              "type": "Sink: counts"
            }
          ]
        }"#]]
    .assert_eq(&format!("{:#}", stream_plan_json(&stream(WORD_COUNT).unwrap())));
}

#[test]
fn flink_rest() {
    expect![[r#"
        {
          "jid": "00000000000000000000000000000007",
          "name": "test",
          "nodes": [
            {
              "description": "Source: access log<br/>+- Parse<br/>   +- Sink: malformed lines [text-files, path=/data]<br/>",
              "id": "5324121a7e5d22691577e08626b623d2",
              "operator": "",
              "operator_strategy": "",
              "optimizer_properties": {},
              "parallelism": 2
            },
            {
              "description": "Count by Status<br/>+- Sink: by status<br/>",
              "id": "2d46801f2f36324280f4ce7357803906",
              "inputs": [
                {
                  "exchange": "pipelined_bounded",
                  "id": "5324121a7e5d22691577e08626b623d2",
                  "num": 0,
                  "ship_strategy": "HASH"
                }
              ],
              "operator": "",
              "operator_strategy": "",
              "optimizer_properties": {},
              "parallelism": 2
            },
            {
              "description": "Count by Path<br/>+- Sink: by path<br/>",
              "id": "2d39262f09336d9dd4275a9e8333c7cc",
              "inputs": [
                {
                  "exchange": "pipelined_bounded",
                  "id": "5324121a7e5d22691577e08626b623d2",
                  "num": 0,
                  "ship_strategy": "HASH"
                }
              ],
              "operator": "",
              "operator_strategy": "",
              "optimizer_properties": {},
              "parallelism": 2
            }
          ],
          "type": "STREAMING"
        }"#]].assert_eq(&format!("{:#}", plan_json(&job_of(BRANCHES))));
}

#[test]
fn a_line() {
    picture(
        WORD_COUNT,
        expect![[r#"
         ┌───────────────┐
         │ Source: lines │
         │ → Flat Map    │
         │ parallelism 2 │
         └───────┬───────┘
                 │ HASH
                 ▼
        ┌────────────────┐
        │ Sum            │
        │ → Sink: counts │
        │ parallelism 2  │
        └────────────────┘
    "#]],
    );
}

#[test]
fn branches() {
    picture(
        BRANCHES,
        expect![[r#"
           ┌─────────────────────────────────────┐
           │ Source: access log                  │
           │ → Parse                             │
           │ → (malformed) Sink: malformed lines │
           │ parallelism 2                       │
           └────────┬───────────────────┬────────┘
                    │ HASH              │ HASH
                    ▼                   ▼
        ┌───────────────────┐    ┌─────────────────┐
        │ Count by Status   │    │ Count by Path   │
        │ → Sink: by status │    │ → Sink: by path │
        │ parallelism 2     │    │ parallelism 2   │
        └───────────────────┘    └─────────────────┘
    "#]],
    );
}

#[test]
fn joins() {
    picture(
        "1 source rules p=1
         2 source data
         3 source more_data p=1
         4 union - < 2 3
         5 one Clean < 4
         6 broadcast - < 1
         7 two Apply_Rules < 6 5
         8 sink out < 7",
        expect![[r#"
                          ┌───────────────┐    ┌───────────────────┐
                          │ Source: data  │    │ Source: more data │
                          │ parallelism 2 │    │ parallelism 1     │
                          └───────┬───────┘    └─────────┬─────────┘
                                  │         ┌────────────┘
                                  │ FORWARD │ REBALANCE
                                  ▼         ▼
            ┌───────────────┐    ┌──────────────────────┐
            │ Source: rules │    │ Clean                │
            │ parallelism 1 │    │ parallelism 2        │
            └───────┬───────┘    └───────────┬──────────┘
                    └─┐           ┌──────────┘
                      │ BROADCAST │ FORWARD
                      ▼           ▼
                     ┌──────────────────────┐
                     │ Apply Rules          │
                     │ → Sink: out          │
                     │ parallelism 2        │
                     └──────────────────────┘
        "#]],
    );
}

#[test]
fn a_diamond_with_a_long_arrow() {
    picture(
        "1 source a p=1
         2 one Left < 1
         3 one Right < 1
         4 one Deep < 2 p=3
         5 two Join < 4 3 p=1
         6 two Again < 5 1 p=2
         7 sink s < 6 p=3 group=slow",
        expect![[r#"
                                           ┌───────────────┐
                                           │ Source: a     │
                                           │ parallelism 1 │
                                           └─┬─────┬─────┬─┘
                         ┌───────────────────┘     │     └──────────────┐
                         │ REBALANCE               │ REBALANCE          │
                         ▼                         ▼                    │
            ┌────────────────────────┐    ┌────────────────────────┐    │
            │ Left                   │    │ Right                  │    │
            │ parallelism 2          │    │ parallelism 2          │    │
            └────────────┬───────────┘    └────────────┬───────────┘    │
                         │ REBALANCE                   │                │
                         ▼                             │                │
            ┌────────────────────────┐                 │                │
            │ Deep                   │                 │                │
            │ parallelism 3          │                 │                │
            └────────────┬───────────┘                 │                │
                         └──┐           ┌──────────────┘                │
                            │ REBALANCE │ REBALANCE                     │
                            ▼           ▼                               │
                           ┌────────────────────────┐                   │
                           │ Join                   │                   │
                           │ parallelism 1          │                   │
                           └────────────┬───────────┘                   │
                                        └───┐           ┌───────────────┘
                                            │ REBALANCE │ REBALANCE
                                            ▼           ▼
                                           ┌────────────────────────┐
                                           │ Again                  │
                                           │ parallelism 2          │
                                           └────────────┬───────────┘
                                                        │ REBALANCE
                                                        ▼
                                          ┌───────────────────────────┐
                                          │ Sink: s                   │
                                          │ parallelism 3, group slow │
                                          └───────────────────────────┘
        "#]],
    );
}

#[test]
fn what_is_too_wide_becomes_a_list() {
    let graph = job_of(BRANCHES);
    expect![[r#"
        [1] Source: access log -> Parse -> Sink: malformed lines, parallelism 2
        [2] Count by Status -> Sink: by status, parallelism 2
            ← [1] HASH
        [3] Count by Path -> Sink: by path, parallelism 2
            ← [1] HASH
    "#]]
    .assert_eq(&plan_picture_within(&graph, 40));
}

#[test]
fn long_names_are_cut() {
    let name = "a_very_long_name_".repeat(10);
    picture(
        &format!("1 source {name}\n2 sink s < 1"),
        expect![[r#"
        ┌──────────────────────────────────────────────┐
        │ Source: a very long name a very long name a… │
        │ → Sink: s                                    │
        │ parallelism 2                                │
        └──────────────────────────────────────────────┘
    "#]],
    );
}
