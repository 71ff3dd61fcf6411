//! The keyed aggregation operator: a fold for each key, its value in the state
//! cache. One update a record, or in BATCH one result a key at the end.

use super::fold::Fold;
use crate::batch::reader::{Batch, Hashes};
use crate::element::{Element, Key};
use crate::error::Result;
use crate::graph::SubtaskInfo;
use crate::position;
use crate::push::{Next, Push, Signal};
use crate::state::cache::ValueCache;
use std::marker::PhantomData;
use std::rc::Rc;

/// Look-ups are announced this many records ahead. Measured: 16 beats 8 and
/// is as good as 32 at a million keys.
const AHEAD: usize = 16;

pub(crate) struct Aggregate<T: Element, K: Key, S, A: Fold<T, K>> {
    id: u32,
    select: Rc<S>,
    fold: A,
    cache: ValueCache<A::Value>,
    out: Next<A::Output>,
    batch_mode: bool,
    scratch: Vec<u8>,
    /// Keeps announced look-ups from being optimised away.
    touched: u64,
    _types: PhantomData<fn(T) -> K>,
}

impl<T, K, S, A> Aggregate<T, K, S, A>
where
    T: Element,
    K: Key,
    S: for<'a, 'b> Fn(&'b T::View<'a>) -> K::View<'b> + 'static,
    A: Fold<T, K>,
{
    pub(crate) fn new(id: u32, info: &SubtaskInfo, select: Rc<S>, fold: A, out: Next<A::Output>) -> Self {
        Self {
            id,
            select,
            fold,
            cache: ValueCache::new(id, "value", info),
            out,
            batch_mode: info.batch_mode,
            scratch: Vec::new(),
            touched: 0,
            _types: PhantomData,
        }
    }

    #[inline(always)]
    fn step(&mut self, hash: Option<u32>, view: T::View<'_>) {
        let (cache, scratch) = (&mut self.cache, &mut self.scratch);
        let out = if self.batch_mode { None } else { Some(&mut self.out) };
        let find = move |key: &K::View<'_>| {
            let cache = cache;
            let key = K::key(key, scratch);
            cache.slot(hash.unwrap_or_else(|| key.hash()), &key)
        };
        self.fold.step(view, &*self.select, find, out);
    }

    /// Fetches the values that a batch needs and the cache does not have.
    #[cold]
    fn prefetch(&mut self, batch: &Batch<'_, T>) {
        let mut cursor = batch.cursor();
        for row in 0..batch.rows() {
            // SAFETY: rows are read in order and below the batch's count.
            let view = unsafe { T::read(&mut cursor, row as usize) };
            let selected = (self.select)(&view);
            let key = K::key(&selected, &mut self.scratch);
            self.cache.want(key.hash(), &key);
        }
        self.cache.fetch();
    }

    #[inline(never)]
    fn run(&mut self, batch: &Batch<'_, T>, hashes: Hashes<'_>) {
        let mut cursor = batch.cursor();
        let rows = batch.rows() as usize;
        for row in 0..rows {
            position::operator(self.id);
            position::row(row as u32);
            // SAFETY: rows are read in order and below the batch's count.
            let view = unsafe { T::read(&mut cursor, row) };
            self.step(Some(hashes.get(row as u32)), view);
        }
    }

    /// As `run`, for a table that does not fit a core's cache.
    #[inline(never)]
    fn run_ahead(&mut self, batch: &Batch<'_, T>, hashes: Hashes<'_>) {
        let mut cursor = batch.cursor();
        let rows = batch.rows() as usize;
        let mut start = 0;
        while start < rows {
            let end = (start + AHEAD).min(rows);
            let mut touched = 0;
            for row in start..end {
                touched ^= self.cache.touch(hashes.get(row as u32));
            }
            self.touched ^= touched;
            for row in start..end {
                position::operator(self.id);
                position::row(row as u32);
                // SAFETY: rows are read in order and below the batch's count.
                let view = unsafe { T::read(&mut cursor, row) };
                self.step(Some(hashes.get(row as u32)), view);
            }
            start = end;
        }
    }
}

impl<T, K, S, A> Push<T> for Aggregate<T, K, S, A>
where
    T: Element,
    K: Key,
    S: for<'a, 'b> Fn(&'b T::View<'a>) -> K::View<'b> + 'static,
    A: Fold<T, K>,
{
    fn push(&mut self, value: T::View<'_>) {
        position::operator(self.id);
        if self.cache.host_holds() {
            let selected = (self.select)(&value);
            let key = K::key(&selected, &mut self.scratch);
            self.cache.want(key.hash(), &key);
            self.cache.fetch();
        }
        self.step(None, value);
        self.cache.end_batch();
    }

    fn push_batch(&mut self, batch: &Batch<'_, T>) {
        position::operator(self.id);
        position::leave_block();
        if self.cache.host_holds() {
            self.prefetch(batch);
        }
        match batch.hashes() {
            Some(hashes) if self.cache.is_large() => self.run_ahead(batch, hashes),
            Some(hashes) => self.run(batch, hashes),
            None => {
                let mut cursor = batch.cursor();
                for row in 0..batch.rows() {
                    position::operator(self.id);
                    position::row(row);
                    // SAFETY: rows are read in order and below the batch's count.
                    let view = unsafe { T::read(&mut cursor, row as usize) };
                    self.step(None, view);
                }
            }
        }
        self.cache.end_batch();
    }

    fn signal(&mut self, signal: Signal) -> Result<()> {
        match signal {
            Signal::Flush => {}
            Signal::FlushState => self.cache.flush(),
            Signal::Finish => {
                if self.batch_mode {
                    let out = &mut self.out;
                    self.cache.each(|mut key, value| A::emit(K::read_row(&mut key, true), value, out));
                }
                self.cache.flush();
            }
        }
        self.out.signal(signal)
    }
}
