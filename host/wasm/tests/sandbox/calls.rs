//! Running guests: batches in and out, state, counts, log, and every way to
//! misbehave.

use crate::guests::{Guest, SCRATCH, data};
use crate::harness::{Sandbox, line, task};
use expect_test::expect;
use heddle_wasm::{Error, LogLevel, PollStatus, Preemption};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::sync::Semaphore;

/// Sends each batch on, to output 3 and channel 5.
fn echo() -> Guest {
    Guest::new()
        .on("process", "(call $emit (i32.const 3) (i32.const 5) (local.get $batch) (local.get $length))")
}

#[tokio::test]
async fn a_subtask_lives_from_open_to_finish() {
    let sandbox = Sandbox::new();
    let at = SCRATCH;
    let guest = echo().on("poll", format!("(i32.store8 (i32.const {}) (i32.const 1)) (i32.store (i32.const {}) (i32.const 250)) (return (i32.const {at}))", at + 4, at + 8));
    let (mut instance, seen) = sandbox.start(&guest).await;
    assert!(sandbox.budget.used() >= 2 * 65536);
    instance.open(&task()).await.expect("open");
    instance.process(0, b"a batch").await.expect("process");
    instance.process(1, &[7; 300_000]).await.expect("a large one");
    instance.process(0, b"").await.expect("an empty one");
    assert_eq!(instance.poll().await, Ok(PollStatus::Idle { ms: 250 }));
    instance.flush().await.expect("flush");
    instance.flush_state().await.expect("flush_state");
    instance.end_input(0).await.expect("end_input");
    instance.finish().await.expect("finish");
    instance.host_mut().add_metrics(vec![("from outside".to_owned(), 1)]);
    let seen = seen.lock().unwrap();
    assert_eq!(seen.emitted[0], (3, 5, b"a batch".to_vec()));
    assert_eq!(seen.emitted[1].2, vec![7; 300_000]);
    assert_eq!(seen.emitted[2].2, b"");
    drop(instance);
    assert_eq!(sandbox.budget.used(), 0);
}

#[tokio::test]
async fn a_full_channel_holds_the_guest_and_its_deadline() {
    let sandbox = Sandbox::new();
    let room = Arc::new(Semaphore::new(0));
    let (mut instance, seen) = sandbox
        .start_with(&echo(), |limits, host| {
            host.room = Some(room.clone());
            limits.call_timeout = Duration::from_millis(30);
        })
        .await;
    let mut call = pin!(instance.process(0, b"x"));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(call.as_mut().poll(&mut cx).is_pending());
    assert_eq!(seen.lock().unwrap().emitted.len(), 1);
    // Far longer than the call may compute.
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert!(call.as_mut().poll(&mut cx).is_pending());
    room.add_permits(1);
    assert_eq!(call.await, Ok(()));
}

#[tokio::test]
async fn a_dropped_call_ends_the_instance() {
    let sandbox = Sandbox::new();
    let room = Arc::new(Semaphore::new(0));
    let (mut instance, _) = sandbox.start_with(&echo(), |_, host| host.room = Some(room.clone())).await;
    {
        let mut call = pin!(instance.process(0, b"x"));
        assert!(matches!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Pending));
    }
    expect!["H9001: the instance of task 'Flat Map (1/4)' has ended"]
        .assert_eq(&line(&instance.flush().await.expect_err("ended")));
}

#[tokio::test]
async fn a_failure_of_the_host_is_what_the_call_returns() {
    let sandbox = Sandbox::new();
    let (mut instance, _) = sandbox.start_with(&echo(), |_, host| host.refuse_emit = true).await;
    expect!["H2006: malformed batch"]
        .assert_eq(&line(&instance.process(0, b"x").await.expect_err("refused")));
    assert!(instance.process(0, b"x").await.is_err());
}

