//! When there is not enough, and what the job is told.

use crate::{check, options};
use expect_test::expect;
use heddle_slot_manager::Options;
use std::time::Duration;

#[test]
fn a_job_that_needs_more_than_the_limit_is_told_the_numbers() {
    check(
        Options { max_slots: Some(4), ..options() },
        "
        0 request a j1
        0 request b j1
        0 request c j1
        0 request d j1
        0 request e j1
        1 report i1 w1 - -
        1 report i2 w2 - -
        1 assigned i1 w1/0 a
        1 assigned i1 w1/1 b
        1 assigned i2 w2/0 c
        1 assigned i2 w2/1 d
        at deadline
        ",
        expect![[r#"
            0 request a j1
                start a worker
            0 request b j1
            0 request c j1
                start a worker
            0 request d j1
            0 request e j1
            1 report i1 w1 - -
                assign w1/0 of i1 to a of j1
                assign w1/1 of i1 to b of j1
            1 report i2 w2 - -
                assign w2/0 of i2 to c of j1
                assign w2/1 of i2 to d of j1
            1 assigned i1 w1/0 a
            1 assigned i1 w1/1 b
            1 assigned i2 w2/0 c
            1 assigned i2 w2/1 d
            2 tick
                refuse e of j1: H3001 not enough slots: the job holds 4 and needs 1 more, the cluster has 0 of 4 slots free on 2 workers, at most 4 slots (slotmanager.number-of-slots.max); lower the parallelism or raise the limit
            = 2 registered, 0 coming, 0 of 4 slots free, 0 waiting
        "#]],
    );
}

#[test]
fn at_the_limit_another_job_waits_for_its_turn_and_is_told_at_last() {
    check(
        Options { max_workers: Some(1), ..options() },
        "
        0 report i1 w1 a:j1 b:j1
        0 request c j2
        0 request d j2
        at deadline
        10 available i1 w1/0 a
        10 assigned i1 w1/0 c
        at deadline
        ",
        expect![[r#"
            0 report i1 w1 a:j1 b:j1
            0 request c j2
            0 request d j2
            2 tick
            10 available i1 w1/0 a
                assign w1/0 of i1 to c of j2
            10 assigned i1 w1/0 c
            300 tick
                refuse d of j2: H3001 not enough slots: none came within 300 s; the job holds 1 and waits for 1, the cluster has 0 of 2 slots free on 1 worker, at most 1 worker; free slots, start workers, or lower the parallelism
            = 1 registered, 0 coming, 0 of 2 slots free, 0 waiting
        "#]],
    );
}

#[test]
fn a_request_that_no_worker_could_serve_is_refused_at_once() {
    check(
        options(),
        "
        0 request a j1 3000000
        0 report i1 w1 4000000
        0 request b j1 3000000
        0 request c j1 3000000
        ",
        expect![[r#"
            0 request a j1 3000000
                refuse a of j1: H3001 no slot is large enough: the job wants 2.9 MiB of task memory where a slot has 100 bytes, 2.9 MiB of managed memory where a slot has 100 bytes, 2.9 MiB of network memory where a slot has 100 bytes; give workers more memory or fewer slots
            0 report i1 w1 4000000
            0 request b j1 3000000
                assign w1/0 of i1 to b of j1
            0 request c j1 3000000
            = 1 registered, 0 coming, 0 of 1 slots free, 1 waiting
        "#]],
    );
}

#[test]
fn without_workers_to_start_requests_wait_for_those_that_come() {
    check(
        Options { max_workers: Some(0), ..options() },
        "
        0 request a j1
        0 request b j1 200
        10 report i1 w1 - -
        10 assigned i1 w1/0 a
        at deadline
        ",
        expect![[r#"
            0 request a j1
            0 request b j1 200
            10 report i1 w1 - -
                assign w1/0 of i1 to a of j1
            10 assigned i1 w1/0 a
            300 tick
                refuse b of j1: H3001 not enough slots: none came within 300 s; the job holds 1 and waits for 1, the cluster has 1 of 2 slots free on 1 worker, and starts none by itself; free slots, start workers, or lower the parallelism
            = 1 registered, 0 coming, 1 of 2 slots free, 0 waiting
        "#]],
    );
}

#[test]
fn the_last_failed_start_is_in_the_message_of_a_timed_out_request() {
    check(
        Options {
            max_start_failures_per_minute: 0,
            start_retry_pause: Duration::from_secs(1000),
            ..options()
        },
        "
        0 request a j1
        1 start-failed the queue is full
        at deadline
        ",
        expect![[r#"
            0 request a j1
                start a worker
            1 start-failed the queue is full
            300 tick
                refuse a of j1: H3001 not enough slots: none came within 300 s; the job holds 0 and waits for 1, the cluster has 0 of 0 slots free on 0 workers; the last worker failed to start: the queue is full
            = 0 registered, 0 coming, 0 of 0 slots free, 0 waiting
        "#]],
    );
}

#[test]
fn a_worker_above_the_limit_is_sent_away() {
    check(
        Options { max_slots: Some(2), ..options() },
        "
        0 report i1 w1 - -
        1 report i2 w2 - -
        2 terminated w2 released
        ",
        expect![[r#"
            0 report i1 w1 - -
            1 report i2 w2 - -
                release w2: its 2 slots exceed slotmanager.number-of-slots.max or the most workers
            2 terminated w2 released
            = 1 registered, 0 coming, 2 of 2 slots free, 0 waiting
        "#]],
    );
}
