//! The peer: Apache Flink from Maven, in one process or as a cluster of them,
//! with the jobs of `tests/benches/flink`.

use crate::bench::case::{Case, Figure, Measure, Peer, Side};
use crate::bench::corpus::{self, Corpus};
use crate::bench::flink_cluster::FlinkCluster;
use crate::bench::folders::{Folders, fingerprint, fresh};
use crate::bench::options::{Options, Sides};
use crate::bench::process::{Process, number};
use crate::maven;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// What Flink's own `conf/config.yaml` gives every JVM (`env.java.opts.all`).
pub const JVM_OPTIONS: [&str; 16] = [
    "--add-exports=java.base/sun.net.util=ALL-UNNAMED",
    "--add-exports=java.rmi/sun.rmi.registry=ALL-UNNAMED",
    "--add-exports=jdk.compiler/com.sun.tools.javac.api=ALL-UNNAMED",
    "--add-exports=java.security.jgss/sun.security.krb5=ALL-UNNAMED",
    "--add-opens=java.base/java.lang=ALL-UNNAMED",
    "--add-opens=java.base/java.net=ALL-UNNAMED",
    "--add-opens=java.base/java.io=ALL-UNNAMED",
    "--add-opens=java.base/java.nio=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-opens=java.base/java.lang.reflect=ALL-UNNAMED",
    "--add-opens=java.base/java.text=ALL-UNNAMED",
    "--add-opens=java.base/java.time=ALL-UNNAMED",
    "--add-opens=java.base/java.util=ALL-UNNAMED",
    "--add-opens=java.base/java.util.concurrent=ALL-UNNAMED",
    "--add-opens=java.base/java.util.concurrent.atomic=ALL-UNNAMED",
    "--add-opens=java.base/java.util.concurrent.locks=ALL-UNNAMED",
];
/// For a start and an end that have nothing to do with what is measured.
const SLACK: Duration = Duration::from_secs(60);
const WHOLE_JOB: Duration = Duration::from_secs(1800);
/// An idle cluster's memory is read when its start has settled.
const SETTLE: Duration = Duration::from_secs(5);
/// Of a TaskManager, where they are processes.
const HEAP_MB: u32 = 1536;
const NAME: &str = "flink-2.3.0";

pub struct Flink {
    classpath: String,
    folders: Folders,
    /// The jar of the jobs, and `lib`.
    build: PathBuf,
    text: Option<Corpus>,
}

impl Flink {
    /// Builds the jobs, unless that was done before; an error says why the
    /// peer cannot be had.
    pub fn prepare(folders: &Folders, options: &Options, cases: &[Case]) -> Result<Self> {
        if options.sides == Sides::Heddle {
            bail!("--without-peer was given");
        }
        let needs = |case: &Case| case.peer == Peer::Flink && !matches!(case.measure, Measure::Yarn(_));
        if !cases.iter().any(needs) {
            bail!("no benchmark that was asked for has it");
        }
        maven::available()?;
        let build = build(folders)?;
        let text = if cases.iter().any(|case| case.measure == Measure::TextFile) {
            Some(corpus::prepare(folders)?)
        } else {
            None
        };
        let classpath =
            format!("{}:{}/*", build.join("bench-flink.jar").display(), build.join("lib").display());
        Ok(Self { classpath, folders: folders.clone(), build, text })
    }

    /// Flink with a heap large enough that collection is not the story.
    fn java(&self, heap: &[&str]) -> Command {
        let mut command = Command::new("java");
        command
            .args(heap)
            .args(JVM_OPTIONS)
            .args(["-cp", &self.classpath, "dev.heddle.bench.Bench"])
            .current_dir(&self.folders.bench);
        command
    }

    fn rate(&self, job: &str, arguments: &[&str], case: &Case, options: &Options) -> Result<Figure> {
        let finished = Process::start(
            self.java(&["-Xms2g", "-Xmx2g"])
                .arg(job)
                .args(["--parallelism", &case.parallelism.to_string()])
                .args(["--warm-up", &options.warm_up.as_secs_f64().to_string()])
                .args(["--window", &options.window.as_secs_f64().to_string()])
                .args(arguments),
        )?
        .finish(options.warm_up + options.window + SLACK)?;
        let result = finished.json()?;
        let records = number(&result, "records")?;
        Ok(Figure {
            value: number(&result, "rate")?,
            cpu_ns: Some(number(&result, "cpu_seconds")? * 1e9 / records),
            ..Figure::default()
        })
    }

    /// A cluster of so many TaskManagers.
    fn cluster(&self, task_managers: u32) -> Result<FlinkCluster> {
        FlinkCluster::start(&self.folders, &self.build.join("lib"), task_managers, HEAP_MB)
    }

