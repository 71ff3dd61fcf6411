//! Heddle's side: `heddle run` with the jobs of `tests/benches/jobs`, and the
//! program of `tests/benches/probe` for what no job can show.

mod on_cluster;

use crate::bench::case::{Case, Figure, Instances, Measure, Side};
use crate::bench::corpus::{self, Corpus};
use crate::bench::exchange::Exchange;
use crate::bench::folders::Folders;
use crate::bench::options::Options;
use crate::bench::process::{Finished, Process, number};
use crate::dist;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// For a start and an end that have nothing to do with what is measured.
const SLACK: Duration = Duration::from_secs(60);
const WHOLE_JOB: Duration = Duration::from_secs(1800);
/// An idle cluster's memory is read when its start has settled.
const SETTLE: Duration = Duration::from_secs(5);
/// Of the first, short run that tells how many records fill the time.
const TRIAL: Duration = Duration::from_secs(2);
const TRIAL_RECORDS: f64 = 2e6;
/// Live instances that the process must hold.
const INSTANCES: &str = "20000";

pub struct Heddle {
    program: PathBuf,
    /// The example.
    word_count: PathBuf,
    jobs: BTreeMap<&'static str, PathBuf>,
    probe: Option<PathBuf>,
    exchange: Option<Exchange>,
    folders: Folders,
    text: Option<Corpus>,
    /// Records a second of a case, from its runs so far.
    known_rates: BTreeMap<String, f64>,
    /// One run of the probe gives all figures of instances.
    instances: Option<Value>,
}

impl Heddle {
    pub fn prepare(folders: &Folders, cases: &[Case]) -> Result<Self> {
        let dist = dist::run()?;
        let names: BTreeSet<&'static str> = cases.iter().filter_map(job_of).collect();
        let built = if names.is_empty() { Vec::new() } else { build(&names)? };
        let jobs = names
            .into_iter()
            .map(|name| {
                let package = format!("bench-{name}");
                let found = built.iter().find(|(built, _)| *built == package);
                let (_, path) = found.with_context(|| format!("{package} gave no component"))?;
                Ok((name, path.clone()))
            })
            .collect::<Result<_>>()?;
        let probe = if cases.iter().any(|case| needs_probe(case.measure)) {
            let built = dist::build(&["--release", "--package", "bench-probe"])?;
            Some(built.into_iter().map(|(_, path)| path).next_back().context("cargo named no probe")?)
        } else {
            None
        };
        let text = if cases.iter().any(|case| case.measure == Measure::TextFile) {
            Some(corpus::prepare(folders)?)
        } else {
            None
        };
        Ok(Self {
            program: dist.heddle(),
            word_count: dist.example("word-count"),
            jobs,
            probe,
            exchange: Exchange::prepare(cases)?,
            folders: folders.clone(),
            text,
            known_rates: BTreeMap::new(),
            instances: None,
        })
    }

    fn job(&self, name: &str) -> Result<&Path> {
        Ok(self.jobs.get(name).with_context(|| format!("the job {name} was not built"))?)
    }

