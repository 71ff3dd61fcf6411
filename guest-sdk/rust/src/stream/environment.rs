//! The environment that `main` gets: settings of the whole job, and (in
//! `source`) where streams begin.

use crate::counter::Counter;
use crate::graph::SharedGraph;

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

    /// A counter of the job, for closures to capture.
    ///
    /// ```
    /// # use heddle::prelude::*;
    /// # fn job(env: &StreamExecutionEnvironment) {
    /// let empty = env.counter("empty-lines");
    /// env.read_text("in.txt").filter(move |line| {
    ///     if line.is_empty() {
    ///         empty.inc();
    ///     }
    ///     !line.is_empty()
    /// });
    /// # }
    /// ```
    pub fn counter(&self, name: &str) -> Counter {
        self.graph.with(|graph| graph.counters.get(name))
    }
}
