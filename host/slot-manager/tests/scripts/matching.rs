//! Which slot serves which request, whatever the order of messages.

use crate::{check, options};
use expect_test::expect;
use heddle_slot_manager::Options;

#[test]
fn a_free_slot_else_a_coming_one_else_a_new_worker() {
    check(
        options(),
        "
        0 request a j1
        0 request b j1
        0 request c j1
        1 started w1
        1 started w2
        2 report i1 w1 - -
        2 assigned i1 w1/0 a
        2 assigned i1 w1/1 b
        3 report i2 w2 - -
        3 assigned i2 w2/0 c
        4 request d j2
        ",
        expect![[r#"
            0 request a j1
                start a worker
            0 request b j1
            0 request c j1
                start a worker
            1 started w1
            1 started w2
            2 report i1 w1 - -
                assign w1/0 of i1 to a of j1
                assign w1/1 of i1 to b of j1
            2 assigned i1 w1/0 a
            2 assigned i1 w1/1 b
            3 report i2 w2 - -
                assign w2/0 of i2 to c of j1
            3 assigned i2 w2/0 c
            4 request d j2
                assign w2/1 of i2 to d of j2
            = 2 registered, 0 coming, 0 of 4 slots free, 0 waiting
        "#]],
    );
}

#[test]
fn a_freed_slot_serves_the_oldest_request() {
    check(
        Options { max_workers: Some(1), ..options() },
        "
        0 request a j1
        0 report i1 w1 - -
        0 assigned i1 w1/0 a
        0 request b j1
        0 assigned i1 w1/1 b
        1 request c j2
        1 request d j3
        1.5 available i1 w1/1 b
        1.5 assigned i1 w1/1 c
        1.6 available i1 w1/1 b
        1.7 available i1 w1/0 a
        ",
        expect![[r#"
            0 request a j1
                start a worker
            0 report i1 w1 - -
                assign w1/0 of i1 to a of j1
            0 assigned i1 w1/0 a
            0 request b j1
                assign w1/1 of i1 to b of j1
            0 assigned i1 w1/1 b
            1 request c j2
            1 request d j3
            1.5 available i1 w1/1 b
                assign w1/1 of i1 to c of j2
            1.5 assigned i1 w1/1 c
            1.6 available i1 w1/1 b
            1.7 available i1 w1/0 a
                assign w1/0 of i1 to d of j3
            = 1 registered, 0 coming, 0 of 2 slots free, 0 waiting
        "#]],
    );
}

#[test]
fn a_refused_slot_waits_for_its_report_and_the_request_gets_another() {
    check(
        options(),
        "
        0 report i1 w1 - -
        0 request a j1
        0 refused i1 w1/0 a
        0 refused i1 w1/1 a
        1 report i1 w1 - x:j9
        1 assigned i1 w1/0 a
        ",
        expect![[r#"
            0 report i1 w1 - -
            0 request a j1
                assign w1/0 of i1 to a of j1
            0 refused i1 w1/0 a
                assign w1/1 of i1 to a of j1
            0 refused i1 w1/1 a
                start a worker
            1 report i1 w1 - x:j9
                assign w1/0 of i1 to a of j1
            1 assigned i1 w1/0 a
            = 1 registered, 1 coming, 0 of 2 slots free, 0 waiting
        "#]],
    );
}

#[test]
fn a_new_instance_replaces_the_slots_of_the_former() {
    check(
        options(),
        "
        0 report i1 w1 - -
        0 request a j1
        0 assigned i1 w1/0 a
        0 request b j1
        1 report i2 w1 a:j1 -
        1 refused i1 w1/1 b
        1 assigned i2 w1/1 b
        2 available i1 w1/0 a
        3 available i2 w1/0 a
        ",
        expect![[r#"
            0 report i1 w1 - -
            0 request a j1
                assign w1/0 of i1 to a of j1
            0 assigned i1 w1/0 a
            0 request b j1
                assign w1/1 of i1 to b of j1
            1 report i2 w1 a:j1 -
                assign w1/1 of i2 to b of j1
            1 refused i1 w1/1 b
            1 assigned i2 w1/1 b
            2 available i1 w1/0 a
            3 available i2 w1/0 a
            = 1 registered, 0 coming, 1 of 2 slots free, 0 waiting
        "#]],
    );
}

#[test]
fn a_new_instance_that_knows_the_allocation_fulfils_the_request() {
    check(
        options(),
        "
        0 report i1 w1 - -
        0 request a j1
        1 report i2 w1 a:j1 -
        ",
        expect![[r#"
            0 report i1 w1 - -
            0 request a j1
                assign w1/0 of i1 to a of j1
            1 report i2 w1 a:j1 -
            = 1 registered, 0 coming, 1 of 2 slots free, 0 waiting
        "#]],
    );
}

#[test]
fn a_report_that_was_made_before_the_assignment_changes_nothing() {
    check(
        options(),
        "
        0 report i1 w1 - -
        0 request a j1
        0 report i1 w1 - -
        0 assigned i1 w1/0 a
        1 report i1 w1 a:j1 -
        ",
        expect![[r#"
            0 report i1 w1 - -
            0 request a j1
                assign w1/0 of i1 to a of j1
            0 report i1 w1 - -
            0 assigned i1 w1/0 a
            1 report i1 w1 a:j1 -
            = 1 registered, 0 coming, 1 of 2 slots free, 0 waiting
        "#]],
    );
}

#[test]
fn cancelled_requests_and_those_of_a_job_that_is_gone_get_no_slot() {
    check(
        options(),
        "
        0 request a j1
        0 request b j2
        0 request c j2
        1 cancel a
        1 job-gone j2
        2 started w1
        2 started w2
        3 report i1 w1 - -
        4 request a j1
        5 cancel a
        5 assigned i1 w1/0 a
        6 available i1 w1/0 a
        ",
        expect![[r#"
            0 request a j1
                start a worker
            0 request b j2
            0 request c j2
                start a worker
            1 cancel a
            1 job-gone j2
            2 started w1
            2 started w2
            3 report i1 w1 - -
            4 request a j1
                assign w1/0 of i1 to a of j1
            5 cancel a
            5 assigned i1 w1/0 a
            6 available i1 w1/0 a
            = 1 registered, 1 coming, 2 of 2 slots free, 0 waiting
        "#]],
    );
}

#[test]
fn a_repeated_request_is_one_request() {
    check(
        options(),
        "
        0 request a j1
        0 request a j1
        1 report i1 w1 - -
        1 request a j1
        1 assigned i1 w1/0 a
        1 request a j1
        ",
        expect![[r#"
            0 request a j1
                start a worker
            0 request a j1
            1 report i1 w1 - -
                assign w1/0 of i1 to a of j1
            1 request a j1
            1 assigned i1 w1/0 a
            1 request a j1
            = 1 registered, 0 coming, 1 of 2 slots free, 0 waiting
        "#]],
    );
}
