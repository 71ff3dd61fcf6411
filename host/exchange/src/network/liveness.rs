//! When a silent connection counts as lost, and when to say that one lives.

use super::Protocol;
use std::time::Duration;
use tokio::time::{Instant, Interval, MissedTickBehavior};

/// `heartbeat.interval` and `heartbeat.timeout`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Liveness {
    pub interval: Duration,
    pub timeout: Duration,
}

impl Liveness {
    pub fn start(self) -> Watch {
        let mut ticks = tokio::time::interval(self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Watch { timeout: self.timeout, ticks, heard: true, silent_since: Instant::now(), wrote: false }
    }
}

/// Watches one connection. Notes are flags, so that a frame costs no look at
/// the clock.
pub(crate) struct Watch {
    timeout: Duration,
    ticks: Interval,
    heard: bool,
    silent_since: Instant,
    wrote: bool,
}

impl Watch {
    pub fn heard(&mut self) {
        self.heard = true;
    }

    pub fn wrote(&mut self) {
        self.wrote = true;
    }

    /// Once an interval: whether to send a ping. Cancel-safe.
    ///
    /// # Errors
    /// Nothing was heard for the time-out.
    pub async fn tick(&mut self) -> Result<bool, Protocol> {
        let now = self.ticks.tick().await;
        if std::mem::take(&mut self.heard) {
            self.silent_since = now;
        } else if now - self.silent_since >= self.timeout {
            return Err(Protocol::Silent(self.timeout));
        }
        Ok(!std::mem::take(&mut self.wrote))
    }
}
