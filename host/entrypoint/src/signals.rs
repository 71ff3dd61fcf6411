//! SIGTERM, SIGINT and SIGHUP: the first one asks for an ordered end.

use crate::internal;
use heddle_model::failure::Failure;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What asked a process to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopSignal {
    Interrupt,
    Terminate,
    /// The terminal was closed.
    HangUp,
}

impl StopSignal {
    pub const fn name(self) -> &'static str {
        match self {
            StopSignal::Interrupt => "SIGINT",
            StopSignal::Terminate => "SIGTERM",
            StopSignal::HangUp => "SIGHUP",
        }
    }

    /// What a shell reports for a process that the signal ended.
    pub const fn exit_code(self) -> u8 {
        match self {
            StopSignal::HangUp => 129,
            StopSignal::Interrupt => 130,
            StopSignal::Terminate => 143,
        }
    }
}

pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// None under `nohup`, or when it came.
    hang_up: Option<Signal>,
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
        let hang_up = if ignores_hang_up() { None } else { Some(listen(SignalKind::hangup())?) };
        Ok(Self { interrupt, terminate, hang_up, last: StopSignal::Interrupt })
    }

    /// Cancel-safe.
    pub async fn next(&mut self) -> StopSignal {
        let hang_up = async {
            match &mut self.hang_up {
                Some(signal) => signal.recv().await,
                None => std::future::pending().await,
            }
        };
        self.last = tokio::select! {
            _ = hang_up => StopSignal::HangUp,
            _ = self.interrupt.recv() => StopSignal::Interrupt,
            _ = self.terminate.recv() => StopSignal::Terminate,
        };
        if self.last == StopSignal::HangUp {
            // A shell and the system may both tell of the closed terminal.
            self.hang_up = None;
        }
        self.last
    }

    /// The last one that came.
    pub fn last(&self) -> StopSignal {
        self.last
    }
}

/// Whether the process was started to outlive its terminal.
fn ignores_hang_up() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    // Of signal n, bit n - 1.
    mask & 1 != 0
}
