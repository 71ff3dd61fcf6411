//! Where a function of the program puts the elements that it makes.

use crate::element::Element;
use crate::position;
use crate::push::Push;

/// Takes what a function gives out.
pub struct Collector<'c, U: Element> {
    out: &'c mut dyn Push<U>,
    operator: u32,
}

impl<'c, U: Element> Collector<'c, U> {
    #[inline(always)]
    pub(crate) fn new(out: &'c mut dyn Push<U>, operator: u32) -> Self {
        Self { out, operator }
    }

    /// Gives out an element.
    #[inline(always)]
    pub fn collect(&mut self, value: U::View<'_>) {
        self.out.push(value);
        // What follows is this operator's code again.
        position::operator(self.operator);
    }
}
