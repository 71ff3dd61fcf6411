//! Process functions of a keyed stream: state for the key of each record.

use crate::batch::reader::Batch;
use crate::collector::{Collector, Stage};
use crate::context::{Context, KeyRow, KeyedContext, OpenContext};
use crate::element::{Element, Key};
use crate::error::{IntoResult, Result};
use crate::failure;
use crate::graph::SubtaskInfo;
use crate::operator::side_output::SideOutputs;
use crate::position;
use crate::push::{Next, Push, Signal};
use crate::state::keyed::KeyedStates;
use std::marker::PhantomData;
use std::rc::Rc;

/// A function of a keyed stream: `K` is the key, `T` comes in, `U` goes out.
///
/// ```
/// use heddle::prelude::*;
///
/// /// Gives out a word when it is seen for the first time.
/// #[derive(Default)]
/// struct FirstSeen {
///     seen: ValueState<bool>,
/// }
///
/// impl KeyedProcessFunction<Str, Str, String> for FirstSeen {
///     fn open(&mut self, ctx: &mut OpenContext<'_>) -> heddle::Result<()> {
///         self.seen = ctx.value_state("seen");
///         Ok(())
///     }
///
///     fn process(
///         &mut self,
///         word: &str,
///         _ctx: &mut KeyedContext<'_, Str>,
///         out: &mut Collector<'_, String>,
///     ) -> heddle::Result<()> {
///         if self.seen.get().is_none() {
///             self.seen.set(true);
///             out.collect(word.to_string());
///         }
///         Ok(())
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a process function of a stream of `{T}` keyed by `{K}` that gives out `{U}`",
    note = "implement `KeyedProcessFunction<{K}, {T}, {U}>`, or use a closure with `process_with`"
)]
pub trait KeyedProcessFunction<K: Key, T: Element, U: Element>: 'static {
    /// Called once, before the first record: the place to get state.
    fn open(&mut self, _ctx: &mut OpenContext<'_>) -> Result<()> {
        Ok(())
    }

    /// Takes a record; state is that of its key. An error ends the attempt.
    fn process(
        &mut self,
        value: T::View<'_>,
        ctx: &mut KeyedContext<'_, K>,
        out: &mut Collector<'_, U>,
    ) -> Result<()>;
}

/// A closure that gets its state first, and what it gave: the function.
pub(crate) struct Closure<O, F> {
    open: Option<O>,
    f: Option<F>,
}

impl<O, F> Closure<O, F> {
    pub(crate) fn new(open: O) -> Self {
        Self { open: Some(open), f: None }
    }
}

impl<K: Key, T: Element, U: Element, O, F, R: IntoResult> KeyedProcessFunction<K, T, U> for Closure<O, F>
where
    O: FnOnce(&mut OpenContext<'_>) -> F + 'static,
    F: for<'a, 'b, 'c, 'd, 'e> FnMut(T::View<'a>, &'b mut KeyedContext<'c, K>, &'d mut Collector<'e, U>) -> R
        + 'static,
{
    fn open(&mut self, ctx: &mut OpenContext<'_>) -> Result<()> {
        self.f = self.open.take().map(|open| open(ctx));
        Ok(())
    }

    #[inline]
    fn process(
        &mut self,
        value: T::View<'_>,
        ctx: &mut KeyedContext<'_, K>,
        out: &mut Collector<'_, U>,
    ) -> Result<()> {
        let f = self.f.as_mut().expect("opened before the first record");
        f(value, ctx, out).into_result()
    }
}

pub(crate) struct KeyedProcess<T, K, U: Element, S, F> {
    id: u32,
    f: F,
    select: Rc<S>,
    states: KeyedStates,
    info: Rc<SubtaskInfo>,
    sides: SideOutputs,
    out: Stage<U>,
    scratch: Vec<u8>,
    _types: PhantomData<fn(T) -> K>,
}

impl<T, K, U, S, F> KeyedProcess<T, K, U, S, F>
where
    T: Element,
    K: Key,
    U: Element,
    S: for<'a, 'b> Fn(&'b T::View<'a>) -> K::View<'b> + 'static,
    F: KeyedProcessFunction<K, T, U>,
{
    pub(crate) fn open(
        id: u32,
        mut f: F,
        select: Rc<S>,
        info: Rc<SubtaskInfo>,
        sides: SideOutputs,
        out: Next<U>,
    ) -> Result<Self> {
        let mut states = KeyedStates::new(id, &info);
        f.open(&mut OpenContext { info: &info, states: Some(&mut states) })?;
        let out = Stage::new(id, out);
        Ok(Self { id, f, select, states, info, sides, out, scratch: Vec::new(), _types: PhantomData })
    }

    #[inline]
    fn step(&mut self, hash: Option<u32>, value: T::View<'_>) {
        position::operator(self.id);
        let key = {
            let selected = (self.select)(&value);
            let key = K::key(&selected, &mut self.scratch);
            self.states.set_current(hash.unwrap_or_else(|| key.hash()), &key)
        };
        let plain = Context { info: &self.info, sides: &mut self.sides, operator: self.id };
        let mut context = KeyedContext { plain, key: KeyRow::new(key), _key: PhantomData };
        let mut out = self.out.collector();
        if let Err(error) = self.f.process(value, &mut context, &mut out) {
            failure::fail(error);
        }
    }

    #[cold]
    fn prefetch(&mut self, batch: &Batch<'_, T>) {
        let mut cursor = batch.cursor();
        for row in 0..batch.rows() {
            // SAFETY: rows are read in order and below the batch's count.
            let view = unsafe { T::read(&mut cursor, row as usize) };
            let selected = (self.select)(&view);
            let key = K::key(&selected, &mut self.scratch);
            self.states.want(key.hash(), &key);
        }
        self.states.fetch();
    }
}

impl<T, K, U, S, F> Push<T> for KeyedProcess<T, K, U, S, F>
where
    T: Element,
    K: Key,
    U: Element,
    S: for<'a, 'b> Fn(&'b T::View<'a>) -> K::View<'b> + 'static,
    F: KeyedProcessFunction<K, T, U>,
{
    fn push(&mut self, value: T::View<'_>) {
        if self.states.host_holds() {
            let selected = (self.select)(&value);
            let key = K::key(&selected, &mut self.scratch);
            self.states.want(key.hash(), &key);
            self.states.fetch();
        }
        self.step(None, value);
        self.states.end_batch();
    }

    fn push_batch(&mut self, batch: &Batch<'_, T>) {
        position::operator(self.id);
        position::leave_block();
        if self.states.host_holds() {
            self.prefetch(batch);
        }
        let hashes = batch.hashes();
        let mut cursor = batch.cursor();
        for row in 0..batch.rows() {
            position::row(row);
            // SAFETY: rows are read in order and below the batch's count.
            let value = unsafe { T::read(&mut cursor, row as usize) };
            self.step(hashes.map(|hashes| hashes.get(row)), value);
        }
        self.states.end_batch();
    }

    fn signal(&mut self, signal: Signal) -> Result<()> {
        if matches!(signal, Signal::FlushState | Signal::Finish) {
            self.states.flush();
        }
        self.sides.signal(signal)?;
        self.out.signal(signal)
    }
}
