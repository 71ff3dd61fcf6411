//! `cargo xtask demo`: the main job on real text that every machine has after
//! the build, the sources of the crates that Heddle is made of.

use crate::dist::{self, Dist};
use crate::workspace::{host_triple, metadata, root, target};
use anyhow::{Context, bail};
use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How many words are shown.
const SHOWN: usize = 20;

/// `demo [--check]`.
pub fn run(arguments: &[String]) -> anyhow::Result<()> {
    let checks = match arguments {
        [] => false,
        [flag] if flag == "--check" => true,
        _ => bail!("`cargo xtask demo` takes `--check` at most, got `{}`", arguments.join(" ")),
    };
    let dist = dist::run()?;
    show(&dist, checks)
}

/// Runs the job and shows what it found, after comparing it if it is to.
pub fn show(dist: &Dist, checks: bool) -> anyhow::Result<()> {
    let corpus = collect_text()?;
    let output = target().join("demo/words");
    if output.exists() {
        std::fs::remove_dir_all(&output).with_context(|| output.display().to_string())?;
    }
    let parallelism = std::thread::available_parallelism().map_or(1, usize::from).to_string();
    let heddle = dist.heddle();
    eprintln!(
        "\ncounting the words of {} source files ({:.0} MB), parallelism {parallelism}\n",
        corpus.files,
        corpus.bytes as f64 / 1e6
    );
    let report = target().join("demo/result.json");
    let component = dist.example("word-count");
    let status = Command::new(&heddle)
        .args(["run", "-p", &parallelism, "-Dexecution.runtime-mode=BATCH", "--report"])
        .arg(&report)
        .arg(&component)
        .arg("--input")
        .arg(&corpus.folder)
        .arg("--output")
        .arg(&output)
        .status()
        .with_context(|| format!("cannot run {}", heddle.display()))?;
    if !status.success() {
        bail!("heddle run failed ({status})");
    }
    let counts = read_counts(&output)?;
    if checks {
        compare(&counts, &corpus.folder)?;
    }
    let words: u64 = counts.iter().map(|(count, _)| count).sum();
    println!("\nthe {SHOWN} most frequent of {} different words:\n", grouped(counts.len() as u64));
    for (count, word) in counts.iter().take(SHOWN) {
        println!("{:>14}  {word}", grouped(*count));
    }
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(&report)?)?;
    let runtime = report["runtime_ms"].as_f64().unwrap_or(0.0) / 1000.0;
    println!(
        "\n{} words in {runtime:.2} s: {} words a second",
        grouped(words),
        grouped((words as f64 / runtime) as u64)
    );
    let first = first_record(dist)?;
    println!("as a stream, the first record is at the sink {first:.0} ms after its submission");
    let shown = |path: PathBuf| {
        let here = std::env::current_dir().unwrap_or_default();
        path.strip_prefix(&here).unwrap_or(&path).display().to_string()
    };
    let (heddle, component) = (shown(heddle), shown(component));
    println!("\nwhat to try next:");
    for (command, why) in [
        (format!("{heddle} info {component} --input README.md --output words"), "the plan, as a picture"),
        (format!("{heddle} run {component} --input README.md --output words"), "a stream of updates"),
        (format!("{heddle} config"), "what can be set, and what is"),
        ("cargo xtask bench".to_owned(), "beside Apache Flink"),
    ] {
        println!("  # {why}\n  {command}");
    }
    println!("the job itself is examples/word-count");
    Ok(())
}

/// Milliseconds from the submission of a stream over a small file to the first
/// update at its sink: BATCH gives its counts at the end only.
fn first_record(dist: &Dist) -> anyhow::Result<f64> {
    let folder = target().join("demo");
    let (output, report) = (folder.join("stream"), folder.join("stream.json"));
    if output.exists() {
        std::fs::remove_dir_all(&output).with_context(|| output.display().to_string())?;
    }
    let status = Command::new(dist.heddle())
        .args(["run", "-q", "--report"])
        .arg(&report)
        .arg(dist.example("word-count"))
        .arg("--input")
        .arg(root().join("README.md"))
        .arg("--output")
        .arg(&output)
        .status()?;
    if !status.success() {
        bail!("heddle run failed ({status})");
    }
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(&report)?)?;
    report["first_record_ms"].as_f64().context("no record came to the sink")
}

struct Corpus {
    folder: PathBuf,
    files: usize,
    bytes: u64,
}

/// Links the Rust sources of every package that Heddle is built from into one
/// folder.
fn collect_text() -> anyhow::Result<Corpus> {
    // Without it cargo fetches what other platforms need.
    let metadata = metadata(&["--filter-platform", &host_triple()?])?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let folders: BTreeSet<PathBuf> = packages
        .filter(|package| package["source"].is_string())
        .filter_map(|package| Path::new(package["manifest_path"].as_str()?).parent().map(Path::to_owned))
        .collect();
    let folder = target().join("demo/sources");
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::create_dir_all(&folder)?;
    let mut corpus = Corpus { folder, files: 0, bytes: 0 };
    for (number, package) in folders.iter().enumerate() {
        if !package.is_dir() {
            continue;
        }
        let name = package.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        add(
            package,
            &corpus.folder.join(format!("{number:03}-{name}")),
            &mut corpus.files,
            &mut corpus.bytes,
        )?;
    }
    if corpus.files == 0 {
        bail!("found no sources of crates; run `cargo fetch` first");
    }
    Ok(corpus)
}

