//! One state of one key group: records one behind the other in an arena, and
//! a table of slots that finds them.
//!
//! A slot is eight bytes: half of it a tag (bits of the key's hash), half of
//! it the record's place. A miss therefore seldom touches the arena, and the
//! table grows without reading it. Collisions are probed linearly, removals
//! shift backwards. Records that were removed or outgrew their place are
//! marked dead and squeezed out when the arena would have to grow.

use crate::error::Error;
use crate::hashmap::tag_of;
use crate::memory::Account;
use hashbrown::DefaultHashBuilder;

/// Bytes in front of a record's key: the lengths of key and value, the room
/// for the value, the hash that the guest gave.
const HEAD: usize = 16;
/// Marks a record dead, in the word of its key's length: keys are shorter.
const DEAD: u32 = 1 << 31;
/// Records start at multiples of it, and places count in it.
const UNIT: usize = 4;
/// So that a place plus one fits into a slot's half.
const MAX_ARENA: usize = (u32::MAX as usize - 1) * UNIT;
const FIRST_SLOTS: usize = 8;
const FIRST_ARENA: usize = 256;
/// Below it, dead records are not worth the walk.
const MIN_DEAD: usize = 1024;
/// Most room that a growing value gets for its next growth, in bytes.
const MAX_SLACK: usize = 64 * 1024;

#[derive(Default)]
pub(crate) struct Table {
    /// Zero, or tag and place plus one; a power of two of them, or none.
    slots: Box<[u64]>,
    len: usize,
    arena: Vec<u8>,
    /// Bytes of the arena in dead records.
    dead: usize,
}

/// A living record.
pub(crate) struct Record<'a> {
    /// Of the record, in units.
    pub(crate) position: u32,
    pub(crate) hash: u32,
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
}

#[inline]
fn slot_of(tag: u32, offset: usize) -> u64 {
    u64::from(tag) << 32 | (offset / UNIT + 1) as u64
}

#[inline]
fn offset_in(slot: u64) -> usize {
    (slot as u32 as usize - 1) * UNIT
}

#[inline]
fn record_size(key: usize, room: usize) -> usize {
    (HEAD + key + room).next_multiple_of(UNIT)
}

impl Table {
    /// The slot that a look-up of the tag begins with.
    #[inline]
    pub(crate) fn first_slot(&self, tag: u32) -> u64 {
        if self.slots.is_empty() { 0 } else { self.slots[tag as usize & (self.slots.len() - 1)] }
    }

    /// Reads a byte of the record behind a slot.
    #[inline]
    pub(crate) fn touch(&self, slot: u64) -> u8 {
        if slot == 0 { 0 } else { self.arena[offset_in(slot)] }
    }

    #[inline]
    fn word(&self, offset: usize) -> u32 {
        let bytes = self.arena[offset..offset + 4].try_into().expect("four bytes");
        u32::from_le_bytes(bytes)
    }

    #[inline]
    fn set_word(&mut self, offset: usize, word: u32) {
        self.arena[offset..offset + 4].copy_from_slice(&word.to_le_bytes());
    }

    /// Slot and record of a key.
    #[inline]
    fn find(&self, tag: u32, hash: u32, key: &[u8]) -> Option<(usize, usize)> {
        if self.slots.is_empty() {
            return None;
        }
        let mask = self.slots.len() - 1;
        let mut index = tag as usize & mask;
        loop {
            let slot = self.slots[index];
            if slot == 0 {
                return None;
            }
            if (slot >> 32) as u32 == tag {
                let offset = offset_in(slot);
                if self.word(offset) as usize == key.len()
                    && self.word(offset + 12) == hash
                    && &self.arena[offset + HEAD..offset + HEAD + key.len()] == key
                {
                    return Some((index, offset));
                }
            }
            index = (index + 1) & mask;
        }
    }

    #[inline]
    pub(crate) fn get(&self, tag: u32, hash: u32, key: &[u8]) -> Option<&[u8]> {
        let (_, offset) = self.find(tag, hash, key)?;
        let start = offset + HEAD + key.len();
        Some(&self.arena[start..start + self.word(offset + 4) as usize])
    }

