//! The program of `tests/benches/exchange`: batches between two processes, and
//! the same buffers over a bare TCP connection.

use crate::bench::case::{Case, Figure, Measure, Peer, Quantile, Side};
use crate::bench::options::Options;
use crate::bench::process::{Process, number};
use crate::dist;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

const SLACK: Duration = Duration::from_secs(60);

pub struct Exchange {
    program: PathBuf,
    /// One run gives all quantiles of a buffer time-out.
    latencies: BTreeMap<u32, Value>,
}

/// The peer.
pub struct BareSocket(PathBuf);

fn build() -> Result<PathBuf> {
    let built = dist::build(&["--release", "--package", "bench-exchange"])?;
    let (_, program) = built.into_iter().next_back().context("cargo named no program")?;
    Ok(program)
}

fn run(program: &PathBuf, arguments: &[String], options: &Options) -> Result<Value> {
    let seconds = options.window.as_secs_f64().to_string();
    let mut command = Command::new(program);
    Process::start(command.args(arguments).arg(seconds))?.finish(options.window * 10 + SLACK)?.json()
}

fn throughput(value: &Value) -> Result<Figure> {
    Ok(Figure {
        value: number(value, "bytes_per_second")? / 1e6,
        cpu_ns: None,
        notes: vec![(
            "CPU of both ends".into(),
            format!("{:.1} us for 64 KiB", number(value, "processor_ns_per_batch")? / 1e3),
        )],
    })
}

impl Exchange {
    /// Builds the program, if a case needs it.
    pub fn prepare(cases: &[Case]) -> Result<Option<Self>> {
        let needs =
            |case: &Case| matches!(case.measure, Measure::Exchange { .. } | Measure::ExchangeLatency { .. });
        if !cases.iter().any(needs) {
            return Ok(None);
        }
        Ok(Some(Self { program: build()?, latencies: BTreeMap::new() }))
    }

    pub fn throughput(&self, producers: u32, consumers: u32, options: &Options) -> Result<Figure> {
        let arguments = ["throughput".to_owned(), producers.to_string(), consumers.to_string()];
        throughput(&run(&self.program, &arguments, options)?)
    }

    pub fn latency(
        &mut self,
        buffer_timeout_ms: u32,
        quantile: Quantile,
        options: &Options,
    ) -> Result<Figure> {
        let value = match self.latencies.remove(&buffer_timeout_ms) {
            // The first quantile of a run starts the program, the other reads what it gave.
            Some(value) if quantile != Quantile::P50 => value,
            _ => run(&self.program, &["latency".to_owned(), buffer_timeout_ms.to_string()], options)?,
        };
        let field = match quantile {
            Quantile::P50 => "p50_ms",
            Quantile::P99 => "p99_ms",
        };
        let rate = number(&value, "records_per_second")?;
        let figure = Figure {
            value: number(&value, field)?,
            cpu_ns: None,
            notes: vec![("load".into(), format!("{:.0} records/s of 100 bytes", rate))],
        };
        self.latencies.insert(buffer_timeout_ms, value);
        Ok(figure)
    }
}

impl BareSocket {
    /// Builds the program, if a case needs it.
    pub fn prepare(cases: &[Case]) -> Result<Option<Self>> {
        match cases.iter().any(|case| case.peer == Peer::Socket) {
            true => Ok(Some(Self(build()?))),
            false => Ok(None),
        }
    }
}

impl Side for BareSocket {
    fn name(&self) -> &str {
        "bare socket"
    }

    fn measure(&mut self, case: &Case, options: &Options) -> Result<Figure> {
        let Measure::Exchange { .. } = case.measure else { bail!("there is no bare socket for it") };
        throughput(&run(&self.0, &["bare-socket".to_owned()], options)?)
    }
}