    /// `heddle run`, with its defaults.
    fn run(&self, report: &Path, parallelism: u32) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("run").arg("--report").arg(report).args(["-p", &parallelism.to_string()]);
        command.current_dir(&self.folders.bench);
        command
    }

    /// A job over so many records: how long it took from the first record at
    /// the sink to its end, in seconds.
    fn records(
        &self,
        job: &str,
        arguments: &[&str],
        parallelism: u32,
        records: u64,
        most: Duration,
    ) -> Result<(f64, Finished)> {
        let report = self.folders.bench.join("report.json");
        let finished = Process::start(
            self.run(&report, parallelism)
                .arg(self.job(job)?)
                .args(["--records", &records.to_string()])
                .args(arguments),
        )?
        .finish(most)?;
        let report = read_json(&report)?;
        let run = number(&report, "runtime_ms")?;
        // Absent if all of the job is one chain: then its start counts too.
        let first = report["first_record_ms"].as_f64().unwrap_or(0.0);
        Ok(((run - first) / 1e3, finished))
    }

    /// Sizes the run so that it takes as long as the peer's window and
    /// warm-up together; all of it counts. (Compiled code needs no warm-up.)
    fn rate(&mut self, job: &str, arguments: &[&str], case: &Case, options: &Options) -> Result<Figure> {
        let time = options.warm_up + options.window;
        let rate = match self.known_rates.get(&case.to_string()) {
            Some(&rate) => rate,
            None => self.trial(job, arguments, case.parallelism)?,
        };
        let records = (rate * time.as_secs_f64()) as u64;
        let (seconds, finished) =
            self.records(job, arguments, case.parallelism, records, time * 10 + SLACK)?;
        let rate = records as f64 / seconds;
        self.known_rates.insert(case.to_string(), rate);
        Ok(Figure {
            value: rate,
            cpu_ns: Some(finished.cpu.as_secs_f64() * 1e9 / records as f64),
            notes: vec![("measured".into(), format!("{records} records in {seconds:.1} s"))],
        })
    }

    /// A rate that is good enough to size a run by.
    fn trial(&self, job: &str, arguments: &[&str], parallelism: u32) -> Result<f64> {
        let mut records = TRIAL_RECORDS;
        loop {
            let (seconds, _) = self.records(job, arguments, parallelism, records as u64, WHOLE_JOB)?;
            if seconds * 4.0 >= TRIAL.as_secs_f64() {
                return Ok(records / seconds);
            }
            records *= (TRIAL.as_secs_f64() / seconds.max(0.05)).clamp(2.0, 20.0);
        }
    }

    fn text_file(&self, case: &Case) -> Result<Figure> {
        let text = self.text.as_ref().context("the text")?;
        let output = self.folders.bench.join("text-heddle");
        if output.exists() {
            fs::remove_dir_all(&output).with_context(|| format!("cannot empty {}", output.display()))?;
        }
        let report = self.folders.bench.join("report.json");
        let finished = Process::start(
            self.run(&report, case.parallelism)
                .arg("-Dexecution.runtime-mode=BATCH")
                .arg(&self.word_count)
                .arg("--input")
                .arg(&text.folder)
                .arg("--output")
                .arg(&output),
        )?
        .finish(WHOLE_JOB)?;
        let took = finished.took.as_secs_f64();
        let job = number(&read_json(&report)?, "runtime_ms")? / 1e3;
        Ok(Figure {
            value: text.bytes as f64 / 1e6 / took,
            notes: vec![
                ("text".into(), format!("{:.0} MB in {} files", text.bytes as f64 / 1e6, text.files)),
                ("the whole process".into(), format!("{took:.2} s")),
                ("the job in it".into(), format!("{job:.2} s")),
            ],
            ..Figure::default()
        })
    }

    fn cold_start(&self, cached: bool) -> Result<Figure> {
        let cache = self.folders.bench.join("cold-start-cache");
        let report = self.folders.bench.join("report.json");
        let command = || -> Result<Command> {
            let mut command = self.run(&report, 1);
            command
                .arg(format!("-Dtaskmanager.wasm.cache-dir={}", cache.display()))
                .arg(self.job("cold-start")?);
            Ok(command)
        };
        if cached {
            Process::start(&mut command()?)?.finish(SLACK)?;
        } else if cache.exists() {
            fs::remove_dir_all(&cache).with_context(|| format!("cannot empty {}", cache.display()))?;
        }
        let mut process = Process::start(&mut command()?)?;
        let (time, _) = process.line(SLACK)?;
        process.finish(SLACK)?;
        Ok(Figure { value: time.as_secs_f64() * 1e3, ..Figure::default() })
    }

    fn probe(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(self.probe.as_ref().context("the probe was not built")?);
        command.args(arguments).current_dir(&self.folders.bench);
        Ok(command)
    }

    fn idle(&self) -> Result<Figure> {
        let mut process = Process::start(&mut self.probe(&["idle"])?)?;
        process.line(SLACK)?;
        std::thread::sleep(SETTLE);
        let value = process.resident_bytes()? as f64 / (1 << 20) as f64;
        Ok(Figure { value, ..Figure::default() })
    }

    /// The graph of a job, as a file that the native side reads too.
    pub fn graph(&self, job: &str) -> Result<PathBuf> {
        let graph = self.folders.bench.join(format!("{job}.graph.json"));
        let mut command = self.probe(&["graph"])?;
        Process::start(command.arg(self.job(job)?).arg(&graph))?.finish(SLACK)?;
        Ok(graph)
    }

    /// The chains of a job on one thread.
    fn sandbox(&self, job: &str, preemption: bool, options: &Options) -> Result<Figure> {
        let graph = self.graph(job)?;
        let finished = Process::start(
            self.probe(&["sandbox"])?
                .arg(self.job(job)?)
                .arg(graph)
                .arg(if preemption { "epoch" } else { "none" })
                .arg(options.window.as_secs_f64().to_string()),
        )?
        .finish(options.window * 10 + SLACK)?;
        Ok(Figure { value: number(&finished.json()?, "rate")?, ..Figure::default() })
    }

    fn exchange(&mut self) -> Result<&mut Exchange> {
        self.exchange.as_mut().context("the program of the exchange was not built")
    }

    fn instances(&mut self, what: Instances) -> Result<Figure> {
        let value = match self.instances.take() {
            // The first figure of a run starts the probe, the others read it.
            Some(value) if what != Instances::Count => value,
            _ => Process::start(self.probe(&["instances"])?.arg(self.job("keyed-reduce")?).arg(INSTANCES))?
                .finish(WHOLE_JOB)?
                .json()?,
        };
        let field = match what {
            Instances::Count => "live",
            Instances::ResidentKib => "resident_kib_each",
            Instances::StartP50 => "start_p50_ms",
            Instances::StartP99 => "start_p99_ms",
        };
        let figure = Figure { value: number(&value, field)?, ..Figure::default() };
        self.instances = Some(value);
        Ok(figure)
    }
}

