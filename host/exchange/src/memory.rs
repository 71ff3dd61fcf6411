//! The network memory of a process as a budget: what channels may hold at
//! most is set aside when they are made.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that may be set aside, and how many are.
#[derive(Debug)]
pub(crate) struct NetworkMemory {
    total: AtomicU64,
    used: AtomicU64,
}

impl NetworkMemory {
    pub(crate) fn new(total: u64) -> Arc<Self> {
        Arc::new(Self { total: AtomicU64::new(total), used: AtomicU64::new(0) })
    }

    pub(crate) fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    pub(crate) fn available(&self) -> u64 {
        self.total().saturating_sub(self.used.load(Ordering::Relaxed))
    }

    pub(crate) fn grow(&self, bytes: u64) {
        self.total.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn shrink(&self, bytes: u64) {
        let _ = self
            .total
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |total| Some(total.saturating_sub(bytes)));
    }

    /// Sets bytes aside until the reservation is dropped; none if too few are left.
    pub(crate) fn reserve(self: &Arc<Self>, bytes: u64) -> Option<Reservation> {
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|after| *after <= self.total())
            })
            .ok()
            .map(|_| Reservation { memory: self.clone(), bytes })
    }
}

#[derive(Debug)]
pub(crate) struct Reservation {
    memory: Arc<NetworkMemory>,
    bytes: u64,
}

impl Reservation {
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes over what another one of the same memory holds.
    pub(crate) fn merge(&mut self, mut other: Reservation) {
        self.bytes += std::mem::take(&mut other.bytes);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.memory.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Bytes for a person: `96.0 MiB`.
pub(crate) fn in_words(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} bytes"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}
