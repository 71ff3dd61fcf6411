//! Where streams end: files, standard output, the client, a function, nothing.

use super::data_stream::DataStream;
use crate::element::Element;
use crate::element::text::Str;
use crate::error::IntoResult;
use crate::graph::{NewNode, SharedGraph};
use crate::operator::sink::ForEach;
use crate::operator::text::ToText;
use crate::push::Discard;
use crate::runtime::bindings::types::{Connector, Transformation, TransformationKind};
use crate::runtime::head::OneInput;
use crate::text::Text;
use serde::Serialize;

/// The end of a stream; names and settings of the sink can be set on it.
pub struct DataStreamSink {
    graph: SharedGraph,
    id: u32,
}

impl DataStreamSink {
    fn configure(self, what: &str, change: impl FnOnce(&mut Transformation)) -> Self {
        self.graph.configure(self.id, what, change);
        self
    }

    /// Names the sink.
    pub fn name(self, name: impl Into<String>) -> Self {
        self.configure("name", |t| t.name = name.into())
    }

    /// Fixes the sink's id across versions of the program.
    pub fn uid(self, uid: impl Into<String>) -> Self {
        self.configure("uid", |t| t.uid = Some(uid.into()))
    }

    /// Sets the number of subtasks of the sink.
    pub fn set_parallelism(self, parallelism: u32) -> Self {
        self.configure("set_parallelism", |t| t.parallelism = Some(parallelism))
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

    /// Never fuses the sink with the operator before it.
    pub fn disable_chaining(self) -> Self {
        self.configure("disable_chaining", |t| {
            t.chaining = crate::runtime::bindings::types::Chaining::Never;
        })
    }

    /// Lets a file sink replace output that is there already.
    pub fn overwrite(self, yes: bool) -> Self {
        self.option("overwrite", yes.to_string())
    }

    /// Sets an option of the sink's connector; see `docs/connectors.md`.
    pub fn option(self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.graph.with(|graph| {
            let transformation = &mut graph.nodes[self.id as usize - 1].transformation;
            match &mut transformation.kind {
                TransformationKind::ConnectorSink(connector) => {
                    let key = key.into();
                    connector.options.retain(|(existing, _)| *existing != key);
                    connector.options.push((key, value.into()));
                }
                _ => {
                    let message =
                        format!("`{}` is not a connector and takes no options", transformation.name);
                    graph.fail(message);
                }
            }
        });
        self
    }
}

impl<T: Element> DataStream<T> {
    /// Writes each element as a line of text into files below `path`; the
    /// files appear when the job has ended. Tuples are written as `(a,b)`.
    pub fn write_text(&self, path: impl Into<String>) -> DataStreamSink
    where
        T: for<'a> Element<View<'a>: Text>,
    {
        let options = vec![("path".into(), path.into())];
        self.lines().connector("Text Files", "text-files", options)
    }

    /// As `write_text`, with columns separated by commas: `a,b`.
    pub fn write_csv(&self, path: impl Into<String>) -> DataStreamSink
    where
        T: for<'a> Element<View<'a>: Text>,
    {
        let options = vec![("path".into(), path.into())];
        self.to_lines("To CSV", |value, line| value.write_csv_to(line)).connector(
            "Text Files",
            "text-files",
            options,
        )
    }

    /// As `write_text`, with the line written by a function, without an
    /// allocation an element: `|(word, n), line| write!(line, "{word}: {n}")`.
    pub fn write_text_with<R>(
        &self,
        path: impl Into<String>,
        f: impl for<'a, 'c> FnMut(T::View<'a>, &'c mut String) -> R + 'static,
    ) -> DataStreamSink {
        let options = vec![("path".into(), path.into())];
        self.to_lines_by_value("To Text", f).connector("Text Files", "text-files", options)
    }

    /// Prints each element as a line on the standard output of the task.
    pub fn print(&self) -> DataStreamSink
    where
        T: for<'a> Element<View<'a>: Text>,
    {
        self.lines().connector("Print to Std. Out", "print", Vec::new())
    }

    /// Sends each element to the client, as JSON, under a name.
    pub fn collect(&self, name: impl Into<String>) -> DataStreamSink
    where
        T: for<'a> Element<View<'a>: Serialize>,
    {
        let options = vec![("name".into(), name.into())];
        self.to_lines("To JSON", |value, line| crate::__private::write_json(value, line))
            .connector("Collect", "collect", options)
    }

    /// Throws the elements away.
    pub fn discard(&self) -> DataStreamSink {
        let node = NewNode::new("Discard", TransformationKind::Sink, &[self.id])
            .build(|_| Ok(Box::new(OneInput::<T>(Box::new(Discard)))));
        DataStreamSink { graph: self.graph.clone(), id: self.graph.add_sink(node) }
    }

    /// Gives each element to a function: a sink of your own.
    pub fn for_each<R: IntoResult>(
        &self,
        f: impl for<'a> FnMut(T::View<'a>) -> R + 'static,
    ) -> DataStreamSink {
        let node = NewNode::new("For Each", TransformationKind::Sink, &[self.id])
            .build(move |build| Ok(Box::new(OneInput::<T>(Box::new(ForEach::new(build.operator, f))))));
        DataStreamSink { graph: self.graph.clone(), id: self.graph.add_sink(node) }
    }

    /// The elements as lines; text as it is.
    fn lines(&self) -> DataStream<Str>
    where
        T: for<'a> Element<View<'a>: Text>,
    {
        if crate::element::element_type::<T>() == crate::element::element_type::<Str>() {
            // A stream of `String` or `Str` is one text column already.
            return DataStream::new(&self.graph, self.id);
        }
        self.to_lines("To Text", |value, line| value.write_to(line))
    }

    fn to_lines(
        &self,
        name: &str,
        mut f: impl for<'a, 'b, 'c> FnMut(&'b T::View<'a>, &'c mut String) + 'static,
    ) -> DataStream<Str> {
        self.to_lines_by_value(name, move |value, line| f(&value, line))
    }

    fn to_lines_by_value<R>(
        &self,
        name: &str,
        f: impl for<'a, 'c> FnMut(T::View<'a>, &'c mut String) -> R + 'static,
    ) -> DataStream<Str> {
        let node = NewNode::new(name, TransformationKind::OneInput, &[self.id]).build(move |build| {
            Ok(Box::new(OneInput::<T>(Box::new(ToText::new(build.operator, f, build.output()?)))))
        });
        DataStream::new(&self.graph, self.graph.add::<Str>(node))
    }
}

impl DataStream<Str> {
    fn connector(&self, title: &str, name: &str, options: Vec<(String, String)>) -> DataStreamSink {
        let connector = Connector { name: name.into(), options };
        let node = NewNode::new(title, TransformationKind::ConnectorSink(connector), &[self.id]);
        DataStreamSink { graph: self.graph.clone(), id: self.graph.add_sink(node) }
    }
}
