//! What a keyed aggregation does with a record: `sum`, `min`, `max`, `count`
//! and `reduce`, each compiled into its own loop.

use crate::element::{Element, Key, Owned};
use crate::push::Next;
use crate::state::cache::Slot;
use std::marker::PhantomData;

/// One step of an aggregation of `T` by `K`.
pub(crate) trait Fold<T: Element, K: Element>: 'static {
    /// What is kept for a key.
    type Value: Owned;
    /// What is given out.
    type Output: Element;

    /// Takes a record. `find` gives the slot of its key; without `out`, the
    /// result is kept only.
    fn step<'v, 's>(
        &mut self,
        view: T::View<'v>,
        select: &(impl for<'a, 'b> Fn(&'b T::View<'a>) -> K::View<'b> + 'static),
        find: impl FnOnce(&K::View<'_>) -> Slot<'s, Self::Value>,
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
    fn step<'v, 's>(
        &mut self,
        view: T::View<'v>,
        select: &(impl for<'a, 'b> Fn(&'b T::View<'a>) -> K::View<'b> + 'static),
        find: impl FnOnce(&K::View<'_>) -> Slot<'s, V>,
        out: Option<&mut Next<(K, V)>>,
    ) {
        let key = select(&view);
        let value = (self.select)(&view);
        let new = match find(&key) {
            Slot::Present(slot) => {
                let slot = slot.get();
                *slot = (self.combine)(slot, value);
                slot
            }
            Slot::Absent(vacant) => vacant.put(value),
        };
        if let Some(out) = out {
            out.push((key, new.clone()));
        }
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
    fn step<'v, 's>(
        &mut self,
        view: T,
        select: &(impl for<'a, 'b> Fn(&'b T) -> K::View<'b> + 'static),
        find: impl FnOnce(&K::View<'_>) -> Slot<'s, T>,
        out: Option<&mut Next<T>>,
    ) {
        let slot = find(&select(&view));
        let new = match slot {
            Slot::Present(slot) => slot.replace_with(|before| (self.combine)(before, view)),
            Slot::Absent(vacant) => vacant.put(view),
        };
        if let Some(out) = out {
            out.push(new.clone());
        }
    }

    fn emit(_: K::View<'_>, value: T, out: &mut Next<T>) {
        out.push(value);
    }
}
