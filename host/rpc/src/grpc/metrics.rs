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

macro_rules! metrics {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        /// Since the process started.
        #[derive(Debug, Default)]
        pub struct RpcMetrics { $($(#[$doc])* pub $name: Counter,)* }

        impl RpcMetrics {
            /// Each with its name.
            pub fn all(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.get()),)*]
            }
        }
    };
}

metrics! {
    /// Messages sent to other processes.
    calls_sent;
    /// Of these, those that nobody took.
    calls_unreachable;
    /// Of these, those that were not answered in time.
    calls_unanswered;
    /// Messages from other processes that were read.
    calls_received;
    /// Of these, those that were answered with an error.
    calls_failed;
    /// Of these, those dropped because their token is of an ended session.
    stale_messages;
    /// Messages refused before they were read: another protocol version,
    /// another cluster, an unknown method, too long, malformed.
    calls_refused;
    connections_accepted;
    /// Connections closed because more than `rpc.max-connections` were open.
    connections_refused;
    /// Connections closed because their other end did not speak the protocol,
    /// or not in time.
    bad_connections;
    /// Connections that broke: the other end or the network died.
    connections_lost;
}
