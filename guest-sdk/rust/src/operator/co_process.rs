//! Functions of two connected streams: with state for the key of the record,
//! or without a key.

use crate::batch::hash::KeyRef;
use crate::batch::reader::{Batch, Hashes};
use crate::collector::{Collector, Stage};
use crate::context::{Context, KeyRow, KeyedContext, OpenContext};
use crate::element::{Element, Key};
use crate::error::{IntoResult, Result};
use crate::failure;
use crate::graph::SubtaskInfo;
use crate::operator::side_output::SideOutputs;
use crate::position;
use crate::push::{Next, Signal};
use crate::runtime::head::TwoInputs;
use crate::state::keyed::KeyedStates;
use std::marker::PhantomData;
use std::rc::Rc;

/// A function of two connected streams without a key: `A` and `B` come in, `U`
/// goes out.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a function of connected streams of `{A}` and `{B}` that gives out `{U}`",
    note = "implement `CoProcessFunction<{A}, {B}, {U}>`, or use closures with `map` or `flat_map`"
)]
pub trait CoProcessFunction<A: Element, B: Element, U: Element>: 'static {
    /// Called once, before the first record.
    fn open(&mut self, _ctx: &mut OpenContext<'_>) -> Result<()> {
        Ok(())
    }

    /// Takes a record of the first stream.
    fn process1(
        &mut self,
        value: A::View<'_>,
        ctx: &mut Context<'_>,
        out: &mut Collector<'_, U>,
    ) -> Result<()>;

    /// Takes a record of the second stream.
    fn process2(
        &mut self,
        value: B::View<'_>,
        ctx: &mut Context<'_>,
        out: &mut Collector<'_, U>,
    ) -> Result<()>;
}

/// A function of two connected streams with the same key.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a function of connected streams of `{A}` and `{B}` keyed by `{K}` that gives out `{U}`",
    note = "implement `KeyedCoProcessFunction<{K}, {A}, {B}, {U}>`"
)]
pub trait KeyedCoProcessFunction<K: Key, A: Element, B: Element, U: Element>: 'static {
    /// Called once, before the first record: the place to get state.
    fn open(&mut self, _ctx: &mut OpenContext<'_>) -> Result<()> {
        Ok(())
    }

    /// Takes a record of the first stream; state is that of its key.
    fn process1(
        &mut self,
        value: A::View<'_>,
        ctx: &mut KeyedContext<'_, K>,
        out: &mut Collector<'_, U>,
    ) -> Result<()>;

    /// Takes a record of the second stream; state is that of its key.
    fn process2(
        &mut self,
        value: B::View<'_>,
        ctx: &mut KeyedContext<'_, K>,
        out: &mut Collector<'_, U>,
    ) -> Result<()>;
}

/// A function of a keyed stream and one that all subtasks see in full.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a function of a stream of `{A}` keyed by `{K}` and a broadcast one of `{B}` that gives out `{U}`",
    note = "implement `KeyedBroadcastProcessFunction<{K}, {A}, {B}, {U}>`"
)]
pub trait KeyedBroadcastProcessFunction<K: Key, A: Element, B: Element, U: Element>: 'static {
    /// Called once, before the first record: the place to get state.
    fn open(&mut self, _ctx: &mut OpenContext<'_>) -> Result<()> {
        Ok(())
    }

    /// Takes a record of the keyed stream; state is that of its key.
    fn process(
        &mut self,
        value: A::View<'_>,
        ctx: &mut KeyedContext<'_, K>,
        out: &mut Collector<'_, U>,
    ) -> Result<()>;

    /// Takes a record of the broadcast stream; it has no key, and state must
    /// not be used.
    fn process_broadcast(
        &mut self,
        value: B::View<'_>,
        ctx: &mut Context<'_>,
        out: &mut Collector<'_, U>,
    ) -> Result<()>;
}

/// Two closures over one value that both may change.
pub(crate) struct Shared<V, F, G> {
    pub(crate) shared: V,
    pub(crate) first: F,
    pub(crate) second: G,
}

impl<A: Element, B: Element, U: Element, V: 'static, F, G, R: IntoResult, Q: IntoResult>
    CoProcessFunction<A, B, U> for Shared<V, F, G>
where
    F: for<'a, 'b, 'c, 'd> FnMut(&'b mut V, A::View<'a>, &'c mut Collector<'d, U>) -> R + 'static,
    G: for<'a, 'b, 'c, 'd> FnMut(&'b mut V, B::View<'a>, &'c mut Collector<'d, U>) -> Q + 'static,
{
    #[inline]
    fn process1(
        &mut self,
        value: A::View<'_>,
        _: &mut Context<'_>,
        out: &mut Collector<'_, U>,
    ) -> Result<()> {
        (self.first)(&mut self.shared, value, out).into_result()
    }

    #[inline]
    fn process2(
        &mut self,
        value: B::View<'_>,
        _: &mut Context<'_>,
        out: &mut Collector<'_, U>,
    ) -> Result<()> {
        (self.second)(&mut self.shared, value, out).into_result()
    }
}

