//! Feeds the targets with changed samples for a while, on stable Rust: inputs
//! that come to something new are kept and changed further. An input that
//! makes the host panic is written to a file and can be run again.

mod mutate;

use anyhow::{Context, bail};
use heddle_fuzz::{TARGETS, Target};
use mutate::Random;
use std::collections::BTreeSet;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const USAGE: &str = "heddle-fuzz TARGET [--seconds N] [--seed N] [--folder FOLDER]
heddle-fuzz TARGET FILE...   (runs these inputs)";
const SECONDS: u64 = 60;
/// Inputs that are kept; what comes after that replaces none.
const CORPUS_MAX: usize = 10_000;

struct Options {
    seconds: u64,
    seed: u64,
    folder: PathBuf,
    files: Vec<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().context(USAGE)?;
    let names = TARGETS.map(|target| target.name).join(", ");
    let target = TARGETS.iter().find(|target| target.name == name);
    let target = target.with_context(|| format!("unknown target `{name}`; there are: {names}"))?;
    let options = options(arguments, target)?;
    if options.files.is_empty() {
        return fuzz(target, &options);
    }
    for file in &options.files {
        let input = std::fs::read(file).with_context(|| file.display().to_string())?;
        println!("{}: {}", file.display(), (target.run)(&input));
    }
    Ok(())
}

fn options(mut arguments: impl Iterator<Item = String>, target: &Target) -> anyhow::Result<Options> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut options = Options {
        seconds: SECONDS,
        seed: now.as_nanos() as u64,
        folder: Path::new("target/fuzz").join(target.name),
        files: Vec::new(),
    };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} needs a value\n{USAGE}"));
        match argument.as_str() {
            "--seconds" => options.seconds = value()?.parse()?,
            "--seed" => options.seed = value()?.parse()?,
            "--folder" => options.folder = value()?.into(),
            option if option.starts_with('-') => bail!("unknown option {option}\n{USAGE}"),
            file => options.files.push(file.into()),
        }
    }
    Ok(options)
}

/// What became of an input, without its numbers: so few that each is kept.
fn kind(outcome: &str) -> String {
    let words = outcome.split(' ').filter(|word| !word.contains(|c: char| c.is_ascii_digit()));
    words.collect::<Vec<_>>().join(" ")
}

fn fuzz(target: &Target, options: &Options) -> anyhow::Result<()> {
    let corpus_folder = options.folder.join("corpus");
    std::fs::create_dir_all(&corpus_folder).with_context(|| corpus_folder.display().to_string())?;
    let mut corpus = (target.seeds)()?;
    for entry in std::fs::read_dir(&corpus_folder)? {
        corpus.push(std::fs::read(entry?.path())?);
    }
    println!("{}: {} inputs, seed {}", target.name, corpus.len(), options.seed);
    // The message of a caught panic is printed once, at the end.
    std::panic::set_hook(Box::new(|_| {}));
    let mut kinds = BTreeSet::new();
    for input in &corpus {
        kinds.insert(kind(&run(target, input, options)?));
    }
    let mut random = Random::new(options.seed);
    let (began, mut runs) = (Instant::now(), 0_u64);
    while began.elapsed() < Duration::from_secs(options.seconds) {
        // The clock is read once in a while only.
        for _ in 0..256 {
            let input = mutate::next(&mut random, &corpus);
            let is_new = kinds.insert(kind(&run(target, &input, options)?));
            if is_new && corpus.len() < CORPUS_MAX {
                std::fs::write(corpus_folder.join(file_name(&input)), &input)?;
                corpus.push(input);
            }
            runs += 1;
        }
    }
    println!("{}: {runs} inputs in {:?}, {} outcomes, no panic", target.name, began.elapsed(), kinds.len());
    Ok(())
}

fn run(target: &Target, input: &[u8], options: &Options) -> anyhow::Result<String> {
    let panic = match catch_unwind(|| (target.run)(input)) {
        Ok(outcome) => return Ok(outcome),
        Err(panic) => panic,
    };
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    let file = options.folder.join(format!("crash-{}", file_name(input)));
    std::fs::write(&file, input).with_context(|| file.display().to_string())?;
    bail!(
        "{} panics: {}\nthe input is in {}; run it again with `cargo xtask fuzz {} {}`",
        target.name,
        text.unwrap_or_default(),
        file.display(),
        target.name,
        file.display()
    )
}

/// FNV-1a of the content.
fn file_name(input: &[u8]) -> String {
    let hash = input.iter().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3)
    });
    format!("{hash:016x}")
}
