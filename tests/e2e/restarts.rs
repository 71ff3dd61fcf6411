//! Restart strategies through the command line: how often a failing job is
//! tried, what is said in the end, and that the output of a failed attempt never
//! shows.

use heddle_tests::{Heddle, Run, guest, published_lines};
use std::path::Path;

struct Tried {
    run: Run,
    /// What each attempt said of itself.
    attempts: Vec<String>,
    restarts: u64,
}

/// Runs a job of 10,000 numbers whose attempts before `good_from` fail.
fn attempts(strategy: &[&str], good_from: u32, output: &Path) -> Tried {
    let folder = tempfile::tempdir().expect("a folder");
    let report = folder.path().join("report.json");
    let options = strategy.iter().map(|option| format!("-Drestart-strategy.{option}"));
    let run = Heddle::new()
        .args(["run", "-p", "1"])
        .args(options)
        .arg("--report")
        .arg(&report)
        .arg(guest("faulty"))
        .args(["none", "--good-from", &good_from.to_string(), "--output"])
        .arg(output)
        .run();
    let report = std::fs::read_to_string(&report).expect("a report");
    let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
    let said = run.stderr.lines().filter_map(|line| Some(line.split_once("] attempt ")?.1.to_owned()));
    Tried { attempts: said.collect(), restarts: report["restarts"].as_u64().expect("a count"), run }
}

/// What the strategy comes to when no attempt is good, and when the third is.
#[track_caller]
fn check(strategy: &[&str], tries: usize, last_words: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().join("never");
    let tried = attempts(strategy, 1_000, &output);
    let run = tried.run.expect_error("H2001", &["'until attempt'", "is not good"]);
    assert!(run.stderr.contains(last_words), "`{last_words}` expected in:\n{}", run.stderr);
    let expected: Vec<String> = (0..tries).map(|attempt| attempt.to_string()).collect();
    assert_eq!((tried.attempts, tried.restarts), (expected, tries as u64 - 1));
    for restart in 1..tries {
        let told = format!("\nrestart {restart} after H2001: operator 'until attempt' panicked at ");
        assert_eq!(run.stderr.matches(&told).count(), 1, "`{told}` expected once in:\n{}", run.stderr);
    }
    assert!(!output.exists(), "the output of failed attempts never shows");
    if tries < 3 {
        return;
    }
    let output = folder.path().join("out");
    let tried = attempts(strategy, 2, &output);
    tried.run.expect_success();
    assert_eq!(
        (tried.attempts.as_slice(), tried.restarts),
        (["0", "1", "2"].map(String::from).as_slice(), 2)
    );
    let mut numbers: Vec<u64> =
        published_lines(&output).iter().map(|line| line.parse().expect("a number")).collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..10_000), "each number once");
}

#[test]
fn none_tries_once() {
    check(&["type=none"], 1, "the restart strategy is `none`");
}

#[test]
fn fixed_delay_tries_again_so_many_times() {
    check(
        &["type=fixed-delay", "fixed-delay.attempts=2", "fixed-delay.delay=10ms"],
        3,
        "`fixed-delay` allows 2 restarts",
    );
}

#[test]
fn exponential_delay_tries_again_until_its_attempts_are_used_up() {
    check(
        &[
            "type=exponential-delay",
            "exponential-delay.initial-backoff=10ms",
            "exponential-delay.max-backoff=20ms",
            "exponential-delay.attempts-before-reset-backoff=3",
        ],
        4,
        "`exponential-delay` allows 3 restarts",
    );
}

#[test]
fn failure_rate_tries_again_until_there_are_too_many_failures_in_an_interval() {
    check(
        &[
            "type=failure-rate",
            "failure-rate.max-failures-per-interval=2",
            "failure-rate.failure-rate-interval=1min",
            "failure-rate.delay=10ms",
        ],
        3,
        "`failure-rate` allows 2 failures within 60s",
    );
}
