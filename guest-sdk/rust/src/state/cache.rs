//! One value a key, cached: what `sum` and `reduce` keep. Misses are fetched
//! for a whole batch, dirty values are written back when asked or evicted.

use super::table::{DIRTY, Entry, Table, USED};
use super::wire::{Reader, put_key, put_value};
use crate::batch::hash::KeyRef;
use crate::element::Owned;
use crate::graph::SubtaskInfo;
use crate::runtime::host;

/// Entries are sent to the host in pieces of about this many bytes.
pub(crate) const WRITE_SIZE: usize = 1 << 20;
/// Entries are asked from the host in pieces of about this many bytes.
pub(crate) const SCAN_SIZE: u32 = 256 << 10;
/// Tables larger than this do not stay in a core's cache, so that look-ups are
/// announced ahead. Measured: no gain below.
const LARGE_TABLE: usize = 1 << 20;

/// A cached state of values of `V`.
pub(crate) struct ValueCache<V: Owned> {
    table: Table<V>,
    state: u32,
    /// Bytes that the cache may take.
    bound: usize,
    /// The host may hold values that are not cached.
    host_holds: bool,
    /// Entries without a value that `want` made, and their keys as a request.
    wanted: Vec<(u32, usize)>,
    request: Vec<u8>,
}

/// Where the value of a key is, about to change.
pub(crate) enum Slot<'t, V> {
    Present(Present<'t, V>),
    Absent(Absent<'t, V>),
}

/// A slot with a value.
pub(crate) struct Present<'t, V>(&'t mut Entry<V>);

/// A slot without one.
pub(crate) struct Absent<'t, V>(&'t mut Entry<V>);

impl<'t, V> Present<'t, V> {
    #[inline(always)]
    pub(crate) fn get(self) -> &'t mut V {
        // SAFETY: made for entries with a value only.
        unsafe { self.0.value_mut_unchecked() }
    }

    /// Puts in what `f` makes of the value.
    #[inline(always)]
    pub(crate) fn replace_with(self, f: impl FnOnce(V) -> V) -> &'t mut V {
        if let Some(before) = self.0.take() {
            self.0.put(f(before));
        }
        self.get()
    }
}

impl<'t, V> Absent<'t, V> {
    #[inline]
    pub(crate) fn put(self, value: V) -> &'t mut V {
        self.0.put(value);
        // SAFETY: the value was just written.
        unsafe { self.0.value_mut_unchecked() }
    }
}

impl<V: Owned> ValueCache<V> {
    pub(crate) fn new(operator: u32, name: &str, info: &SubtaskInfo) -> Self {
        let mut table = Table::new();
        table.reserve(1);
        Self {
            table,
            state: host::register_state(operator, name),
            bound: info.state_cache_size as usize,
            host_holds: info.restored,
            wanted: Vec::new(),
            request: Vec::new(),
        }
    }