    #[inline]
    pub(crate) fn put(
        &mut self,
        tag: u32,
        hash: u32,
        key: &[u8],
        value: &[u8],
        hasher: &DefaultHashBuilder,
        account: &mut Account,
    ) -> Result<(), Error> {
        match self.find(tag, hash, key) {
            Some((_, offset)) if value.len() <= self.word(offset + 8) as usize => {
                let start = offset + HEAD + key.len();
                self.arena[start..start + value.len()].copy_from_slice(value);
                self.set_word(offset + 4, value.len() as u32);
                Ok(())
            }
            Some(_) => self.move_record(tag, hash, key, value, hasher, account),
            None => self.insert(tag, hash, key, value, hasher, account),
        }
    }

    fn insert(
        &mut self,
        tag: u32,
        hash: u32,
        key: &[u8],
        value: &[u8],
        hasher: &DefaultHashBuilder,
        account: &mut Account,
    ) -> Result<(), Error> {
        // Three quarters full: beyond, linear probing gets long.
        if (self.len + 1) * 4 > self.slots.len() * 3 {
            self.resize_slots((self.slots.len() * 2).max(FIRST_SLOTS), account)?;
        }
        let offset = self.append(hash, key, value, value.len(), hasher, account)?;
        place(&mut self.slots, slot_of(tag, offset));
        self.len += 1;
        Ok(())
    }

    /// Writes a value that outgrew its place to a new one, with room to grow.
    #[cold]
    fn move_record(
        &mut self,
        tag: u32,
        hash: u32,
        key: &[u8],
        value: &[u8],
        hasher: &DefaultHashBuilder,
        account: &mut Account,
    ) -> Result<(), Error> {
        let room = value.len() + (value.len() / 4).min(MAX_SLACK);
        let new = self.append(hash, key, value, room, hasher, account)?;
        // Appending may have squeezed the arena: the old record may have moved.
        let (index, old) = self.find(tag, hash, key).expect("the record was found before");
        self.slots[index] = slot_of(tag, new);
        self.kill(old);
        Ok(())
    }

    pub(crate) fn remove(
        &mut self,
        tag: u32,
        hash: u32,
        key: &[u8],
        hasher: &DefaultHashBuilder,
        account: &mut Account,
    ) {
        let Some((mut hole, offset)) = self.find(tag, hash, key) else { return };
        self.kill(offset);
        self.len -= 1;
        let mask = self.slots.len() - 1;
        let mut index = hole;
        loop {
            index = (index + 1) & mask;
            let slot = self.slots[index];
            if slot == 0 {
                break;
            }
            let home = (slot >> 32) as usize & mask;
            // The slot may fill the hole unless its home lies behind it.
            if (index.wrapping_sub(home) & mask) >= (index.wrapping_sub(hole) & mask) {
                self.slots[hole] = slot;
                hole = index;
            }
        }
        self.slots[hole] = 0;
        if self.dead > MIN_DEAD && self.dead > self.arena.len() / 4 * 3 {
            self.squeeze(hasher);
            self.shrink(account);
        }
    }

    fn kill(&mut self, offset: usize) {
        let key = self.word(offset);
        self.dead += record_size(key as usize, self.word(offset + 8) as usize);
        self.set_word(offset, key | DEAD);
    }

    /// Writes a record behind the last one; gives its offset.
    #[inline]
    fn append(
        &mut self,
        hash: u32,
        key: &[u8],
        value: &[u8],
        room: usize,
        hasher: &DefaultHashBuilder,
        account: &mut Account,
    ) -> Result<usize, Error> {
        let size = record_size(key.len(), room);
        if self.arena.capacity() - self.arena.len() < size {
            self.make_room(size, hasher, account)?;
        }
        let offset = self.arena.len();
        let mut head = [0; HEAD];
        head[0..4].copy_from_slice(&(key.len() as u32).to_le_bytes());
        head[4..8].copy_from_slice(&(value.len() as u32).to_le_bytes());
        head[8..12].copy_from_slice(&((size - HEAD - key.len()) as u32).to_le_bytes());
        head[12..16].copy_from_slice(&hash.to_le_bytes());
        self.arena.extend_from_slice(&head);
        self.arena.extend_from_slice(key);
        self.arena.extend_from_slice(value);
        self.arena.resize(offset + size, 0);
        Ok(offset)
    }

