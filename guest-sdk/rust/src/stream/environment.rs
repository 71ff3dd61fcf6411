//! The environment that `main` gets: sources, and settings of the whole job.

use super::data_stream::DataStream;
use crate::element::text::Str;
use crate::graph::{NewNode, SharedGraph};
use crate::runtime::bindings::types::{Connector, TransformationKind};
use crate::runtime::head::OneInput;

/// Makes streams and holds the settings of the job.
///
/// Streams are cheap handles; the environment remembers what was built.
pub struct StreamExecutionEnvironment {
    pub(crate) graph: SharedGraph,
}

impl StreamExecutionEnvironment {
    pub(crate) fn new() -> Self {
        Self { graph: SharedGraph::default() }
    }

    /// The lines of text files: a file, all files of a folder, or a glob such
    /// as `logs/*.log`.
    pub fn read_text(&self, path: impl Into<String>) -> DataStream<Str> {
        let connector = Connector { name: "text-files".into(), options: vec![("path".into(), path.into())] };
        let node = NewNode::new("Text Files", TransformationKind::ConnectorSource(connector), &[])
            // The host reads the lines; they pass through to what is chained.
            .build(|build| Ok(Box::new(OneInput::<Str>(build.output()?))));
        DataStream::new(&self.graph, self.graph.add::<Str>(node))
    }

    /// Names the job.
    pub fn set_job_name(&self, name: impl Into<String>) {
        self.graph.with(|graph| graph.job_name = Some(name.into()));
    }

    /// Sets the parallelism of all operators that have none of their own.
    pub fn set_parallelism(&self, parallelism: u32) {
        self.configure("parallelism.default", parallelism.to_string());
    }

    /// Sets the number of key groups, the most that a keyed operator can ever
    /// be scaled to.
    pub fn set_max_parallelism(&self, max_parallelism: u32) {
        self.configure("pipeline.max-parallelism", max_parallelism.to_string());
    }

    /// Sets an option of `conf/config.yaml` for this job. What the command
    /// line says goes before it.
    pub fn configure(&self, key: impl Into<String>, value: impl Into<String>) {
        self.graph.with(|graph| graph.configuration.push((key.into(), value.into())));
    }
}
