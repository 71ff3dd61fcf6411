//! The resource manager: knows the workers and the job masters, gives slots to
//! jobs, has workers started and ended.
//!
//! A thin shell: `slot-manager` decides, a [`ResourceManagerDriver`] starts
//! workers (in the process, on YARN, …). Nothing here knows how.

mod connections;
mod driver;
mod message;
mod options;
mod registration;
mod service;

pub use driver::{DriverEvent, ResourceManagerDriver, StandaloneDriver};
pub use message::Handle;
pub use options::Options;
pub use service::Service;

pub use heddle_slot_manager::Overview;

use heddle_model::failure::{ErrorCode, Failure};

/// Why a resource manager ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the driver of the resource manager ended: {reason}")]
    Driver { reason: String },
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::new(ErrorCode::Internal, error.to_string())
    }
}
