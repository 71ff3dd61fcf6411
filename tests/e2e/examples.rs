//! The examples, through the command line, against results that are computed
//! here in another way.

use heddle_tests::{Heddle, count_words, counts, example, published_lines};
use std::collections::BTreeMap;
use std::path::Path;

/// A small generator with a fixed start, so that a failure can be seen again.
struct Lcg(u64);

impl Lcg {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

/// Text in several files and folders, with what real text has: empty lines,
/// CRLF, no newline at the end, long lines, letters outside of ASCII, bytes
/// that are not UTF-8.
fn write_text(folder: &Path) -> BTreeMap<String, u64> {
    let mut random = Lcg(42);
    let mut expected = BTreeMap::new();
    for file in 0..12 {
        let mut text = Vec::new();
        for _ in 0..random.next(3_000) {
            for _ in 0..random.next(14) {
                let word = format!(
                    "{}{}",
                    ["Word", "naïve-", "x_", "RUST2", "ß"][random.next(5) as usize],
                    random.next(500)
                );
                text.extend_from_slice(word.as_bytes());
                text.extend_from_slice([" ", "  ", ", ", "\t"][random.next(4) as usize].as_bytes());
            }
            match random.next(20) {
                0 => text.extend_from_slice(b"\r\n"),
                1 => text.extend_from_slice(b"\n\n"),
                2 => text.extend_from_slice(&[0xff, 0xfe, b'a', b'\n']),
                3 => text.extend(std::iter::repeat_n(b'w', 2_000)),
                _ => text.push(b'\n'),
            }
        }
        if file % 3 == 0 {
            text.extend_from_slice(b"the end without a newline");
        }
        let place = folder.join(["", "a", "a/b"][file % 3]);
        std::fs::create_dir_all(&place).expect("a folder");
        std::fs::write(place.join(format!("{file}.txt")), &text).expect("a file");
        for (word, count) in count_words(&text) {
            *expected.entry(word).or_default() += count;
        }
    }
    expected
}

#[test]
fn word_count_in_batch_mode_equals_an_independent_count_at_any_parallelism_with_and_without_chaining() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("text");
    let expected = write_text(&input);
    for parallelism in [1, 2, 7] {
        for chaining in [true, false] {
            let output = folder.path().join(format!("out-{parallelism}-{chaining}"));
            Heddle::new()
                .args(["run", "-q", "-p", &parallelism.to_string()])
                .args(["-D", "execution.runtime-mode=BATCH"])
                .args(["-D", &format!("pipeline.operator-chaining.enabled={chaining}")])
                .arg(example("word-count"))
                .arg("--input")
                .arg(&input)
                .arg("--output")
                .arg(&output)
                .run()
                .expect_success();
            let actual = counts(&published_lines(&output));
            assert!(actual == expected, "parallelism {parallelism}, chaining {chaining}");
        }
    }
}

#[test]
fn word_count_in_streaming_mode_writes_one_update_a_word() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("text");
    let expected = write_text(&input);
    let output = folder.path().join("out");
    Heddle::new()
        .args(["run", "-q", "-p", "2"])
        .arg(example("word-count"))
        .arg("--input")
        .arg(&input)
        .arg("--output")
        .arg(&output)
        .run()
        .expect_success();
    let mut seen: BTreeMap<String, u64> = BTreeMap::new();
    for line in published_lines(&output) {
        let (word, count) = line.split_once(',').expect("word,count");
        let last = seen.entry(word.to_owned()).or_default();
        *last += 1;
        assert_eq!(count.parse::<u64>().expect("a count"), *last, "updates of `{word}` in order");
    }
    assert_eq!(seen, expected);
}

