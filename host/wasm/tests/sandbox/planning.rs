//! `plan`: graphs that are good, and everything that can be wrong with `main`.

use crate::guests::{Guest, SCRATCH, data};
use crate::harness::Sandbox;
use expect_test::expect;
use std::time::Duration;

/// Stores an `i32` at an address.
fn put(at: u32, value: u32) -> String {
    format!("(i32.store (i32.const {at}) (i32.const {value}))")
}

/// `main` that answers what is written at `SCRATCH`.
fn answering(stores: &str) -> Guest {
    Guest::new().on("plan", format!("{stores} (return (i32.const {SCRATCH}))"))
}

#[tokio::test]
async fn a_name_and_settings_come_through() {
    let sandbox = Sandbox::new();
    let at = SCRATCH;
    let stores = [
        (at + 4, 1),
        (at + 8, 8192),
        (at + 12, 4), // the name
        (at + 16, 0),
        (at + 20, 0), // no transformations
        (at + 24, at + 64),
        (at + 28, 1), // one setting
        (at + 64, 8192),
        (at + 68, 4),
        (at + 72, 8196),
        (at + 76, 2),
    ]
    .map(|(at, value)| put(at, value))
    .concat();
    let guest = answering(&stores).with(&data(8192, "nameok"));
    let component = sandbox.load(&guest).await;
    let plan =
        sandbox.runtime.plan(&component, &Default::default(), &sandbox.limits()).await.expect("a plan");
    assert_eq!(plan.name.as_deref(), Some("name"));
    assert_eq!(plan.configuration, [("name".to_owned(), "ok".to_owned())]);
    assert_eq!(sandbox.budget.used(), 0, "the instance gave its memory back");
}

#[tokio::test]
async fn a_main_that_fails_says_why() {
    let sandbox = Sandbox::new();
    let failing = answering(&[put(SCRATCH, 1), put(SCRATCH + 4, 8192), put(SCRATCH + 8, 14)].concat())
        .with(&data(8192, "no such\nfolder"));
    expect!["H1101: the job's `main` failed: no such\\nfolder"]
        .assert_eq(&sandbox.plan_error(&failing, |_| {}).await);

    let panicking = Guest::new()
        .with(&data(8192, "index out of bounds"))
        .with(&data(8300, "src/lib.rs"))
        .on(
            "plan",
            "(call $panic (i32.const 8192) (i32.const 19) (i32.const 8300) (i32.const 10) (i32.const 12) (i32.const 5)
                (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i64.const 0)) (unreachable)",
        );
    expect!["H1101: the job's `main` panicked at src/lib.rs:12:5: index out of bounds"]
        .assert_eq(&sandbox.plan_error(&panicking, |_| {}).await);

    let trapping = Guest::new().on("plan", "(drop (i32.div_u (i32.const 1) (i32.const 0)))");
    expect!["H1101: the job's `main` trapped in `plan`: wasm trap: integer divide by zero"]
        .assert_eq(&sandbox.plan_error(&trapping, |_| {}).await);

    let recursing = Guest::new()
        .with("(func $down (result i32) (i32.add (call $down) (i32.const 1)))")
        .on("plan", "(drop (call $down))");
    expect!["H1101: the job's `main` used up its stack in `down`: is it unbounded recursion? (limit: taskmanager.wasm.max-stack-size)"]
        .assert_eq(&sandbox.plan_error(&recursing, |_| {}).await);

    let endless = Guest::new().on("plan", "(loop $again (br $again))");
    expect!["H1101: the job's `main` did not return within 50ms in `plan`: is it an endless loop? (limit: taskmanager.wasm.plan-timeout)"]
        .assert_eq(&sandbox.plan_error(&endless, |limits| limits.call_timeout = Duration::from_millis(50)).await);

    let greedy = Guest::new().on("plan", "(loop $again (drop (memory.grow (i32.const 160))) (br $again))");
    expect!["H2004: the job's `main`: out of memory: it wants 10 MiB more, and the slot's task memory of 64 MiB has 61 MiB in use: raise taskmanager.memory.task.size, or keep less in memory"]
        .assert_eq(&sandbox.plan_error(&greedy, |_| {}).await);

    let emitting =
        Guest::new().on("plan", "(call $emit (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))");
    expect!["H1101: the job's `main` emitted a batch: while the graph is built there is no data yet; do it inside of an operator"]
        .assert_eq(&sandbox.plan_error(&emitting, |_| {}).await);
    assert_eq!(sandbox.budget.used(), 0);
}

#[tokio::test]
async fn a_plan_that_lies_is_refused() {
    let sandbox = Sandbox::new();
    // 30,000 transformations of zeros, each of 200 bytes or so.
    let many = answering(&[put(SCRATCH + 16, 1 << 16), put(SCRATCH + 20, 30_000)].concat())
        .on("open", "")
        .with("(func $grow (drop (memory.grow (i32.const 200)))) (start $grow)");
    let line = sandbox.plan_error(&many, |_| {}).await;
    assert!(
        line.starts_with("H1102: the job's graph is not valid: transformations: 30000; the limit is 10000"),
        "{line}"
    );
    let more = answering(&[put(SCRATCH + 16, 1 << 16), put(SCRATCH + 20, 240_000)].concat())
        .with("(func $grow (drop (memory.grow (i32.const 900)))) (start $grow)");
    expect!["H1102: the job's graph is not valid: it is larger than 16 MiB"]
        .assert_eq(&sandbox.plan_error(&more, |_| {}).await);
    let outside = answering(&[put(SCRATCH + 16, 0xffff_0000), put(SCRATCH + 20, 10)].concat());
    let line = sandbox.plan_error(&outside, |_| {}).await;
    assert!(line.starts_with("H2006: the job's `main` broke the operator contract: "), "{line}");
    let pointer = Guest::new().on("plan", "(return (i32.const -4))");
    let line = sandbox.plan_error(&pointer, |_| {}).await;
    assert!(line.starts_with("H2006: the job's `main` broke the operator contract: "), "{line}");
    let long = answering(&[put(SCRATCH + 4, 1), put(SCRATCH + 8, 16), put(SCRATCH + 12, 2000)].concat());
    expect!["H1102: the job's graph is not valid: the job's name has 2000 bytes; the limit is 1024"]
        .assert_eq(&sandbox.plan_error(&long, |_| {}).await);
    let text = answering(&[put(SCRATCH + 4, 1), put(SCRATCH + 8, 8192), put(SCRATCH + 12, 2)].concat())
        .with("(data (i32.const 8192) \"\\ff\\fe\")");
    let line = sandbox.plan_error(&text, |_| {}).await;
    assert!(line.starts_with("H2006: the job's `main` broke the operator contract: invalid utf-8"), "{line}");
}
