//! SIGINT and SIGTERM of a command that runs.

use heddle_model::failure::{ErrorCode, Failure};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a shell reports for a process that SIGINT or SIGTERM ended.
const EXIT_INTERRUPTED: u8 = 130;
const EXIT_TERMINATED: u8 = 143;

pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    last: u8,
}

impl Signals {
    pub fn listen() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| {
                Failure::new(ErrorCode::Internal, format!("cannot listen for signals: {error}"))
            })
        };
        let (interrupt, terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
        Ok(Self { interrupt, terminate, last: EXIT_INTERRUPTED })
    }

    /// The exit code for the next signal. Cancel-safe.
    pub async fn next(&mut self) -> u8 {
        self.last = tokio::select! {
            _ = self.interrupt.recv() => EXIT_INTERRUPTED,
            _ = self.terminate.recv() => EXIT_TERMINATED,
        };
        self.last
    }

    /// What the last one gave.
    pub fn last(&self) -> u8 {
        self.last
    }
}
