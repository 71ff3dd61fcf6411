//! Commands and options that a later version serves: they say so.

use heddle_model::failure::{ErrorCode, Failure};
use std::process::ExitCode;

fn not_yet(message: String) -> Failure {
    Failure::new(ErrorCode::ConfigurationInvalid, message)
}

/// A command that needs savepoints.
pub fn savepoints(command: &str) -> Result<ExitCode, Failure> {
    Err(not_yet(format!(
        "`heddle {command}` needs savepoints, which this version does not have; `heddle cancel` ends a job"
    )))
}

/// An option of `heddle run` that this version does not serve.
pub fn option(option: &str, needs: &str) -> Failure {
    not_yet(format!("option {option} needs {needs}, which this version does not have; leave it out"))
}
