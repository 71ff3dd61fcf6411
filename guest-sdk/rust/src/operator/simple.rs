//! `map`, `filter` and `flat_map`. `map` and `filter` work on blocks, so that
//! the dynamic call to the next operator is paid once a block; `flat_map`
//! gives out borrowed views and cannot.

use crate::batch::reader::Batch;
use crate::block::Block;
use crate::collector::{Collector, Stage};
use crate::element::{Element, Owned};
use crate::error::{IntoResult, Result};
use crate::failure;
use crate::position;
use crate::push::{Next, Push, Signal};

pub(crate) struct Map<F, U: Element> {
    id: u32,
    f: F,
    block: Box<Block<U>>,
    out: Next<U>,
}

impl<F, U: Owned> Map<F, U> {
    pub(crate) fn new(id: u32, f: F, out: Next<U>) -> Self {
        Self { id, f, block: Box::default(), out }
    }
}

impl<T: Element, U: Owned, F> Push<T> for Map<F, U>
where
    F: for<'a> FnMut(T::View<'a>) -> U,
{
    #[inline]
    fn push(&mut self, value: T::View<'_>) {
        position::operator(self.id);
        let mapped = (self.f)(value);
        self.out.push(mapped);
    }

    fn push_block<'a>(&mut self, block: &mut Block<T::View<'a>>) {
        position::operator(self.id);
        block.enter();
        let (f, to) = (&mut self.f, &mut self.block);
        to.fill_from(block, |index, value| {
            position::row(index);
            f(value)
        });
        self.out.push_block(to);
    }

    fn push_batch(&mut self, batch: &Batch<'_, T>) {
        batch.in_blocks(|base, count, cursor| {
            position::operator(self.id);
            position::leave_block();
            self.block.fill(base, count, |index| {
                position::row(base + index);
                // SAFETY: rows are read in order and below the count.
                (self.f)(unsafe { T::read(cursor, (base + index) as usize) })
            });
            self.out.push_block(&mut self.block);
        });
    }

    fn signal(&mut self, signal: Signal) -> Result<()> {
        self.out.signal(signal)
    }
}

pub(crate) struct Filter<F, T: Element> {
    id: u32,
    f: F,
    out: Next<T>,
}

impl<F, T: Element> Filter<F, T> {
    pub(crate) fn new(id: u32, f: F, out: Next<T>) -> Self {
        Self { id, f, out }
    }
}

impl<T: Element, F> Push<T> for Filter<F, T>
where
    F: for<'a, 'b> FnMut(&'b T::View<'a>) -> bool,
{
    #[inline]
    fn push(&mut self, value: T::View<'_>) {
        position::operator(self.id);
        if (self.f)(&value) {
            self.out.push(value);
        }
    }

    fn push_block<'a>(&mut self, block: &mut Block<T::View<'a>>) {
        position::operator(self.id);
        block.enter();
        let f = &mut self.f;
        block.retain(|index, value| {
            position::row(index);
            f(value)
        });
        if !block.is_empty() {
            self.out.push_block(block);
        }
    }

    fn push_batch(&mut self, batch: &Batch<'_, T>) {
        let mut block = Block::new();
        batch.in_blocks(|base, count, cursor| {
            position::operator(self.id);
            position::leave_block();
            block.fill_if(base, count, |index| {
                position::row(base + index);
                // SAFETY: rows are read in order and below the count.
                let value = unsafe { T::read(cursor, (base + index) as usize) };
                let keep = (self.f)(&value);
                (value, keep)
            });
            if !block.is_empty() {
                self.out.push_block(&mut block);
            }
        });
    }

    fn signal(&mut self, signal: Signal) -> Result<()> {
        self.out.signal(signal)
    }
}

pub(crate) struct FlatMap<F, U: Element> {
    id: u32,
    f: F,
    out: Stage<U>,
}

impl<F, U: Element> FlatMap<F, U> {
    pub(crate) fn new(id: u32, f: F, out: Next<U>) -> Self {
        Self { id, f, out: Stage::new(id, out) }
    }
}

impl<T: Element, U: Element, F, R: IntoResult> Push<T> for FlatMap<F, U>
where
    F: for<'a, 'c, 'd> FnMut(T::View<'a>, &'c mut Collector<'d, U>) -> R,
{
    #[inline]
    fn push(&mut self, value: T::View<'_>) {
        position::operator(self.id);
        let result = (self.f)(value, &mut self.out.collector());
        if let Err(error) = result.into_result() {
            failure::fail(error);
        }
    }

    fn signal(&mut self, signal: Signal) -> Result<()> {
        self.out.signal(signal)
    }
}
