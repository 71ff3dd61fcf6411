//! Running a job's `main` for its graph: in an instance of its own, that can
//! compute and log, and nothing else.

use crate::error::Error;
use crate::host::{Emitted, LogLevel, TaskHost};
use heddle_model::failure::{ErrorCode, Failure};

/// The host of an instance that only plans.
pub(crate) struct PlanHost;

fn not_while_planning(what: &str) -> Failure {
    Failure::new(
        ErrorCode::PlanFailed,
        format!(
            "the job's `main` {what}: while the graph is built there is no data yet; do it inside of an operator"
        ),
    )
}

impl TaskHost for PlanHost {
    fn emit(&mut self, _: u32, _: u32, _: &[u8]) -> Result<Emitted, Failure> {
        Err(not_while_planning("emitted a batch"))
    }

    fn state_register(&mut self, _: u32, _: &str) -> Result<u32, Failure> {
        Err(not_while_planning("registered state"))
    }

    fn state_get_many(&mut self, _: u32, _: &[u8]) -> Result<Vec<u8>, Failure> {
        Err(not_while_planning("read state"))
    }

    fn state_put_many(&mut self, _: u32, _: &[u8]) -> Result<(), Failure> {
        Err(not_while_planning("wrote state"))
    }

    fn state_scan(&mut self, _: u32, _: u64, _: u32) -> Result<(Vec<u8>, Option<u64>), Failure> {
        Err(not_while_planning("scanned state"))
    }

    fn add_metrics(&mut self, _: Vec<(String, i64)>) {}

    fn log(&mut self, level: LogLevel, target: &str, message: &str) {
        crate::guest_log::log_guest_line("main", level, target, message);
    }
}

/// An error that `main` returned.
pub(crate) fn returned_error(message: &str) -> Error {
    Error::new(ErrorCode::PlanFailed, format!("the job's `main` failed: {message}"))
}

/// A plan that is too large or of no known form.
pub(crate) fn refused(refusal: &str) -> Error {
    Error::new(ErrorCode::PlanInvalid, format!("the job's graph is not valid: {refusal}"))
}
