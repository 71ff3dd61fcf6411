//! How elements go from one operator to the next inside a chain: one dynamic
//! call a record, a block or a batch, whichever the producer can give. Knows
//! neither the graph nor the host.

use crate::batch::builder::BatchBuilder;
use crate::batch::reader::Batch;
use crate::block::Block;
use crate::element::Element;
use crate::error::Result;
use crate::position;
use std::any::Any;

/// What passes down a chain beside elements, in order with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// The call from the host is about to end: pass on what is staged.
    EndBatch,
    /// Send what is buffered.
    Flush,
    /// Write cached state to the host.
    FlushState,
    /// The input has ended: last results, state and buffers go out.
    Finish,
}

/// Takes the elements of a stream.
///
/// `push_block` and `push_batch` are there for speed: their default loops are
/// compiled for each operator, so that `push` is inlined into them.
pub trait Push<T: Element> {
    /// Takes one element.
    fn push(&mut self, value: T::View<'_>);

    /// Takes a block of elements; the block is empty afterwards.
    #[inline]
    fn push_block<'a>(&mut self, block: &mut Block<T::View<'a>>) {
        block.enter();
        block.drain(|row, value| {
            position::row(row);
            self.push(value);
        });
    }

    /// Takes all elements of a batch.
    #[inline]
    fn push_batch(&mut self, batch: &Batch<'_, T>) {
        let mut cursor = batch.cursor();
        position::leave_block();
        for row in 0..batch.rows() {
            position::row(row);
            // SAFETY: rows are read in order and below the batch's count.
            self.push(unsafe { T::read(&mut cursor, row as usize) });
        }
    }

    /// The batches that this operator makes of what it takes, if all elements
    /// go into one as they come: who stages elements for it may then put them
    /// there, and calls `take_rows` and `send` in place of `push`.
    #[doc(hidden)]
    fn batches(&self) -> Option<Batches> {
        None
    }

    /// Takes the rows of such a batch from `first` on.
    #[doc(hidden)]
    fn take_rows(&mut self, _batch: &mut BatchBuilder<T>, _first: usize) {}

    /// Takes such a batch, whose rows it was given before.
    #[doc(hidden)]
    fn send(&mut self, _batch: &[u8]) {}

    /// Acts on a signal and passes it on.
    fn signal(&mut self, signal: Signal) -> Result<()>;
}

/// What the batches of an operator look like.
#[derive(Clone, Copy, Debug)]
pub struct Batches {
    /// Whether they have hashes.
    pub hashed: bool,
    /// Their length, about, in bytes.
    pub size: usize,
}

/// The next operator of a chain.
pub(crate) type Next<T> = Box<dyn Push<T>>;

/// A `Next` of any element type, as the runtime holds it while it builds.
pub(crate) trait AnyNext {
    fn signal(&mut self, signal: Signal) -> Result<()>;
    fn as_any(&mut self) -> &mut dyn Any;
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
}

/// A `Next` of one element type, behind [`AnyNext`].
pub(crate) struct Typed<T: Element>(pub(crate) Next<T>);

impl<T: Element> AnyNext for Typed<T> {
    fn signal(&mut self, signal: Signal) -> Result<()> {
        self.0.signal(signal)
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// Gives every element to several operators.
pub(crate) struct Fanout<T: Element> {
    first: Vec<Next<T>>,
    last: Next<T>,
}

impl<T: Element> Push<T> for Fanout<T> {
    fn push(&mut self, value: T::View<'_>) {
        for next in &mut self.first {
            next.push(value.clone());
        }
        self.last.push(value);
    }

    fn push_batch(&mut self, batch: &Batch<'_, T>) {
        for next in &mut self.first {
            next.push_batch(batch);
        }
        self.last.push_batch(batch);
    }

    fn signal(&mut self, signal: Signal) -> Result<()> {
        for next in &mut self.first {
            next.signal(signal)?;
        }
        self.last.signal(signal)
    }
}

/// The end of a stream that nobody reads.
pub(crate) struct Discard;

impl<T: Element> Push<T> for Discard {
    #[inline(always)]
    fn push(&mut self, _: T::View<'_>) {}

    fn push_block<'a>(&mut self, block: &mut Block<T::View<'a>>) {
        if std::mem::needs_drop::<T::View<'a>>() {
            block.drain(|_, value| drop(value))
        } else {
            block.clear()
        }
    }

    fn push_batch(&mut self, _: &Batch<'_, T>) {}

    fn signal(&mut self, _: Signal) -> Result<()> {
        Ok(())
    }
}

/// One operator out of those that read a stream.
pub(crate) fn fan_out<T: Element>(mut outputs: Vec<Next<T>>) -> Next<T> {
    match outputs.pop() {
        None => Box::new(Discard),
        Some(last) if outputs.is_empty() => last,
        Some(last) => Box::new(Fanout { first: outputs, last }),
    }
}
