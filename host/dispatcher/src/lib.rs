//! The dispatcher: takes jobs in, persists them, runs a job master for each,
//! keeps the results.
//!
//! It serves while it leads; a new leader process starts only after the former
//! has ended, and first takes up what the former left. Does not know slots,
//! workers or how a job is run.

mod archive;
mod finished;
mod job_masters;
mod jobs;
mod leadership;
mod message;
mod options;
mod persistence;
mod service;
mod submission;

pub use job_masters::{JobMaster, JobMasters, LocalJobMasters, Running};
pub use message::Handle;
pub use options::{JobMasterOptions, Options};
pub use service::Service;

use heddle_model::failure::{ErrorCode, Failure};

/// Why a dispatcher ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the jobs of the former leader could not be recovered")]
    Recovery(#[source] heddle_ha::Error),
    #[error("the leadership could not be confirmed")]
    Confirmation(#[source] heddle_ha::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let (Error::Recovery(cause) | Error::Confirmation(cause)) = &error;
        Failure::new(ErrorCode::HighAvailability, format!("{error}: {cause}"))
    }
}
