//! The states of a keyed process function: a table from keys to slots, and a
//! column of values for each state. Fetched and written back as `cache` does.

use super::cache::WRITE_SIZE;
use super::handle::{Bound, Current, ListState, MapState, StateValue, ValueState};
use super::table::{BytesSlot, DIRTY, Entry, Table, USED};
use super::wire::{Reader, put_key, put_value};
use crate::batch::hash::KeyRef;
use crate::element::encoded::{decode, encode_into};
use crate::graph::SubtaskInfo;
use crate::runtime::host;
use std::cell::{Cell, RefCell};
use std::hash::Hash;
use std::rc::Rc;

/// What a value on the heap is taken to need, since nobody counts it.
const HEAP_GUESS: usize = 64;

struct StateCell<V> {
    value: Option<V>,
    /// Differs from the host's.
    dirty: bool,
}

/// The values of one state, by slot.
pub(crate) struct Column<V> {
    state: u32,
    cells: RefCell<Vec<StateCell<V>>>,
}

impl<V: StateValue> Column<V> {
    #[inline]
    pub(crate) fn read<R>(&self, slot: u32, read: impl FnOnce(Option<&V>) -> R) -> R {
        read(self.cells.borrow()[slot as usize].value.as_ref())
    }

    #[inline]
    pub(crate) fn write<R>(&self, slot: u32, write: impl FnOnce(&mut Option<V>) -> R) -> R {
        let cell = &mut self.cells.borrow_mut()[slot as usize];
        cell.dirty = true;
        write(&mut cell.value)
    }
}

/// A column of any type.
trait AnyColumn {
    fn state(&self) -> u32;
    /// Bytes that a slot is taken to need.
    fn slot_size(&self) -> usize;
    /// Makes the cell of a slot empty and clean; adds it if it is new.
    fn clear(&self, slot: u32);
    /// Sets a cell to what the host holds.
    fn load(&self, slot: u32, bytes: &[u8]);
    /// If the cell is dirty: appends key and value, and takes it as clean.
    fn write_dirty(&self, slot: u32, hash: u32, key: &KeyRef, out: &mut Vec<u8>);
}

impl<V: StateValue> AnyColumn for Column<V> {
    fn state(&self) -> u32 {
        self.state
    }

    fn slot_size(&self) -> usize {
        let heap = if std::mem::needs_drop::<V>() { HEAP_GUESS } else { 0 };
        size_of::<StateCell<V>>() + heap
    }

    fn clear(&self, slot: u32) {
        let mut cells = self.cells.borrow_mut();
        let empty = StateCell { value: None, dirty: false };
        match cells.get_mut(slot as usize) {
            Some(cell) => *cell = empty,
            None => cells.push(empty),
        }
    }

    fn load(&self, slot: u32, bytes: &[u8]) {
        let value = decode(bytes);
        self.cells.borrow_mut()[slot as usize] = StateCell { value: Some(value), dirty: false };
    }

    fn write_dirty(&self, slot: u32, hash: u32, key: &KeyRef, out: &mut Vec<u8>) {
        let mut cells = self.cells.borrow_mut();
        let cell = &mut cells[slot as usize];
        if !std::mem::take(&mut cell.dirty) {
            return;
        }
        put_key(hash, key, out);
        match &cell.value {
            Some(value) => put_value(out, Some(&|out| encode_into(value, out))),
            None => put_value(out, None),
        }
    }
}

/// All states of an operator.
pub(crate) struct KeyedStates {
    operator: u32,
    names: Vec<String>,
    columns: Vec<Rc<dyn AnyColumn>>,
    /// From keys to slots.
    table: Table<BytesSlot, u32>,
    free: Vec<u32>,
    slots: u32,
    current: Current,
    bound: usize,
    /// The host may hold values that are not cached.
    host_holds: bool,
    wanted: Vec<u32>,
    request: Vec<u8>,
}

impl KeyedStates {
    pub(crate) fn new(operator: u32, info: &SubtaskInfo) -> Self {
        let mut table = Table::new();
        table.reserve(1);
        Self {
            operator,
            names: Vec::new(),
            columns: Vec::new(),
            table,
            free: Vec::new(),
            slots: 0,
            current: Rc::new(Cell::new(0)),
            bound: info.state_cache_size as usize,
            host_holds: info.restored,
            wanted: Vec::new(),
            request: Vec::new(),
        }
    }

