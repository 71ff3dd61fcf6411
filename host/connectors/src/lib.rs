//! The sources and sinks that the host implements, by name: `text-files`,
//! `print`, `collect`.
//!
//! A source's input is cut into splits by the job master and read by
//! subtasks. A sink writes what nobody sees; what it leaves behind is
//! published by the job master when the whole job has finished, or discarded.
//! Nothing here knows guests, graphs or roles.

mod batch_lines;
mod collect;
mod committable;
mod newlines;
mod print;
mod registry;
mod sink;
mod source;
mod text_files;

pub use collect::DISCARD;
pub use print::Console;
pub use registry::{check, discard_sink, enumerate_splits, prepare_sink, publish_sink};
pub use sink::{Published, SinkWriter};
pub use source::SourceReader;
pub use text_files::Reservation;

use heddle_model::failure::{ErrorCode, Failure};

/// What a user must mend: options, input or output (H1301).
fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(ErrorCode::ConnectorInvalid, message)
}

/// Reading or writing that failed (H1302).
fn io_failed(message: impl Into<String>) -> Failure {
    Failure::new(ErrorCode::ConnectorIo, message)
}

/// A blocking piece of work that panicked: a defect.
fn panicked(error: tokio::task::JoinError) -> Failure {
    Failure::new(ErrorCode::Internal, format!("a connector's work on files did not end: {error}"))
}
