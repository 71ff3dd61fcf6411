//! Messages to the task's log, rate-limited by the host. The standard output
//! and error of a job go there too.

use crate::runtime::bindings::types::Level;
use crate::runtime::host;
use std::fmt::Display;

/// For whoever debugs the job.
pub fn debug(message: impl Display) {
    write(Level::Debug, message);
}

/// What a person may want to read.
pub fn info(message: impl Display) {
    write(Level::Info, message);
}

/// Something is odd.
pub fn warn(message: impl Display) {
    write(Level::Warn, message);
}

/// Something is wrong.
pub fn error(message: impl Display) {
    write(Level::Error, message);
}

fn write(level: Level, message: impl Display) {
    host::write_log(level, "job", &message.to_string());
}
