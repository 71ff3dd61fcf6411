//! A stream of elements and what can be done with it.

use super::keyed_stream::KeyedStream;
use crate::collector::Collector;
use crate::context::{Context, OpenContext};
use crate::element::{Element, Key, Owned, element_type};
use crate::error::{IntoResult, Result};
use crate::graph::{NewNode, SharedGraph};
use crate::operator::process::{self, Process, ProcessFunction};
use crate::operator::side_output::OutputTag;
use crate::operator::simple::{Filter, FlatMap, Map};
use crate::output;
use crate::runtime::bindings::types::{Chaining, Partitioner, Transformation, TransformationKind};
use crate::runtime::head::OneInput;
use std::marker::PhantomData;
use std::rc::Rc;

/// A stream of elements of `T`. A cheap handle: every method that adds an
/// operator leaves it usable.
pub struct DataStream<T: Element> {
    pub(crate) graph: SharedGraph,
    pub(crate) id: u32,
    _element: PhantomData<fn() -> T>,
}

impl<T: Element> Clone for DataStream<T> {
    fn clone(&self) -> Self {
        Self::new(&self.graph, self.id)
    }
}

impl<T: Element> DataStream<T> {
    pub(crate) fn new(graph: &SharedGraph, id: u32) -> Self {
        Self { graph: graph.clone(), id, _element: PhantomData }
    }