#[tokio::test]
async fn state_counts_and_log_reach_the_host() {
    let sandbox = Sandbox::new();
    let at = SCRATCH;
    let guest = Guest::new()
        .with(&data(8192, "counts"))
        .with(&data(8300, "abcd"))
        .on("open", "(drop (call $register (i32.const 4) (i32.const 8192) (i32.const 6)))")
        .on(
            "flush",
            format!(
                "(call $get_many (i32.const 0) (i32.const 8300) (i32.const 4) (i32.const {at}))
                 (call $emit (i32.const 0) (i32.const 0) (i32.load (i32.const {at})) (i32.load (i32.const {})))
                 (call $put_many (i32.const 0) (i32.const 8300) (i32.const 4))
                 (call $scan (i32.const 0) (i64.const 9) (i32.const 100) (i32.const {at}))
                 (call $emit (i32.const 1) (i32.const 0) (i32.load (i32.const {at})) (i32.load (i32.const {})))
                 (i32.store (i32.const {at}) (i32.const 8192)) (i32.store (i32.const {}) (i32.const 6))
                 (i64.store (i32.const {}) (i64.const -5))
                 (call $add (i32.const {at}) (i32.const 1))
                 (call $log (i32.const 3) (i32.const 8192) (i32.const 6) (i32.const 8300) (i32.const 4))",
                at + 4,
                at + 4,
                at + 4,
                at + 8
            ),
        );
    let (mut instance, seen) = sandbox.start(&guest).await;
    instance.open(&task()).await.expect("open");
    instance.flush().await.expect("flush");
    let seen = seen.lock().unwrap();
    assert_eq!(seen.states, [(4, "counts".to_owned())]);
    assert_eq!(seen.emitted[0].2, b"dcba");
    assert_eq!(seen.entries, b"abcd");
    assert_eq!(seen.emitted[1].2, [9, 9, 9]);
    assert_eq!(seen.metrics["counts"], -5);
    assert_eq!(seen.logged, [(LogLevel::Warn, "counts".to_owned(), "abcd".to_owned())]);
}

#[tokio::test]
async fn a_flood_of_log_lines_is_cut() {
    let sandbox = Sandbox::new();
    let guest = Guest::new().with(&data(8192, "\u{1b}[31mred\nline")).on(
        "flush",
        "(local $i i32)
         (loop $again
            (call $log (i32.const 2) (i32.const 8192) (i32.const 0) (i32.const 8192) (i32.const 13))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $i) (i32.const 10000))))",
    );
    let (mut instance, seen) = sandbox.start(&guest).await;
    instance.flush().await.expect("flush");
    {
        let seen = seen.lock().unwrap();
        // Two windows at most, if the second turns in the middle.
        assert!((100..=201).contains(&seen.logged.len()), "{}", seen.logged.len());
        assert_eq!(seen.logged[0].2, "\\u{1b}[31mred\\nline");
    }
    let giant = Guest::new().with("(func $grow (drop (memory.grow (i32.const 100)))) (start $grow)").on(
        "flush",
        "(memory.fill (i32.const 65536) (i32.const 121) (i32.const 5000000))
         (call $log (i32.const 2) (i32.const 65536) (i32.const 5000000) (i32.const 65536) (i32.const 5000000))",
    );
    let (mut instance, seen) = sandbox.start(&giant).await;
    instance.flush().await.expect("flush");
    let seen = seen.lock().unwrap();
    assert!(seen.logged[0].1.len() < 200 && seen.logged[0].2.len() < 10_000);
}

