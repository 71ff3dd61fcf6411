//! Option names in messages and documents: each one must exist.

use heddle_model::config::{nearest_key, options};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Places that name options, from the root of the repository.
const PLACES: [&str; 9] = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "BENCHMARKS.md",
    "docs",
    "examples",
    "host",
    "guest-sdk",
    "proto",
];

/// Names of Flink's that the program knows, to name ours instead.
const FLINKS: [&str; 18] = [
    "taskmanager.memory.framework.heap.size",
    "taskmanager.memory.framework.off-heap.size",
    "taskmanager.memory.task.heap.size",
    "taskmanager.memory.task.off-heap.size",
    "taskmanager.memory.flink.size",
    "taskmanager.memory.jvm-metaspace.size",
    "taskmanager.memory.jvm-overhead.fraction",
    "taskmanager.memory.jvm-overhead.max",
    "taskmanager.memory.jvm-overhead.min",
    "yarn.application-attempts",
    "yarn.application-master.port",
    "yarn.container-start-command-template",
    "yarn.flink-dist-jar",
    "yarn.properties-file.location",
    "yarn.provided.lib.dirs",
    "yarn.rolled-logs",
    "yarn.ship-archives",
    "yarn.ship-files",
];

/// How names of Hadoop's begin.
const HADOOPS: [&str; 4] = ["yarn.am.", "yarn.nodemanager.", "yarn.resourcemanager.", "yarn.scheduler."];

/// What is no text of ours: tests, and what measures other programs.
const NOT: [&str; 2] = ["tests", "xtask"];

fn files(path: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(path) else {
        let kind = path.extension().and_then(|extension| extension.to_str());
        if matches!(kind, Some("rs" | "md" | "wit")) {
            found.push(path.to_owned());
        }
        return;
    };
    for entry in entries.map(|entry| entry.expect("an entry")) {
        if !NOT.iter().any(|name| entry.file_name() == *name) {
            files(&entry.path(), found);
        }
    }
}

fn is_part_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '/')
}

/// What variables are called, too.
const AMBIGUOUS: [&str; 4] = ["env", "execution", "slot", "task"];

/// The words of a line that look like the name of an option: one that begins as
/// one does, with a dash or two dots in it. What is called, or has an
/// underscore or a slash, is code or a path.
fn names<'a>(line: &'a str, roots: &'a BTreeSet<&str>) -> impl Iterator<Item = &'a str> {
    let words = line.split(|c| !is_part_of_name(c)).map(move |word| {
        let end = word.as_ptr() as usize - line.as_ptr() as usize + word.len();
        let is_called = line[end..].starts_with('(');
        let is_quoted = line[..end - word.len()].ends_with(['`', '"']);
        (word.trim_end_matches(['.', '-']), is_called, is_quoted)
    });
    let words = words.filter(|(word, is_called, is_quoted)| {
        let is_clear =
            !AMBIGUOUS.iter().any(|root| word.split('.').next() == Some(root)) || word.contains('-');
        !is_called && (is_clear || *is_quoted)
    });
    words.map(|(word, ..)| word).filter(|word| {
        let root = word.split('.').next().unwrap_or_default();
        let dots = word.matches('.').count();
        roots.contains(root)
            && dots > 0
            && (dots > 1 || word.contains('-'))
            && !word.contains(['_', '/'])
            && !word.ends_with(".rs")
            && !word.ends_with(".md")
    })
}

#[test]
fn every_option_that_is_named_exists() {
    let keys: BTreeSet<&str> = options::ALL.iter().map(|info| info.key).collect();
    let roots: BTreeSet<&str> = keys.iter().filter_map(|key| key.split('.').next()).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut all = Vec::new();
    for place in PLACES {
        files(&root.join(place), &mut all);
    }
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for file in &all {
        let text = std::fs::read_to_string(file).expect("a text");
        // Comments may name what is yet to come.
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"));
        for (number, line) in lines {
            let ours = |name: &&str| {
                !FLINKS.contains(name) && !HADOOPS.iter().any(|prefix| name.starts_with(prefix))
            };
            for name in names(line, &roots).filter(ours) {
                // The beginning of several names, or a name with its value.
                let is_known = keys.iter().any(|key| key.starts_with(name));
                if is_known {
                    seen.insert(name.to_owned());
                } else {
                    let near = nearest_key(name).unwrap_or_default();
                    wrong.push(format!("{}:{}: `{name}` (`{near}`?)", file.display(), number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "no such options:\n{}", wrong.join("\n"));
    assert!(seen.len() > 50, "only {} names were found: is this looking in the right place?", seen.len());
}
