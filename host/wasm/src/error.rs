//! Why the sandbox refused or ended something.

use heddle_model::failure::{ErrorCode, Failure};

/// An error of this crate. After one, an instance takes no further call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The instance's `CancelFlag` was raised.
    #[error("the task was cancelled")]
    Cancelled,
    /// What the user is to read.
    #[error(transparent)]
    Failed(Box<Failure>),
}

impl Error {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Failure::new(code, message).into()
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Internal, message)
    }

    pub fn is_cancelled(&self) -> bool {
        matches!(self, Error::Cancelled)
    }

    /// The failure as it travels to the user.
    pub fn failure(&self) -> Failure {
        match self {
            Error::Cancelled => Failure::new(ErrorCode::Internal, self.to_string()),
            Error::Failed(failure) => (**failure).clone(),
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Error::Failed(Box::new(failure))
    }
}
