//! SIGTERM and SIGINT: the first one asks for an ordered end.

use crate::internal;
use heddle_model::failure::Failure;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What asked a process to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopSignal {
    Interrupt,
    Terminate,
}

impl StopSignal {
    pub const fn name(self) -> &'static str {
        match self {
            StopSignal::Interrupt => "SIGINT",
            StopSignal::Terminate => "SIGTERM",
        }
    }

    /// What a shell reports for a process that the signal ended.
    pub const fn exit_code(self) -> u8 {
        match self {
            StopSignal::Interrupt => 130,
            StopSignal::Terminate => 143,
        }
    }
}

pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    last: StopSignal,
}

impl Signals {
    /// From now on signals do not end the process by themselves. Within a tokio
    /// runtime.
    ///
    /// # Errors
    /// H9001: the system does not let it.
    pub fn listen() -> Result<Self, Failure> {
        let listen =
            |kind| signal(kind).map_err(|error| internal(format!("cannot listen for signals: {error}")));
        let (interrupt, terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
        Ok(Self { interrupt, terminate, last: StopSignal::Interrupt })
    }

    /// Cancel-safe.
    pub async fn next(&mut self) -> StopSignal {
        self.last = tokio::select! {
            _ = self.interrupt.recv() => StopSignal::Interrupt,
            _ = self.terminate.recv() => StopSignal::Terminate,
        };
        self.last
    }

    /// The last one that came.
    pub fn last(&self) -> StopSignal {
        self.last
    }
}
