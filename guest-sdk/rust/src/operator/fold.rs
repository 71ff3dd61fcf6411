//! What a keyed aggregation does with a record: `sum`, `min`, `max`, `count`
//! and `reduce`, each compiled into its own loop.

use crate::block::Block;
use crate::block::turns::each_of_three;
use crate::element::{Element, Key, Owned};
use crate::position;
use crate::push::Next;
use crate::state::cache::{Places, ValueCache};
use std::marker::PhantomData;

/// The state of a block of records.
pub(crate) struct Keyed<'s, K: Key, V: Owned> {
    pub(crate) cache: &'s mut ValueCache<K::Slot, V>,
    /// What the keys hash to, one for each record of the block.
    pub(crate) hashes: &'s [u32],
    pub(crate) scratch: &'s mut Vec<u8>,
}

impl<K: Key, V: Owned> Keyed<'_, K, V> {
    /// Finds the values of a block of records. Keys that own something are
    /// made once and kept in `keys`, others are selected again when needed.
    #[inline(always)]
    fn places<'b, T: Element>(
        &mut self,
        views: &'b [T::View<'_>],
        select: &(impl for<'x, 'y> Fn(&'y T::View<'x>) -> K::View<'y> + 'static),
        keys: &mut Block<K::View<'b>>,
    ) -> Places {
        assert_eq!(views.len(), self.hashes.len());
        let scratch = &mut *self.scratch;
        if std::mem::needs_drop::<K::View<'b>>() {
            keys.fill(0, views.len() as u32, |index| {
                position::row(index);
                select(&views[index as usize])
            });
            let keys = keys.as_slice();
            self.cache.places::<false, _>(self.hashes, keys, |_, key| K::key(key, scratch))
        } else {
            self.cache.places::<true, _>(self.hashes, views, |index, view| {
                position::row(index as u32);
                K::key(&select(view), scratch)
            })
        }
    }
}

#[inline(always)]
fn combined<V>(combine: &impl Fn(&V, V) -> V, before: Option<V>, value: V) -> V {
    match before {
        Some(before) => combine(&before, value),
        None => value,
    }
}

/// What an aggregation does with records of `T`, keyed by `K`.
pub(crate) trait Fold<T: Element, K: Key>: 'static {
    /// What is kept for a key.
    type Value: Owned;
    /// What is given out.
    type Output: Element;

    /// Takes a block of records, which may leave their values in it. Without
    /// `out`, results are kept only.
    fn fold<'v>(
        &mut self,
        records: &mut Block<T::View<'v>>,
        select: &(impl for<'a, 'b> Fn(&'b T::View<'a>) -> K::View<'b> + 'static),
        state: &mut Keyed<'_, K, Self::Value>,
        out: Option<&mut Next<Self::Output>>,
    );

    /// Gives out the value of a key.
    fn emit(key: K::View<'_>, value: Self::Value, out: &mut Next<Self::Output>);
}

/// A number that can be summed. Sums of integers wrap, as in Flink.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be summed",
    label = "not a number",
    note = "the selector gives a number by value: `.sum(|r| r.1)`",
    note = "to combine other types use `reduce`"
)]
pub trait Number: Owned + Copy + PartialOrd {
    #[doc(hidden)]
    fn plus(self, other: Self) -> Self;
}

macro_rules! numbers {
    ($($integer:ty)*; $($float:ty)*) => {
        $(impl Number for $integer {
            #[inline(always)]
            fn plus(self, other: Self) -> Self {
                self.wrapping_add(other)
            }
        })*
        $(impl Number for $float {
            #[inline(always)]
            fn plus(self, other: Self) -> Self {
                self + other
            }
        })*
    };
}

numbers!(u8 u16 u32 u64 usize i8 i16 i32 i64 isize; f32 f64);

/// Keeps one number a key, combined by a function; gives out `(K, V)`.
pub(crate) struct Combine<S, C, V> {
    pub(crate) select: S,
    pub(crate) combine: C,
    pub(crate) _value: PhantomData<fn() -> V>,
}

