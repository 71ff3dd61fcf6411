//! What a process function gets beside the record: state and counters when it
//! opens; side outputs and the key while it runs.

use crate::batch::hash::KeyRef;
use crate::counter::Counter;
use crate::element::{Element, Key};
use crate::graph::SubtaskInfo;
use crate::operator::side_output::{OutputTag, SideOutputs};
use crate::position;
use crate::state::handle::{ListState, MapState, StateValue, ValueState};
use crate::state::keyed::KeyedStates;
use std::hash::Hash;
use std::marker::PhantomData;

/// Where a function gets its state and counters from, before the first record.
pub struct OpenContext<'c> {
    pub(crate) info: &'c SubtaskInfo,
    /// None for a function without a key.
    pub(crate) states: Option<&'c mut KeyedStates>,
}

impl OpenContext<'_> {
    fn states(&mut self, name: &str) -> &mut KeyedStates {
        match &mut self.states {
            Some(states) => states,
            None => panic!("the state `{name}` needs a key: use `key_by` before `process`"),
        }
    }

    /// A state with one value a key.
    pub fn value_state<V: StateValue>(&mut self, name: &str) -> ValueState<V> {
        self.states(name).value(name)
    }

    /// A state with a list a key.
    pub fn list_state<V: StateValue>(&mut self, name: &str) -> ListState<V> {
        self.states(name).list(name)
    }

    /// A state with a map a key.
    pub fn map_state<M: StateValue + Eq + Hash, V: StateValue>(&mut self, name: &str) -> MapState<M, V> {
        self.states(name).map(name)
    }

    /// A counter of the job.
    pub fn counter(&self, name: &str) -> Counter {
        self.info.counters.get(name)
    }

    /// The subtask that runs.
    pub fn subtask(&self) -> &SubtaskInfo {
        self.info
    }
}

/// What a function without a key may use while it processes a record.
pub struct Context<'c> {
    pub(crate) info: &'c SubtaskInfo,
    pub(crate) sides: &'c mut SideOutputs,
    pub(crate) operator: u32,
}

impl Context<'_> {
    /// Gives out an element on a side output.
    pub fn output<S: Element>(&mut self, tag: &OutputTag<S>, value: S::View<'_>) {
        self.sides.push(tag, value);
        position::operator(self.operator);
    }

    /// A counter of the job. Keep the handle where speed matters.
    pub fn counter(&self, name: &str) -> Counter {
        self.info.counters.get(name)
    }

    /// The subtask that runs.
    pub fn subtask(&self) -> &SubtaskInfo {
        self.info
    }
}

/// What a function of a keyed stream may use while it processes a record.
pub struct KeyedContext<'c, K: Key> {
    pub(crate) plain: Context<'c>,
    pub(crate) key: KeyRow,
    pub(crate) _key: PhantomData<fn() -> K>,
}

impl<K: Key> KeyedContext<'_, K> {
    /// The key of the record.
    pub fn key(&self) -> K::View<'_> {
        K::read_row(&mut self.key.bytes(), true)
    }

    /// Gives out an element on a side output.
    pub fn output<S: Element>(&mut self, tag: &OutputTag<S>, value: S::View<'_>) {
        self.plain.output(tag, value);
    }

    /// A counter of the job. Keep the handle where speed matters.
    pub fn counter(&self, name: &str) -> Counter {
        self.plain.counter(name)
    }

    /// The subtask that runs.
    pub fn subtask(&self) -> &SubtaskInfo {
        self.plain.info
    }
}

/// The bytes of a record's key.
pub(crate) struct KeyRow {
    short: [u64; 2],
    key: KeyRef,
}

impl KeyRow {
    /// The bytes of `key`, which stays valid as long as this lives.
    #[inline(always)]
    pub(crate) fn new(key: KeyRef) -> Self {
        Self { short: [key.a.to_le(), key.b.to_le()], key }
    }

    fn bytes(&self) -> &[u8] {
        let len = self.key.len as usize;
        let at = if len <= 16 { self.short.as_ptr().cast() } else { self.key.bytes };
        // SAFETY: short keys lie in `short`; a long one outlives this, as
        // `new` asks for.
        unsafe { std::slice::from_raw_parts(at, len) }
    }
}
