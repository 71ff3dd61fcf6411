//! A hash table from encoded keys to values: open addressing by the hash that
//! came with the record, sixteen key bytes in the entry. It knows nothing of
//! the host; who uses it marks entries dirty and drops them.

use crate::batch::hash::KeyRef;
use std::mem::MaybeUninit;
use std::ops::{Index, IndexMut};

/// The entry holds a key.
const OCCUPIED: u64 = 1 << 63;
/// The entry holds a value.
const VALUE: u64 = 1 << 62;
/// The value differs from the host's.
pub(crate) const DIRTY: u64 = 1 << 61;
/// The entry was used since the last sweep.
pub(crate) const USED: u64 = 1 << 60;

/// Longest key, in bytes.
const KEY_LENGTH_MAX: u32 = (1 << 28) - 1;

/// The fullest that a table gets, as a fraction. Measured: 5 / 8, with half the
/// memory, costs 4 ns a record, as more keys are not where they are looked for
/// first.
const LOAD: (usize, usize) = (1, 2);

/// Entries of a new table.
const FIRST_CAPACITY: usize = 1024;

/// How an entry holds its key.
pub trait KeySlot: Copy + Default + 'static {
    /// Holds a key of the bytes that `key` points at, which the slot may keep
    /// pointing at if the key is long.
    fn new(key: &KeyRef) -> Self;
    /// 0 if the slot holds this key; any key of more than sixteen bytes is
    /// taken to differ.
    fn difference(&self, key: &KeyRef) -> u64;
    /// The key, whose length is `len`.
    fn key(&self, len: u32) -> KeyRef;
}

/// A key of one fixed column.
#[derive(Clone, Copy, Default)]
pub struct WordSlot(u64);

impl KeySlot for WordSlot {
    #[inline(always)]
    fn new(key: &KeyRef) -> Self {
        Self(key.a)
    }

    #[inline(always)]
    fn difference(&self, key: &KeyRef) -> u64 {
        self.0 ^ key.a
    }

    fn key(&self, len: u32) -> KeyRef {
        KeyRef::of_word(self.0, len)
    }
}

/// Any key: its first sixteen bytes, or for a longer one the first eight and
/// the address of all.
#[derive(Clone, Copy, Default)]
pub struct BytesSlot {
    a: u64,
    b: u64,
}

impl KeySlot for BytesSlot {
    #[inline(always)]
    fn new(key: &KeyRef) -> Self {
        let b = if key.len > 16 { key.bytes as usize as u64 } else { key.b };
        Self { a: key.a, b }
    }

    #[inline(always)]
    fn difference(&self, key: &KeyRef) -> u64 {
        (self.a ^ key.a) | (self.b ^ key.b)
    }

    fn key(&self, len: u32) -> KeyRef {
        if len <= 16 {
            KeyRef { len, a: self.a, b: self.b, bytes: std::ptr::null() }
        } else {
            KeyRef { len, a: self.a, b: 0, bytes: self.b as usize as *const u8 }
        }
    }
}

/// Hash, key length and flags in one word; then the key and the value.
#[repr(C)]
pub(crate) struct Entry<S, V> {
    tag: u64,
    slot: S,
    value: MaybeUninit<V>,
}

impl<S: KeySlot, V> Entry<S, V> {
    fn empty() -> Self {
        Self { tag: 0, slot: S::default(), value: MaybeUninit::uninit() }
    }

    pub(crate) fn is_occupied(&self) -> bool {
        self.tag & OCCUPIED != 0
    }

    #[inline(always)]
    pub(crate) fn has_value(&self) -> bool {
        self.tag & VALUE != 0
    }

    #[inline(always)]
    pub(crate) fn has(&self, flag: u64) -> bool {
        self.tag & flag != 0
    }

    #[inline(always)]
    pub(crate) fn set(&mut self, flags: u64) {
        self.tag |= flags;
    }

    #[inline(always)]
    pub(crate) fn unset(&mut self, flags: u64) {
        self.tag &= !flags;
    }

    pub(crate) fn hash(&self) -> u32 {
        self.tag as u32
    }

    fn len(&self) -> u32 {
        (self.tag >> 32) as u32 & KEY_LENGTH_MAX
    }

    /// The key; valid as long as the entry is not dropped from the table.
    pub(crate) fn key(&self) -> KeyRef {
        self.slot.key(self.len())
    }

    /// The value.
    #[inline(always)]
    pub(crate) fn value(&self) -> Option<&V> {
        // SAFETY: the flag says that the value is written.
        self.has_value().then(|| unsafe { self.value.assume_init_ref() })
    }

