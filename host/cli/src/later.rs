//! Commands and options that a later version serves: they say so.

use heddle_model::failure::{ErrorCode, Failure};
use std::process::ExitCode;

fn not_yet(message: String) -> Failure {
    Failure::new(ErrorCode::ConfigurationInvalid, message)
}

/// A command that talks to a cluster that outlives it.
pub fn needs_cluster(command: &str, what: &str) -> Result<ExitCode, Failure> {
    Err(not_yet(format!(
        "`heddle {command}` {what} a cluster that outlives the command; this version runs embedded clusters \
         only, with `heddle run`"
    )))
}

/// A command that starts a role.
pub fn role(command: &str) -> Result<ExitCode, Failure> {
    Err(not_yet(format!(
        "`heddle {command}` starts a process of a cluster, which needs roles that talk over a network; this \
         version runs them embedded, with `heddle run`"
    )))
}

/// An option of `heddle run` that this version does not serve.
pub fn option(option: &str, needs: &str) -> Failure {
    not_yet(format!("option {option} needs {needs}, which this version does not have; leave it out"))
}