    /// A client of a cluster: a job of the jar.
    fn client(&self, cluster: &FlinkCluster, job: &str, parallelism: u32) -> Command {
        let mut command = self.java(&["-Xmx512m"]);
        command
            .arg(job)
            .args(["--remote", &cluster.address])
            .arg("--jar")
            .arg(self.build.join("bench-flink.jar"))
            .args(["--parallelism", &parallelism.to_string()]);
        command
    }

    fn cluster_rate(&self, job: &str, case: &Case, options: &Options) -> Result<Figure> {
        let cluster = self.cluster(case.parallelism)?;
        let mut client = self.client(&cluster, job, case.parallelism);
        client.arg("--counts").arg(&cluster.counts);
        let finished = Process::start(
            client
                .args(["--warm-up", &options.warm_up.as_secs_f64().to_string()])
                .args(["--window", &options.window.as_secs_f64().to_string()]),
        )?
        .finish(options.warm_up + options.window + SLACK)?;
        Ok(Figure { value: number(&finished.json()?, "rate")?, ..Figure::default() })
    }

    fn job_latency(&self) -> Result<Figure> {
        let cluster = self.cluster(1)?;
        let finished = Process::start(&mut self.client(&cluster, "job-latency", 1))?.finish(WHOLE_JOB)?;
        Ok(Figure {
            value: number(&finished.json()?, "p50_ms")?,
            notes: vec![("Flink's client".into(), "one JVM that is warm".into())],
            ..Figure::default()
        })
    }

    fn idle_cluster(&self) -> Result<Figure> {
        let cluster = self.cluster(1)?;
        std::thread::sleep(SETTLE);
        let value = cluster.resident_bytes()? as f64 / (1 << 20) as f64;
        Ok(Figure { value, ..Figure::default() })
    }

    fn text_file(&self, case: &Case) -> Result<Figure> {
        let text = self.text.as_ref().context("the text")?;
        let output = fresh(&self.folders.bench.join("text-flink"))?;
        let finished = Process::start(
            self.java(&["-Xms2g", "-Xmx2g"])
                .arg("text-file")
                .args(["--parallelism", &case.parallelism.to_string()])
                .arg("--input")
                .arg(&text.folder)
                .arg("--output")
                .arg(&output),
        )?
        .finish(WHOLE_JOB)?;
        let seconds = number(&finished.json()?, "seconds")?;
        Ok(Figure {
            value: text.bytes as f64 / 1e6 / seconds,
            notes: vec![
                ("without the start of the JVM".into(), format!("{seconds:.2} s")),
                ("with it".into(), format!("{:.2} s", finished.took.as_secs_f64())),
            ],
            ..Figure::default()
        })
    }
}

impl Side for Flink {
    fn name(&self) -> &str {
        NAME
    }

    fn measure(&mut self, case: &Case, options: &Options) -> Result<Figure> {
        match case.measure {
            Measure::Rate { job, arguments, peer_arguments } => {
                self.rate(job, &[arguments, peer_arguments].concat(), case, options)
            }
            Measure::ClusterRate { job } => self.cluster_rate(job, case, options),
            Measure::JobLatency => self.job_latency(),
            Measure::IdleCluster => self.idle_cluster(),
            Measure::TextFile => self.text_file(case),
            Measure::ColdStart { .. } => {
                let mut process = Process::start(self.java(&["-Xmx2g"]).arg("cold-start"))?;
                let (time, _) = process.line(SLACK)?;
                process.finish(SLACK)?;
                Ok(Figure { value: time.as_secs_f64() * 1e3, ..Figure::default() })
            }
            Measure::Idle => {
                let mut process = Process::start(self.java(&["-Xmx2g"]).arg("idle"))?;
                process.line(SLACK)?;
                std::thread::sleep(SETTLE);
                let value = process.resident_bytes()? as f64 / (1 << 20) as f64;
                Ok(Figure { value, ..Figure::default() })
            }
            Measure::Failover
            | Measure::ControlPlane { .. }
            | Measure::Sandbox { .. }
            | Measure::Instances(_)
            | Measure::Yarn(_)
            | Measure::Exchange { .. }
            | Measure::ExchangeLatency { .. } => bail!("Flink has no such thing"),
        }
    }
}

/// The folder of the built jobs.
pub fn build(folders: &Folders) -> Result<PathBuf> {
    let sources = folders.root.join("tests/benches/flink");
    let build = folders.bench.join("flink");
    let stamp = build.join("built-from");
    let now = format!("{:016x}", fingerprint(&sources)?);
    if fs::read_to_string(&stamp).is_ok_and(|before| before == now) && build.join("bench-flink.jar").exists()
    {
        return Ok(build);
    }
    eprintln!("building Flink's jobs with Maven (the first time it downloads about 60 MB)");
    let arguments = [format!("-Dbench.build={}", build.display()), "package".to_owned()];
    maven::run(&sources.join("pom.xml"), &arguments)?;
    fs::write(&stamp, now)?;
    Ok(build)
}
