//! The arguments of `cargo xtask bench`.

use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::time::Duration;

/// What a run of the benchmarks is told.
pub struct Options {
    /// Benchmarks by name; none means all.
    pub names: Vec<String>,
    pub json: Option<PathBuf>,
    /// Put the table into BENCHMARKS.md.
    pub write: bool,
    pub quick: bool,
    /// Runs of each side.
    pub runs: u32,
    /// Before the window of a rate begins.
    pub warm_up: Duration,
    /// How long a rate is measured.
    pub window: Duration,
    /// Instead of a benchmark's own.
    pub parallelism: Option<Vec<u32>>,
    pub sides: Sides,
}

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sides {
    Both,
    Heddle,
    Peer,
}

/// What `--help` says.
pub fn help() -> String {
    let mut text = String::from(
        "\
Measures Heddle and its peers on this machine, by turns, and prints the medians.

Usage: cargo xtask bench [NAME...] [options]

  --json FILE           also write the rows as JSON
  --write               put the table into BENCHMARKS.md
  --runs N              runs of each side (5; with --quick 1)
  --quick               windows of seconds: to see that it works, not to be quoted
  --warm-up SECONDS     before a rate is measured (10; with --quick 4)
  --window SECONDS      how long a rate is measured (20; with --quick 4)
  --parallelism N[,N]   instead of each benchmark's own
  --without-peer        Heddle's side only
  --peer-only           the peer's side only: builds nothing of Heddle

Benchmarks:
",
    );
    for benchmark in crate::bench::catalogue::BENCHMARKS {
        text.push_str(&format!("  {:<18} {}\n", benchmark.name, benchmark.what));
    }
    text
}

impl Options {
    pub fn parse(arguments: &[String]) -> Result<Self> {
        let mut options = Self {
            names: Vec::new(),
            json: None,
            write: false,
            quick: arguments.iter().any(|a| a == "--quick"),
            runs: 5,
            warm_up: Duration::from_secs(10),
            window: Duration::from_secs(20),
            parallelism: None,
            sides: Sides::Both,
        };
        if options.quick {
            options.runs = 1;
            options.warm_up = Duration::from_secs(4);
            options.window = Duration::from_secs(4);
        }
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let (name, attached) = match argument.split_once('=') {
                Some((name, value)) if name.starts_with("--") => (name, Some(value.to_owned())),
                _ => (argument.as_str(), None),
            };
            let mut value = || {
                attached
                    .clone()
                    .or_else(|| rest.next().cloned())
                    .with_context(|| format!("{name} needs a value"))
            };
            match name {
                "--json" => options.json = Some(PathBuf::from(value()?)),
                "--runs" => options.runs = number(name, &value()?)?,
                "--warm-up" => options.warm_up = seconds(name, &value()?)?,
                "--window" => options.window = seconds(name, &value()?)?,
                "--parallelism" => {
                    let list = value()?;
                    let parsed: Result<Vec<u32>> = list.split(',').map(|p| number(name, p)).collect();
                    options.parallelism = Some(parsed?);
                }
                "--write" => options.write = true,
                "--quick" => {}
                "--without-peer" => options.sides = Sides::Heddle,
                "--peer-only" => options.sides = Sides::Peer,
                _ if name.starts_with('-') => {
                    bail!("unknown option {name}; `cargo xtask bench --help` lists them")
                }
                _ => options.names.push(argument.clone()),
            }
        }
        Ok(options)
    }
}

fn number(name: &str, text: &str) -> Result<u32> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => bail!("{name} takes a number from 1 on, not `{text}`"),
    }
}

fn seconds(name: &str, text: &str) -> Result<Duration> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds < 86_400.0 => Ok(Duration::from_secs_f64(seconds)),
        _ => bail!("{name} takes seconds, not `{text}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::Options;

    fn parse(line: &str) -> anyhow::Result<Options> {
        Options::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn names_and_options_in_any_order() {
        let options = parse("word-count --runs 3 --parallelism=1,2 idle --json out.json").unwrap();
        assert_eq!(options.names, ["word-count", "idle"]);
        assert_eq!(options.runs, 3);
        assert_eq!(options.parallelism.as_deref(), Some(&[1, 2][..]));
        assert_eq!(options.json.as_deref(), Some(std::path::Path::new("out.json")));
    }

    #[test]
    fn what_is_said_goes_before_quick() {
        let options = parse("--runs 2 --quick").unwrap();
        assert_eq!((options.runs, options.window.as_secs()), (2, 4));
    }

    #[test]
    fn mistakes_are_named() {
        let line = |text| parse(text).err().map(|e| e.to_string());
        assert_eq!(line("--runs").unwrap(), "--runs needs a value");
        assert_eq!(line("--runs 0").unwrap(), "--runs takes a number from 1 on, not `0`");
        assert_eq!(line("--fast").unwrap(), "unknown option --fast; `cargo xtask bench --help` lists them");
    }
}