    /// The value.
    ///
    /// # Safety
    /// The entry has a value.
    #[inline(always)]
    pub(crate) unsafe fn value_mut_unchecked(&mut self) -> &mut V {
        debug_assert!(self.has_value());
        // SAFETY: the caller's promise.
        unsafe { self.value.assume_init_mut() }
    }

    /// Takes the value out.
    pub(crate) fn take(&mut self) -> Option<V> {
        if !self.has_value() {
            return None;
        }
        self.tag &= !VALUE;
        // SAFETY: the flag said that the value is written; it is now unset.
        Some(unsafe { self.value.assume_init_read() })
    }

    /// Puts in what `f` makes of the value, or of none; marks it as changed.
    #[inline(always)]
    pub(crate) fn update(&mut self, f: impl FnOnce(Option<V>) -> V) -> &V {
        if std::mem::needs_drop::<V>() {
            // Without a value while `f` runs: should it unwind, none is
            // dropped twice.
            let before = self.take();
            self.value.write(f(before));
        } else if self.has_value() {
            // SAFETY: the flag says that the value is written.
            let before = unsafe { self.value.assume_init_read() };
            self.value.write(f(Some(before)));
        } else {
            self.value.write(f(None));
        }
        self.tag |= VALUE | DIRTY | USED;
        // SAFETY: the value was just written.
        unsafe { self.value.assume_init_ref() }
    }

    /// Sets the value.
    #[inline(always)]
    pub(crate) fn put(&mut self, value: V) {
        drop(self.take());
        self.value.write(value);
        self.tag |= VALUE;
    }
}

/// Two entries that are probed together: one line of the cache if they have 32
/// bytes each, never two. Measured: 20 ns a record less with a million keys.
#[repr(C, align(64))]
struct Pair<S, V>([Entry<S, V>; 2]);

/// The entries of a table, an even number.
pub(crate) struct Entries<S, V>(Vec<Pair<S, V>>);

