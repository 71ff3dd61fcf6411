//! How a job ended, as text and as JSON.

use crate::progress::records;
use heddle_model::failure::Failure;
use heddle_rpc::{JobDetails, JobResult};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::time::Duration;

/// `850 ms`, `12.3 s`, `2 min 5 s`.
pub fn duration(time: Duration) -> String {
    match time.as_millis() {
        millis @ 0..1000 => format!("{millis} ms"),
        1000..60_000 => format!("{:.1} s", time.as_secs_f64()),
        _ => format!("{} min {} s", time.as_secs() / 60, time.as_secs() % 60),
    }
}

/// `950`, `12.3 k`, `1.25 M`.
pub fn count(number: u64) -> String {
    let scaled = |unit: f64, name: &str| {
        let value = number as f64 / unit;
        let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
        format!("{value:.digits$} {name}")
    };
    match number {
        0..10_000 => number.to_string(),
        10_000..1_000_000 => scaled(1e3, "k"),
        1_000_000..1_000_000_000 => scaled(1e6, "M"),
        _ => scaled(1e9, "G"),
    }
}

/// What is told of a job that finished. `startup`: from the start of the
/// program to the submission.
pub fn text(name: &str, result: &JobResult, details: Option<&JobDetails>, startup: Duration) -> String {
    let runtime = Duration::from_millis(result.runtime_ms);
    let mut out = format!("Job `{name}` ({}) {} after {}", result.job_id, result.status, duration(runtime));
    if let Some(first) = result.first_record_ms {
        let since_start = startup + Duration::from_millis(first);
        let _ = write!(
            out,
            "; first record at a sink after {} ({} since the program started)",
            duration(Duration::from_millis(first)),
            duration(since_start)
        );
    }
    out.push('\n');
    let vertices = details.map(|details| details.vertices.as_slice()).unwrap_or_default();
    let width = vertices.iter().map(|vertex| vertex.name.chars().count()).max().unwrap_or(0).min(60);
    for vertex in vertices {
        let rate = records(vertex) as f64 / runtime.as_secs_f64().max(0.001);
        let _ = writeln!(
            out,
            "  {:width$}  {} in, {} out, {}/s",
            vertex.name,
            count(vertex.metrics.records_in),
            count(vertex.metrics.records_out),
            count(rate as u64)
        );
    }
    if !result.accumulators.is_empty() {
        out.push_str("Accumulator results:\n");
        for (name, value) in &result.accumulators {
            let _ = writeln!(out, "  {name}: {value}");
        }
    }
    out
}

/// Lines of `collect` sinks. Of several sinks each line has its sink's name.
pub fn collected(result: &JobResult) -> String {
    let several = result.collected.len() > 1;
    let mut out = String::new();
    for (sink, lines) in &result.collected {
        for line in lines {
            if several {
                out.push_str(sink);
                out.push_str("> ");
            }
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

/// The failure of a run, for `--report`.
fn failure_json(failure: &Failure) -> Value {
    json!({ "code": failure.code.text(), "message": failure.message, "details": failure.details })
}

/// For `--report`, of a run that has no result of a job.
pub fn report_without_result(failure: Option<&Failure>) -> Value {
    json!({ "job_id": null, "status": null, "failure": failure.map(failure_json) })
}

/// For `--report`.
pub fn report(name: &str, result: &JobResult, details: Option<&JobDetails>, startup: Duration) -> Value {
    let vertices: Vec<Value> = details
        .map(|details| details.vertices.as_slice())
        .unwrap_or_default()
        .iter()
        .map(|vertex| {
            json!({
                "id": vertex.vertex_id.to_string(),
                "name": vertex.name,
                "parallelism": vertex.parallelism,
                "records_in": vertex.metrics.records_in,
                "records_out": vertex.metrics.records_out,
                "bytes_in": vertex.metrics.bytes_in,
                "bytes_out": vertex.metrics.bytes_out,
                "busy_ms": vertex.metrics.busy_ms,
                "back_pressured_ms": vertex.metrics.back_pressured_ms,
            })
        })
        .collect();
    json!({
        "job_id": result.job_id.to_string(),
        "name": name,
        "status": result.status.name(),
        "runtime_ms": result.runtime_ms,
        "first_record_ms": result.first_record_ms,
        "startup_ms": startup.as_millis() as u64,
        "restarts": details.map(|details| details.restarts),
        "accumulators": result.accumulators,
        "failure": result.failure.as_ref().map(failure_json),
        "vertices": vertices,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (number, text) in
            [(0, "0"), (9_999, "9999"), (12_345, "12.3 k"), (1_250_000, "1.25 M"), (69_000_000_000, "69.0 G")]
        {
            assert_eq!(count(number), text);
        }
        for (millis, text) in [(0, "0 ms"), (850, "850 ms"), (12_345, "12.3 s"), (125_000, "2 min 5 s")] {
            assert_eq!(duration(Duration::from_millis(millis)), text);
        }
    }
}