#[tokio::test]
async fn a_panic_names_operator_record_and_line() {
    let sandbox = Sandbox::new();
    let guest = Guest::new()
        .with(&data(8192, "index out of bounds: the len is 3 but the index is 7"))
        .with(&data(8300, "src/lib.rs"))
        .with(&data(8400, "Flat Map"))
        .on(
            "process",
            "(call $panic (i32.const 8192) (i32.const 52) (i32.const 8300) (i32.const 10) (i32.const 12) (i32.const 5)
                (i32.const 1) (i32.const 8400) (i32.const 8) (i32.const 1) (i64.const 1234)) (unreachable)",
        );
    let (mut instance, _) = sandbox.start(&guest).await;
    let error = instance.process(0, b"x").await.expect_err("panicked");
    expect!["H2001: operator 'Flat Map' panicked at src/lib.rs:12:5 on record 1234 in task 'Flat Map (1/4)': index out of bounds: the len is 3 but the index is 7"]
        .assert_eq(&line(&error));
    let details = error.failure().details.expect("a backtrace");
    assert!(details.contains("at process"), "{details}");
    expect!["H9001: the instance of task 'Flat Map (1/4)' has ended"]
        .assert_eq(&line(&instance.process(0, b"x").await.expect_err("ended")));
}

#[tokio::test]
async fn traps_are_told_apart() {
    let sandbox = Sandbox::new();
    let fails = async |guest: Guest| {
        let (mut instance, _) =
            sandbox.start_with(&guest, |limits, _| limits.call_timeout = Duration::from_millis(50)).await;
        line(&instance.process(0, b"x").await.expect_err("trapped"))
    };
    let on = |body: &str| Guest::new().on("process", body);
    expect!["H2001: task 'Flat Map (1/4)' trapped in `process`: wasm trap: out of bounds memory access"]
        .assert_eq(&fails(on("(drop (i32.load (i32.const -4)))")).await);
    expect!["H2001: task 'Flat Map (1/4)' trapped in `process`: wasm trap: wasm `unreachable` instruction executed"]
        .assert_eq(&fails(on("(unreachable)")).await);
    expect!["H2003: task 'Flat Map (1/4)' did not return within 50ms in `process`: is it an endless loop? (limit: taskmanager.wasm.call-timeout)"]
        .assert_eq(&fails(on("(loop $again (br $again))")).await);
    let down = on("(call $down)").with("(func $down (call $down) (call $down))");
    expect!["H2007: task 'Flat Map (1/4)' used up its stack in `down`: is it unbounded recursion? (limit: taskmanager.wasm.max-stack-size)"]
        .assert_eq(&fails(down).await);
    expect!["H2004: task 'Flat Map (1/4)': out of memory: it wants 64 MiB more, and the slot's task memory of 64 MiB has 1 MiB in use: raise taskmanager.memory.task.size, or keep less in memory"]
        .assert_eq(&fails(on("(drop (memory.grow (i32.const 1024)))")).await);
    expect!["H2006: task 'Flat Map (1/4)' broke the operator contract: timers are not served by this version of Heddle"]
        .assert_eq(&fails(on("(call $timers (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))")).await);
    expect!["H2006: task 'Flat Map (1/4)' broke the operator contract: list pointer/length out of bounds of memory"]
        .assert_eq(&fails(on("(call $emit (i32.const 0) (i32.const 0) (i32.const 8) (i32.const -1))")).await);
    expect!["H2006: task 'Flat Map (1/4)' broke the operator contract: the name of a state has 5000 bytes; the limit is 1024"]
        .assert_eq(&fails(on("(drop (call $register (i32.const 0) (i32.const 16) (i32.const 5000)))")).await);
    expect![
        "H2006: task 'Flat Map (1/4)' broke the operator contract: 5000 metrics at once; the limit is 4096"
    ]
    .assert_eq(&fails(on("(call $add (i32.const 16) (i32.const 5000))")).await);
    let failing = on(&format!(
        "(i32.store (i32.const {SCRATCH}) (i32.const 1)) (i32.store (i32.const {}) (i32.const 8192))
         (i32.store (i32.const {}) (i32.const 8)) (return (i32.const {SCRATCH}))",
        SCRATCH + 4,
        SCRATCH + 8
    ));
    expect!["H2002: task 'Flat Map (1/4)' failed: bad luck"]
        .assert_eq(&fails(failing.with(&data(8192, "bad luck"))).await);
    // A result that is not one: an unknown discriminant.
    let line =
        fails(on(&format!("(i32.store (i32.const {SCRATCH}) (i32.const 9)) (return (i32.const {SCRATCH}))")))
            .await;
    assert!(line.starts_with("H2006: task 'Flat Map (1/4)' broke the operator contract: "), "{line}");
    assert_eq!(sandbox.budget.used(), 0);
}