impl<S: KeySlot, V> Entries<S, V> {
    fn empty(capacity: usize) -> Self {
        let mut pairs = Vec::with_capacity(capacity / 2);
        pairs.resize_with(capacity / 2, || Pair([Entry::empty(), Entry::empty()]));
        Self(pairs)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len() * 2
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Entry<S, V>> {
        self.0.iter().flat_map(|pair| &pair.0)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Entry<S, V>> {
        self.0.iter_mut().flat_map(|pair| &mut pair.0)
    }

    /// The entry at an index.
    ///
    /// # Safety
    /// The index is below the length.
    #[inline(always)]
    unsafe fn get_unchecked(&self, index: usize) -> &Entry<S, V> {
        debug_assert!(index < self.len());
        // SAFETY: the caller's promise.
        unsafe { self.0.get_unchecked(index / 2).0.get_unchecked(index % 2) }
    }

    /// The entry at an index.
    ///
    /// # Safety
    /// The index is below the length.
    #[inline(always)]
    unsafe fn get_unchecked_mut(&mut self, index: usize) -> &mut Entry<S, V> {
        debug_assert!(index < self.len());
        // SAFETY: the caller's promise.
        unsafe { self.0.get_unchecked_mut(index / 2).0.get_unchecked_mut(index % 2) }
    }

    fn swap(&mut self, a: usize, b: usize) {
        let mut entry = Entry::empty();
        std::mem::swap(&mut self[a], &mut entry);
        std::mem::swap(&mut self[b], &mut entry);
        self[a] = entry;
    }
}

impl<S, V> Index<usize> for Entries<S, V> {
    type Output = Entry<S, V>;

    fn index(&self, index: usize) -> &Entry<S, V> {
        &self.0[index / 2].0[index % 2]
    }
}

impl<S, V> IndexMut<usize> for Entries<S, V> {
    fn index_mut(&mut self, index: usize) -> &mut Entry<S, V> {
        &mut self.0[index / 2].0[index % 2]
    }
}

/// See the module.
pub(crate) struct Table<S: KeySlot, V> {
    entries: Entries<S, V>,
    mask: usize,
    len: usize,
    /// Bytes of keys of more than sixteen.
    long_key_bytes: usize,
}

#[inline(always)]
fn wanted(hash: u32, key: &KeyRef) -> u64 {
    u64::from(hash) | u64::from(key.len) << 32 | OCCUPIED
}

const IGNORED: u64 = DIRTY | USED;

impl<S: KeySlot, V> Table<S, V> {
    pub(crate) fn new() -> Self {
        Self { entries: Entries::empty(0), mask: 0, len: 0, long_key_bytes: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Bytes that the table takes, without what values own on the heap.
    pub(crate) fn bytes(&self) -> usize {
        self.entries.len() / 2 * size_of::<Pair<S, V>>() + self.long_key_bytes
    }

    /// Bytes of the entries in use.
    pub(crate) fn used_bytes(&self) -> usize {
        self.len * size_of::<Pair<S, V>>() / 2 + self.long_key_bytes
    }

    pub(crate) fn entries(&self) -> &Entries<S, V> {
        &self.entries
    }

    pub(crate) fn entries_mut(&mut self) -> &mut Entries<S, V> {
        &mut self.entries
    }

    /// Where the search for a hash starts: the first of a pair of entries.
    #[inline(always)]
    fn home(&self, hash: u32) -> usize {
        hash as usize & self.mask & !1
    }

    /// Reads the word of a hash's first entry, to have it in the cache soon.
    #[inline(always)]
    pub(crate) fn touch(&self, hash: u32) -> u64 {
        // SAFETY: the mask keeps the index below the length; see `reserve`.
        unsafe { self.entries.get_unchecked(self.home(hash)).tag }
    }

    /// Where a short key with a value is, if it is one of the first two entries
    /// of its hash; else some entry and `false`. Without a branch: which of
    /// the two it is cannot be predicted.
    #[inline(always)]
    pub(crate) fn probe(&self, hash: u32, key: &KeyRef) -> (usize, bool) {
        self.probe_pair(self.home(hash), hash, key)
    }

    /// The same of the two entries behind those.
    #[inline(always)]
    pub(crate) fn probe_next(&self, hash: u32, key: &KeyRef) -> (usize, bool) {
        self.probe_pair((self.home(hash) + 2) & self.mask, hash, key)
    }

    /// The same of a pair of entries.
    #[inline(always)]
    fn probe_pair(&self, index: usize, hash: u32, key: &KeyRef) -> (usize, bool) {
        let tag = wanted(hash, key) | VALUE;
        // SAFETY: the mask keeps the index below the length, which is even;
        // see `reserve`.
        unsafe {
            let first = (self.entries.get_unchecked(index).tag ^ tag) & !IGNORED;
            let second = (self.entries.get_unchecked(index + 1).tag ^ tag) & !IGNORED;
            let index = index + usize::from(first != 0);
            // Two keys of one hash and length are rare: only one is compared.
            let difference = self.entries.get_unchecked(index).slot.difference(key);
            (index, ((first == 0) | (second == 0)) & (difference == 0))
        }
    }

    /// The entry at an index that one of the searches gave.
    ///
    /// # Safety
    /// The index is below the number of entries.
    #[inline(always)]
    pub(crate) unsafe fn at(&mut self, index: usize) -> &mut Entry<S, V> {
        // SAFETY: the caller's promise.
        unsafe { self.entries.get_unchecked_mut(index) }
    }

    /// The entry of a key, or the free one where it belongs.
    fn search(&self, hash: u32, key: &KeyRef) -> Result<usize, usize> {
        let wanted = wanted(hash, key);
        let mut index = self.home(hash);
        loop {
            let entry = &self.entries[index];
            if entry.tag & OCCUPIED == 0 {
                return Err(index);
            }
            if (entry.tag ^ wanted) & !(IGNORED | VALUE) == 0 && entry.key().same(key) {
                return Ok(index);
            }
            index = (index + 1) & self.mask;
        }
    }

    /// The entry of a key.
    pub(crate) fn find(&self, hash: u32, key: &KeyRef) -> Option<usize> {
        if self.mask == 0 { None } else { self.search(hash, key).ok() }
    }

    /// The entry of a key, made without a value if there is none. Indices that
    /// were given before may be stale afterwards.
    #[inline(never)]
    pub(crate) fn find_or_insert(&mut self, hash: u32, key: &KeyRef) -> usize {
        if let Some(index) = self.find(hash, key) {
            return index;
        }
        self.insert(hash, key)
    }

    #[cold]
    #[inline(never)]
    fn insert(&mut self, hash: u32, key: &KeyRef) -> usize {
        self.reserve(1);
        let Err(index) = self.search(hash, key) else {
            unreachable!("only keys that are not there come here")
        };
        assert!(key.len <= KEY_LENGTH_MAX, "a key is longer than {KEY_LENGTH_MAX} bytes");
        let mut kept = *key;
        if key.len > 16 {
            let mut bytes = Vec::with_capacity(key.len as usize);
            key.write(&mut bytes);
            kept.bytes = Box::into_raw(bytes.into_boxed_slice()).cast::<u8>();
            self.long_key_bytes += key.len as usize;
        }
        let entry = &mut self.entries[index];
        (entry.tag, entry.slot) = (wanted(hash, key), S::new(&kept));
        self.len += 1;
        index
    }

    /// Makes room for `more` entries.
    pub(crate) fn reserve(&mut self, more: usize) {
        if (self.len + more) * LOAD.1 > self.entries.len() * LOAD.0 {
            self.grow(more);
        }
    }

    #[cold]
    fn grow(&mut self, more: usize) {
        let capacity = ((self.len + more) * LOAD.1).div_ceil(LOAD.0).next_power_of_two().max(FIRST_CAPACITY);
        let old = std::mem::replace(&mut self.entries, Entries::empty(capacity));
        self.mask = capacity - 1;
        for entry in old.0.into_iter().flat_map(|pair| pair.0) {
            if !entry.is_occupied() {
                continue;
            }
            let mut index = self.home(entry.hash());
            while self.entries[index].is_occupied() {
                index = (index + 1) & self.mask;
            }
            self.entries[index] = entry;
        }
    }

    /// Drops the entries that `keep` does not want. Each entry is asked at
    /// least once.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&mut Entry<S, V>) -> bool) {
        let mut index = 0;
        while index < self.entries.len() {
            let entry = &mut self.entries[index];
            if !entry.is_occupied() || keep(entry) {
                index += 1;
                continue;
            }
            // What moves up into this place is asked next.
            self.remove(index);
        }
    }

    /// Drops an entry and closes the gap behind it.
    pub(crate) fn remove(&mut self, index: usize) {
        let entry = &mut self.entries[index];
        drop(entry.take());
        let key = entry.key();
        if key.len > 16 {
            self.long_key_bytes -= key.len as usize;
            free_long_key(&key);
        }
        self.entries[index].tag = 0;
        self.len -= 1;
        let mut gap = index;
        let mut next = (index + 1) & self.mask;
        while self.entries[next].is_occupied() {
            let home = self.home(self.entries[next].hash());
            // The entry may move to the gap if its home is not behind it.
            if (next.wrapping_sub(home) & self.mask) >= (next.wrapping_sub(gap) & self.mask) {
                self.entries.swap(gap, next);
                gap = next;
            }
            next = (next + 1) & self.mask;
        }
    }
}

fn free_long_key(key: &KeyRef) {
    let bytes = std::ptr::slice_from_raw_parts_mut(key.bytes.cast_mut(), key.len as usize);
    // SAFETY: made by `Box::into_raw` in `find_or_insert` and freed once, when
    // its entry goes.
    drop(unsafe { Box::from_raw(bytes) });
}

impl<S: KeySlot, V> Drop for Table<S, V> {
    fn drop(&mut self) {
        for entry in self.entries.iter_mut() {
            if entry.is_occupied() {
                drop(entry.take());
                let key = entry.key();
                if key.len > 16 {
                    free_long_key(&key);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn behaves_like_a_map_through_inserts_updates_and_removals() {
        let mut table = Table::<BytesSlot, String>::new();
        let mut model = HashMap::<String, String>::new();
        let mut random = 12345u64;
        let mut next = |below: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % below
        };
        for step in 0..60_000u32 {
            let number = next(3000);
            let key = if number % 3 == 0 {
                format!("a rather long key number {number}")
            } else {
                number.to_string()
            };
            let key_ref = KeyRef::of_bytes(key.as_bytes());
            // Few different hashes, so that probes collide and wrap around.
            let hash = key_ref.hash() | 0x3C0;
            match next(10) {
                0 => {
                    let found = table.find(hash, &key_ref);
                    assert_eq!(found.is_some(), model.remove(&key).is_some(), "step {step}");
                    if let Some(index) = found {
                        table.remove(index);
                    }
                }
                1 if step % 1000 == 0 => {
                    let keep = |value: &str| value.len().is_multiple_of(2);
                    table.retain(|entry| entry.value().is_some_and(|v| keep(v)));
                    model.retain(|_, value| keep(value));
                }
                _ => {
                    let value = "x".repeat((step % 7) as usize);
                    let index = table.find_or_insert(hash, &key_ref);
                    table.entries_mut()[index].put(value.clone());
                    model.insert(key, value);
                }
            }
            assert_eq!(table.len(), model.len());
        }
        for (key, value) in &model {
            let key_ref = KeyRef::of_bytes(key.as_bytes());
            let index = table.find(key_ref.hash() | 0x3C0, &key_ref).expect("present");
            assert_eq!(table.entries()[index].value(), Some(value));
        }
    }
}
