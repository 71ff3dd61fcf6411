//! A job of the operators and settings that no example has, at several
//! parallelisms, against what is computed here.

use heddle_tests::{Heddle, guest, published_lines};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const RECORDS: u64 = 10_000;

fn numbers(lines: &[String], separator: char) -> Vec<Vec<u64>> {
    let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("no number: `{text}`"));
    lines.iter().map(|line| line.split(separator).map(number).collect()).collect()
}

/// What goes into the union: every third number, and each n as 2(n + 1) + 1.
fn union() -> Vec<u64> {
    let mut all: Vec<u64> = (0..RECORDS).filter(|number| number % 3 == 0).collect();
    all.extend((0..RECORDS).map(|number| 2 * (number + 1) + 1));
    all.sort_unstable();
    all
}

fn check(output: &Path, parallelism: u64) {
    let read = |name: &str, separator| numbers(&published_lines(&output.join(name)), separator);

    let gathered = read("gathered", ',');
    assert!(gathered.iter().all(|row| row[1] == 0), "all in the first subtask");
    let mut found: Vec<u64> = gathered.iter().map(|row| row[0]).collect();
    found.sort_unstable();
    assert!(found == union(), "shuffle, rescale, forward and union lose and double nothing");

    let mut divided = read("divided", ',');
    divided.sort();
    let expected: Vec<_> = (0..RECORDS).map(|number| vec![number, number % parallelism]).collect();
    assert!(divided == expected, "each where its remainder says");

    let mut of_key: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for number in union() {
        of_key.entry(number % 10).or_default().push(number);
    }
    for (name, pick) in [("least", 0), ("most", usize::MAX)] {
        // Every update of a key, or the last one alone.
        let mut last: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
        for row in read(name, ',') {
            last.entry(row[0]).or_default().insert(row[1]);
        }
        assert!(last.keys().eq(of_key.keys()), "{name}");
        for (key, values) in &of_key {
            let (found, pick) = (&last[key], pick.min(values.len() - 1));
            let found = if pick == 0 { found.first() } else { found.last() };
            assert_eq!(found, Some(&values[pick]), "{name} of {key}");
        }
    }

    // Of each key: counted from 1 without a gap, in all and by class; the list
    // ends with the number itself.
    let mut history: BTreeMap<u64, Vec<Vec<u64>>> = BTreeMap::new();
    for row in read("history", ' ') {
        history.entry(row[0]).or_default().push(row);
    }
    assert!(history.keys().eq(of_key.keys()));
    for (key, rows) in &mut history {
        rows.sort_by_key(|row| row[1]);
        let (mut seen, mut classes) = (Vec::new(), BTreeMap::new());
        for (row, count) in rows.iter().zip(1..) {
            let class: &mut u64 = classes.entry(row[2] % 4).or_default();
            *class += 1;
            assert_eq!(*row, [*key, count, row[2], row[2], row[2] % 4, *class]);
            seen.push(row[2]);
        }
        seen.sort_unstable();
        assert!(seen == of_key[key], "the numbers of {key}");
    }

    let mut joined = published_lines(&output.join("joined"));
    joined.sort();
    let mut expected: Vec<String> = (0..100)
        .filter(|number| number % 10 < 5)
        .map(|number| format!("{number} name {}", number % 10))
        .collect();
    expected.sort();
    assert_eq!(joined, expected);
}

/// How many workers, of a slot each, a job had in this process.
fn workers(logs: &Path) -> u64 {
    let files = std::fs::read_dir(logs).expect("the logs").map(|file| file.expect("a log").path());
    let text: String = files.map(|file| std::fs::read_to_string(file).expect("a log")).collect();
    text.matches("TaskExecutor registered job").count() as u64
}