/// What the operator below runs; made of one of the traits above.
pub(crate) trait Call<A: Element, B: Element, U: Element>: 'static {
    fn open(&mut self, ctx: &mut OpenContext<'_>) -> Result<()>;
    fn first(
        &mut self,
        value: A::View<'_>,
        key: Option<KeyRow>,
        ctx: Context<'_>,
        out: &mut Collector<'_, U>,
    ) -> Result<()>;
    fn second(
        &mut self,
        value: B::View<'_>,
        key: Option<KeyRow>,
        ctx: Context<'_>,
        out: &mut Collector<'_, U>,
    ) -> Result<()>;
}

/// Runs a function without a key.
pub(crate) struct Plain<F>(pub(crate) F);

impl<A: Element, B: Element, U: Element, F: CoProcessFunction<A, B, U>> Call<A, B, U> for Plain<F> {
    fn open(&mut self, ctx: &mut OpenContext<'_>) -> Result<()> {
        self.0.open(ctx)
    }

    #[inline]
    fn first(
        &mut self,
        value: A::View<'_>,
        _: Option<KeyRow>,
        mut ctx: Context<'_>,
        out: &mut Collector<'_, U>,
    ) -> Result<()> {
        self.0.process1(value, &mut ctx, out)
    }

    #[inline]
    fn second(
        &mut self,
        value: B::View<'_>,
        _: Option<KeyRow>,
        mut ctx: Context<'_>,
        out: &mut Collector<'_, U>,
    ) -> Result<()> {
        self.0.process2(value, &mut ctx, out)
    }
}

#[inline(always)]
fn keyed<'c, K: Key>(plain: Context<'c>, key: Option<KeyRow>) -> KeyedContext<'c, K> {
    let key = key.expect("a keyed input selects a key");
    KeyedContext { plain, key, _key: PhantomData }
}

/// Runs a function of two keyed inputs.
pub(crate) struct BothKeyed<F, K>(pub(crate) F, pub(crate) PhantomData<fn() -> K>);

impl<K, A, B, U, F> Call<A, B, U> for BothKeyed<F, K>
where
    K: Key,
    A: Element,
    B: Element,
    U: Element,
    F: KeyedCoProcessFunction<K, A, B, U>,
{
    fn open(&mut self, ctx: &mut OpenContext<'_>) -> Result<()> {
        self.0.open(ctx)
    }

    #[inline]
    fn first(
        &mut self,
        value: A::View<'_>,
        key: Option<KeyRow>,
        ctx: Context<'_>,
        out: &mut Collector<'_, U>,
    ) -> Result<()> {
        self.0.process1(value, &mut keyed(ctx, key), out)
    }

    #[inline]
    fn second(
        &mut self,
        value: B::View<'_>,
        key: Option<KeyRow>,
        ctx: Context<'_>,
        out: &mut Collector<'_, U>,
    ) -> Result<()> {
        self.0.process2(value, &mut keyed(ctx, key), out)
    }
}

/// Runs a function of a keyed and a broadcast input.
pub(crate) struct FirstKeyed<F, K>(pub(crate) F, pub(crate) PhantomData<fn() -> K>);

impl<K, A, B, U, F> Call<A, B, U> for FirstKeyed<F, K>
where
    K: Key,
    A: Element,
    B: Element,
    U: Element,
    F: KeyedBroadcastProcessFunction<K, A, B, U>,
{
    fn open(&mut self, ctx: &mut OpenContext<'_>) -> Result<()> {
        self.0.open(ctx)
    }

    #[inline]
    fn first(
        &mut self,
        value: A::View<'_>,
        key: Option<KeyRow>,
        ctx: Context<'_>,
        out: &mut Collector<'_, U>,
    ) -> Result<()> {
        self.0.process(value, &mut keyed(ctx, key), out)
    }

    #[inline]
    fn second(
        &mut self,
        value: B::View<'_>,
        _: Option<KeyRow>,
        mut ctx: Context<'_>,
        out: &mut Collector<'_, U>,
    ) -> Result<()> {
        self.0.process_broadcast(value, &mut ctx, out)
    }
}

/// Selects the key of an input, if it has one.
pub(crate) trait SelectKey<T: Element>: 'static {
    const KEYED: bool;
    fn key(&self, value: &T::View<'_>, scratch: &mut Vec<u8>) -> KeyRef;
}

/// No key.
pub(crate) struct Unkeyed;

impl<T: Element> SelectKey<T> for Unkeyed {
    const KEYED: bool = false;
    fn key(&self, _: &T::View<'_>, _: &mut Vec<u8>) -> KeyRef {
        KeyRef::of_word(0, 0)
    }
}

