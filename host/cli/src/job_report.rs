//! `--report`: how a run ended, as JSON in a file. What a job's end is made of
//! is `summary`'s matter.

use crate::screen::say;
use crate::summary;
use heddle_model::failure::{ErrorCode, Failure};
use serde_json::Value;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// A report that is to be written: exactly one.
pub struct ReportFile {
    path: PathBuf,
    file: File,
}

impl ReportFile {
    /// Creates the file before anything runs, and empties one that is there: it
    /// never tells of another run.
    ///
    /// # Errors
    /// H1302: it cannot be written.
    pub fn create(path: &Path) -> Result<Self, Failure> {
        let file = File::create(path).map_err(|error| unwritten(path, &error))?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// # Errors
    /// H1302: it cannot be written.
    pub fn write(mut self, report: &Value) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(report).unwrap_or_default() + "\n";
        self.file.write_all(text.as_bytes()).map_err(|error| unwritten(&self.path, &error))
    }

    /// Of a run whose job was never submitted, or whose end is not known;
    /// without a failure it was interrupted.
    pub fn write_without_result(self, failure: Option<&Failure>) {
        if let Err(unwritten) = self.write(&summary::report_without_result(failure)) {
            tell(&unwritten);
        }
    }
}

/// That a report is missing, beside the error that it would have told of.
pub fn tell(unwritten: &Failure) {
    say(&format!("{unwritten}\n"));
}

fn unwritten(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(
        ErrorCode::ConnectorIo,
        format!("the report cannot be written to {}: {error}", path.display()),
    )
}
