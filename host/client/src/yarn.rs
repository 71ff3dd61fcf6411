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
pub use master::{ApplicationMaster, Environment};
pub use per_job::ShippedJob;
pub(crate) use per_job::shipped_job;
pub use remembered::Remembered;

use heddle_model::failure::{ErrorCode, Failure};
use heddle_yarn::{configuration, deploy, driver, files, rpc};

/// Files in the container's folder.
const PROGRAM: &str = "heddle";
const CONFIGURATION: &str = "conf/config.yaml";
const HADOOP: &str = "hadoop/yarn-site.xml";
const JOB_GRAPH: &str = "job.graph";
const COMPONENT: &str = "job.wasm";
/// Their folders, for the environment.
const CONF_DIR: &str = "conf";
const HADOOP_CONF_DIR: &str = "hadoop";

fn hadoop(error: &configuration::Error) -> Failure {
    Failure::new(ErrorCode::HadoopConfiguration, error.to_string())
}

fn call(error: &rpc::Error) -> Failure {
    let failure = Failure::new(ErrorCode::Yarn, error.to_string());
    match error.remote().map(|remote| remote.details.as_str()) {
        None | Some("") => failure,
        Some(details) => failure.with_details(details),
    }
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

/// The first line of YARN's diagnostics, and what helps if that is known.
fn ended(what: &str, diagnostics: &str) -> Failure {
    let first = diagnostics.lines().find(|line| !line.trim().is_empty()).unwrap_or("no diagnostics");
    let hint = driver::hint(diagnostics).map(|hint| format!("; {hint}")).unwrap_or_default();
    Failure::new(ErrorCode::YarnApplication, format!("{what}: {}{hint}", first.trim()))
        .with_details(diagnostics)
}

fn driven(error: driver::Error) -> Failure {
    match error {
        driver::Error::Configuration(error) => hadoop(&error),
        other => Failure::new(ErrorCode::Yarn, other.to_string()),
    }
}
