//! Clusters on YARN: the client's side, which deploys one, and the application
//! master's, which brings workers. How YARN is spoken to is `heddle-yarn`'s
//! matter.

mod deployment;
mod master;
mod per_job;
mod remembered;
mod shipped;

pub use deployment::{Kind, YarnClient, YarnCluster};
pub use heddle_yarn::deploy::Notices;
pub use heddle_yarn::types::ApplicationReport as Report;
pub use master::{ApplicationMaster, Environment, environment};
pub use per_job::ShippedJob;
pub(crate) use per_job::shipped_job;
pub use remembered::Remembered;

use heddle_model::failure::{ErrorCode, Failure};
use heddle_yarn::{configuration, deploy, driver, files, rpc};
use tracing::debug;

/// Files in the container's folder.
const PROGRAM: &str = "heddle";
const CONFIGURATION: &str = "conf/config.yaml";
const HADOOP: &str = "hadoop/yarn-site.xml";
const JOB_GRAPH: &str = "job.graph";
const COMPONENT: &str = "job.wasm";
/// Their folders, for the environment.
const CONF_DIR: &str = "conf";
const HADOOP_CONF_DIR: &str = "hadoop";

/// Whether Hadoop's configuration can be read; there need be none.
///
/// # Errors
/// H3501 with the file and the line.
pub fn check_hadoop() -> Result<(), Failure> {
    match configuration::Configuration::load(&configuration::environment()) {
        Ok(_) => Ok(()),
        Err(error) => Err(hadoop(&error)),
    }
}

fn hadoop(error: &configuration::Error) -> Failure {
    Failure::new(ErrorCode::HadoopConfiguration, error.to_string())
}

fn call(error: &rpc::Error) -> Failure {
    let failure = Failure::new(ErrorCode::Yarn, error.to_string());
    let Some(remote) = error.remote() else { return failure };
    debug!(class = remote.class, details = remote.details, "the exception's own trace");
    match without_frames(&remote.details) {
        details if details.is_empty() => failure,
        details => failure.with_details(details),
    }
}

/// A text of Java's without the lines of its stack: users have no use for them.
fn without_frames(text: &str) -> String {
    let is_frame = |line: &&str| {
        let line = line.trim();
        line.starts_with("at ") && line.ends_with(')') || line.starts_with("... ") && line.ends_with(" more")
    };
    text.lines().filter(|line| !is_frame(line)).collect::<Vec<_>>().join("\n")
}

fn staging(error: &files::Error) -> Failure {
    Failure::new(ErrorCode::YarnStaging, error.to_string())
}

fn deployment(error: &deploy::Error) -> Failure {
    match error {
        deploy::Error::Call(error) => call(error),
        deploy::Error::Files(error) => staging(error),
        deploy::Error::TooLarge { .. } => Failure::new(ErrorCode::YarnApplication, error.to_string()),
        deploy::Error::Interrupted => Failure::new(ErrorCode::YarnApplication, error.to_string()),
        deploy::Error::Ended { id, state, diagnostics } => {
            ended(&format!("{id} is {state} before it ran"), diagnostics)
        }
    }
}

/// The first line of YARN's diagnostics, and what helps if that is known; the
/// rest as details.
fn ended(what: &str, diagnostics: &str) -> Failure {
    let first = diagnostics.lines().find(|line| !line.trim().is_empty()).unwrap_or("no diagnostics");
    let hint = driver::hint(diagnostics).map(|hint| format!("; {hint}")).unwrap_or_default();
    let failure = Failure::new(ErrorCode::YarnApplication, format!("{what}: {}{hint}", first.trim()));
    let told = diagnostics.split_once(first).map_or("", |(_, rest)| rest);
    match without_frames(told).trim_matches('\n') {
        "" => failure,
        rest => failure.with_details(rest),
    }
}

fn driven(error: driver::Error) -> Failure {
    match error {
        driver::Error::Configuration(error) => hadoop(&error),
        other => Failure::new(ErrorCode::Yarn, other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::without_frames;

    #[test]
    fn frames_of_java_are_left_out_and_a_guests_stay() {
        let trace = "\tat org.apache.A.b(A.java:40)\n\tat java.base/c.D.e(Native Method)\nCaused by: F: g\n\t... 14 more";
        assert_eq!(without_frames(trace), "Caused by: F: g");
        let guest = "backtrace of the guest:\n  0: demo::poll\n  at most 3";
        assert_eq!(without_frames(guest), guest);
    }
}
