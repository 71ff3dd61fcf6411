//! Turns elements into lines for a text sink, in one string that is used
//! again.

use crate::collector::Stage;
use crate::element::Element;
use crate::element::text::Str;
use crate::error::Result;
use crate::position;
use crate::push::{Next, Push, Signal};

pub(crate) struct ToText<F> {
    id: u32,
    f: F,
    line: String,
    out: Stage<Str>,
}

impl<F> ToText<F> {
    pub(crate) fn new(id: u32, f: F, out: Next<Str>) -> Self {
        Self { id, f, line: String::new(), out: Stage::new(id, out) }
    }
}

impl<T: Element, F, R> Push<T> for ToText<F>
where
    F: for<'a, 'c> FnMut(T::View<'a>, &'c mut String) -> R,
{
    #[inline]
    fn push(&mut self, value: T::View<'_>) {
        position::operator(self.id);
        self.line.clear();
        (self.f)(value, &mut self.line);
        self.out.collect(&self.line);
    }

    fn signal(&mut self, signal: Signal) -> Result<()> {
        self.out.signal(signal)
    }
}
