//! How workers come and go.

use crate::{check, options};
use expect_test::expect;
use heddle_slot_manager::Options;
use std::time::Duration;

#[test]
fn a_worker_may_register_before_its_start_is_told() {
    check(
        options(),
        "
        0 request a j1
        1 report i1 w1 - -
        1 started w1
        2 request b j1
        2 request c j1
        ",
        expect![[r#"
            0 request a j1
                start a worker
            1 report i1 w1 - -
                assign w1/0 of i1 to a of j1
            1 started w1
            2 request b j1
                assign w1/1 of i1 to b of j1
            2 request c j1
                start a worker
            = 1 registered, 1 coming, 0 of 2 slots free, 1 waiting
        "#]],
    );
}

#[test]
fn a_worker_that_comes_by_itself_serves_what_waits_for_another() {
    check(
        options(),
        "
        0 request a j1
        1 report i9 stranger - -
        1 assigned i9 stranger/0 a
        2 started w1
        3 report i1 w1 - -
        ",
        expect![[r#"
            0 request a j1
                start a worker
            1 report i9 stranger - -
                assign stranger/0 of i9 to a of j1
            1 assigned i9 stranger/0 a
            2 started w1
            3 report i1 w1 - -
            = 2 registered, 0 coming, 3 of 4 slots free, 0 waiting
        "#]],
    );
}

#[test]
fn a_slot_of_a_lost_worker_is_given_up_and_its_jobs_are_told() {
    check(
        options(),
        "
        0 report i1 w1 - -
        0 request a j1
        0 assigned i1 w1/0 a
        0 request b j2
        1 gone i1 release
        1 assigned i1 w1/1 b
        2 started w2
        3 report i2 w2 - -
        4 terminated w1 killed
        5 terminated w2 out of memory
        ",
        expect![[r#"
            0 report i1 w1 - -
            0 request a j1
                assign w1/0 of i1 to a of j1
            0 assigned i1 w1/0 a
            0 request b j2
                assign w1/1 of i1 to b of j2
            1 gone i1 release
                release w1: no heartbeat
                tell j1 that w1 is lost: H3002 worker w1 is lost: no heartbeat
                start a worker
            1 assigned i1 w1/1 b
            2 started w2
            3 report i2 w2 - -
                assign w2/0 of i2 to b of j2
            4 terminated w1 killed
            5 terminated w2 out of memory
                start a worker
            = 0 registered, 1 coming, 0 of 0 slots free, 1 waiting
        "#]],
    );
}

#[test]
fn an_idle_worker_is_released_after_the_timeout() {
    check(
        options(),
        "
        0 report i1 w1 - -
        10 request a j1
        10 assigned i1 w1/0 a
        100 available i1 w1/0 a
        at deadline
        131 report i1 w1 - -
        132 report i2 w1 - -
        133 terminated w1 done
        134 report i3 w1 - -
        ",
        expect![[r#"
            0 report i1 w1 - -
            10 request a j1
                assign w1/0 of i1 to a of j1
            10 assigned i1 w1/0 a
            100 available i1 w1/0 a
            130 tick
                release w1: idle for 30 s
            131 report i1 w1 - -
                release w1: it was released before
            132 report i2 w1 - -
                release w1: it was released before
            133 terminated w1 done
            134 report i3 w1 - -
            = 1 registered, 0 coming, 2 of 2 slots free, 0 waiting
        "#]],
    );
}

#[test]
fn starting_pauses_above_ten_failures_a_minute() {
    check(
        options(),
        "
        0 request a j1
        1 start-failed no image
        2 start-failed no image
        3 start-failed no image
        4 start-failed no image
        5 start-failed no image
        6 start-failed no image
        7 start-failed no image
        8 start-failed no image
        9 start-failed no image
        10 start-failed no image
        11 start-failed no image
        at deadline
        14 start-failed no image
        at deadline
        80 start-failed no image
        ",
        expect![[r#"
            0 request a j1
                start a worker
            1 start-failed no image
                start a worker
            2 start-failed no image
                start a worker
            3 start-failed no image
                start a worker
            4 start-failed no image
                start a worker
            5 start-failed no image
                start a worker
            6 start-failed no image
                start a worker
            7 start-failed no image
                start a worker
            8 start-failed no image
                start a worker
            9 start-failed no image
                start a worker
            10 start-failed no image
                start a worker
            11 start-failed no image
            14 tick
                start a worker
            14 start-failed no image
            17 tick
                start a worker
            80 start-failed no image
                start a worker
            = 0 registered, 1 coming, 0 of 0 slots free, 1 waiting
        "#]],
    );
}

#[test]
fn a_worker_that_ends_or_dallies_before_it_registers_is_replaced() {
    check(
        Options { request_timeout: Duration::from_secs(3600), ..options() },
        "
        0 request a j1
        1 started w1
        2 terminated w1 exit code 1
        3 started w2
        at deadline
        304 report i2 w2 - -
        305 terminated w2 released
        ",
        expect![[r#"
            0 request a j1
                start a worker
            1 started w1
            2 terminated w1 exit code 1
                start a worker
            3 started w2
            303 tick
                release w2: worker w2 did not register within 300 s
                start a worker
            304 report i2 w2 - -
                release w2: it was released before
            305 terminated w2 released
            = 0 registered, 1 coming, 0 of 0 slots free, 1 waiting
        "#]],
    );
}

#[test]
fn workers_that_bring_other_slots_than_asked_for_count_as_failures() {
    check(
        Options { max_start_failures_per_minute: 1, ..options() },
        "
        0 request a j1
        1 started w1
        2 report i1 w1 50
        3 started w2
        4 report i2 w2 50
        at deadline
        8 request b j1 40
        ",
        expect![[r#"
            0 request a j1
                start a worker
            1 started w1
            2 report i1 w1 50
                start a worker
            3 started w2
            4 report i2 w2 50
            7 tick
                start a worker
            8 request b j1 40
                assign w1/0 of i1 to b of j1
            = 2 registered, 1 coming, 1 of 2 slots free, 1 waiting
        "#]],
    );
}

#[test]
fn workers_that_somebody_else_starts_stay_when_idle_and_may_come_back_when_lost() {
    check(
        Options { max_workers: Some(0), ..options() },
        "
        0 report i1 w1 - -
        100 tick
        100 gone i1 release
        101 report i2 w1 - -
        101 request a j1
        ",
        expect![[r#"
            0 report i1 w1 - -
            100 tick
            100 gone i1 release
            101 report i2 w1 - -
            101 request a j1
                assign w1/0 of i2 to a of j1
            = 1 registered, 0 coming, 1 of 2 slots free, 0 waiting
        "#]],
    );
}
