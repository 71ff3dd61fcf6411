//! Two streams that one operator reads, with the same key or without one.

use super::data_stream::DataStream;
use super::keyed_stream::KeyedStream;
use crate::collector::Collector;
use crate::element::{Element, Key, Owned};
use crate::graph::{NewNode, SharedGraph};
use crate::operator::co_process::{
    BothKeyed, By, Call, CoProcess, CoProcessFunction, FirstKeyed, KeyedBroadcastProcessFunction,
    KeyedCoProcessFunction, Plain, SelectKey, Shared, Unkeyed,
};
use crate::runtime::bindings::types::TransformationKind;
use crate::runtime::head::TwoInput;
use std::marker::PhantomData;
use std::rc::Rc;

/// Adds the operator that reads both.
fn co_operator<A, B, U, S1, S2>(
    graph: &SharedGraph,
    name: &str,
    inputs: [u32; 2],
    select: (S1, S2),
    call: impl Call<A, B, U>,
) -> DataStream<U>
where
    A: Element,
    B: Element,
    U: Element,
    S1: SelectKey<A>,
    S2: SelectKey<B>,
{
    let mut node = NewNode::new(name, TransformationKind::TwoInput, &inputs).with_side_outputs();
    if S1::KEYED || S2::KEYED {
        node = node.keyed();
    }
    let node = node.build(move |build| {
        let out = build.output::<U>()?;
        let sides = build.side_outputs();
        let operator = CoProcess::open::<A, B>(build.operator, call, select, build.info.clone(), sides, out)?;
        Ok(Box::new(TwoInput::<_, A, B>::new(operator)))
    });
    DataStream::new(graph, graph.add::<U>(node))
}

/// Two streams without a key.
pub struct ConnectedStreams<A: Element, B: Element> {
    first: DataStream<A>,
    second: DataStream<B>,
}

impl<A: Element> DataStream<A> {
    /// Reads two streams with one operator. To give all of a control stream to
    /// every subtask: `data.connect(&control.broadcast())`.
    pub fn connect<B: Element>(&self, other: &DataStream<B>) -> ConnectedStreams<A, B> {
        ConnectedStreams { first: self.clone(), second: other.clone() }
    }
}

impl<A: Element, B: Element> ConnectedStreams<A, B> {
    fn add<U: Element>(&self, name: &str, function: impl CoProcessFunction<A, B, U>) -> DataStream<U> {
        let inputs = [self.first.id, self.second.id];
        co_operator(&self.first.graph, name, inputs, (Unkeyed, Unkeyed), Plain(function))
    }

    /// Turns each element of either stream into one other.
    pub fn map<U: Owned>(
        &self,
        mut first: impl for<'a> FnMut(A::View<'a>) -> U + 'static,
        mut second: impl for<'a> FnMut(B::View<'a>) -> U + 'static,
    ) -> DataStream<U> {
        let function = Shared {
            shared: (),
            first: move |(): &mut (), value: A::View<'_>, out: &mut Collector<'_, U>| {
                out.collect(first(value))
            },
            second: move |(): &mut (), value: B::View<'_>, out: &mut Collector<'_, U>| {
                out.collect(second(value));
            },
        };
        self.add("Co-Map", function)
    }

    /// Turns each element of either stream into any number of others. Both
    /// functions see and may change `shared`.
    ///
    /// ```
    /// # use heddle::prelude::*;
    /// # use std::collections::HashSet;
    /// # fn job(env: &StreamExecutionEnvironment) {
    /// let blocked = env.from_collection(["spam".to_string()]);
    /// let words = env.read_text("words.txt");
    /// words.connect(&blocked.broadcast()).flat_map::<Str, _>(
    ///     HashSet::new(),
    ///     |blocked, word, out| {
    ///         if !blocked.contains(word) {
    ///             out.collect(word);
    ///         }
    ///     },
    ///     |blocked, word, _out| {
    ///         blocked.insert(word);
    ///     },
    /// );
    /// # }
    /// ```
    pub fn flat_map<U: Element, V: 'static>(
        &self,
        shared: V,
        first: impl for<'a, 'b, 'c, 'd> FnMut(&'b mut V, A::View<'a>, &'c mut Collector<'d, U>) + 'static,
        second: impl for<'a, 'b, 'c, 'd> FnMut(&'b mut V, B::View<'a>, &'c mut Collector<'d, U>) + 'static,
    ) -> DataStream<U> {
        self.add("Co-Flat Map", Shared { shared, first, second })
    }

    /// Runs a function of both streams.
    pub fn process<U: Element>(&self, function: impl CoProcessFunction<A, B, U>) -> DataStream<U> {
        self.add("Co-Process", function)
    }
}