    fn column<V: StateValue>(&mut self, name: &str) -> Bound<V> {
        assert!(!self.names.iter().any(|n| n == name), "the state `{name}` is declared twice");
        let state = host::register_state(self.operator, name);
        let column = Rc::new(Column { state, cells: RefCell::default() });
        self.names.push(name.to_string());
        self.columns.push(column.clone());
        Bound::new(column, self.current.clone())
    }

    pub(crate) fn value<V: StateValue>(&mut self, name: &str) -> ValueState<V> {
        ValueState::new(self.column(name))
    }

    pub(crate) fn list<V: StateValue>(&mut self, name: &str) -> ListState<V> {
        ListState::new(self.column(name))
    }

    pub(crate) fn map<M: StateValue + Eq + Hash, V: StateValue>(&mut self, name: &str) -> MapState<M, V> {
        MapState::new(self.column(name))
    }

    /// Makes a key the current one. Gives it as the table keeps it, so that
    /// it outlives the record.
    #[inline]
    pub(crate) fn set_current(&mut self, hash: u32, key: &KeyRef) -> KeyRef {
        let index = match self.table.probe(hash, key) {
            (index, true) => index,
            _ => self.find_or_insert(hash, key),
        };
        // SAFETY: the searches give an entry of the table.
        let entry = unsafe { self.table.at(index) };
        entry.set(DIRTY | USED);
        // SAFETY: every entry of this table has a slot for its value.
        self.current.set(unsafe { *entry.value_mut_unchecked() });
        entry.key()
    }

    #[inline(never)]
    fn find_or_insert(&mut self, hash: u32, key: &KeyRef) -> usize {
        let index = self.table.find_or_insert(hash, key);
        if !self.table.entries()[index].has_value() {
            let slot = self.free.pop().unwrap_or_else(|| {
                self.slots += 1;
                self.slots - 1
            });
            for column in &self.columns {
                column.clear(slot);
            }
            self.table.entries_mut()[index].put(slot);
        }
        index
    }

    pub(crate) fn host_holds(&self) -> bool {
        self.host_holds
    }

    /// Says that a key is about to be used.
    pub(crate) fn want(&mut self, hash: u32, key: &KeyRef) {
        if self.table.find(hash, key).is_none() {
            let index = self.find_or_insert(hash, key);
            let entry = &self.table.entries()[index];
            self.wanted.extend(entry.value());
            put_key(hash, &entry.key(), &mut self.request);
        }
    }

    /// Fetches the values of the keys that were wanted and not cached.
    pub(crate) fn fetch(&mut self) {
        if self.wanted.is_empty() {
            return;
        }
        for column in &self.columns {
            let values = host::get_many(column.state(), &self.request);
            let mut values = Reader::new(&values);
            for &slot in &self.wanted {
                if let Some(bytes) = values.value() {
                    column.load(slot, bytes);
                }
            }
        }
        self.wanted.clear();
        self.request.clear();
    }

    fn entry_size(&self) -> usize {
        size_of::<Entry<BytesSlot, u32>>()
            + self.columns.iter().map(|column| column.slot_size()).sum::<usize>()
    }

    /// Keeps the bound: writes and drops keys that were not used of late.
    pub(crate) fn end_batch(&mut self) {
        if self.table.len() * self.entry_size() > self.bound {
            self.evict();
        }
    }

    #[cold]
    fn evict(&mut self) {
        self.flush();
        self.host_holds = true;
        let entry_size = self.entry_size();
        let goal = self.bound / 4 * 3;
        let mut left = self.table.len() * entry_size;
        for _ in 0..2 {
            let (free, columns) = (&mut self.free, &self.columns);
            self.table.retain(|entry| {
                if left <= goal {
                    return true;
                }
                if entry.has(USED) {
                    entry.unset(USED);
                    return true;
                }
                left -= entry_size;
                if let Some(slot) = entry.take() {
                    for column in columns {
                        column.clear(slot);
                    }
                    free.push(slot);
                }
                false
            });
        }
    }

    /// Writes all changed values to the host.
    pub(crate) fn flush(&mut self) {
        for column in &self.columns {
            let mut out = Vec::new();
            for entry in self.table.entries().iter() {
                let Some(&slot) = entry.value().filter(|_| entry.has(DIRTY)) else { continue };
                column.write_dirty(slot, entry.hash(), &entry.key(), &mut out);
                if out.len() >= WRITE_SIZE {
                    host::put_many(column.state(), &out);
                    out.clear();
                }
            }
            if !out.is_empty() {
                host::put_many(column.state(), &out);
            }
        }
        for entry in self.table.entries_mut().iter_mut() {
            entry.unset(DIRTY);
        }
    }
}
