//! Where a function of the program puts the elements that it makes. They are
//! staged, so that the call to the next operator is paid once for many: plain
//! ones in columns, which may be those of the batch that goes out, owned ones in
//! a block. Others go on one by one.

use crate::batch::builder::BatchBuilder;
use crate::batch::reader::Batch;
use crate::block::{BLOCK, Block};
use crate::element::Element;
use crate::error::Result;
use crate::position;
use crate::push::{Next, Signal};
use std::mem::ManuallyDrop;

/// A stage stays in the first-level cache, with the batch that it is read into.
const STAGE_BYTES: usize = 8 * 1024;
/// Most records of a stage.
const STAGE_ROWS: usize = 1024;

/// Takes what a function gives out.
pub struct Collector<'c, U: Element> {
    stage: &'c mut Stage<U>,
}

impl<'c, U: Element> Collector<'c, U> {
    /// Gives out an element.
    #[inline(always)]
    pub fn collect(&mut self, value: U::View<'_>) {
        self.stage.collect(value);
    }
}

/// What an operator with a collector has behind it.
pub(crate) struct Stage<U: Element> {
    operator: u32,
    out: Next<U>,
    /// Used for plain elements: of a batch for the next operator to read, or of
    /// one that it sends as it lies.
    columns: BatchBuilder<U>,
    /// Whether the next operator sends it.
    sends: bool,
    /// Rows that the next operator has taken.
    taken: usize,
    /// The record that each element came from that is staged and not taken.
    origins: Box<[u32]>,
    /// The record that the operator works on.
    origin: u32,
    /// Used for owned elements that are not plain.
    block: Option<Box<Block<U::View<'static>>>>,
}

impl<U: Element> Stage<U> {
    pub(crate) fn new(operator: u32, out: Next<U>) -> Self {
        let rows = if U::PLAIN || U::OWNED { STAGE_ROWS } else { 0 };
        let batches = out.batches().filter(|_| U::PLAIN);
        let columns = match batches {
            Some(batches) => BatchBuilder::new(batches.hashed, batches.size),
            None => BatchBuilder::staging(STAGE_BYTES, STAGE_ROWS),
        };
        Self {
            operator,
            out,
            columns,
            sends: batches.is_some(),
            taken: 0,
            origins: vec![0; rows].into_boxed_slice(),
            origin: 0,
            block: (U::OWNED && !U::PLAIN).then(Box::default),
        }
    }

    /// The collector for a function's call.
    #[inline(always)]
    pub(crate) fn collector(&mut self) -> Collector<'_, U> {
        self.origin = position::origin();
        Collector { stage: self }
    }

    #[inline(always)]
    pub(crate) fn collect(&mut self, value: U::View<'_>) {
        if U::PLAIN {
            let row = self.columns.rows();
            if !self.columns.push(None, &value) {
                // A copy, so that the value itself need not lie in memory.
                return self.overflow(&value.clone());
            }
            // SAFETY: the columns hold at most `STAGE_ROWS` records that are not
            // taken.
            unsafe { *self.origins.get_unchecked_mut(row - self.taken) = self.origin };
        } else if let (true, Some(block)) = (U::OWNED, &mut self.block) {
            let index = block.len();
            // SAFETY: an owned element's view is the same type for every
            // lifetime; a full block is flushed below, before the next value.
            unsafe {
                let value = ManuallyDrop::new(value);
                block.put(std::ptr::from_ref(&*value).cast::<U::View<'static>>().read());
                *self.origins.get_unchecked_mut(index) = self.origin;
            }
            if index + 1 == BLOCK {
                self.flush();
            }
        } else {
            self.out.push(value);
            // What follows is this operator's code again.
            position::operator(self.operator);
        }
    }

    #[cold]
    #[inline(never)]
    fn overflow(&mut self, value: &U::View<'_>) {
        self.flush();
        if !self.columns.push(None, value) {
            self.send();
            while !self.columns.push(None, value) {
                self.columns.grow();
            }
            self.set_limit();
        }
        self.origins[self.columns.rows() - 1 - self.taken] = self.origin;
    }

    fn set_limit(&mut self) {
        self.columns.set_limit(self.taken + STAGE_ROWS);
    }

    /// Passes on what is staged.
    #[inline(never)]
    pub(crate) fn flush(&mut self) {
        if let Some(block) = self.block.as_mut().filter(|block| !block.is_empty()) {
            position::staged(&self.origins, || self.out.push_block(block));
        }
        if self.sends {
            let (rows, taken) = (self.columns.rows(), self.taken);
            if rows > taken {
                position::staged(&self.origins, || self.out.take_rows(&mut self.columns, taken));
                self.taken = rows;
                self.set_limit();
            }
        } else if let Some(bytes) = self.columns.finish() {
            // SAFETY: the builder makes valid batches.
            let batch = unsafe { Batch::<U>::new(bytes) };
            position::staged(&self.origins, || self.out.push_batch(&batch));
        }
        position::operator(self.operator);
    }

    /// Has the next operator send the batch that it took the rows of.
    fn send(&mut self) {
        if self.sends {
            if let Some(batch) = self.columns.finish() {
                self.out.send(batch);
            }
            self.taken = 0;
            self.set_limit();
        }
    }

    /// Passes a block on; nothing is staged meanwhile.
    #[inline(always)]
    pub(crate) fn push_block<'a>(&mut self, block: &mut Block<U::View<'a>>) {
        self.out.push_block(block);
    }

    /// Passes on what is staged, then the signal.
    pub(crate) fn signal(&mut self, signal: Signal) -> Result<()> {
        self.flush();
        if matches!(signal, Signal::Flush | Signal::Finish) {
            self.send();
        }
        self.out.signal(signal)
    }
}