    /// Turns each element into one other.
    pub fn map<U: Owned>(&self, f: impl for<'a> FnMut(T::View<'a>) -> U + 'static) -> DataStream<U> {
        let node = NewNode::new("Map", TransformationKind::OneInput, &[self.id]).build(move |build| {
            Ok(Box::new(OneInput::<T>(Box::new(Map::new(build.operator, f, build.output()?)))))
        });
        DataStream::new(&self.graph, self.graph.add::<U>(node))
    }

    /// Keeps the elements that `f` accepts.
    pub fn filter(&self, f: impl for<'a, 'b> FnMut(&'b T::View<'a>) -> bool + 'static) -> DataStream<T> {
        let node = NewNode::new("Filter", TransformationKind::OneInput, &[self.id]).build(move |build| {
            Ok(Box::new(OneInput::<T>(Box::new(Filter::new(build.operator, f, build.output()?)))))
        });
        DataStream::new(&self.graph, self.graph.add::<T>(node))
    }

    /// Turns each element into any number of others, given to the collector.
    /// Name the element type: `flat_map::<(String, u64)>(|line, out| …)`.
    pub fn flat_map<U: Element>(
        &self,
        f: impl for<'a, 'c, 'd> FnMut(T::View<'a>, &'c mut Collector<'d, U>) + 'static,
    ) -> DataStream<U> {
        self.flat_map_or_fail(f)
    }

    /// As `flat_map`, with a function that may fail: its error ends the
    /// attempt.
    pub fn try_flat_map<U: Element>(
        &self,
        f: impl for<'a, 'c, 'd> FnMut(T::View<'a>, &'c mut Collector<'d, U>) -> Result<()> + 'static,
    ) -> DataStream<U> {
        self.flat_map_or_fail(f)
    }

    fn flat_map_or_fail<U: Element, R: IntoResult>(
        &self,
        f: impl for<'a, 'c, 'd> FnMut(T::View<'a>, &'c mut Collector<'d, U>) -> R + 'static,
    ) -> DataStream<U> {
        let node = NewNode::new("Flat Map", TransformationKind::OneInput, &[self.id]).build(move |build| {
            Ok(Box::new(OneInput::<T>(Box::new(FlatMap::new(build.operator, f, build.output()?)))))
        });
        DataStream::new(&self.graph, self.graph.add::<U>(node))
    }

    /// As `map`, with a function that may fail: its error ends the attempt.
    pub fn try_map<U: Owned>(
        &self,
        mut f: impl for<'a> FnMut(T::View<'a>) -> Result<U> + 'static,
    ) -> DataStream<U> {
        self.try_flat_map::<U>(move |value, out| {
            out.collect(f(value)?);
            Ok(())
        })
        .name("Map")
    }

    /// Groups the stream by a key: all elements of a key meet in one subtask.
    /// A borrowed key has to be named: `key_by::<Str>(|r| r.0)`.
    pub fn key_by<K: Key>(
        &self,
        select: impl for<'a, 'b> Fn(&'b T::View<'a>) -> K::View<'b> + 'static,
    ) -> KeyedStream<T, K, impl for<'a, 'b> Fn(&'b T::View<'a>) -> K::View<'b> + 'static> {
        let select = Rc::new(select);
        let kind = TransformationKind::Partition(Partitioner::KeyGroups(element_type::<K>()));
        let node = NewNode::new("Partition", kind, &[self.id]);
        let by = select.clone();
        let id =
            self.graph.add_partition::<T>(node, move |to| output::key_encoder::<T, K, _>(to, by.clone()));
        KeyedStream::new(&self.graph, id, select)
    }

    /// Runs a function with a context: side outputs, counters, a last word.
    pub fn process<U: Element>(&self, function: impl ProcessFunction<T, U>) -> DataStream<U> {
        let mut function = function;
        let node = NewNode::new("Process", TransformationKind::OneInput, &[self.id])
            .with_side_outputs()
            .build(move |build| {
                function.open(&mut OpenContext { info: &build.info, states: None })?;
                let out = build.output::<U>()?;
                let sides = build.side_outputs();
                let typed = process::Typed::<_, T, U>::new(function);
                let operator = Process::new(build.operator, typed, build.info.clone(), sides, out);
                Ok(Box::new(OneInput::<T>(Box::new(operator))))
            });
        DataStream::new(&self.graph, self.graph.add::<U>(node))
    }

    /// As `process`, with a closure:
    /// `process_with::<String>(|line, ctx, out| …)`.
    pub fn process_with<U: Element>(
        &self,
        f: impl for<'a, 'b, 'c, 'd, 'e> FnMut(T::View<'a>, &'b mut Context<'c>, &'d mut Collector<'e, U>)
        + 'static,
    ) -> DataStream<U> {
        self.process::<U>(process::Closure(f))
    }

    /// What the operator gave out under a tag.
    pub fn side_output<S: Element>(&self, tag: &OutputTag<S>) -> DataStream<S> {
        self.graph.with(|graph| {
            let node = &graph.nodes[self.id as usize - 1];
            if !node.sides {
                let name = node.transformation.name.clone();
                graph.fail(format!(
                    "`{name}` has no side output `{}`: only `process` gives out to side outputs",
                    tag.name()
                ));
            }
        });
        let kind = TransformationKind::SideOutput(tag.name().to_string());
        DataStream::new(&self.graph, self.graph.add::<S>(NewNode::new("Side Output", kind, &[self.id])))
    }

    /// This stream and another of the same type as one.
    pub fn union(&self, other: &DataStream<T>) -> DataStream<T> {
        let node = NewNode::new("Union", TransformationKind::Union, &[self.id, other.id]);
        DataStream::new(&self.graph, self.graph.add::<T>(node))
    }

    fn partition(&self, partitioner: Partitioner) -> DataStream<T> {
        let node = NewNode::new("Partition", TransformationKind::Partition(partitioner), &[self.id]);
        DataStream::new(&self.graph, self.graph.add::<T>(node))
    }

    /// To the subtask of the same index.
    pub fn forward(&self) -> DataStream<T> {
        self.partition(Partitioner::Forward)
    }

    /// To all subtasks in turn.
    pub fn rebalance(&self) -> DataStream<T> {
        self.partition(Partitioner::Rebalance)
    }

    /// To a group of subtasks in turn.
    pub fn rescale(&self) -> DataStream<T> {
        self.partition(Partitioner::Rescale)
    }

    /// To subtasks at random.
    pub fn shuffle(&self) -> DataStream<T> {
        self.partition(Partitioner::Shuffle)
    }

    /// Each element to every subtask.
    pub fn broadcast(&self) -> DataStream<T> {
        self.partition(Partitioner::Broadcast)
    }

    /// All elements to the first subtask.
    pub fn global(&self) -> DataStream<T> {
        self.partition(Partitioner::Global)
    }

    /// By a function: given an element and the number of subtasks, it names
    /// one of them, from 0.
    pub fn partition_custom(
        &self,
        name: impl Into<String>,
        f: impl for<'a, 'b> Fn(&'b T::View<'a>, u32) -> u32 + 'static,
    ) -> DataStream<T> {
        let kind = TransformationKind::Partition(Partitioner::Custom(name.into()));
        let f = Rc::new(f);
        let node = NewNode::new("Partition", kind, &[self.id]);
        let id =
            self.graph.add_partition::<T>(node, move |to| Ok(output::custom_encoder::<T, _>(to, f.clone())));
        DataStream::new(&self.graph, id)
    }

    fn configure(self, what: &str, change: impl FnOnce(&mut Transformation)) -> Self {
        self.graph.configure(self.id, what, change);
        self
    }

    /// Names the operator that this stream comes from.
    pub fn name(self, name: impl Into<String>) -> Self {
        self.configure("name", |t| t.name = name.into())
    }

    /// Fixes the operator's id across versions of the program.
    pub fn uid(self, uid: impl Into<String>) -> Self {
        self.configure("uid", |t| t.uid = Some(uid.into()))
    }

    /// Sets the number of subtasks of the operator.
    pub fn set_parallelism(self, parallelism: u32) -> Self {
        self.configure("set_parallelism", |t| t.parallelism = Some(parallelism))
    }

    /// Sets the most subtasks that the operator can ever have.
    pub fn set_max_parallelism(self, max_parallelism: u32) -> Self {
        self.configure("set_max_parallelism", |t| t.max_parallelism = Some(max_parallelism))
    }

    /// Operators of different groups never share a slot.
    pub fn slot_sharing_group(self, group: impl Into<String>) -> Self {
        self.configure("slot_sharing_group", |t| t.slot_sharing_group = Some(group.into()))
    }

    /// Subtasks with the same number of all operators of the group always share
    /// a slot. The operators have to be of one slot sharing group.
    pub fn co_location_group(self, group: impl Into<String>) -> Self {
        self.configure("co_location_group", |t| t.co_location_group = Some(group.into()))
    }

    /// Starts a chain with the operator: it is not fused with the one before.
    pub fn start_new_chain(self) -> Self {
        self.configure("start_new_chain", |t| t.chaining = Chaining::Head)
    }

    /// Never fuses the operator with its neighbours.
    pub fn disable_chaining(self) -> Self {
        self.configure("disable_chaining", |t| t.chaining = Chaining::Never)
    }
}