#[test]
fn every_operator_gives_what_it_should_at_any_parallelism() {
    let folder = tempfile::tempdir().expect("a folder");
    for parallelism in [1_u64, 2, 7] {
        for mode in ["BATCH", "STREAMING"] {
            let output = folder.path().join(format!("{mode}-{parallelism}"));
            let logs = folder.path().join(format!("log-{mode}-{parallelism}"));
            let run = Heddle::new()
                .args(["run", "-q", "-p", &parallelism.to_string()])
                .args(["-D", &format!("execution.runtime-mode={mode}")])
                .args(["-D", &format!("env.log.dir={}", logs.display())])
                .arg(guest("every-operator"))
                .args(["--records", &RECORDS.to_string(), "--output"])
                .arg(&output)
                .run()
                .expect_success();
            check(&output, parallelism);
            // The group of two subtasks shares no slot with the others.
            assert_eq!(workers(&logs), parallelism + 2);
            // `SUBTASK> LINE`, where there are several.
            let printed = run.stdout.lines().map(|line| match line.split_once("> ") {
                Some((subtask, line)) if parallelism > 1 => {
                    assert!((1..=parallelism).contains(&subtask.parse().expect("a subtask")), "{subtask}");
                    line
                }
                _ => line,
            });
            assert_eq!(printed.collect::<BTreeSet<_>>(), BTreeSet::from(["0", "1", "2"]), "{}", run.stdout);
        }
    }
}

fn info(parallelism: &str) -> String {
    let info = Heddle::new().args(["info", "-p", parallelism]).arg(guest("every-operator"));
    info.args(["--output", "/nowhere"]).run().expect_success().stdout
}

#[test]
fn the_plan_has_the_chains_and_parallelisms_that_were_asked_for() {
    let shown = info("7");
    let (picture, plan) = shown.split_once("\n{").expect("a picture, then JSON");
    let plan: serde_json::Value = serde_json::from_str(&format!("{{{plan}")).expect("JSON");
    let nodes = plan["nodes"].as_array().expect("nodes");
    let node = |name: &str| {
        let is_it = |node: &&serde_json::Value| {
            let contents = node["contents"].as_str().expect("text");
            contents.trim_start_matches("Source: ").trim_start_matches("Sink: ").starts_with(name)
        };
        nodes.iter().find(is_it).unwrap_or_else(|| panic!("no node `{name}`:\n{shown}"))
    };
    for (name, parallelism, ships) in [
        ("numbers", 7, &[][..]),
        ("rescaled", 2, &["RESCALE"]),
        ("forwarded", 2, &["FORWARD"]),
        ("chained", 2, &["FORWARD"]),
        ("shuffled", 7, &["SHUFFLE"]),
        ("gathered", 7, &["GLOBAL", "GLOBAL"]),
        ("divided", 7, &["CUSTOM"]),
        ("history", 7, &["HASH", "HASH"]),
        ("least", 7, &["HASH", "HASH"]),
        ("names", 1, &[]),
        ("join", 7, &["HASH", "HASH"]),
        ("printed", 7, &["FORWARD"]),
    ] {
        let node = node(name);
        assert_eq!(node["parallelism"], parallelism, "{name}");
        let inputs = node["predecessors"].as_array().into_iter().flatten();
        let found: Vec<_> = inputs.map(|input| input["ship_strategy"].as_str().expect("text")).collect();
        assert_eq!(found, ships, "{name}");
    }
    // What stands in one box is one task.
    let lines: Vec<String> =
        picture.lines().map(|line| line.replace(['│', '┌', '┐'], " ").trim().to_owned()).collect();
    let is_chained = |name: &str| lines.iter().any(|line| line.contains(&format!("→ {name}")));
    assert!(!is_chained("forwarded") && is_chained("chained"), "{picture}");
    assert!(is_chained("few") && is_chained("first") && !is_chained("history"), "{picture}");
}

#[test]
fn a_parallelism_above_the_highest_allowed_is_refused() {
    let run = Heddle::new().args(["run", "-q", "-p", "7"]).arg(guest("every-operator"));
    let run = run.args(["--max-parallelism", "3", "--output", "/nowhere"]).run();
    run.expect_error("H1104", &["history", "3", "7"]);
}
