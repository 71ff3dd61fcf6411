//! What a cache has, who needs it, and what gives way: bookkeeping without
//! files.

use crate::Error;
use heddle_model::id::{BlobKey, JobId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::OnceCell;

/// Set once the file is there and verified. All who ask at once wait for one
/// of them to see to it; if that fails the next in line tries again.
pub(crate) type There = Arc<OnceCell<()>>;

#[derive(Debug, Default)]
struct Entry {
    there: There,
    /// Of the file; none while there is none.
    size: Option<u64>,
    /// Jobs that asked and have not released.
    jobs: BTreeSet<JobId>,
    /// When it was needed last, as a number that grows.
    used: u64,
}

#[derive(Debug)]
pub(crate) struct Stock {
    entries: BTreeMap<BlobKey, Entry>,
    /// Bytes that files have, and that are reserved for those on their way.
    used: u64,
    limit: u64,
    now: u64,
}

impl Stock {
    pub(crate) fn new(limit: u64) -> Self {
        Self { entries: BTreeMap::new(), used: 0, limit, now: 0 }
    }

    /// A job wants it. What another job left is verified again before it is
    /// used.
    pub(crate) fn asked(&mut self, job: JobId, key: BlobKey) -> There {
        self.now += 1;
        let entry = self.entries.entry(key).or_default();
        entry.used = self.now;
        if entry.jobs.insert(job) && entry.there.initialized() {
            entry.there = There::default();
        }
        Arc::clone(&entry.there)
    }

    /// It is not what it was found to be: the next who asks sees to it.
    pub(crate) fn doubt(&mut self, key: BlobKey, there: &There) {
        if let Some(entry) = self.entries.get_mut(&key)
            && Arc::ptr_eq(&entry.there, there)
        {
            entry.there = There::default();
        }
    }

    pub(crate) fn released(&mut self, job: JobId) {
        self.entries.retain(|_, entry| {
            entry.jobs.remove(&job);
            !entry.jobs.is_empty() || entry.size.is_some()
        });
    }

    pub(crate) fn is_needed(&self, key: BlobKey) -> bool {
        self.entries.get(&key).is_some_and(|entry| !entry.jobs.is_empty())
    }

    pub(crate) fn is_needed_by(&self, job: JobId, key: BlobKey) -> bool {
        self.entries.get(&key).is_some_and(|entry| entry.jobs.contains(&job))
    }

    /// Of the file, if there is one.
    pub(crate) fn size(&self, key: BlobKey) -> Option<u64> {
        self.entries.get(&key)?.size
    }

    pub(crate) fn used(&self) -> u64 {
        self.used
    }

    /// Makes room: what nobody needs gives way, the longest unused first. Gives
    /// the blobs whose files are to be removed.
    pub(crate) fn reserve(&mut self, size: u64) -> Result<Vec<BlobKey>, Error> {
        let needed: u64 = self.entries.values().filter(|e| !e.jobs.is_empty()).filter_map(|e| e.size).sum();
        let unneeded: u64 = self.entries.values().filter_map(|e| e.size).sum::<u64>() - needed;
        let least = self.used - unneeded;
        if least.saturating_add(size) > self.limit {
            return Err(Error::CacheFull { size, needed: least, limit: self.limit });
        }
        let mut evicted = Vec::new();
        while self.used.saturating_add(size) > self.limit {
            let unneeded = self.entries.iter().filter(|(_, e)| e.jobs.is_empty() && e.size.is_some());
            let Some((key, _)) = unneeded.min_by_key(|(_, entry)| entry.used) else { break };
            let key = *key;
            self.lost(key);
            evicted.push(key);
        }
        self.used += size;
        Ok(evicted)
    }

    /// Everything that nobody needs gives way.
    pub(crate) fn evict_all(&mut self) -> Vec<BlobKey> {
        let unneeded = self.entries.iter().filter(|(_, e)| e.jobs.is_empty() && e.size.is_some());
        let keys: Vec<BlobKey> = unneeded.map(|(key, _)| *key).collect();
        keys.iter().for_each(|key| self.lost(*key));
        keys
    }

    /// Room that was reserved and not filled.
    pub(crate) fn give_back(&mut self, size: u64) {
        self.used -= size;
    }

    /// The file is there; its room was reserved.
    pub(crate) fn filled(&mut self, key: BlobKey, size: u64) {
        let former = self.entries.entry(key).or_default().size.replace(size);
        self.used -= former.unwrap_or(0);
    }

    /// The file is there no more.
    pub(crate) fn lost(&mut self, key: BlobKey) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        self.used -= entry.size.take().unwrap_or(0);
        if entry.jobs.is_empty() {
            self.entries.remove(&key);
        }
    }
}
