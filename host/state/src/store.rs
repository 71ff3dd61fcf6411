//! What a state backend must do once the guest's bytes have been checked. The
//! one in memory is `hashmap`; one on disk implements the same trait.

use crate::error::Error;

/// One checked key, with the value to put if there is one.
#[derive(Clone, Copy)]
pub(crate) struct Entry<'a> {
    /// Counted from the first key group of the subtask.
    pub(crate) key_group: u32,
    pub(crate) hash: u32,
    pub(crate) key: &'a [u8],
    /// For puts: none removes the entry.
    pub(crate) value: Option<&'a [u8]>,
}

/// Most entries of one call to a store: enough to overlap their cache misses,
/// few enough to stay on the stack.
pub(crate) const BLOCK: usize = 32;

pub(crate) trait StateStore: Send {
    /// Makes room for one more state; its index is the number of calls before.
    fn create(&mut self) -> Result<(), Error>;

    /// Appends the value of each key to `answer`, as `wire` writes it.
    fn get(&self, state: usize, keys: &[Entry<'_>], answer: &mut Vec<u8>) -> Result<(), Error>;

    /// Puts or removes; a later entry of the same key wins.
    fn put(&mut self, state: usize, entries: &[Entry<'_>]) -> Result<(), Error>;

    /// Appends entries from `cursor` on to `answer` until it has `max_bytes`,
    /// and gives the next cursor, none at the end. Entries come by key group,
    /// in an order that depends on nothing but the calls before.
    fn scan(
        &self,
        state: usize,
        cursor: u64,
        max_bytes: usize,
        answer: &mut Vec<u8>,
    ) -> Result<Option<u64>, Error>;

    /// Bytes of managed memory that it holds.
    fn memory(&self) -> u64;
}
