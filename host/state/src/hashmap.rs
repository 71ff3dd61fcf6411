//! The `hashmap` backend: for each state one table a key group, in memory.

use crate::error::Error;
use crate::memory::{Account, ManagedMemory};
use crate::store::{BLOCK, Entry, StateStore};
use crate::table::Table;
use crate::wire::{MAX_CALL_BYTES, write_entry, write_value};
use hashbrown::DefaultHashBuilder;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

pub(crate) struct HashMapStore {
    key_groups: usize,
    states: Vec<Box<[Table]>>,
    account: Account,
    hasher: DefaultHashBuilder,
}

impl HashMapStore {
    pub(crate) fn new(key_groups: usize, budget: Arc<ManagedMemory>) -> Self {
        Self {
            key_groups,
            states: Vec::new(),
            account: Account::new(budget),
            hasher: DefaultHashBuilder::default(),
        }
    }

    /// The tag of each key of a block. Then the slots, then the records behind
    /// them are touched, so that the misses of a block overlap instead of
    /// standing in line (a million keys: 70 against 85 ns an update).
    fn tags(&self, tables: &[Table], entries: &[Entry<'_>]) -> [u32; BLOCK] {
        let mut tags = [0; BLOCK];
        let mut slots = [0; BLOCK];
        for ((entry, tag), slot) in entries.iter().zip(&mut tags).zip(&mut slots) {
            *tag = tag_of(&self.hasher, entry.key);
            *slot = tables[entry.key_group as usize].first_slot(*tag);
        }
        let mut touched = 0;
        for (entry, slot) in entries.iter().zip(slots) {
            touched |= tables[entry.key_group as usize].touch(slot);
        }
        std::hint::black_box(touched);
        tags
    }
}

#[inline]
pub(crate) fn tag_of(hasher: &DefaultHashBuilder, key: &[u8]) -> u32 {
    let mut state = hasher.build_hasher();
    state.write(key);
    (state.finish() >> 32) as u32
}

impl StateStore for HashMapStore {
    fn create(&mut self) -> Result<(), Error> {
        // What the name and its place in the list of names take as well.
        const OVERHEAD: usize = 256;
        self.account.take(self.key_groups * size_of::<Table>() + OVERHEAD)?;
        self.states.push((0..self.key_groups).map(|_| Table::default()).collect());
        Ok(())
    }

    fn get(&self, state: usize, keys: &[Entry<'_>], answer: &mut Vec<u8>) -> Result<(), Error> {
        let tables = &self.states[state];
        let tags = self.tags(tables, keys);
        for (entry, tag) in keys.iter().zip(tags) {
            let value = tables[entry.key_group as usize].get(tag, entry.hash, entry.key);
            if answer.len() + value.map_or(0, <[u8]>::len) > MAX_CALL_BYTES {
                return Err(Error::AnswerTooLong { limit: MAX_CALL_BYTES });
            }
            write_value(answer, value);
        }
        Ok(())
    }

    fn put(&mut self, state: usize, entries: &[Entry<'_>]) -> Result<(), Error> {
        let tags = self.tags(&self.states[state], entries);
        let tables = &mut self.states[state];
        for (entry, tag) in entries.iter().zip(tags) {
            let table = &mut tables[entry.key_group as usize];
            match entry.value {
                Some(value) => {
                    table.put(tag, entry.hash, entry.key, value, &self.hasher, &mut self.account)?;
                }
                None => table.remove(tag, entry.hash, entry.key, &self.hasher, &mut self.account),
            }
        }
        Ok(())
    }

    fn scan(
        &self,
        state: usize,
        cursor: u64,
        max_bytes: usize,
        answer: &mut Vec<u8>,
    ) -> Result<Option<u64>, Error> {
        let tables = &self.states[state];
        let mut key_group = (cursor >> 32) as usize;
        let mut position = cursor as u32;
        if key_group > tables.len() {
            return Err(Error::BadCursor { cursor });
        }
        while let Some(table) = tables.get(key_group) {
            let mut records = table.records(position);
            while let Some(record) = records.next().map_err(|()| Error::BadCursor { cursor })? {
                if !answer.is_empty() && answer.len() >= max_bytes {
                    return Ok(Some((key_group as u64) << 32 | u64::from(record.position)));
                }
                write_entry(answer, record.hash, record.key, record.value);
            }
            key_group += 1;
            position = 0;
        }
        Ok(None)
    }

    fn memory(&self) -> u64 {
        self.account.held()
    }
}
