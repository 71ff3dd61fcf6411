//! Which jobs are refused before anything is stored, and how an unknown job is
//! answered. Pure.

use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::JobId;
use heddle_model::job_graph::JobGraph;
use heddle_model::job_status::JobStatus;
use std::collections::BTreeSet;

/// How many known ids an answer names.
const NEAREST: usize = 3;

/// Refuses a graph that no job master could run.
pub(crate) fn check(job: &JobGraph) -> Result<(), Failure> {
    let invalid = |text: String| {
        let message = format!("job `{}` ({}) cannot be run: {text}", job.name, job.job_id);
        Failure::new(ErrorCode::PlanInvalid, message)
    };
    if job.vertices.is_empty() {
        return Err(invalid("it has no vertices; add a source and a sink".to_owned()));
    }
    let mut seen = BTreeSet::new();
    for vertex in &job.vertices {
        if !seen.insert(vertex.id) {
            return Err(invalid(format!("vertex {} is there twice", vertex.id)));
        }
        if vertex.parallelism == 0 || vertex.parallelism > vertex.max_parallelism {
            let message = format!(
                "vertex `{}` of job `{}` has parallelism {}; it must be from 1 to its maximum, {}",
                vertex.name, job.name, vertex.parallelism, vertex.max_parallelism
            );
            return Err(Failure::new(ErrorCode::ParallelismInvalid, message));
        }
        for input in &vertex.inputs {
            if !seen.contains(&input.producer) {
                return Err(invalid(format!(
                    "vertex `{}` reads from {}, which does not come before it",
                    vertex.name, input.producer
                )));
            }
        }
    }
    Ok(())
}

pub(crate) fn duplicate(job_id: JobId) -> Failure {
    Failure::new(ErrorCode::DuplicateJob, format!("job {job_id} was submitted before and has not ended"))
}

pub(crate) fn already_finished(job_id: JobId) -> Failure {
    let message = format!("job {job_id} has ended already; to run it again, submit it under a new id");
    Failure::new(ErrorCode::DuplicateJob, message)
}

pub(crate) fn not_cancellable(job_id: JobId, status: JobStatus) -> Failure {
    let message = format!("job {job_id} cannot be cancelled: it is {status} already");
    Failure::new(ErrorCode::NoSuchJob, message)
}

/// Names the known ids that are nearest.
pub(crate) fn unknown_job(job_id: JobId, known: impl Iterator<Item = JobId>) -> Failure {
    let wanted = job_id.to_string();
    let mut known: Vec<(usize, JobId)> = known.map(|id| (distance(&wanted, &id.to_string()), id)).collect();
    known.sort_unstable();
    let nearest: Vec<String> = known.iter().take(NEAREST).map(|(_, id)| id.to_string()).collect();
    let hint = match nearest.len() {
        0 => "no job is known here".to_owned(),
        1 => format!("the only one known is {}", nearest[0]),
        _ => format!("the nearest known ones are {}", nearest.join(", ")),
    };
    Failure::new(ErrorCode::NoSuchJob, format!("there is no job {job_id}; {hint}"))
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<u8> = b.bytes().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_job_is_answered_with_the_nearest_known_ones() {
        let message =
            |known: &[u128]| unknown_job(JobId(0x1234_5678), known.iter().map(|bits| JobId(*bits))).message;
        assert_eq!(message(&[]), "there is no job 00000000000000000000000012345678; no job is known here");
        assert_eq!(
            message(&[u128::MAX, 0x1234_567f, 0x1234_6678, 0x1244_0000]),
            "there is no job 00000000000000000000000012345678; the nearest known ones are \
             0000000000000000000000001234567f, 00000000000000000000000012346678, \
             00000000000000000000000012440000"
        );
    }

    #[test]
    fn distances() {
        for (a, b, expected) in
            [("", "", 0), ("abc", "abc", 0), ("abc", "abd", 1), ("abc", "bc", 1), ("", "ab", 2)]
        {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }
}
