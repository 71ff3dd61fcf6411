//! Sinks inside the guest: a function of the program, or nothing.

use crate::block::Block;
use crate::element::Element;
use crate::error::{IntoResult, Result};
use crate::failure;
use crate::position;
use crate::push::{Push, Signal};

pub(crate) struct ForEach<F> {
    id: u32,
    f: F,
}

impl<F> ForEach<F> {
    pub(crate) fn new(id: u32, f: F) -> Self {
        Self { id, f }
    }
}

impl<T: Element, F, R: IntoResult> Push<T> for ForEach<F>
where
    F: for<'a> FnMut(T::View<'a>) -> R,
{
    #[inline]
    fn push(&mut self, value: T::View<'_>) {
        position::operator(self.id);
        if let Err(error) = (self.f)(value).into_result() {
            failure::fail(error);
        }
    }

    fn push_block<'a>(&mut self, block: &mut Block<T::View<'a>>) {
        position::operator(self.id);
        block.enter();
        block.drain(|row, value| {
            position::row(row);
            if let Err(error) = (self.f)(value).into_result() {
                failure::fail(error);
            }
        });
    }

    fn signal(&mut self, _: Signal) -> Result<()> {
        Ok(())
    }
}
