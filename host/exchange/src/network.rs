//! The exchange between processes: a listener for those who read partitions
//! here, and a connection to each TaskExecutor whose partitions are read.
//!
//! A connection carries channels in one direction: the consumer's process
//! connects, asks and gives credit, the producer's sends. It knows nothing of
//! tasks; a broken connection is an error of the channels that it carried.

mod consumer;
mod incoming;
mod liveness;
mod peer;
mod producer;
mod receive;
mod service;
mod transmit;

pub(crate) use consumer::Connection;
pub(crate) use incoming::{Progress, RemoteChannel, Wanted};
pub(crate) use liveness::Liveness;
pub(crate) use service::Handle;
pub use service::{Counts, NetworkOptions, NetworkService};

use crate::wire::WireError;
use std::io;
use std::time::Duration;

/// Why a connection ended before its time.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Protocol {
    #[error("the other end closed it")]
    Closed,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the other end broke the protocol: {0}")]
    Wire(#[from] WireError),
    #[error("the other end does not read what it is sent")]
    NotReading,
    #[error("the other end was silent for {0:?} (`heartbeat.timeout`)")]
    Silent(Duration),
}

/// What a socket gave; none if it had nothing or took nothing.
fn unless_blocked<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
        Err(error) => Err(error),
    }
}