impl Side for Heddle {
    fn name(&self) -> &str {
        "heddle"
    }

    fn measure(&mut self, case: &Case, options: &Options) -> Result<Figure> {
        match case.measure {
            Measure::Rate { job, arguments, .. } => self.rate(job, arguments, case, options),
            Measure::ClusterRate { job } => self.cluster_rate(job, case, options),
            Measure::JobLatency => self.job_latency(),
            Measure::Failover => self.failover(),
            Measure::ControlPlane { workers, what } => on_cluster::control_plane(workers, what),
            Measure::IdleCluster => self.idle_cluster(),
            Measure::TextFile => self.text_file(case),
            Measure::ColdStart { cached } => self.cold_start(cached),
            Measure::Idle => self.idle(),
            Measure::Sandbox { job, preemption } => self.sandbox(job, preemption, options),
            Measure::Instances(what) => self.instances(what),
            Measure::Exchange { producers, consumers } => {
                self.exchange()?.throughput(producers, consumers, options)
            }
            Measure::Yarn(_) => bail!("it is measured on YARN"),
            Measure::ExchangeLatency { buffer_timeout_ms, quantile } => {
                self.exchange()?.latency(buffer_timeout_ms, quantile, options)
            }
        }
    }
}

/// Builds the components of the jobs: package and path.
fn build(names: &BTreeSet<&'static str>) -> Result<Vec<(String, PathBuf)>> {
    let packages: Vec<String> = names.iter().map(|name| format!("bench-{name}")).collect();
    let mut arguments = vec!["--profile", "guest", "--target", dist::GUEST_TARGET];
    for package in &packages {
        arguments.extend(["--package", package]);
    }
    dist::build(&arguments)
}

/// The job that a case needs.
fn job_of(case: &Case) -> Option<&'static str> {
    match case.measure {
        Measure::Rate { job, .. } | Measure::Sandbox { job, .. } => Some(job),
        Measure::ClusterRate { job } => Some(job),
        Measure::Failover => Some("word-count"),
        Measure::JobLatency => Some("map-filter"),
        Measure::ColdStart { .. } => Some("cold-start"),
        Measure::Instances(_) => Some("keyed-reduce"),
        Measure::TextFile
        | Measure::IdleCluster
        | Measure::ControlPlane { .. }
        | Measure::Idle
        | Measure::Exchange { .. }
        | Measure::Yarn(_)
        | Measure::ExchangeLatency { .. } => None,
    }
}

fn needs_probe(measure: Measure) -> bool {
    matches!(measure, Measure::Idle | Measure::Sandbox { .. } | Measure::Instances(_))
}

fn read_json(path: &Path) -> Result<Value> {
    let text = fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
    match serde_json::from_str(&text) {
        Ok(value) => Ok(value),
        Err(error) => bail!("{}: {error}", path.display()),
    }
}