    /// The slot of a key, marked as changed.
    #[inline(always)]
    pub(crate) fn slot(&mut self, hash: u32, key: &KeyRef) -> Slot<'_, V> {
        if let Some(index) = self.table.find_first(hash, key) {
            // SAFETY: the search gives an entry of the table, with a value.
            let entry = unsafe { self.table.at(index) };
            entry.set(DIRTY | USED);
            return Slot::Present(Present(entry));
        }
        self.slot_slow(hash, key)
    }

    #[inline(never)]
    fn slot_slow(&mut self, hash: u32, key: &KeyRef) -> Slot<'_, V> {
        let index = self.table.find_or_insert(hash, key);
        // SAFETY: the search gives an entry of the table.
        let entry = unsafe { self.table.at(index) };
        entry.set(DIRTY | USED);
        if entry.has_value() { Slot::Present(Present(entry)) } else { Slot::Absent(Absent(entry)) }
    }

    /// Whether look-ups are worth announcing with `touch`.
    pub(crate) fn is_large(&self) -> bool {
        self.table.bytes() > LARGE_TABLE
    }

    /// Announces a look-up.
    #[inline(always)]
    pub(crate) fn touch(&self, hash: u32) -> u64 {
        self.table.touch(hash)
    }

    /// Whether keys must be announced with `want` before they are used.
    pub(crate) fn host_holds(&self) -> bool {
        self.host_holds
    }

    /// Says that a key of the batch is about to be used.
    pub(crate) fn want(&mut self, hash: u32, key: &KeyRef) {
        if self.table.find(hash, key).is_none() {
            let index = self.table.find_or_insert(hash, key);
            self.wanted.push((hash, index));
            put_key(hash, &self.table.entries()[index].key(), &mut self.request);
        }
    }

    /// Fetches the values of the keys that were wanted and not cached.
    pub(crate) fn fetch(&mut self) {
        if self.wanted.is_empty() {
            return;
        }
        let request = std::mem::take(&mut self.request);
        let values = host::get_many(self.state, &request);
        let mut keys = Reader::new(&request);
        let mut values = Reader::new(&values);
        for (hash, index) in self.wanted.drain(..) {
            let (_, key) = keys.key();
            let Some(mut bytes) = values.value() else { continue };
            // The table may have grown since the entry was made.
            let key = KeyRef::of_bytes(key);
            let index = match self.table.entries().get(index) {
                Some(entry) if entry.hash() == hash && entry.key().same(&key) => index,
                _ => self.table.find(hash, &key).expect("made by `want`"),
            };
            self.table.entries_mut()[index].put(V::read_row(&mut bytes, true));
        }
        self.request = request;
        self.request.clear();
    }

    /// Keeps the bound: writes and drops entries that were not used of late.
    pub(crate) fn end_batch(&mut self) {
        if self.table.used_bytes() > self.bound {
            self.evict();
        }
    }

    #[cold]
    fn evict(&mut self) {
        self.flush();
        self.host_holds = true;
        let goal = self.bound / 4 * 3;
        // The first round spares what was used since the last one; the second
        // finds nothing marked.
        for _ in 0..2 {
            let entry_size = size_of::<Entry<V>>();
            let mut left = self.table.used_bytes();
            self.table.retain(|entry| {
                if left <= goal {
                    return true;
                }
                if entry.has(USED) {
                    entry.unset(USED);
                    return true;
                }
                left -= entry_size;
                false
            });
        }
    }

    /// Writes all dirty values to the host.
    pub(crate) fn flush(&mut self) {
        let mut entries = Vec::new();
        for entry in self.table.entries_mut() {
            if !entry.has(DIRTY) {
                continue;
            }
            entry.unset(DIRTY);
            put_key(entry.hash(), &entry.key(), &mut entries);
            match entry.value() {
                Some(value) => put_value(&mut entries, Some(&|out| V::write_row(value, out, true))),
                None => put_value(&mut entries, None),
            }
            if entries.len() >= WRITE_SIZE {
                host::put_many(self.state, &entries);
                entries.clear();
            }
        }
        if !entries.is_empty() {
            host::put_many(self.state, &entries);
        }
    }

    /// Goes through all values, those of the host too; keys as row bytes.
    pub(crate) fn each(&mut self, mut with: impl FnMut(&[u8], V)) {
        if !self.host_holds {
            let mut key = Vec::new();
            for entry in self.table.entries() {
                if let Some(value) = entry.value() {
                    key.clear();
                    entry.key().write(&mut key);
                    with(&key, value.clone());
                }
            }
            return;
        }
        self.flush();
        let mut cursor = Some(0);
        while let Some(at) = cursor {
            let (entries, next) = host::scan(self.state, at, SCAN_SIZE);
            let mut reader = Reader::new(&entries);
            while !reader.is_empty() {
                let (_, key) = reader.key();
                if let Some(mut value) = reader.value() {
                    with(key, V::read_row(&mut value, true));
                }
            }
            cursor = next;
        }
    }
}