/// Two streams with the same key.
pub struct KeyedConnectedStreams<K: Key, A: Element, B: Element, S1, S2> {
    first: KeyedStream<A, K, S1>,
    second: KeyedStream<B, K, S2>,
}

impl<K, A, B, S1, S2> KeyedConnectedStreams<K, A, B, S1, S2>
where
    K: Key,
    A: Element,
    B: Element,
    S1: for<'a, 'b> Fn(&'b A::View<'a>) -> K::View<'b> + 'static,
    S2: for<'a, 'b> Fn(&'b B::View<'a>) -> K::View<'b> + 'static,
{
    /// Runs a function of both streams, with state for each key.
    pub fn process<U: Element>(&self, function: impl KeyedCoProcessFunction<K, A, B, U>) -> DataStream<U> {
        let select = (
            By::<_, K>(self.first.select.clone(), PhantomData),
            By::<_, K>(self.second.select.clone(), PhantomData),
        );
        let inputs = [self.first.id, self.second.id];
        co_operator(&self.first.graph, "Co-Keyed Process", inputs, select, BothKeyed(function, PhantomData))
    }
}

/// A keyed stream and one that every subtask sees in full.
pub struct BroadcastConnectedStream<K: Key, A: Element, B: Element, S> {
    first: KeyedStream<A, K, S>,
    second: DataStream<B>,
}

impl<K, A, B, S> BroadcastConnectedStream<K, A, B, S>
where
    K: Key,
    A: Element,
    B: Element,
    S: for<'a, 'b> Fn(&'b A::View<'a>) -> K::View<'b> + 'static,
{
    /// Runs a function of both streams, with state for each key of the first.
    pub fn process<U: Element>(
        &self,
        function: impl KeyedBroadcastProcessFunction<K, A, B, U>,
    ) -> DataStream<U> {
        let select = (By::<_, K>(self.first.select.clone(), PhantomData), Unkeyed);
        let inputs = [self.first.id, self.second.id];
        co_operator(
            &self.first.graph,
            "Co-Process Broadcast Keyed",
            inputs,
            select,
            FirstKeyed(function, PhantomData),
        )
    }
}

impl<A: Element, K: Key, S> KeyedStream<A, K, S> {
    /// Reads two streams with the same key by one operator.
    pub fn connect<B: Element, S2>(
        &self,
        other: &KeyedStream<B, K, S2>,
    ) -> KeyedConnectedStreams<K, A, B, S, S2> {
        KeyedConnectedStreams { first: self.clone(), second: other.clone() }
    }

    /// Reads this stream, and all of another in every subtask, by one operator.
    pub fn connect_broadcast<B: Element>(
        &self,
        other: &DataStream<B>,
    ) -> BroadcastConnectedStream<K, A, B, S> {
        BroadcastConnectedStream { first: self.clone(), second: other.broadcast() }
    }
}

impl<T: Element, K: Key, S> Clone for KeyedStream<T, K, S> {
    fn clone(&self) -> Self {
        KeyedStream::new(&self.graph, self.id, Rc::clone(&self.select))
    }
}
