//! One value a key, cached: what `sum` and `reduce` keep. Misses are fetched
//! for a whole batch, dirty values are written back when asked or evicted.

use super::table::{DIRTY, Entry, KeySlot, Table, USED};
use super::wire::{Reader, put_key, put_value};
use crate::batch::hash::KeyRef;
use crate::block::BLOCK;
use crate::element::Owned;
use crate::graph::SubtaskInfo;
use crate::runtime::host;
use std::mem::MaybeUninit;

/// Entries are sent to the host in pieces of about this many bytes.
pub(crate) const WRITE_SIZE: usize = 1 << 20;
/// Entries are asked from the host in pieces of about this many bytes.
pub(crate) const SCAN_SIZE: u32 = 256 << 10;
/// Tables larger than this do not stay in a core's cache, so that look-ups are
/// announced ahead. Measured: no gain below.
const LARGE_TABLE: usize = 1 << 20;

/// A cached state of values of `V`.
pub(crate) struct ValueCache<S: KeySlot, V: Owned> {
    table: Table<S, V>,
    state: u32,
    /// Bytes that the cache may take.
    bound: usize,
    /// The host may hold values that are not cached.
    host_holds: bool,
    /// Hashes of the entries without a value that `want` made, and their keys as
    /// a request.
    wanted: Vec<u32>,
    request: Vec<u8>,
}

/// Where the values of a block's keys are, valid until the next change of the
/// cache.
pub(crate) struct Places {
    entries: [MaybeUninit<u32>; BLOCK],
    /// So many are written.
    count: usize,
}

impl Places {
    pub(crate) fn as_slice(&self) -> &[u32] {
        // SAFETY: the first `count` are written.
        unsafe { std::slice::from_raw_parts(self.entries.as_ptr().cast(), self.count) }
    }
}

impl<S: KeySlot, V: Owned> ValueCache<S, V> {
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

    /// Finds the places of a block's keys, and makes those that are missing.
    /// All are looked up in one loop without a branch, so that they wait for
    /// the memory together.
    /// `SHORT` says that making a key costs little, so that several turns of
    /// the loop are worth being one; a long one would become a function.
    #[inline(always)]
    pub(crate) fn places<const SHORT: bool, R>(
        &mut self,
        hashes: &[u32],
        records: &[R],
        mut key: impl FnMut(usize, &R) -> KeyRef,
    ) -> Places {
        let count = hashes.len();
        assert!(count == records.len() && count <= BLOCK);
        let mut entries = [const { MaybeUninit::uninit() }; BLOCK];
        // No entry moves before the next block is looked up.
        self.table.reserve(BLOCK);
        // Bits of the keys that are not there, or not where they are found at
        // once.
        let mut missed = [0u64; 2];
        let (mut record, mut hash, mut entry) = (records.as_ptr(), hashes.as_ptr(), entries.as_mut_ptr());
        let mut look_up = |index, record: *const R, hash: *const u32, entry: *mut MaybeUninit<u32>| {
            // SAFETY: the places of an index below both lengths.
            let (at, found) = unsafe { self.table.probe(*hash, &key(index, &*record)) };
            // SAFETY: the same.
            unsafe { (*entry).write(at as u32) };
            u64::from(!found)
        };
        let mut index = 0;
        // SAFETY: places below the count; there is a bit for each index.
        unsafe {
            while SHORT && index + 4 <= count {
                let bits = look_up(index, record, hash, entry)
                    | look_up(index + 1, record.add(1), hash.add(1), entry.add(1)) << 1
                    | look_up(index + 2, record.add(2), hash.add(2), entry.add(2)) << 2
                    | look_up(index + 3, record.add(3), hash.add(3), entry.add(3)) << 3;
                *missed.get_unchecked_mut(index / 64) |= bits << (index % 64);
                index += 4;
                (record, hash, entry) = (record.add(4), hash.add(4), entry.add(4));
            }
            while index < count {
                let bit = look_up(index, record, hash, entry);
                *missed.get_unchecked_mut(index / 64) |= bit << (index % 64);
                index += 1;
                (record, hash, entry) = (record.add(1), hash.add(1), entry.add(1));
            }
        }
        for (half, mut bits) in missed.into_iter().enumerate() {
            while bits != 0 {
                let index = half * 64 + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                let (hash, key) = (hashes[index], key(index, &records[index]));
                let (at, found) = self.table.probe_next(hash, &key);
                let at =
                    if found { at as u32 } else { self.place_of(hash, key.len, key.a, key.b, key.bytes) };
                entries[index].write(at);
            }
        }
        Places { entries, count }
    }

    /// Takes the key apart, so that it stays in registers up to here.
    #[inline(never)]
    fn place_of(&mut self, hash: u32, len: u32, a: u64, b: u64, bytes: *const u8) -> u32 {
        self.table.find_or_insert(hash, &KeyRef { len, a, b, bytes }) as u32
    }

    /// Changes the value of a key of the block: `f` is given the value, or
    /// `None` if there is none yet. The value is marked as changed.
    ///
    /// # Safety
    /// The place is one that `places` gave, and nothing but values has changed
    /// since.
    #[inline(always)]
    pub(crate) unsafe fn update(&mut self, place: u32, f: impl FnOnce(Option<V>) -> V) -> &V {
        // SAFETY: the caller's promise: the places are entries of the table.
        let entry = unsafe { self.table.at(place as usize) };
        entry.update(f)
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
            self.wanted.push(hash);
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
        for hash in self.wanted.drain(..) {
            let (_, key) = keys.key();
            let Some(mut bytes) = values.value() else { continue };
            // The table may have grown since the entry was made.
            let index = self.table.find(hash, &KeyRef::of_bytes(key)).expect("made by `want`");
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
            let entry_size = size_of::<Entry<S, V>>();
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
        for entry in self.table.entries_mut().iter_mut() {
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
            for entry in self.table.entries().iter() {
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