#[tokio::test]
async fn memory_is_one_budget_for_a_slot() {
    let sandbox = Sandbox::new();
    let grow = |mib: u32| Guest::new().on("flush", format!("(drop (memory.grow (i32.const {})))", mib * 16));
    let (mut first, _) = sandbox.start(&grow(40)).await;
    let (mut second, _) = sandbox.start(&grow(40)).await;
    first.flush().await.expect("40 of 64 MiB");
    assert!(line(&second.flush().await.expect_err("too much")).starts_with("H2004: "));
    drop(first);
    drop(second);
    assert_eq!(sandbox.budget.used(), 0);
    // What the guest itself declared is no error of the slot.
    let modest = Guest::new()
        .with("(memory $own 0 4)")
        .on("flush", "(if (i32.ne (memory.grow $own (i32.const 5)) (i32.const -1)) (then (unreachable)))");
    let (mut modest, _) = sandbox.start(&modest).await;
    modest.flush().await.expect("`memory.grow` just failed");
}

#[tokio::test]
async fn a_pool_that_is_full_says_so() {
    let sandbox = Sandbox::with(|options| options.max_instances = 2);
    let first = sandbox.start(&Guest::new()).await;
    let _second = sandbox.start(&Guest::new()).await;
    let component = sandbox.load(&Guest::new()).await;
    let host = crate::harness::Host { seen: Default::default(), room: None, refuse_emit: false };
    let third = sandbox.runtime.instantiate(&component, Box::new(host), sandbox.limits()).await;
    expect!["H3001: no room for another instance: this process has 2 (taskmanager.wasm.max-instances)"]
        .assert_eq(&line(&third.expect_err("full")));
    drop(first);
    sandbox.start(&Guest::new()).await;
}

/// On one thread: the endless one gives way, and ends when it is told to.
#[tokio::test(flavor = "current_thread")]
async fn a_busy_guest_gives_way_and_can_be_cancelled() {
    let sandbox = Sandbox::new();
    let endless = Guest::new().on("flush", "(loop $again (br $again))");
    let mut cancel = None;
    let (mut busy, _) = sandbox.start_with(&endless, |limits, _| cancel = Some(limits.cancel.clone())).await;
    let (mut calm, seen) = sandbox.start(&echo()).await;
    let busy = tokio::spawn(async move { busy.flush().await });
    for _ in 0..5 {
        calm.process(0, b"x").await.expect("a neighbour");
        tokio::task::yield_now().await;
    }
    assert_eq!(seen.lock().unwrap().emitted.len(), 5);
    assert!(!busy.is_finished());
    cancel.expect("a flag").cancel();
    assert_eq!(busy.await.expect("no panic"), Err(Error::Cancelled));
}

#[tokio::test]
async fn without_preemption_guests_run_as_well() {
    let sandbox = Sandbox::with(|options| options.preemption = Preemption::None);
    let (mut instance, seen) = sandbox.start(&echo()).await;
    instance.process(0, b"x").await.expect("process");
    assert_eq!(seen.lock().unwrap().emitted.len(), 1);
    let mut cancel = None;
    let (mut instance, _) =
        sandbox.start_with(&echo(), |limits, _| cancel = Some(limits.cancel.clone())).await;
    cancel.expect("a flag").cancel();
    assert_eq!(instance.process(0, b"x").await, Err(Error::Cancelled));
}