    #[cold]
    fn make_room(
        &mut self,
        size: usize,
        hasher: &DefaultHashBuilder,
        account: &mut Account,
    ) -> Result<(), Error> {
        if self.dead > MIN_DEAD && self.dead > self.arena.len() / 4 {
            self.squeeze(hasher);
        }
        let needed = self.arena.len() + size;
        if needed > MAX_ARENA {
            return Err(Error::KeyGroupTooLarge { limit: MAX_ARENA as u64 });
        }
        let capacity = self.arena.capacity();
        if needed <= capacity {
            return Ok(());
        }
        // A third more: half of what doubling would waste, and still few copies.
        let wanted = needed.max(capacity + capacity / 3).max(FIRST_ARENA);
        if account.take(wanted - capacity).is_ok() {
            self.arena.reserve_exact(wanted - self.arena.len());
        } else {
            account.take(needed - capacity)?;
            self.arena.reserve_exact(size);
        }
        Ok(())
    }

    /// Moves living records over the dead ones, in their order.
    fn squeeze(&mut self, hasher: &DefaultHashBuilder) {
        let (mut from, mut to) = (0, 0);
        while from < self.arena.len() {
            let word = self.word(from);
            let key = (word & !DEAD) as usize;
            let size = record_size(key, self.word(from + 8) as usize);
            if word & DEAD == 0 {
                if from != to {
                    let tag = tag_of(hasher, &self.arena[from + HEAD..from + HEAD + key]);
                    let mask = self.slots.len() - 1;
                    let mut index = tag as usize & mask;
                    while self.slots[index] != slot_of(tag, from) {
                        index = (index + 1) & mask;
                    }
                    self.slots[index] = slot_of(tag, to);
                    self.arena.copy_within(from..from + size, to);
                }
                to += size;
            }
            from += size;
        }
        self.arena.truncate(to);
        self.dead = 0;
    }

    /// Gives back what a squeezed table does not need any more.
    fn shrink(&mut self, account: &mut Account) {
        let capacity = self.arena.capacity();
        let wanted = (self.arena.len() + self.arena.len() / 3).max(FIRST_ARENA);
        if wanted < capacity / 2 {
            self.arena.shrink_to(wanted);
            account.give_back(capacity - self.arena.capacity());
        }
        let slots = (self.len * 2).next_power_of_two().max(FIRST_SLOTS);
        if slots < self.slots.len() / 4 {
            // Best effort: without memory for the copy the table stays as it is.
            let _ = self.resize_slots(slots, account);
        }
    }

    fn resize_slots(&mut self, slots: usize, account: &mut Account) -> Result<(), Error> {
        account.take(slots * size_of::<u64>())?;
        let mut new = vec![0; slots].into_boxed_slice();
        for slot in self.slots.iter().filter(|slot| **slot != 0) {
            place(&mut new, *slot);
        }
        account.give_back(self.slots.len() * size_of::<u64>());
        self.slots = new;
        Ok(())
    }

    /// The living records from a position on.
    pub(crate) fn records(&self, position: u32) -> Records<'_> {
        Records { arena: &self.arena, offset: position as usize * UNIT }
    }
}

/// Puts a slot into the first free place of its probe sequence; there is one.
#[inline]
fn place(slots: &mut [u64], slot: u64) {
    let mask = slots.len() - 1;
    let mut index = (slot >> 32) as usize & mask;
    while slots[index] != 0 {
        index = (index + 1) & mask;
    }
    slots[index] = slot;
}

/// Walks an arena. It may start at a place that a guest made up, so that no
/// length is believed; `Err` says that the place was no record's.
pub(crate) struct Records<'a> {
    arena: &'a [u8],
    offset: usize,
}

impl<'a> Records<'a> {
    pub(crate) fn next(&mut self) -> Result<Option<Record<'a>>, ()> {
        loop {
            let Some(rest) = self.arena.get(self.offset..).filter(|_| self.offset != self.arena.len()) else {
                return if self.offset == self.arena.len() { Ok(None) } else { Err(()) };
            };
            let (head, body) = rest.split_at_checked(HEAD).ok_or(())?;
            let word = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("four bytes"));
            let (key, value, room, hash) = (word(0), word(4) as usize, word(8) as usize, word(12));
            let living = key & DEAD == 0;
            let key = (key & !DEAD) as usize;
            let position = (self.offset / UNIT) as u32;
            self.offset += record_size(key, room);
            if living {
                let (key, rest) = body.split_at_checked(key).ok_or(())?;
                let value = rest.get(..value).ok_or(())?;
                return Ok(Some(Record { position, hash, key, value }));
            }
        }
    }
}
