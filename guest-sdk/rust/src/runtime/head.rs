//! The operator at the head of a chain: it takes batches or is polled. Every
//! other operator of the chain is reached through it.

use crate::batch::reader::Batch;
use crate::element::Element;
use crate::error::Result;
use crate::position;
use crate::push::{AnyNext, Next, Signal, Typed};
use crate::runtime::bindings::types::PollStatus;
use std::marker::PhantomData;

/// An operator as the runtime holds it.
pub(crate) trait Head {
    /// Takes a batch on one of its inputs.
    ///
    /// # Safety
    /// `batch` is a valid batch of that input's element type.
    unsafe fn process(&mut self, port: u32, batch: &[u8]) -> Result<()>;

    /// Produces about one batch, if it is a source.
    fn poll(&mut self) -> Result<PollStatus> {
        Ok(PollStatus::Finished)
    }

    fn signal(&mut self, signal: Signal) -> Result<()>;

    /// Its only input, for the operator before it.
    fn into_next(self: Box<Self>) -> Option<Box<dyn AnyNext>>;
}

/// An operator with one input.
pub(crate) struct OneInput<T: Element>(pub(crate) Next<T>);

impl<T: Element> Head for OneInput<T> {
    unsafe fn process(&mut self, _port: u32, batch: &[u8]) -> Result<()> {
        // SAFETY: the caller's promise.
        let batch = unsafe { Batch::new(batch) };
        position::start_batch();
        self.0.push_batch(&batch);
        let passed = self.0.signal(Signal::EndBatch);
        position::end_batch(batch.rows());
        passed
    }

    fn signal(&mut self, signal: Signal) -> Result<()> {
        self.0.signal(signal)
    }

    fn into_next(self: Box<Self>) -> Option<Box<dyn AnyNext>> {
        Some(Box::new(Typed(self.0)))
    }
}

/// An operator with two inputs.
pub(crate) trait TwoInputs<A: Element, B: Element> {
    fn first_batch(&mut self, batch: &Batch<'_, A>);
    fn second_batch(&mut self, batch: &Batch<'_, B>);
    fn signal(&mut self, signal: Signal) -> Result<()>;
}

/// Takes the batches of both inputs of a two-input operator.
pub(crate) struct TwoInput<O, A, B> {
    operator: O,
    _inputs: PhantomData<fn(A, B)>,
}

impl<O, A, B> TwoInput<O, A, B> {
    pub(crate) fn new(operator: O) -> Self {
        Self { operator, _inputs: PhantomData }
    }
}

impl<A: Element, B: Element, O: TwoInputs<A, B>> Head for TwoInput<O, A, B> {
    unsafe fn process(&mut self, port: u32, bytes: &[u8]) -> Result<()> {
        position::start_batch();
        // SAFETY: the caller's promise, for the input's own element type.
        let rows = unsafe {
            if port == 0 {
                let batch = Batch::new(bytes);
                self.operator.first_batch(&batch);
                batch.rows()
            } else {
                let batch = Batch::new(bytes);
                self.operator.second_batch(&batch);
                batch.rows()
            }
        };
        let passed = self.operator.signal(Signal::EndBatch);
        position::end_batch(rows);
        passed
    }

    fn signal(&mut self, signal: Signal) -> Result<()> {
        self.operator.signal(signal)
    }

    fn into_next(self: Box<Self>) -> Option<Box<dyn AnyNext>> {
        None
    }
}
