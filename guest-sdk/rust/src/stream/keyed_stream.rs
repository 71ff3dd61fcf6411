//! A stream grouped by a key, and its aggregations.

use super::data_stream::DataStream;
use crate::collector::Collector;
use crate::context::{KeyedContext, OpenContext};
use crate::element::{Element, Key, Owned};
use crate::graph::{NewNode, SharedGraph};
use crate::operator::aggregate::Aggregate;
use crate::operator::fold::{Combine, Fold, Number, Reduce};
use crate::operator::keyed_process::{self, KeyedProcess, KeyedProcessFunction};
use crate::runtime::bindings::types::TransformationKind;
use crate::runtime::head::OneInput;
use std::marker::PhantomData;
use std::rc::Rc;

/// A stream of `T` grouped by keys of `K`; `S` is the function that selects
/// the key.
pub struct KeyedStream<T: Element, K: Key, S> {
    pub(crate) graph: SharedGraph,
    pub(crate) id: u32,
    pub(crate) select: Rc<S>,
    _types: PhantomData<fn() -> (T, K)>,
}

impl<T: Element, K: Key, S> KeyedStream<T, K, S> {
    pub(crate) fn new(graph: &SharedGraph, id: u32, select: Rc<S>) -> Self {
        Self { graph: graph.clone(), id, select, _types: PhantomData }
    }
}

impl<T, K, S> KeyedStream<T, K, S>
where
    T: Element,
    K: Key,
    S: for<'a, 'b> Fn(&'b T::View<'a>) -> K::View<'b> + 'static,
{
    /// The running sum of a number of each element, by key.
    ///
    /// Gives out the key and its new sum for every element, or in BATCH mode
    /// once at the end; so do `min`, `max`, `count` and `reduce`.
    pub fn sum<V: Number>(
        &self,
        select: impl for<'a, 'b> Fn(&'b T::View<'a>) -> V + 'static,
    ) -> DataStream<(K, V)> {
        self.combine(select, |sum, value| sum.plus(value))
    }

    /// The smallest value so far, by key.
    pub fn min<V: Owned + PartialOrd>(
        &self,
        select: impl for<'a, 'b> Fn(&'b T::View<'a>) -> V + 'static,
    ) -> DataStream<(K, V)> {
        self.combine(select, |least: &V, value| if value < *least { value } else { least.clone() })
    }

    /// The largest value so far, by key.
    pub fn max<V: Owned + PartialOrd>(
        &self,
        select: impl for<'a, 'b> Fn(&'b T::View<'a>) -> V + 'static,
    ) -> DataStream<(K, V)> {
        self.combine(select, |most: &V, value| if value > *most { value } else { most.clone() })
    }

    /// The number of elements so far, by key.
    pub fn count(&self) -> DataStream<(K, u64)> {
        self.combine(|_| 1u64, |count, one| count + one)
    }

    /// Combines the elements of a key, two into one.
    pub fn reduce(&self, combine: impl FnMut(T, T) -> T + 'static) -> DataStream<T>
    where
        T: Owned,
    {
        self.aggregate("Keyed Reduce", Reduce { combine })
    }

    fn combine<V: Owned>(
        &self,
        select: impl for<'a, 'b> Fn(&'b T::View<'a>) -> V + 'static,
        combine: impl Fn(&V, V) -> V + 'static,
    ) -> DataStream<(K, V)> {
        self.aggregate("Keyed Aggregation", Combine { select, combine, _value: PhantomData })
    }

    fn aggregate<A: Fold<T, K>>(&self, name: &str, fold: A) -> DataStream<A::Output> {
        let select = self.select.clone();
        let node = NewNode::new(name, TransformationKind::OneInput, &[self.id]).keyed().build(move |build| {
            let info = build.info.clone();
            let aggregate = Aggregate::new(build.operator, &info, select, fold, build.output()?);
            Ok(Box::new(OneInput::<T>(Box::new(aggregate))))
        });
        DataStream::new(&self.graph, self.graph.add::<A::Output>(node))
    }

    /// Runs a function with state for each key.
    pub fn process<U: Element>(&self, function: impl KeyedProcessFunction<K, T, U>) -> DataStream<U> {
        let select = self.select.clone();
        let node = NewNode::new("KeyedProcess", TransformationKind::OneInput, &[self.id])
            .keyed()
            .with_side_outputs()
            .build(move |build| {
                let out = build.output::<U>()?;
                let sides = build.side_outputs();
                let operator =
                    KeyedProcess::open(build.operator, function, select, build.info.clone(), sides, out)?;
                Ok(Box::new(OneInput::<T>(Box::new(operator))))
            });
        DataStream::new(&self.graph, self.graph.add::<U>(node))
    }

    /// As `process`, with closures: the first gets the state and gives the
    /// function.
    ///
    /// ```
    /// # use heddle::prelude::*;
    /// # fn job(env: &StreamExecutionEnvironment) {
    /// env.read_text("words.txt").key_by::<Str>(|word| word).process_with::<Str, _>(|open| {
    ///     let seen = open.value_state::<bool>("seen");
    ///     move |word, _ctx, out| {
    ///         if seen.get().is_none() {
    ///             seen.set(true);
    ///             out.collect(word);
    ///         }
    ///     }
    /// });
    /// # }
    /// ```
    pub fn process_with<U: Element, F>(
        &self,
        open: impl FnOnce(&mut OpenContext<'_>) -> F + 'static,
    ) -> DataStream<U>
    where
        F: for<'a, 'b, 'c, 'd, 'e> FnMut(T::View<'a>, &'b mut KeyedContext<'c, K>, &'d mut Collector<'e, U>)
            + 'static,
    {
        self.process::<U>(keyed_process::Closure::new(open))
    }
}
