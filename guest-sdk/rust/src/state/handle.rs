//! The state that a keyed process function works with: a value, a list or a
//! map for each key. A handle always means the key of the current record.

use super::keyed::Column;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::cell::Cell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher, Hash};
use std::rc::Rc;

/// A type that state can hold: it can be written and read by serde.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be kept in state",
    label = "not a state type",
    note = "derive `Clone`, `serde::Serialize` and `serde::Deserialize` for it; borrowed data has to be owned"
)]
pub trait StateValue: Serialize + DeserializeOwned + Clone + 'static {}

impl<V: Serialize + DeserializeOwned + Clone + 'static> StateValue for V {}

/// The same order in every run, and no need for random numbers.
pub type StateMap<M, V> = HashMap<M, V, BuildHasherDefault<DefaultHasher>>;

/// Where the cells of the current record's key are.
pub(crate) type Current = Rc<Cell<u32>>;

pub(crate) struct Bound<V> {
    column: Rc<Column<V>>,
    current: Current,
}

impl<V> Bound<V> {
    pub(crate) fn new(column: Rc<Column<V>>, current: Current) -> Self {
        Self { column, current }
    }
}

impl<V> Clone for Bound<V> {
    fn clone(&self) -> Self {
        Self { column: self.column.clone(), current: self.current.clone() }
    }
}

/// What a handle refers to; none before `open` has run.
struct Handle<V>(Option<Bound<V>>);

impl<V: StateValue> Handle<V> {
    fn read<R>(&self, read: impl FnOnce(Option<&V>) -> R) -> R {
        let bound = self.bound();
        bound.column.read(bound.current.get(), read)
    }

    fn write<R>(&self, write: impl FnOnce(&mut Option<V>) -> R) -> R {
        let bound = self.bound();
        bound.column.write(bound.current.get(), write)
    }

    fn bound(&self) -> &Bound<V> {
        match &self.0 {
            Some(bound) => bound,
            None => {
                panic!("a state was used before `open` has set it: `self.state = ctx.value_state(\"name\")`")
            }
        }
    }
}

macro_rules! handle {
    ($(#[$doc:meta])* $name:ident<$($param:ident),+>, $inner:ty) => {
        $(#[$doc])*
        pub struct $name<$($param),+>(Handle<$inner>);

        impl<$($param),+> $name<$($param),+> {
            pub(crate) fn new(bound: Bound<$inner>) -> Self {
                Self(Handle(Some(bound)))
            }
        }

        /// A handle to be set in `open`.
        impl<$($param),+> Default for $name<$($param),+> {
            fn default() -> Self {
                Self(Handle(None))
            }
        }

        impl<$($param),+> Clone for $name<$($param),+> {
            fn clone(&self) -> Self {
                Self(Handle(self.0.0.clone()))
            }
        }
    };
}

handle! {
    /// One value a key.
    ValueState<V>, V
}
handle! {
    /// A list a key. The whole list is one entry of the host's state.
    ListState<V>, Vec<V>
}
handle! {
    /// A map a key. The whole map is one entry of the host's state.
    MapState<M, V>, StateMap<M, V>
}

impl<V: StateValue> ValueState<V> {
    /// The value, if there is one.
    pub fn get(&self) -> Option<V> {
        self.0.read(|value| value.cloned())
    }

    /// Looks at the value without a copy.
    pub fn with<R>(&self, look: impl FnOnce(Option<&V>) -> R) -> R {
        self.0.read(look)
    }

    /// Sets the value.
    pub fn set(&self, value: V) {
        self.0.write(|slot| *slot = Some(value));
    }

    /// Changes the value in place; `None` stands for no value.
    pub fn update<R>(&self, change: impl FnOnce(&mut Option<V>) -> R) -> R {
        self.0.write(change)
    }

    /// Removes the value.
    pub fn clear(&self) {
        self.0.write(|slot| *slot = None);
    }
}

impl<V: StateValue> ListState<V> {
    /// Adds a value at the end.
    pub fn add(&self, value: V) {
        self.0.write(|list| list.get_or_insert_default().push(value));
    }

    /// Adds values at the end.
    pub fn add_all(&self, values: impl IntoIterator<Item = V>) {
        self.0.write(|list| list.get_or_insert_default().extend(values));
    }

    /// A copy of the list.
    pub fn get(&self) -> Vec<V> {
        self.0.read(|list| list.cloned().unwrap_or_default())
    }

    /// Looks at the list without a copy.
    pub fn with<R>(&self, look: impl FnOnce(&[V]) -> R) -> R {
        self.0.read(|list| look(list.map_or(&[], Vec::as_slice)))
    }

    /// Changes the list in place; an empty one is removed.
    pub fn update<R>(&self, change: impl FnOnce(&mut Vec<V>) -> R) -> R {
        self.0.write(|slot| {
            let mut list = slot.take().unwrap_or_default();
            let result = change(&mut list);
            *slot = (!list.is_empty()).then_some(list);
            result
        })
    }

    /// Replaces the list.
    pub fn set(&self, values: Vec<V>) {
        self.0.write(|slot| *slot = (!values.is_empty()).then_some(values));
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.with(<[V]>::len)
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Removes the list.
    pub fn clear(&self) {
        self.0.write(|slot| *slot = None);
    }
}

impl<M: StateValue + Eq + Hash, V: StateValue> MapState<M, V> {
    /// The value of an entry.
    pub fn get(&self, key: &M) -> Option<V> {
        self.with(|map| map.and_then(|map| map.get(key)).cloned())
    }

    /// Whether there is such an entry.
    pub fn contains_key(&self, key: &M) -> bool {
        self.with(|map| map.is_some_and(|map| map.contains_key(key)))
    }

    /// Sets an entry; gives the former value.
    pub fn insert(&self, key: M, value: V) -> Option<V> {
        self.0.write(|map| map.get_or_insert_default().insert(key, value))
    }

    /// Removes an entry; gives its value.
    pub fn remove(&self, key: &M) -> Option<V> {
        self.update(|map| map.remove(key))
    }

    /// Looks at the map without a copy; none if it has no entry.
    pub fn with<R>(&self, look: impl FnOnce(Option<&StateMap<M, V>>) -> R) -> R {
        self.0.read(look)
    }

    /// Changes the map in place; an empty one is removed.
    pub fn update<R>(&self, change: impl FnOnce(&mut StateMap<M, V>) -> R) -> R {
        self.0.write(|slot| {
            let mut map = slot.take().unwrap_or_default();
            let result = change(&mut map);
            *slot = (!map.is_empty()).then_some(map);
            result
        })
    }

    /// A copy of all entries, in no order that means anything.
    pub fn entries(&self) -> Vec<(M, V)> {
        self.with(|map| map.into_iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.with(|map| map.map_or(0, HashMap::len))
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Removes the map.
    pub fn clear(&self) {
        self.0.write(|slot| *slot = None);
    }
}