#[test]
fn access_log_counts_and_sets_malformed_lines_aside() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut random = Lcg(7);
    let (mut log, mut bad) = (String::new(), Vec::new());
    let mut by_status: BTreeMap<String, u64> = BTreeMap::new();
    let mut by_prefix: BTreeMap<String, u64> = BTreeMap::new();
    for index in 0..5_000 {
        if random.next(25) == 0 {
            let line = [
                "garbage",
                "1.2.3.4 - - [01/Jan/2026:00:00:00 +0000] \"GET /x HTTP/1.1\" abc 5",
                "1.2.3.4 - - no date \"GET / HTTP/1.1\" 200 1",
                "1.2.3.4 - - [01/Jan/2026:00:00:00 +0000] \"GET\" 200 1",
            ][random.next(4) as usize];
            let line = format!("{line} #{index}");
            log.push_str(&line);
            log.push('\n');
            bad.push(line);
            continue;
        }
        let status = [200, 200, 200, 301, 404, 500][random.next(6) as usize];
        let prefix = ["shop", "api", "static", ""][random.next(4) as usize];
        let path = if prefix.is_empty() { "/".to_owned() } else { format!("/{prefix}/item?id={index}") };
        let size = if random.next(9) == 0 { "-".to_owned() } else { random.next(9_999).to_string() };
        log.push_str(&format!(
            "10.0.0.{} - user [10/Oct/2026:13:55:36 -0700] \"GET {path} HTTP/1.1\" {status} {size}\n",
            random.next(255)
        ));
        *by_status.entry(status.to_string()).or_default() += 1;
        *by_prefix.entry(format!("/{prefix}")).or_default() += 1;
    }
    let input = folder.path().join("access.log");
    std::fs::write(&input, log).expect("the log");
    let output = folder.path().join("out");
    Heddle::new()
        .args(["run", "-q", "-p", "2", "-D", "execution.runtime-mode=BATCH"])
        .arg(example("access-log"))
        .arg("--input")
        .arg(&input)
        .arg("--output")
        .arg(&output)
        .run()
        .expect_success();
    assert_eq!(counts(&published_lines(&output.join("by-status"))), by_status);
    assert_eq!(counts(&published_lines(&output.join("by-prefix"))), by_prefix);
    let mut malformed = published_lines(&output.join("malformed"));
    malformed.sort();
    bad.sort();
    assert_eq!(malformed, bad);
}

#[test]
fn running_total_gives_each_prefix_sum_of_each_key_in_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().join("out");
    let (records, keys) = (50_000u64, 97u64);
    Heddle::new()
        .args(["run", "-q", "-p", "2"])
        .arg(example("running-total"))
        .args(["--records", &records.to_string(), "--keys", &keys.to_string()])
        .arg("--output")
        .arg(&output)
        .run()
        .expect_success();
    // The records of a key come in order from one source subtask each; which
    // subtask makes which record is not promised, so totals are checked as a
    // walk: every update adds one of the key's values that is still unused.
    let mut values: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for record in 0..records {
        values.entry(record % keys).or_default().push(record);
    }
    let mut totals: BTreeMap<u64, u64> = BTreeMap::new();
    for line in published_lines(&output) {
        let (key, total) = line.split_once(',').expect("key,total");
        let (key, total): (u64, u64) = (key.parse().expect("a key"), total.parse().expect("a total"));
        let last = totals.entry(key).or_default();
        let step = total.checked_sub(*last).expect("totals of a key grow");
        let left = values.get_mut(&key).expect("a key that was made");
        let used = left.binary_search(&step).unwrap_or_else(|_| panic!("{step} is no value of {key}"));
        left.remove(used);
        *last = total;
    }
    assert!(values.values().all(Vec::is_empty), "every record is in a total");
}

#[test]
fn two_inputs_applies_the_rules_that_were_broadcast() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().join("out");
    Heddle::new()
        .args(["run", "-q", "-p", "3", "-D", "execution.runtime-mode=BATCH"])
        .arg(example("two-inputs"))
        .args(["--records", "10000", "--rules", "3=fizz,5=buzz,7=whizz"])
        .arg("--output")
        .arg(&output)
        .run()
        .expect_success();
    let mut expected: BTreeMap<String, u64> = BTreeMap::new();
    for number in 0..10_000u64 {
        for (divisor, label) in [(3, "fizz"), (5, "buzz"), (7, "whizz")] {
            if number % divisor == 0 {
                *expected.entry(label.into()).or_default() += 1;
            }
        }
    }
    assert_eq!(counts(&published_lines(&output)), expected);
}
