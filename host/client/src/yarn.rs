//! Clusters on YARN: the client's side, which deploys one, and the application
//! master's, which brings workers. How YARN is spoken to is `heddle-yarn`'s
//! matter.

mod deployment;
mod master;
mod remembered;
mod shipped;

pub use deployment::{Kind, YarnClient, YarnCluster};
pub use heddle_yarn::deploy::Notices;
pub use heddle_yarn::types::ApplicationReport as Report;
pub use master::{ApplicationMaster, Environment};
pub use remembered::Remembered;

use heddle_model::failure::{ErrorCode, Failure};
use heddle_yarn::{configuration, deploy, driver, files, rpc};

/// Files in the container's folder.
const PROGRAM: &str = "heddle";
const CONFIGURATION: &str = "conf/config.yaml";
const HADOOP: &str = "hadoop/yarn-site.xml";
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
            let first = diagnostics.lines().find(|line| !line.trim().is_empty()).unwrap_or("no diagnostics");
            let message = format!("{id} is {state} before it ran: {}", first.trim());
            Failure::new(ErrorCode::YarnApplication, message).with_details(diagnostics.clone())
        }
    }
}

fn driven(error: driver::Error) -> Failure {
    match error {
        driver::Error::Configuration(error) => hadoop(&error),
        other => Failure::new(ErrorCode::Yarn, other.to_string()),
    }
}
