//! What is measured on a cluster of processes, and on simulated ones.

use super::{Heddle, SETTLE, SLACK, TRIAL_RECORDS, WHOLE_JOB, read_json};
use crate::bench::case::{Case, ControlPlane, Figure};
use crate::bench::heddle_cluster::HeddleCluster;
use crate::bench::options::Options;
use crate::bench::process::{Process, number};
use crate::dist;
use anyhow::{Context, Result};
use std::process::Command;
use std::time::Duration;

/// Jobs of which the latency is the median, behind some that do not count.
const LATENCY_RUNS: usize = 30;
const LATENCY_WARM_UP: usize = 3;
const SUBTASKS_A_WORKER: u32 = 100;
/// Records that no run comes to the end of.
const ENDLESS: &str = "1000000000000";

impl Heddle {
    fn cluster(&self, task_executors: u32) -> Result<HeddleCluster> {
        HeddleCluster::start(&self.folders, &self.program, task_executors)
    }

    /// As [`rate`](Self::rate), on a cluster of processes; a short run sizes
    /// the one that counts.
    pub(super) fn cluster_rate(&mut self, job: &str, case: &Case, options: &Options) -> Result<Figure> {
        let cluster = self.cluster(case.parallelism)?;
        let report = self.folders.bench.join("report.json");
        let run = |records: u64, most: Duration| -> Result<f64> {
            let mut command = self.run(&report, case.parallelism);
            command.args(["-m", &cluster.address]).arg(self.job(job)?);
            Process::start(command.args(["--records", &records.to_string()]))?.finish(most)?;
            let report = read_json(&report)?;
            Ok((number(&report, "runtime_ms")? - report["first_record_ms"].as_f64().unwrap_or(0.0)) / 1e3)
        };
        let trial = 20.0 * TRIAL_RECORDS;
        let rate = trial / run(trial as u64, WHOLE_JOB)?;
        let records = (rate * (options.warm_up + options.window).as_secs_f64()) as u64;
        let before = cluster.cpu();
        let seconds = run(records, (options.warm_up + options.window) * 10 + SLACK)?;
        let cpu = cluster.cpu().saturating_sub(before);
        Ok(Figure {
            value: records as f64 / seconds,
            cpu_ns: Some(cpu.as_secs_f64() * 1e9 / records as f64),
            notes: vec![("measured".into(), format!("{records} records in {seconds:.1} s"))],
        })
    }

    /// Each run is a process of its own, from its start to its end.
    pub(super) fn job_latency(&self) -> Result<Figure> {
        let cluster = self.cluster(1)?;
        let report = self.folders.bench.join("report.json");
        let mut times = Vec::new();
        for run in 0..LATENCY_WARM_UP + LATENCY_RUNS {
            let mut command = self.run(&report, 1);
            command.args(["-m", &cluster.address]).arg(self.job("map-filter")?).args(["--records", "10"]);
            let finished = Process::start(&mut command)?.finish(SLACK)?;
            if run >= LATENCY_WARM_UP {
                times.push(finished.took.as_secs_f64() * 1e3);
            }
        }
        times.sort_by(f64::total_cmp);
        Ok(Figure {
            value: times[times.len() / 2],
            notes: vec![("Heddle's client".into(), "a process of its own for each job".into())],
            ..Figure::default()
        })
    }

    /// One of two workers that have a task is killed; a third one is idle.
    pub(super) fn failover(&self) -> Result<Figure> {
        let mut cluster = self.cluster(3)?;
        let job = cluster.submit(&self.program, self.job("word-count")?, &["--records", ENDLESS], 2)?;
        cluster.wait_until_it_runs(&self.program, &job, 0)?;
        let killed = cluster.kill_a_worker_of(&self.program, &job)?;
        let recovered = cluster.wait_until_it_runs(&self.program, &job, 1)?;
        let detected = recovered.last_failure_ms.context("the job shows no failure")?;
        Ok(Figure {
            value: recovered.seen_ms - detected,
            notes: vec![("from the kill to its detection".into(), format!("{:.0} ms", detected - killed))],
            ..Figure::default()
        })
    }

    pub(super) fn idle_cluster(&self) -> Result<Figure> {
        let cluster = self.cluster(1)?;
        std::thread::sleep(SETTLE);
        let value = cluster.resident_bytes()? as f64 / (1 << 20) as f64;
        Ok(Figure { value, ..Figure::default() })
    }
}

/// In a process of its own.
pub fn control_plane(workers: u32, what: ControlPlane) -> Result<Figure> {
    let built = dist::build(&["--release", "--package", "heddle-simulation"])?;
    let (_, program) = built.into_iter().next_back().context("cargo named no program")?;
    let subtasks = workers * SUBTASKS_A_WORKER;
    let mut command = Command::new(program);
    command.args(["control-plane", &workers.to_string(), &subtasks.to_string()]);
    let figures = Process::start(&mut command)?.finish(WHOLE_JOB)?.json()?;
    let part = |name: &str| -> Result<(String, String)> {
        Ok((name.replace("_ms", ""), format!("{:.1} ms", number(&figures, name)?)))
    };
    let field = match what {
        ControlPlane::Time => "total_ms",
        ControlPlane::Memory => "resident_mib",
    };
    let notes = match what {
        ControlPlane::Time => vec![part("deploy_ms")?, part("fail_ms")?, part("cancel_ms")?],
        ControlPlane::Memory => Vec::new(),
    };
    Ok(Figure { value: number(&figures, field)?, notes, ..Figure::default() })
}
