//! What a job of a cluster does: its vertices and their subtasks, with rates,
//! attempts and failures.

use crate::arguments::ClusterArguments;
use crate::cluster;
use crate::progress::records;
use crate::report::printable;
use crate::request::block_on;
use crate::screen::{Screen, Style, print};
use crate::summary::{count, duration};
use crate::utc;
use heddle_model::failure::Failure;
use heddle_model::task::TaskMetrics;
use heddle_rpc::{JobDetails, SubtaskDetails};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A rate is what went through between two looks so far apart. Subtasks tell
/// their numbers several times in it.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// How it is told.
pub struct Form {
    pub json: bool,
    /// Rates over the job's whole time, from one look.
    pub average: bool,
}

pub fn run(arguments: &ClusterArguments, id: &str, form: Form) -> Result<ExitCode, Failure> {
    let job_id = cluster::job_id(id)?;
    let configuration = cluster::load(arguments, "info")?;
    let screen = Arc::new(Screen::new(Style::Plain));
    let client = cluster::client(&configuration, &screen)?;
    let job = client.job(job_id);
    let looks = block_on(async {
        let first = job.details().await?;
        if form.average || first.overview.status.is_terminal() || first.vertices.is_empty() {
            return Ok((first, None));
        }
        let began = Instant::now();
        tokio::time::sleep(BETWEEN_LOOKS).await;
        let second = job.details().await?;
        Ok((second, Some((first, began.elapsed()))))
    })?;
    let (details, before) = looks;
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
    let rates = Rates::new(&details, before.as_ref(), now_ms);
    let text = if form.json {
        serde_json::to_string_pretty(&report(&details, &rates)).unwrap_or_default() + "\n"
    } else {
        text(&details, &rates)
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Records a second: between two looks, or over the whole run of a job that has
/// ended.
struct Rates {
    runtime: Duration,
    seconds: f64,
    before: Option<JobDetails>,
}

impl Rates {
    fn new(details: &JobDetails, before: Option<&(JobDetails, Duration)>, now_ms: u64) -> Self {
        let end = details.overview.end_time_ms.unwrap_or(now_ms);
        let runtime = Duration::from_millis(end.saturating_sub(details.overview.start_time_ms));
        match before {
            Some((before, between)) => {
                Self { runtime, seconds: between.as_secs_f64(), before: Some(before.clone()) }
            }
            None => Self { runtime, seconds: runtime.as_secs_f64(), before: None },
        }
    }

    fn of(&self, now: u64, before: impl FnOnce(&JobDetails) -> Option<u64>) -> u64 {
        let before = self.before.as_ref().and_then(before).unwrap_or(0);
        // A new attempt counts from nothing.
        (now.saturating_sub(before) as f64 / self.seconds.max(0.001)) as u64
    }

    fn of_vertex(&self, details: &JobDetails, vertex: usize) -> u64 {
        let now = records(&details.vertices[vertex]);
        self.of(now, |before| before.vertices.get(vertex).map(records))
    }

    fn of_subtask(&self, details: &JobDetails, vertex: usize, subtask: usize) -> u64 {
        let one = |details: &JobDetails| {
            let subtask = details.vertices.get(vertex)?.subtasks.get(subtask)?;
            Some((subtask.attempt, subtask.metrics.records_in.max(subtask.metrics.records_out)))
        };
        let (attempt, now) = one(details).unwrap_or_default();
        self.of(now, |before| one(before).filter(|(former, _)| *former == attempt).map(|(_, count)| count))
    }
}

/// The parts of a subtask's time, in percent.
fn shares(metrics: &TaskMetrics) -> [u64; 3] {
    let times = [metrics.busy_ms, metrics.back_pressured_ms, metrics.idle_ms];
    let sum = times.iter().sum::<u64>().max(1);
    times.map(|time| (time * 100 + sum / 2) / sum)
}

fn text(details: &JobDetails, rates: &Rates) -> String {
    let overview = &details.overview;
    let time = match overview.end_time_ms {
        Some(_) => "after",
        None => "for",
    };
    let mut out = format!(
        "Job `{}` ({}) {} {time} {}",
        printable(&overview.name),
        overview.job_id,
        overview.status,
        duration(rates.runtime)
    );
    match details.restarts {
        0 => out.push('\n'),
        1 => out.push_str(", restarted once\n"),
        times => drop(writeln!(out, ", restarted {times} times")),
    }
    for (index, vertex) in details.vertices.iter().enumerate() {
        let _ = writeln!(
            out,
            "{}  {} in, {} out, {}/s",
            printable(&vertex.name),
            count(vertex.metrics.records_in),
            count(vertex.metrics.records_out),
            count(rates.of_vertex(details, index))
        );
        for (number, subtask) in vertex.subtasks.iter().enumerate() {
            let rate = rates.of_subtask(details, index, number);
            out.push_str(&subtask_line(subtask, number + 1, vertex.parallelism, rate));
        }
    }
    if !details.accumulators.is_empty() {
        out.push_str("Accumulators:\n");
        for (name, value) in &details.accumulators {
            let _ = writeln!(out, "  {}: {value}", printable(name));
        }
    }
    if !details.failures.is_empty() {
        out.push_str("Failures, the latest last:\n");
        for failure in &details.failures {
            let message =
                printable(&failure.failure.message.split_whitespace().collect::<Vec<_>>().join(" "));
            let _ = writeln!(out, "  {}  {}: {message}", utc::text(failure.at_ms), failure.failure.code);
        }
    }
    out
}

fn subtask_line(subtask: &SubtaskDetails, number: usize, of: u32, rate: u64) -> String {
    let SubtaskDetails { state, attempt, task_executor, metrics } = subtask;
    let place = task_executor.as_ref().map_or("nowhere yet", |resource_id| &resource_id.0);
    let [busy, back_pressured, idle] = shares(metrics);
    format!(
        "  {number}/{of}  {:12}  attempt {}  {}  {} in, {} out, {}/s; {busy} % busy, {back_pressured} % \
         back-pressured, {idle} % idle\n",
        state.name(),
        attempt + 1,
        printable(place),
        count(metrics.records_in),
        count(metrics.records_out),
        count(rate),
    )
}

fn report(details: &JobDetails, rates: &Rates) -> Value {
    let overview = &details.overview;
    let numbers = |metrics: &TaskMetrics, rate: u64| {
        json!({
            "records_in": metrics.records_in,
            "records_out": metrics.records_out,
            "bytes_in": metrics.bytes_in,
            "bytes_out": metrics.bytes_out,
            "busy_ms": metrics.busy_ms,
            "back_pressured_ms": metrics.back_pressured_ms,
            "idle_ms": metrics.idle_ms,
            "records_per_second": rate,
        })
    };
    let vertices: Vec<Value> = details
        .vertices
        .iter()
        .enumerate()
        .map(|(index, vertex)| {
            let subtasks: Vec<Value> = vertex
                .subtasks
                .iter()
                .enumerate()
                .map(|(number, subtask)| {
                    json!({
                        "subtask": number,
                        "state": subtask.state.name(),
                        "attempt": subtask.attempt,
                        "task_executor": subtask.task_executor.as_ref().map(|resource_id| &resource_id.0),
                        "metrics": numbers(&subtask.metrics, rates.of_subtask(details, index, number)),
                    })
                })
                .collect();
            json!({
                "id": vertex.vertex_id.to_string(),
                "name": vertex.name,
                "parallelism": vertex.parallelism,
                "metrics": numbers(&vertex.metrics, rates.of_vertex(details, index)),
                "subtasks": subtasks,
            })
        })
        .collect();
    let failures: Vec<Value> = details
        .failures
        .iter()
        .map(|failure| {
            json!({
                "at_ms": failure.at_ms,
                "code": failure.failure.code.text(),
                "message": failure.failure.message,
                "details": failure.failure.details,
            })
        })
        .collect();
    json!({
        "id": overview.job_id.to_string(),
        "name": overview.name,
        "status": overview.status.name(),
        "start_time_ms": overview.start_time_ms,
        "end_time_ms": overview.end_time_ms,
        "runtime_ms": rates.runtime.as_millis() as u64,
        "restarts": details.restarts,
        "vertices": vertices,
        "accumulators": details.accumulators,
        "failures": failures,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use heddle_model::failure::ErrorCode;
    use heddle_model::id::{JobId, ResourceId, VertexId};
    use heddle_model::job_status::{ExecutionState, JobStatus};
    use heddle_rpc::{JobFailure, JobOverview, VertexDetails};
    use std::collections::BTreeMap;

    fn details(scale: u64) -> JobDetails {
        let subtask = |attempt, share: u64| SubtaskDetails {
            state: ExecutionState::Running,
            attempt,
            task_executor: (attempt > 0).then(|| ResourceId(format!("worker-{attempt}"))),
            metrics: TaskMetrics {
                records_in: 100 * share * scale,
                records_out: 10 * share * scale,
                busy_ms: 2 * share,
                idle_ms: share,
                ..TaskMetrics::default()
            },
        };
        let (one, two) = (subtask(1, 1), subtask(0, 2));
        let metrics = TaskMetrics { records_in: 300 * scale, records_out: 30 * scale, ..one.metrics };
        JobDetails {
            overview: JobOverview {
                job_id: JobId(7),
                name: "words\u{1b}".into(),
                status: JobStatus::Running,
                start_time_ms: 1_000,
                end_time_ms: None,
            },
            restarts: 1,
            vertices: vec![VertexDetails {
                vertex_id: VertexId(1),
                name: "Source -> Map".into(),
                parallelism: 2,
                states: BTreeMap::new(),
                subtasks: vec![one, two],
                metrics,
            }],
            accumulators: BTreeMap::from([("lines".to_owned(), 5)]),
            failure: None,
            failures: vec![JobFailure {
                at_ms: 2_000,
                failure: Failure::new(ErrorCode::OperatorTrap, "operator `Map` panicked\nat 7"),
            }],
        }
    }

    #[test]
    fn a_running_job_is_told_with_the_rates_between_two_looks() {
        let before = (details(1), Duration::from_secs(2));
        let now = details(3);
        let rates = Rates::new(&now, Some(&before), 13_300);
        expect_test::expect![[r"
            Job `words�` (00000000000000000000000000000007) RUNNING for 12.3 s, restarted once
            Source -> Map  900 in, 90 out, 300/s
              1/2  RUNNING       attempt 2  worker-1  300 in, 30 out, 100/s; 67 % busy, 0 % back-pressured, 33 % idle
              2/2  RUNNING       attempt 1  nowhere yet  600 in, 60 out, 200/s; 67 % busy, 0 % back-pressured, 33 % idle
            Accumulators:
              lines: 5
            Failures, the latest last:
              1970-01-01 00:00:02  H2001: operator `Map` panicked at 7
        "]]
        .assert_eq(&text(&now, &rates));
        let report = report(&now, &rates);
        assert_eq!(report["vertices"][0]["subtasks"][1]["metrics"]["records_per_second"], 200);
        assert_eq!(report["failures"][0]["code"], "H2001");
    }

    #[test]
    fn a_job_that_has_ended_is_told_with_its_average() {
        let mut details = details(10);
        details.overview.status = JobStatus::Finished;
        details.overview.end_time_ms = Some(11_000);
        let rates = Rates::new(&details, None, 99_000);
        assert!(text(&details, &rates).contains("FINISHED after 10.0 s"));
        assert_eq!(rates.of_vertex(&details, 0), 300);
    }
}