/// The key that a function selects.
pub(crate) struct By<S, K>(pub(crate) Rc<S>, pub(crate) PhantomData<fn() -> K>);

impl<T, K, S> SelectKey<T> for By<S, K>
where
    T: Element,
    K: Key,
    S: for<'a, 'b> Fn(&'b T::View<'a>) -> K::View<'b> + 'static,
{
    const KEYED: bool = true;
    #[inline(always)]
    fn key(&self, value: &T::View<'_>, scratch: &mut Vec<u8>) -> KeyRef {
        K::key(&(self.0)(value), scratch)
    }
}

pub(crate) struct CoProcess<U: Element, C, S1, S2> {
    id: u32,
    call: C,
    select: (S1, S2),
    states: KeyedStates,
    info: Rc<SubtaskInfo>,
    sides: SideOutputs,
    out: Stage<U>,
    scratch: Vec<u8>,
}

impl<U: Element, C, S1, S2> CoProcess<U, C, S1, S2> {
    pub(crate) fn open<A: Element, B: Element>(
        id: u32,
        mut call: C,
        select: (S1, S2),
        info: Rc<SubtaskInfo>,
        sides: SideOutputs,
        out: Next<U>,
    ) -> Result<Self>
    where
        C: Call<A, B, U>,
        S1: SelectKey<A>,
        S2: SelectKey<B>,
    {
        let mut states = KeyedStates::new(id, &info);
        let keyed = S1::KEYED || S2::KEYED;
        call.open(&mut OpenContext { info: &info, states: keyed.then_some(&mut states) })?;
        let out = Stage::new(id, out);
        Ok(Self { id, call, select, states, info, sides, out, scratch: Vec::new() })
    }
}

/// Makes a record's key the current one.
#[inline(always)]
fn enter<T: Element, S: SelectKey<T>>(
    select: &S,
    states: &mut KeyedStates,
    scratch: &mut Vec<u8>,
    hash: Option<u32>,
    value: &T::View<'_>,
) -> Option<KeyRow> {
    if !S::KEYED {
        return None;
    }
    let key = select.key(value, scratch);
    Some(KeyRow::new(states.set_current(hash.unwrap_or_else(|| key.hash()), &key)))
}

/// Fetches what a batch needs and the cache does not have.
fn prefetch<T: Element, S: SelectKey<T>>(
    select: &S,
    states: &mut KeyedStates,
    scratch: &mut Vec<u8>,
    batch: &Batch<'_, T>,
) {
    if !S::KEYED || !states.host_holds() {
        return;
    }
    let mut cursor = batch.cursor();
    for row in 0..batch.rows() {
        // SAFETY: rows are read in order and below the batch's count.
        let value = unsafe { T::read(&mut cursor, row as usize) };
        let key = select.key(&value, scratch);
        states.want(key.hash(), &key);
    }
    states.fetch();
}

/// Reads a batch row by row with its hashes.
#[inline(always)]
fn rows<T: Element>(batch: &Batch<'_, T>, mut each: impl FnMut(Option<u32>, T::View<'_>)) {
    let hashes: Option<Hashes<'_>> = batch.hashes();
    let mut cursor = batch.cursor();
    for row in 0..batch.rows() {
        position::row(row);
        // SAFETY: rows are read in order and below the batch's count.
        let value = unsafe { T::read(&mut cursor, row as usize) };
        each(hashes.map(|hashes| hashes.get(row)), value);
    }
}

impl<A, B, U, C, S1, S2> TwoInputs<A, B> for CoProcess<U, C, S1, S2>
where
    A: Element,
    B: Element,
    U: Element,
    C: Call<A, B, U>,
    S1: SelectKey<A>,
    S2: SelectKey<B>,
{
    fn first_batch(&mut self, batch: &Batch<'_, A>) {
        position::operator(self.id);
        prefetch(&self.select.0, &mut self.states, &mut self.scratch, batch);
        rows(batch, |hash, value| {
            position::operator(self.id);
            let key = enter::<A, _>(&self.select.0, &mut self.states, &mut self.scratch, hash, &value);
            let context = Context { info: &self.info, sides: &mut self.sides, operator: self.id };
            let mut out = self.out.collector();
            if let Err(error) = self.call.first(value, key, context, &mut out) {
                failure::fail(error);
            }
        });
        self.states.end_batch();
    }

    fn second_batch(&mut self, batch: &Batch<'_, B>) {
        position::operator(self.id);
        prefetch(&self.select.1, &mut self.states, &mut self.scratch, batch);
        rows(batch, |hash, value| {
            position::operator(self.id);
            let key = enter::<B, _>(&self.select.1, &mut self.states, &mut self.scratch, hash, &value);
            let context = Context { info: &self.info, sides: &mut self.sides, operator: self.id };
            let mut out = self.out.collector();
            if let Err(error) = self.call.second(value, key, context, &mut out) {
                failure::fail(error);
            }
        });
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
