//! What the exchange between two processes costs: bytes a second beside a bare
//! TCP socket that carries the same buffers, and how long a record is under
//! way. Started by `cargo xtask bench`; prints one line of JSON.

mod bare;
mod latency;
mod process;
mod throughput;

use anyhow::{Result, bail};
use std::process::ExitCode;

const USAGE: &str = "\
bench-exchange throughput PRODUCERS CONSUMERS SECONDS
bench-exchange bare-socket SECONDS
bench-exchange latency BUFFER_TIMEOUT_MS SECONDS";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> Result<()> {
    match arguments {
        ["throughput", producers, consumers, seconds] => {
            let shape = throughput::Shape { producers: producers.parse()?, consumers: consumers.parse()? };
            throughput::measure(shape, seconds)?.print();
            Ok(())
        }
        ["bare-socket", seconds] => {
            bare::measure(seconds)?.print();
            Ok(())
        }
        ["latency", timeout, seconds] => latency::run(timeout.parse()?, seconds.parse()?),
        // The other process.
        ["bare", seconds] => bare::serve(seconds.parse()?),
        ["throughput-producer", producers, consumers, seconds] => {
            let shape = throughput::Shape { producers: producers.parse()?, consumers: consumers.parse()? };
            throughput::serve(shape, seconds.parse()?)
        }
        ["latency-producer", timeout, rate, seconds] => {
            latency::serve(timeout.parse()?, rate.parse()?, seconds.parse()?)
        }
        _ => bail!("usage:\n{USAGE}"),
    }
}
