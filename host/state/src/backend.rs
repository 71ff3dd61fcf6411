//! The door to keyed state: lists of bytes from a guest in, lists of bytes
//! out. It parses, checks key groups and limits, and knows no data structure.

use crate::error::Error;
use crate::hashmap::HashMapStore;
use crate::memory::ManagedMemory;
use crate::store::{BLOCK, Entry, StateStore};
use crate::wire::{MAX_CALL_BYTES, Reader};
use heddle_model::id::OperatorId;
use heddle_model::key_group::key_group_of;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// Longest name of a state, in bytes.
const MAX_NAME_BYTES: usize = 1024;

/// The keyed state of one subtask.
///
/// An entry is found by its hash and the bytes of its key. The hash decides
/// the key group and nothing else: it is not compared with the hash of the
/// bytes, because a key may carry more than what the stream was partitioned by
/// (a map state's own key, a window). A guest whose hashes are not those of
/// `proto/batch.md` loses only its own entries, when its job is rescaled. The
/// tables use a hash of their own, which a guest cannot foresee: keys that
/// collide on purpose do not make a call slow.
pub struct KeyedStateBackend {
    key_groups: Range<u32>,
    max_parallelism: u32,
    names: HashMap<(OperatorId, String), u32>,
    store: Box<dyn StateStore>,
}

impl std::fmt::Debug for KeyedStateBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyedStateBackend")
            .field("key_groups", &self.key_groups)
            .field("states", &self.names.len())
            .field("memory", &self.memory())
            .finish()
    }
}

impl KeyedStateBackend {
    /// The `hashmap` backend, for the key groups of one subtask.
    pub fn new(key_groups: Range<u32>, max_parallelism: u32, budget: Arc<ManagedMemory>) -> Self {
        let store = HashMapStore::new(key_groups.len(), budget);
        Self { key_groups, max_parallelism, names: HashMap::new(), store: Box::new(store) }
    }

    /// Gives the id of an operator's state; the same name gives the same id.
    pub fn register(&mut self, operator: OperatorId, name: &str) -> Result<u32, Error> {
        if name.len() > MAX_NAME_BYTES {
            return Err(Error::NameTooLong { length: name.len(), limit: MAX_NAME_BYTES });
        }
        let id = self.names.len() as u32;
        if let Some(known) = self.names.get(&(operator, name.to_owned())) {
            return Ok(*known);
        }
        self.store.create()?;
        self.names.insert((operator, name.to_owned()), id);
        Ok(id)
    }

    /// Keys in, as many values out, in order.
    pub fn get_many(&self, state: u32, keys: &[u8]) -> Result<Vec<u8>, Error> {
        let state = self.state(state)?;
        let mut reader = Reader::new(keys)?;
        let mut answer = Vec::with_capacity(keys.len());
        let mut block = [Entry { key_group: 0, hash: 0, key: &[], value: None }; BLOCK];
        while !reader.is_empty() {
            let mut filled = 0;
            while filled < BLOCK && !reader.is_empty() {
                let (hash, key) = reader.key()?;
                block[filled] = Entry { key_group: self.key_group(hash)?, hash, key, value: None };
                filled += 1;
            }
            self.store.get(state, &block[..filled], &mut answer)?;
        }
        Ok(answer)
    }

    /// Puts and removes. After an error some of the entries may have been put:
    /// the caller must end the guest.
    pub fn put_many(&mut self, state: u32, entries: &[u8]) -> Result<(), Error> {
        let state = self.state(state)?;
        let mut reader = Reader::new(entries)?;
        let mut block = [Entry { key_group: 0, hash: 0, key: &[], value: None }; BLOCK];
        while !reader.is_empty() {
            let mut filled = 0;
            while filled < BLOCK && !reader.is_empty() {
                let (hash, key) = reader.key()?;
                let value = reader.value()?;
                block[filled] = Entry { key_group: self.key_group(hash)?, hash, key, value };
                filled += 1;
            }
            self.store.put(state, &block[..filled])?;
        }
        Ok(())
    }

    /// Pairs of key and value from `cursor` on (0 at first), until the list
    /// has `max_bytes` (at least one pair), and the next cursor, none at the
    /// end. Pairs come by key group and in an order that is the same in every
    /// run that made the same calls.
    pub fn scan(&self, state: u32, cursor: u64, max_bytes: u32) -> Result<(Vec<u8>, Option<u64>), Error> {
        let state = self.state(state)?;
        let max_bytes = (max_bytes as usize).min(MAX_CALL_BYTES);
        let mut answer = Vec::new();
        let next = self.store.scan(state, cursor, max_bytes, &mut answer)?;
        Ok((answer, next))
    }

    /// Bytes of managed memory that the state holds.
    pub fn memory(&self) -> u64 {
        self.store.memory()
    }

    fn state(&self, state: u32) -> Result<usize, Error> {
        if (state as usize) < self.names.len() {
            Ok(state as usize)
        } else {
            Err(Error::UnknownState { state, registered: self.names.len() })
        }
    }

    /// The key group of a hash, counted from the first that is owned.
    #[inline]
    fn key_group(&self, hash: u32) -> Result<u32, Error> {
        let key_group = key_group_of(hash, self.max_parallelism);
        if self.key_groups.contains(&key_group) {
            Ok(key_group - self.key_groups.start)
        } else {
            Err(Error::ForeignKeyGroup { key_group, hash, owned: self.key_groups.clone() })
        }
    }
}
