//! The managed memory of a slot: what all keyed state in it may take.

use crate::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A budget in bytes, shared by the backends of a slot.
#[derive(Debug)]
pub struct ManagedMemory {
    limit: u64,
    used: AtomicU64,
}

impl ManagedMemory {
    pub fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { limit, used: AtomicU64::new(0) })
    }

    pub fn limit(&self) -> u64 {
        self.limit
    }

    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: u64) -> Result<(), Error> {
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|after| *after <= self.limit)
            })
            .map(|_| ())
            .map_err(|used| Error::Memory { requested: bytes, used, limit: self.limit })
    }

    fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// What one backend holds of a slot's budget; given back when dropped.
#[derive(Debug)]
pub(crate) struct Account {
    memory: Arc<ManagedMemory>,
    held: u64,
}

impl Account {
    pub(crate) fn new(memory: Arc<ManagedMemory>) -> Self {
        Self { memory, held: 0 }
    }

    pub(crate) fn held(&self) -> u64 {
        self.held
    }

    pub(crate) fn take(&mut self, bytes: usize) -> Result<(), Error> {
        self.memory.take(bytes as u64)?;
        self.held += bytes as u64;
        Ok(())
    }

    pub(crate) fn give_back(&mut self, bytes: usize) {
        self.memory.give_back(bytes as u64);
        self.held -= bytes as u64;
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.memory.give_back(self.held);
    }
}
