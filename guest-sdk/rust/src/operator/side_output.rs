//! Side outputs: streams beside an operator's main output, by tag.

use crate::element::Element;
use crate::error::Result;
use crate::push::{AnyNext, Signal, Typed};
use std::marker::PhantomData;

/// Names a side output and the type of its elements.
///
/// ```
/// # use heddle::prelude::*;
/// let malformed = OutputTag::<String>::new("malformed");
/// # assert_eq!(malformed.name(), "malformed");
/// ```
pub struct OutputTag<S: Element> {
    name: String,
    _element: PhantomData<fn() -> S>,
}

impl<S: Element> OutputTag<S> {
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), _element: PhantomData }
    }

    pub fn name(&self) -> &str {
        &self.name
    }
}

impl<S: Element> Clone for OutputTag<S> {
    fn clone(&self) -> Self {
        Self::new(self.name.clone())
    }
}

/// What reads the side outputs of an operator.
pub(crate) struct SideOutputs {
    readers: Vec<(String, Vec<Box<dyn AnyNext>>)>,
}

impl SideOutputs {
    pub(crate) fn new(readers: Vec<(String, Vec<Box<dyn AnyNext>>)>) -> Self {
        Self { readers }
    }

    /// Gives an element to those who read the tag.
    pub(crate) fn push<S: Element>(&mut self, tag: &OutputTag<S>, value: S::View<'_>) {
        let Some((_, readers)) = self.readers.iter_mut().find(|(name, _)| *name == tag.name) else {
            return; // nobody reads it
        };
        for reader in readers {
            match reader.as_any().downcast_mut::<Typed<S>>() {
                Some(typed) => typed.0.push(value.clone()),
                None => panic!("the side output `{}` is written and read with different types", tag.name),
            }
        }
    }

    pub(crate) fn signal(&mut self, signal: Signal) -> Result<()> {
        self.readers.iter_mut().flat_map(|(_, readers)| readers).try_for_each(|reader| reader.signal(signal))
    }
}
