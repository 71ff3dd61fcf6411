//! Guests that break the contract on purpose, through the command line: each
//! ends with one clear line, and the host neither panics nor hangs.

use heddle_tests::{Heddle, Run, guest};
use std::time::Duration;

/// A run of the hostile guest with short deadlines.
fn attack(name: &str) -> Run {
    attack_with("1", name)
}

fn attack_with(parallelism: &str, name: &str) -> Run {
    Heddle::new()
        .args(["run", "-q", "-p", parallelism])
        .args(["-D", "taskmanager.wasm.call-timeout=2s"])
        .args(["-D", "taskmanager.memory.task.size=256mb"])
        .args(["-D", "taskmanager.memory.managed.size=64mb"])
        .arg(guest("hostile"))
        .arg(name)
        .limit(Duration::from_secs(60))
        .run()
}

#[test]
fn malformed_batches_are_refused_with_what_is_wrong() {
    let cases: &[(&str, &[&str])] = &[
        ("offsets-decrease", &["malformed batch on output 0"]),
        ("offsets-overrun", &["malformed batch on output 0"]),
        ("utf8-invalid", &["malformed batch on output 0", "UTF-8"]),
        ("utf8-split", &["malformed batch on output 0", "UTF-8"]),
        ("empty-batch", &["malformed batch on output 0"]),
        ("count-lies", &["malformed batch on output 0"]),
        ("count-zero", &["malformed batch on output 0"]),
        ("magic", &["malformed batch on output 0"]),
        ("flags", &["malformed batch on output 0"]),
        ("columns-lie", &["malformed batch on output 0"]),
        ("length-4g", &["malformed batch on output 0"]),
        ("section-4g", &["malformed batch on output 0"]),
        ("section-outside", &["malformed batch on output 0"]),
        ("section-in-header", &["malformed batch on output 0"]),
        ("no-hashes", &["no hashes"]),
        ("unknown-output", &["output 7"]),
        ("unknown-channel", &["channel 1000"]),
    ];
    for (name, words) in cases {
        let run = attack(name).expect_error("H2006", words);
        assert!(run.stderr.contains("hostile source"), "{name}: names the task:\n{}", run.stderr);
    }
}

#[test]
fn plans_that_cannot_be_are_refused_before_anything_runs() {
    let cases: &[(&str, &str)] = &[
        ("plan-loop", "H1101"),
        ("plan-trap", "H1101"),
        ("plan-many", "H1102"),
        ("plan-source-with-input", "H1102"),
        ("plan-unknown-input", "H1102"),
        ("plan-duplicate-id", "H1102"),
        ("plan-empty", "H1102"),
        ("plan-long-name", "H1102"),
        ("plan-no-element", "H1102"),
        ("plan-bad-width", "H1102"),
        ("plan-parallelism-zero", "H1104"),
        ("plan-parallelism-max", "H1104"),
    ];
    for (name, code) in cases {
        attack(name).expect_error(code, &[]);
    }
    attack("plan-cycle").expect_error("H1102", &["'hostile union'", "cycle"]);
}

#[test]
fn two_ends_that_disagree_are_refused_with_both_named() {
    for (name, types) in [
        ("plan-codecs-differ", ["'u64' as postcard [bytes]", "'u64' as columns [fixed(8)]"]),
        ("plan-schemas-differ", ["'i64' as columns [fixed(8)]", "'u64' as columns [fixed(8)]"]),
    ] {
        let run = attack(name).expect_error("H1103", &["'hostile union'", "'hostile source'"]);
        for element in types {
            assert!(run.stderr.contains(element), "`{element}` expected in:\n{}", run.stderr);
        }
    }
}

#[test]
fn an_endless_loop_ends_at_its_deadline() {
    for name in ["endless-loop", "open-loop"] {
        let run = attack(name).expect_error("H2003", &["taskmanager.wasm.call-timeout"]);
        assert!(run.elapsed < Duration::from_secs(30), "{name} took {:?}", run.elapsed);
    }
}

#[test]
fn memory_stack_and_state_are_bounded() {
    let run = attack("memory-bomb").expect_error("H2004", &["taskmanager.memory.task.size"]);
    assert!(run.peak_resident < 600 << 20, "{} MiB resident", run.peak_resident >> 20);
    attack("recursion").expect_error("H2007", &["stack"]);
    let run = attack("state-bomb").expect_error("H2005", &["taskmanager.memory.managed"]);
    assert!(run.peak_resident < 400 << 20, "{} MiB resident", run.peak_resident >> 20);
}

#[test]
fn state_calls_are_checked() {
    for name in ["state-unknown", "state-foreign-operator", "state-lying-length"] {
        attack(name).expect_error("H2006", &["contract"]);
    }
    // With two subtasks, half of the key groups belong to the other one.
    attack_with("2", "foreign-key-group").expect_error("H2006", &["key group"]);
    attack("state-many").expect_error("H2005", &["taskmanager.memory.managed"]);
    attack("timers").expect_error("H2006", &["timers"]);
}

#[test]
fn floods_of_log_lines_and_counts_are_cut_and_the_job_goes_on() {
    for name in ["log-flood", "log-giant", "accumulator-flood"] {
        let run = attack(name).expect_success();
        assert!(run.stderr.len() < 1 << 20, "{name} printed {} bytes", run.stderr.len());
        assert!(run.peak_resident < 400 << 20, "{name}: {} MiB resident", run.peak_resident >> 20);
    }
}

#[test]
fn a_trap_and_a_giant_error_are_one_line() {
    attack("trap").expect_error("H2001", &["hostile source"]);
    let run = attack("error-giant").expect_error("H2002", &["zzz"]);
    assert!(run.stderr.len() < 64 << 10, "{} bytes printed", run.stderr.len());
}

#[test]
fn a_hostile_source_that_never_ends_is_held_back_by_its_consumer_and_can_be_cancelled() {
    let mut peak = 0;
    let run =
        Heddle::new().args(["run", "-q", "-p", "1"]).arg(guest("hostile")).arg("emit-forever").run_while(
            |child| {
                let pid = child.id();
                let began = std::time::Instant::now();
                heddle_tests::wait_until("two seconds of emitting", || {
                    peak = heddle_tests::peak_resident_of(pid).max(peak);
                    began.elapsed() > Duration::from_secs(2)
                });
                heddle_tests::signal(pid, rustix::process::Signal::INT);
            },
        );
    assert_eq!(run.code(), 130, "{}", run.stderr);
    assert!(peak < 300 << 20, "{} MiB resident", peak >> 20);
}
