//! What a running job is doing, in one line: elapsed time, and for each vertex
//! its records a second and the states of its subtasks.

use crate::summary::{count, duration};
use heddle_model::id::VertexId;
use heddle_model::job_status::ExecutionState;
use heddle_rpc::{JobDetails, VertexDetails};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Duration;

/// Longest name of a vertex in the line.
const NAME_MAX: usize = 28;

/// Makes lines of successive states of a job.
#[derive(Default)]
pub struct Progress {
    /// Records of each vertex at the former line, and when that was.
    before: HashMap<VertexId, u64>,
    at: Duration,
}

/// Records that went through a vertex: a source has none that come in.
pub fn records(vertex: &VertexDetails) -> u64 {
    vertex.metrics.records_in.max(vertex.metrics.records_out)
}

impl Progress {
    /// The line for a state; `elapsed` since the submission.
    pub fn line(&mut self, details: &JobDetails, elapsed: Duration) -> String {
        let seconds = elapsed.saturating_sub(self.at).as_secs_f64();
        let mut line = format!("{:>7}  {}", duration(elapsed), details.overview.status);
        if details.restarts > 0 {
            let _ = write!(line, " (restart {})", details.restarts);
        }
        for vertex in &details.vertices {
            let now = records(vertex);
            let before = self.before.insert(vertex.vertex_id, now).unwrap_or(0);
            // After a restart the count starts again.
            let rate = if seconds > 0.0 { now.saturating_sub(before) as f64 / seconds } else { 0.0 };
            let _ = write!(line, " │ {} {} {}/s", short(&vertex.name), states(vertex), count(rate as u64));
        }
        self.at = elapsed;
        line
    }
}

fn short(name: &str) -> String {
    if name.chars().count() <= NAME_MAX {
        return name.to_owned();
    }
    let cut: String = name.chars().take(NAME_MAX - 1).collect();
    format!("{cut}…")
}

/// `2/4 running`; all that differs from running is named.
fn states(vertex: &VertexDetails) -> String {
    let of = |state: ExecutionState| vertex.states.get(state.name()).copied().unwrap_or(0);
    let all = vertex.parallelism;
    let (running, finished) = (of(ExecutionState::Running), of(ExecutionState::Finished));
    if finished == all {
        return "finished".into();
    }
    if running + finished == all {
        return format!("{running}/{all}");
    }
    let other = ExecutionState::ALL
        .into_iter()
        .filter(|state| !matches!(state, ExecutionState::Running | ExecutionState::Finished))
        .max_by_key(|state| of(*state))
        .map_or(String::new(), |state| state.name().to_ascii_lowercase());
    format!("{running}/{all} {other}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use heddle_model::id::JobId;
    use heddle_model::job_status::JobStatus;
    use heddle_model::task::TaskMetrics;
    use heddle_rpc::JobOverview;

    fn vertex(
        id: u128,
        name: &str,
        states: &[(&str, u32)],
        records_in: u64,
        records_out: u64,
    ) -> VertexDetails {
        VertexDetails {
            vertex_id: VertexId(id),
            name: name.into(),
            parallelism: states.iter().map(|(_, n)| n).sum(),
            states: states.iter().map(|(state, n)| ((*state).to_owned(), *n)).collect(),
            subtasks: Vec::new(),
            metrics: TaskMetrics { records_in, records_out, ..TaskMetrics::default() },
        }
    }

    fn details(restarts: u32, vertices: Vec<VertexDetails>) -> JobDetails {
        JobDetails {
            overview: JobOverview {
                job_id: JobId(1),
                name: "job".into(),
                status: JobStatus::Running,
                start_time_ms: 0,
                end_time_ms: None,
            },
            restarts,
            vertices,
            accumulators: Default::default(),
            failure: None,
            failures: Vec::new(),
        }
    }

    #[test]
    fn rates_are_of_the_time_between_two_lines() {
        let mut progress = Progress::default();
        let lines = [
            progress.line(
                &details(0, vec![vertex(1, "Source", &[("RUNNING", 1), ("DEPLOYING", 1)], 0, 1000)]),
                Duration::from_secs(1),
            ),
            progress.line(
                &details(
                    0,
                    vec![
                        vertex(1, "Source", &[("RUNNING", 2)], 0, 3_001_000),
                        vertex(2, "A very long name of a chain of operators", &[("RUNNING", 2)], 500, 0),
                    ],
                ),
                Duration::from_secs(3),
            ),
            progress.line(
                &details(1, vec![vertex(1, "Source", &[("FINISHED", 2)], 0, 10)]),
                Duration::from_secs(65),
            ),
        ];
        expect_test::expect![[r#"
              1.0 s  RUNNING │ Source 1/2 deploying 1000/s
              3.0 s  RUNNING │ Source 2/2 1.50 M/s │ A very long name of a chain… 2/2 250/s
            1 min 5 s  RUNNING (restart 1) │ Source finished 0/s"#]]
        .assert_eq(&lines.join("\n"));
    }
}
