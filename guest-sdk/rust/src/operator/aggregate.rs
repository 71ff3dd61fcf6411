//! The keyed aggregation operator: a fold for each key, its value in the state
//! cache. One update a record, or in BATCH one result a key at the end.

use super::fold::{Fold, Keyed};
use crate::batch::reader::{Batch, Hashes};
use crate::block::{BLOCK, Block};
use crate::element::{Element, Key};
use crate::error::Result;
use crate::graph::SubtaskInfo;
use crate::position;
use crate::push::{Next, Push, Signal};
use crate::state::cache::ValueCache;
use std::marker::PhantomData;
use std::rc::Rc;

pub(crate) struct Aggregate<T: Element, K: Key, S, A: Fold<T, K>> {
    id: u32,
    select: Rc<S>,
    fold: A,
    cache: ValueCache<K::Slot, A::Value>,
    out: Next<A::Output>,
    batch_mode: bool,
    scratch: Vec<u8>,
    /// The records of the block before, if they are owned: the next ones are
    /// read into their memory.
    records: Option<Box<Block<T::View<'static>>>>,
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
    /// Whether records are worth keeping.
    const KEEPS: bool = T::OWNED && std::mem::needs_drop::<T::View<'static>>();

    pub(crate) fn new(id: u32, info: &SubtaskInfo, select: Rc<S>, fold: A, out: Next<A::Output>) -> Self {
        Self {
            id,
            select,
            fold,
            cache: ValueCache::new(id, "value", info),
            out,
            batch_mode: info.batch_mode,
            scratch: Vec::new(),
            records: Self::KEEPS.then(Box::default),
            touched: 0,
            _types: PhantomData,
        }
    }

    /// Folds a block of records.
    #[inline(never)]
    fn fold(&mut self, views: &mut Block<T::View<'_>>, hashes: &[u32; BLOCK]) {
        position::operator(self.id);
        views.enter();
        if self.cache.is_large() {
            // Without this, each look-up waits for the memory by itself.
            self.touched ^= hashes[..views.len()].iter().fold(0, |all, hash| all ^ self.cache.touch(*hash));
        }
        let out = if self.batch_mode { None } else { Some(&mut self.out) };
        let hashes = &hashes[..views.len()];
        let mut state = Keyed { cache: &mut self.cache, hashes, scratch: &mut self.scratch };
        self.fold.fold(views, &*self.select, &mut state, out);
    }

    /// The same, with their hashes out of the batch's column if it has one.
    #[inline(always)]
    fn fold_with(
        &mut self,
        column: Option<Hashes<'_>>,
        views: &mut Block<T::View<'_>>,
        hashes: &mut [u32; BLOCK],
    ) {
        match column {
            Some(column) => column.copy(views.base(), &mut hashes[..views.len()]),
            None => {
                for (hash, view) in hashes.iter_mut().zip(views.as_slice()) {
                    *hash = K::key(&(self.select)(view), &mut self.scratch).hash();
                }
            }
        }
        self.fold(views, hashes);
    }

    fn hash_of(&mut self, view: &T::View<'_>) -> u32 {
        K::key(&(self.select)(view), &mut self.scratch).hash()
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
}

/// Reads rows of owned elements over those that a block has.
#[inline(always)]
fn read_again<'b, T: Element>(
    records: &mut Block<T::View<'static>>,
    base: u32,
    count: u32,
    cursor: &mut T::Cursor<'b>,
) {
    debug_assert!(T::OWNED);
    // SAFETY: an owned element's view is the same type for every lifetime.
    let records = unsafe { &mut *std::ptr::from_mut(records).cast::<Block<T::View<'b>>>() };
    // SAFETY: rows are read in order and below the batch's count.
    records.refill(
        base,
        count,
        cursor,
        |cursor, index, value| unsafe { T::read_over(cursor, (base + index) as usize, value) },
        |cursor, index| unsafe { T::read(cursor, (base + index) as usize) },
    );
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
        let mut views = Block::new();
        let mut hashes = [0; BLOCK];
        hashes[0] = self.hash_of(&value);
        views.put(value);
        self.fold(&mut views, &hashes);
        self.cache.end_batch();
    }

    fn push_batch(&mut self, batch: &Batch<'_, T>) {
        position::operator(self.id);
        position::leave_block();
        if self.cache.host_holds() {
            self.prefetch(batch);
        }
        let column = batch.hashes();
        let mut hashes = [0; BLOCK];
        batch.in_blocks(|base, count, cursor| {
            if let (true, Some(mut records)) = (Self::KEEPS, self.records.take()) {
                read_again::<T>(&mut records, base, count, cursor);
                self.fold_with(column, &mut records, &mut hashes);
                self.records = Some(records);
            } else {
                let mut views = Block::new();
                // SAFETY: rows are read in order and below the batch's count.
                views.fill(base, count, |index| unsafe { T::read(cursor, (base + index) as usize) });
                self.fold_with(column, &mut views, &mut hashes);
            }
        });
        self.cache.end_batch();
    }

    fn signal(&mut self, signal: Signal) -> Result<()> {
        match signal {
            Signal::EndBatch | Signal::Flush => {}
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
