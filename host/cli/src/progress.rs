//! What a running job is doing, in one line: elapsed time, and for each vertex
//! its records a second and the states of its subtasks. And why it restarted.

use crate::report::printable;
use crate::screen::cut;
use crate::summary::{count, duration};
use heddle_model::failure::Failure;
use heddle_model::id::VertexId;
use heddle_model::job_status::{ExecutionState, JobStatus};
use heddle_rpc::{JobDetails, VertexDetails};
use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::time::Duration;

/// Longest name of a vertex in the line.
const NAME_MAX: usize = 28;

/// Rates are of at least so long a time: counts come in a few times a second.
const WINDOW: Duration = Duration::from_secs(2);

/// Most restarts that are told at once, and characters of the cause of each.
const RESTARTS_MAX: usize = 8;
const CAUSE_MAX: usize = 500;

/// Makes lines of successive states of a job.
#[derive(Default)]
pub struct Progress {
    /// Records of each vertex and when they were counted, the oldest first.
    looks: VecDeque<(Duration, HashMap<VertexId, u64>)>,
}

/// Tells each restart of a job once, with its cause.
#[derive(Default)]
pub struct Restarts {
    told: u32,
}

impl Restarts {
    /// Lines for the restarts since the last call.
    pub fn lines(&mut self, details: &JobDetails) -> Vec<String> {
        let new = details.restarts.saturating_sub(self.told) as usize;
        // The last failure of a job that failed is followed by no restart.
        let ended = matches!(details.overview.status, JobStatus::Failing | JobStatus::Failed);
        let survived = details.failures.len().saturating_sub(usize::from(ended));
        let shown = new.min(survived).min(RESTARTS_MAX);
        let mut lines = Vec::new();
        if new > shown {
            lines.push(format!("{} restarts whose causes are not shown", new - shown));
        }
        for (index, failure) in details.failures[survived - shown..survived].iter().enumerate() {
            let number = details.restarts as usize - shown + index + 1;
            let Failure { code, message, .. } = &failure.failure;
            let message = cut(&printable(&message.replace('\n', " ")), CAUSE_MAX);
            lines.push(format!("restart {number} after {}: {message}", code.text()));
        }
        self.told = details.restarts.max(self.told);
        lines
    }
}

/// Records that went through a vertex: a source has none that come in.
pub fn records(vertex: &VertexDetails) -> u64 {
    vertex.metrics.records_in.max(vertex.metrics.records_out)
}

impl Progress {
    /// The line for a state; `elapsed` since the submission.
    pub fn line(&mut self, details: &JobDetails, elapsed: Duration) -> String {
        let is_old = |at: Duration| elapsed.saturating_sub(at) >= WINDOW;
        while self.looks.get(1).is_some_and(|(at, _)| is_old(*at)) {
            self.looks.pop_front();
        }
        let none = HashMap::new();
        let (since, before) =
            self.looks.front().map_or((Duration::ZERO, &none), |(at, counts)| (*at, counts));
        let seconds = elapsed.saturating_sub(since).as_secs_f64();
        let mut counts = HashMap::new();
        let mut line = format!("{:>7}  {}", duration(elapsed), details.overview.status);
        if details.restarts > 0 {
            let _ = write!(line, " (restart {})", details.restarts);
        }
        for vertex in &details.vertices {
            let now = records(vertex);
            counts.insert(vertex.vertex_id, now);
            let before = before.get(&vertex.vertex_id).copied().unwrap_or(0);
            // After a restart the count starts again.
            let rate = if seconds > 0.0 { now.saturating_sub(before) as f64 / seconds } else { 0.0 };
            let _ = write!(line, " │ {} {} {}/s", short(&vertex.name), states(vertex), count(rate as u64));
        }
        self.looks.push_back((elapsed, counts));
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
    use heddle_model::failure::ErrorCode;
    use heddle_model::id::JobId;
    use heddle_model::task::TaskMetrics;
    use heddle_rpc::{JobFailure, JobOverview};

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
    fn a_steady_job_has_a_steady_rate_though_its_counts_come_in_steps() {
        let mut progress = Progress::default();
        for look in 1..40u64 {
            // A thousand records every 500 ms, looked at every 250 ms.
            let counted = look / 2 * 1000;
            let line = progress.line(
                &details(0, vec![vertex(1, "Source", &[("RUNNING", 1)], 0, counted)]),
                Duration::from_millis(look * 250),
            );
            let rates = ["2000/s", "1500/s", "1750/s", "2500/s", "1778/s", "2222/s"];
            assert!(look < 9 || rates.iter().any(|rate| line.ends_with(rate)), "{line}");
        }
    }

    #[test]
    fn each_restart_is_told_once_with_its_cause() {
        let mut restarts = Restarts::default();
        let mut lines = |count: u32, causes: std::ops::Range<u32>, status: JobStatus| {
            let mut details = details(count, Vec::new());
            details.overview.status = status;
            let failure = |cause| Failure::new(ErrorCode::OperatorTrap, format!("cause {cause}"));
            details.failures = causes.map(|cause| JobFailure { at_ms: 0, failure: failure(cause) }).collect();
            restarts.lines(&details)
        };
        let none: [&str; 0] = [];
        assert_eq!(lines(0, 0..0, JobStatus::Running), none);
        assert_eq!(lines(1, 0..1, JobStatus::Restarting), ["restart 1 after H2001: cause 0"]);
        assert_eq!(lines(1, 0..1, JobStatus::Running), none);
        assert_eq!(
            lines(6, 4..6, JobStatus::Running),
            [
                "3 restarts whose causes are not shown",
                "restart 5 after H2001: cause 4",
                "restart 6 after H2001: cause 5"
            ]
        );
        assert_eq!(lines(7, 4..8, JobStatus::Failed), ["restart 7 after H2001: cause 6"]);
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
