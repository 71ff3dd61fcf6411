//! What a process counts of its messages; read by whoever wants to.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Since the process started.
#[derive(Debug, Default)]
pub struct RpcMetrics {
    /// Messages sent to other processes.
    pub calls_sent: Counter,
    /// Of these, those that nobody took.
    pub calls_unreachable: Counter,
    /// Of these, those that were not answered in time.
    pub calls_unanswered: Counter,
    /// Messages from other processes that were read.
    pub calls_received: Counter,
    /// Of these, those that were answered with an error.
    pub calls_failed: Counter,
    /// Of these, those dropped because their token is of an ended session.
    pub stale_messages: Counter,
    /// Messages refused before they were read: another protocol version,
    /// another cluster, an unknown method, too long, malformed.
    pub calls_refused: Counter,
    pub connections_accepted: Counter,
    /// Connections closed because more than `rpc.max-connections` were open.
    pub connections_refused: Counter,
    /// Connections closed because their other end did not speak the protocol,
    /// or not in time.
    pub bad_connections: Counter,
    /// Connections that broke: the other end or the network died.
    pub connections_lost: Counter,
}
