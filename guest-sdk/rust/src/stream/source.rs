//! Where streams begin: files that the host reads, generators, collections,
//! sources of the program's own.

use super::data_stream::DataStream;
use super::environment::StreamExecutionEnvironment;
use crate::collector::Collector;
use crate::context::OpenContext;
use crate::element::text::Str;
use crate::element::{Element, Owned};
use crate::graph::NewNode;
use crate::operator::source::{
    ByCollector, ByValue, Collection, FunctionSource, Generate, Generator, GeneratorSource, SourceFunction,
};
use crate::runtime::bindings::types::{Connector, TransformationKind};
use crate::runtime::head::OneInput;

impl StreamExecutionEnvironment {
    /// The lines of text files: a file, all files of a folder, or a glob such
    /// as `logs/*.log`.
    pub fn read_text(&self, path: impl Into<String>) -> DataStream<Str> {
        let connector = Connector { name: "text-files".into(), options: vec![("path".into(), path.into())] };
        let node = NewNode::new("Text Files", TransformationKind::ConnectorSource(connector), &[])
            // The host reads the lines; they pass through to what is chained.
            .build(|build| Ok(Box::new(OneInput::<Str>(build.output()?))));
        DataStream::new(&self.graph, self.graph.add::<Str>(node))
    }

    /// The numbers from `from` to `to`, both included, spread over the
    /// subtasks.
    pub fn from_sequence(&self, from: u64, to: u64) -> DataStream<u64> {
        let count = if from > to { 0 } else { (to - from).saturating_add(1) };
        self.generator("Sequence", Generator::count(count), ByValue(move |index| from + index))
    }

    /// An element for each index from 0 on: `generate(Generator::count(1000),
    /// |index| index * 2)`. Each subtask makes its share of the indices.
    pub fn generate<T: Owned>(
        &self,
        generator: Generator,
        f: impl FnMut(u64) -> T + 'static,
    ) -> DataStream<T> {
        self.generator("Data Generator", generator, ByValue(f))
    }

    /// As `generate`, with any number of elements an index, and borrowed ones:
    /// `generate_with::<Str>(generator, |index, out| out.collect("tick"))`.
    pub fn generate_with<T: Element>(
        &self,
        generator: Generator,
        f: impl for<'c, 'd> FnMut(u64, &'c mut Collector<'d, T>) + 'static,
    ) -> DataStream<T> {
        self.generator("Data Generator", generator, ByCollector(f))
    }

    /// The elements of a collection, in order, from one subtask.
    pub fn from_collection<T: Owned>(&self, elements: impl IntoIterator<Item = T>) -> DataStream<T> {
        let source = Collection(elements.into_iter().collect::<Vec<T>>().into_iter());
        self.source("Collection", true, Some(1), source)
    }

    /// A source of the program's own. `bounded` says that it ends.
    pub fn add_source<T: Element>(&self, bounded: bool, source: impl SourceFunction<T>) -> DataStream<T> {
        self.source("Custom Source", bounded, None, source)
    }

    fn source<T: Element>(
        &self,
        name: &str,
        bounded: bool,
        parallelism: Option<u32>,
        mut source: impl SourceFunction<T>,
    ) -> DataStream<T> {
        let mut node = NewNode::new(name, TransformationKind::Source(bounded), &[]).build(move |build| {
            source.open(&mut OpenContext { info: &build.info, states: None })?;
            Ok(Box::new(FunctionSource::new(build.operator, source, build.output::<T>()?)))
        });
        if let Some(parallelism) = parallelism {
            node = node.parallelism(parallelism);
        }
        DataStream::new(&self.graph, self.graph.add::<T>(node))
    }

    fn generator<T: Element>(
        &self,
        name: &str,
        options: Generator,
        generate: impl Generate<T>,
    ) -> DataStream<T> {
        if let Some(problem) = options.problem() {
            self.graph.with(|graph| graph.fail(problem));
        }
        let kind = TransformationKind::Source(options.is_bounded());
        let node = NewNode::new(name, kind, &[]).build(move |build| {
            let (subtask, parallelism) = (build.info.subtask, build.info.parallelism);
            let out = build.output::<T>()?;
            Ok(Box::new(GeneratorSource::new(build.operator, options, generate, subtask, parallelism, out)))
        });
        DataStream::new(&self.graph, self.graph.add::<T>(node))
    }
}
