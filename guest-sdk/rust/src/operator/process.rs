//! Process functions without a key: a record, a context with side outputs, a
//! collector.

use crate::collector::{Collector, Stage};
use crate::context::{Context, OpenContext};
use crate::element::Element;
use crate::error::{IntoResult, Result};
use crate::failure;
use crate::graph::SubtaskInfo;
use crate::operator::side_output::SideOutputs;
use crate::position;
use crate::push::{Next, Push, Signal};
use std::rc::Rc;

/// A function of a stream, with a context. `T` comes in, `U` goes out.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a process function from `{T}` to `{U}`",
    note = "implement `ProcessFunction<{T}, {U}>`, or use a closure with `process_with`"
)]
pub trait ProcessFunction<T: Element, U: Element>: 'static {
    /// Called once, before the first record.
    fn open(&mut self, _ctx: &mut OpenContext<'_>) -> Result<()> {
        Ok(())
    }

    /// Takes a record. An error ends the attempt.
    fn process(
        &mut self,
        value: T::View<'_>,
        ctx: &mut Context<'_>,
        out: &mut Collector<'_, U>,
    ) -> Result<()>;

    /// Called once, after the last record.
    fn finish(&mut self, _ctx: &mut Context<'_>, _out: &mut Collector<'_, U>) -> Result<()> {
        Ok(())
    }
}

/// A closure as a process function.
pub(crate) struct Closure<F>(pub(crate) F);

impl<T: Element, U: Element, F, R: IntoResult> ProcessFunction<T, U> for Closure<F>
where
    F: for<'a, 'b, 'c, 'd, 'e> FnMut(T::View<'a>, &'b mut Context<'c>, &'d mut Collector<'e, U>) -> R
        + 'static,
{
    #[inline]
    fn process(
        &mut self,
        value: T::View<'_>,
        ctx: &mut Context<'_>,
        out: &mut Collector<'_, U>,
    ) -> Result<()> {
        (self.0)(value, ctx, out).into_result()
    }
}

pub(crate) struct Process<F, U: Element> {
    id: u32,
    f: F,
    info: Rc<SubtaskInfo>,
    sides: SideOutputs,
    out: Stage<U>,
}

impl<F, U: Element> Process<F, U> {
    pub(crate) fn new(id: u32, f: F, info: Rc<SubtaskInfo>, sides: SideOutputs, out: Next<U>) -> Self {
        Self { id, f, info, sides, out: Stage::new(id, out) }
    }

    #[inline]
    fn call(&mut self, run: impl FnOnce(&mut F, &mut Context<'_>, &mut Collector<'_, U>) -> Result<()>) {
        position::operator(self.id);
        let mut context = Context { info: &self.info, sides: &mut self.sides, operator: self.id };
        if let Err(error) = run(&mut self.f, &mut context, &mut self.out.collector()) {
            failure::fail(error);
        }
    }
}

/// A process function with the element types that it is for.
pub(crate) struct Typed<F, T, U> {
    f: F,
    _types: std::marker::PhantomData<fn(T) -> U>,
}

impl<F, T, U> Typed<F, T, U> {
    pub(crate) fn new(f: F) -> Self {
        Self { f, _types: std::marker::PhantomData }
    }
}

impl<T: Element, U: Element, F: ProcessFunction<T, U>> Push<T> for Process<Typed<F, T, U>, U> {
    #[inline]
    fn push(&mut self, value: T::View<'_>) {
        self.call(|typed, context, out| typed.f.process(value, context, out));
    }

    fn signal(&mut self, signal: Signal) -> Result<()> {
        if signal == Signal::Finish {
            self.call(|typed, context, out| typed.f.finish(context, out));
        }
        self.sides.signal(signal)?;
        self.out.signal(signal)
    }
}
