//! The error that a program returns: one clear line for the person who runs
//! the job. Any standard error turns into it with `?`. It knows nothing of
//! the contract's own failure record.

use std::fmt;

/// What went wrong, in one line.
///
/// Like `anyhow::Error`, it takes in every error of other crates with `?`.
pub struct Error {
    message: String,
}

/// A result whose error is one clear line.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error that says `message`.
    pub fn new(message: impl fmt::Display) -> Self {
        Self { message: message.to_string() }
    }

    /// The same error, with what was being done in front of it.
    pub fn context(self, what: impl fmt::Display) -> Self {
        Self { message: format!("{what}: {}", self.message) }
    }

    /// The line.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            message.push_str(": ");
            message.push_str(&cause.to_string());
            source = cause.source();
        }
        Self { message }
    }
}

/// What a closure may return: nothing, or a [`Result`] of nothing.
#[diagnostic::on_unimplemented(
    message = "a function of an operator returns `()` or `heddle::Result<()>`, not `{Self}`",
    label = "returns `{Self}`",
    note = "end the closure with `;`, or give elements to the collector: `out.collect(value)`"
)]
pub trait IntoResult {
    #[doc(hidden)]
    fn into_result(self) -> Result<()>;
}

impl IntoResult for () {
    #[inline(always)]
    fn into_result(self) -> Result<()> {
        Ok(())
    }
}

impl IntoResult for Result<()> {
    #[inline(always)]
    fn into_result(self) -> Result<()> {
        self
    }
}
