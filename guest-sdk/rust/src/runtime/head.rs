//! The operator at the head of a chain: it takes batches or is polled. Every
//! other operator of the chain is reached through it.

use crate::batch::reader::Batch;
use crate::element::Element;
use crate::error::Result;
use crate::position;
use crate::push::{Next, Signal};
use crate::runtime::bindings::types::PollStatus;
use std::any::Any;

/// An operator as the runtime holds it.
pub(crate) trait Head {
    /// Takes a batch on one of its inputs.
    ///
    /// # Safety
    /// `batch` is a valid batch of that input's element type.
    unsafe fn process(&mut self, port: u32, batch: &[u8]);

    /// Produces about one batch, if it is a source.
    fn poll(&mut self) -> Result<PollStatus> {
        Ok(PollStatus::Finished)
    }

    /// An input has ended.
    fn end_input(&mut self, _port: u32) -> Result<()> {
        Ok(())
    }

    fn signal(&mut self, signal: Signal) -> Result<()>;

    /// Its only input as a `Next<T>`, for the operator before it.
    fn into_next(self: Box<Self>) -> Option<Box<dyn Any>>;
}

/// An operator with one input.
pub(crate) struct OneInput<T: Element>(pub(crate) Next<T>);

impl<T: Element> Head for OneInput<T> {
    unsafe fn process(&mut self, _port: u32, batch: &[u8]) {
        // SAFETY: the caller's promise.
        let batch = unsafe { Batch::new(batch) };
        position::start_batch();
        self.0.push_batch(&batch);
        position::end_batch(batch.rows());
    }

    fn signal(&mut self, signal: Signal) -> Result<()> {
        self.0.signal(signal)
    }

    fn into_next(self: Box<Self>) -> Option<Box<dyn Any>> {
        Some(Box::new(self.0))
    }
}

/// An operator with two inputs.
pub(crate) trait TwoInputs<A: Element, B: Element> {
    fn push_first(&mut self, value: A::View<'_>);
    fn push_second(&mut self, value: B::View<'_>);
    /// The keys of a batch of input `port` come next; see `state`.
    fn first_batch(&mut self, batch: &Batch<'_, A>) {
        let mut cursor = batch.cursor();
        for row in 0..batch.rows() {
            position::row(row);
            // SAFETY: rows are read in order and below the batch's count.
            self.push_first(unsafe { A::read(&mut cursor, row as usize) });
        }
    }
    fn second_batch(&mut self, batch: &Batch<'_, B>) {
        let mut cursor = batch.cursor();
        for row in 0..batch.rows() {
            position::row(row);
            // SAFETY: rows are read in order and below the batch's count.
            self.push_second(unsafe { B::read(&mut cursor, row as usize) });
        }
    }
    fn signal(&mut self, signal: Signal) -> Result<()>;
}

/// Takes the batches of both inputs of a two-input operator.
pub(crate) struct TwoInput<A: Element, B: Element>(pub(crate) Box<dyn TwoInputs<A, B>>);

impl<A: Element, B: Element> Head for TwoInput<A, B> {
    unsafe fn process(&mut self, port: u32, bytes: &[u8]) {
        position::start_batch();
        // SAFETY: the caller's promise, for the input's own element type.
        let rows = unsafe {
            if port == 0 {
                let batch = Batch::new(bytes);
                self.0.first_batch(&batch);
                batch.rows()
            } else {
                let batch = Batch::new(bytes);
                self.0.second_batch(&batch);
                batch.rows()
            }
        };
        position::end_batch(rows);
    }

    fn signal(&mut self, signal: Signal) -> Result<()> {
        self.0.signal(signal)
    }

    fn into_next(self: Box<Self>) -> Option<Box<dyn Any>> {
        None
    }
}