impl<T, K, V, S, C> Fold<T, K> for Combine<S, C, V>
where
    T: Element,
    K: Key,
    V: Owned,
    S: for<'a, 'b> Fn(&'b T::View<'a>) -> V + 'static,
    C: Fn(&V, V) -> V + 'static,
{
    type Value = V;
    type Output = (K, V);

    #[inline(always)]
    fn fold<'v>(
        &mut self,
        records: &mut Block<T::View<'v>>,
        select: &(impl for<'a, 'b> Fn(&'b T::View<'a>) -> K::View<'b> + 'static),
        state: &mut Keyed<'_, K, V>,
        out: Option<&mut Next<(K, V)>>,
    ) {
        let views = records.as_slice();
        let mut keys = Block::new();
        let places = state.places::<T>(views, select, &mut keys);
        let places = places.as_slice();
        let mut step = |index: usize, view: &T::View<'v>, place: u32| {
            position::row(index as u32);
            let value = (self.select)(view);
            // SAFETY: only values change while the places are used.
            unsafe { state.cache.update(place, |before| combined(&self.combine, before, value)) }.clone()
        };
        let Some(out) = out else {
            for (index, (view, &place)) in views.iter().zip(places).enumerate() {
                step(index, view, place);
            }
            return;
        };
        let mut results = Block::<(K::View<'_>, V)>::new();
        results.take_positions(records);
        let arrays = (views.as_ptr().cast_mut(), places.as_ptr().cast_mut(), results.places());
        if std::mem::needs_drop::<K::View<'_>>() {
            keys.drain(|index, key| {
                let index = index as usize;
                let value = step(index, &views[index], places[index]);
                // SAFETY: a block has a place for each record of another.
                unsafe { arrays.2.add(index).write((key, value)) };
            });
        } else {
            // SAFETY: all three have a place for each record; what is read is
            // written.
            unsafe {
                each_of_three::<4, _, _, _>(views.len(), arrays, |index, view, place, result| {
                    let value = step(index, &*view, *place);
                    result.write((select(&*view), value));
                });
            }
        }
        // SAFETY: they were just written.
        unsafe { results.set_len(views.len()) };
        out.push_block(&mut results);
    }

    fn emit(key: K::View<'_>, value: V, out: &mut Next<(K, V)>) {
        out.push((key, value));
    }
}

/// Keeps a whole element a key, combined by a function; gives out the element.
pub(crate) struct Reduce<C> {
    pub(crate) combine: C,
}

impl<T, K, C> Fold<T, K> for Reduce<C>
where
    T: Owned,
    K: Key,
    C: FnMut(T, T) -> T + 'static,
{
    type Value = T;
    type Output = T;

    #[inline(always)]
    fn fold<'v>(
        &mut self,
        records: &mut Block<T>,
        select: &(impl for<'a, 'b> Fn(&'b T) -> K::View<'b> + 'static),
        state: &mut Keyed<'_, K, T>,
        out: Option<&mut Next<T>>,
    ) {
        let places = state.places::<T>(records.as_slice(), select, &mut Block::new());
        let places = places.as_slice().as_ptr().cast_mut();
        let mut results = Block::<T>::new();
        results.take_positions(records);
        let emits = out.is_some();
        let count = records.len();
        // Should a function of the program panic, the records left are leaked,
        // not dropped twice.
        // SAFETY: as many as there were are written.
        unsafe { records.set_len(0) };
        let arrays = (records.places(), places, results.places());
        // SAFETY: all three have a place for each record; what is read is
        // written, and each record is taken once. Only values change while the
        // places are used.
        unsafe {
            each_of_three::<4, _, _, _>(count, arrays, |index, record, place, result| {
                position::row(index as u32);
                let record = record.read();
                let new = state.cache.update(*place, |before| match before {
                    Some(before) => (self.combine)(before, record),
                    None => record,
                });
                if emits {
                    result.write(new.clone());
                }
            });
        }
        if let Some(out) = out {
            // SAFETY: with an output, each record's result was written.
            unsafe { results.set_len(count) };
            out.push_block(&mut results);
        }
    }

    fn emit(_: K::View<'_>, value: T, out: &mut Next<T>) {
        out.push(value);
    }
}