/// Links, or copies where links cannot be made, what ends in `.rs`.
fn add(from: &Path, to: &Path, files: &mut usize, bytes: &mut u64) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        let kind = entry.file_type()?;
        let path = entry.path();
        // Names that start with these are hidden to a job that reads a folder.
        let mut name = entry.file_name();
        if name.as_encoded_bytes().first().is_some_and(|first| b"._".contains(first)) {
            name = [OsStr::new("visible"), &name].into_iter().collect();
        }
        if kind.is_dir() {
            add(&path, &to.join(name), files, bytes)?;
        } else if kind.is_file() && path.extension().is_some_and(|extension| extension == "rs") {
            std::fs::create_dir_all(to)?;
            let target = to.join(name);
            if std::fs::hard_link(&path, &target).is_err() {
                std::fs::copy(&path, &target)?;
            }
            *files += 1;
            *bytes += entry.metadata()?.len();
        }
    }
    Ok(())
}

/// Fails if the counts are not those of a plain loop over the same files.
fn compare(counts: &[(u64, String)], folder: &Path) -> anyhow::Result<()> {
    let mut expected = HashMap::new();
    recount(folder, &mut expected)?;
    let words = expected.len();
    for (count, word) in counts {
        let recounted = expected.remove(word.as_bytes()).unwrap_or_default();
        if recounted != *count {
            bail!("the job counted `{word}` {count} times, a plain loop {recounted} times");
        }
    }
    if let Some((word, count)) = expected.iter().next() {
        let word = String::from_utf8_lossy(word);
        bail!("{} words are missing, such as `{word}`, which comes {count} times", expected.len());
    }
    println!("\na plain loop over the same files counts the same {} words", grouped(words as u64));
    Ok(())
}

/// Counts the words of all files of a folder: runs of ASCII letters and digits,
/// lower-cased.
fn recount(folder: &Path, counts: &mut HashMap<Vec<u8>, u64>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            recount(&path, counts)?;
            continue;
        }
        let text = std::fs::read(&path).with_context(|| path.display().to_string())?.to_ascii_lowercase();
        for word in text.split(|byte| !byte.is_ascii_alphanumeric()).filter(|word| !word.is_empty()) {
            match counts.get_mut(word) {
                Some(count) => *count += 1,
                None => drop(counts.insert(word.to_vec(), 1)),
            }
        }
    }
    Ok(())
}

/// Lines `word,count` of all files, most frequent first.
fn read_counts(output: &Path) -> anyhow::Result<Vec<(u64, String)>> {
    let mut counts = Vec::new();
    for entry in std::fs::read_dir(output).with_context(|| output.display().to_string())? {
        let path = entry?.path();
        if !path.is_file() {
            continue;
        }
        for line in std::fs::read_to_string(&path)?.lines() {
            let (word, count) =
                line.rsplit_once(',').with_context(|| format!("{}: `{line}`", path.display()))?;
            counts.push((count.parse::<u64>()?, word.to_owned()));
        }
    }
    counts.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    Ok(counts)
}

/// `12,345,678`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_that_differ_from_those_of_a_plain_loop_are_told() {
        let folder = std::env::temp_dir().join(format!("heddle-demo-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("within")).unwrap();
        std::fs::write(folder.join("a.rs"), "One two, TWO").unwrap();
        std::fs::write(folder.join("within/b.rs"), "two_3").unwrap();
        let of = |counts: &[(u64, &str)]| {
            let counts: Vec<_> = counts.iter().map(|(count, word)| (*count, (*word).to_owned())).collect();
            compare(&counts, &folder).map_err(|error| error.to_string())
        };
        let right = of(&[(3, "two"), (1, "3"), (1, "one")]);
        let wrong = of(&[(2, "two"), (1, "3"), (1, "one")]).unwrap_err();
        let missing = of(&[(3, "two"), (1, "3")]).unwrap_err();
        let invented = of(&[(3, "two"), (1, "3"), (1, "one"), (1, "four")]).unwrap_err();
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(right, Ok(()));
        assert_eq!(wrong, "the job counted `two` 2 times, a plain loop 3 times");
        assert_eq!(missing, "1 words are missing, such as `one`, which comes 1 times");
        assert_eq!(invented, "the job counted `four` 1 times, a plain loop 0 times");
    }

    #[test]
    fn digits_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (12_345_678, "12,345,678")] {
            assert_eq!(grouped(number), text);
        }
    }
}
