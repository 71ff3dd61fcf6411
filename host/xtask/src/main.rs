//! The project's own commands: `cargo xtask COMMAND`.
//!
//! Few dependencies, so that it builds in seconds on a fresh machine; whatever
//! needs Heddle itself runs its binary.

mod bench;
mod demo;
mod deps;
mod dist;
mod fuzz;
mod maven;
mod servers;
mod simulate;
mod steps;
mod suite;
mod tidy;
mod workspace;

use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask COMMAND

  demo [--check]      count the words of real text: everything at once;
                      --check counts them again without Heddle, and compares
  dist                build target/dist/{bin/heddle, conf/config.yaml, examples/*.wasm}
  test                everything that CI runs
  bench [NAME…] [--json FILE]
                      measure, beside Flink where Java and Maven are there
  fuzz TARGET [--seconds N] [--seed N]
  fuzz TARGET FILE…   feed a decoder (batch, hadoop, state) with changed samples; run crashes again
  servers up|down|status NAME
                      real servers on loopback: yarn, hdfs, zookeeper, kafka
  simulate [--seeds N] [--for TIME]
  simulate --seed N [--trace]
                      a cluster on a simulated network that fails; one run again
  tidy                form of the sources: headers, lengths, names
  deps                directions of dependencies between crates
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let rest = arguments.get(1..).unwrap_or_default();
    let wants_help = rest.iter().any(|argument| argument == "--help" || argument == "-h");
    let result = match arguments.first().map(String::as_str) {
        Some(_) if wants_help => {
            print!("{USAGE}");
            Ok(())
        }
        Some("demo") => demo::run(rest),
        Some("dist") => no_arguments(rest).and_then(|()| dist::run().map(|_| ())),
        Some("test") => no_arguments(rest).and_then(|()| suite::run()),
        Some("bench") => bench::run(rest),
        Some("fuzz") => fuzz::run(rest),
        Some("servers") => servers::run(rest),
        Some("simulate") => simulate::run(rest),
        Some("tidy") => no_arguments(rest).and_then(|()| tidy::run()),
        Some("deps") => no_arguments(rest).and_then(|()| deps::run()),
        None | Some("help" | "--help" | "-h") => {
            print!("{USAGE}");
            Ok(())
        }
        Some(other) => Err(anyhow::anyhow!("unknown command `{other}`\n\n{USAGE}")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn no_arguments(rest: &[String]) -> anyhow::Result<()> {
    match rest.first() {
        None => Ok(()),
        Some(argument) => anyhow::bail!("this command takes no argument, got `{argument}`"),
    }
}
