//! A whole job in a test: text in, lines out.

use super::cluster::{Cluster, Settings, Sinks};
use crate::args::Args;
use crate::error::{Error, Result};
use crate::stream::environment::StreamExecutionEnvironment;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

/// Runs a job natively.
///
/// ```
/// use heddle::prelude::*;
/// use heddle::testing::TestHarness;
///
/// fn job(env: &mut StreamExecutionEnvironment, args: Args) -> heddle::Result<()> {
///     env.read_text(args.required("input")?)
///         .filter(|line| !line.is_empty())
///         .map(|line| line.to_uppercase())
///         .write_text(args.required("output")?);
///     Ok(())
/// }
///
/// let outputs = TestHarness::new()
///     .input("in.txt", "one\n\ntwo\n")
///     .run(job, ["--input", "in.txt", "--output", "out"])
///     .unwrap();
/// assert_eq!(outputs.file("out"), ["ONE", "TWO"]);
/// ```
#[derive(Clone, Default)]
pub struct TestHarness {
    settings: Settings,
    inputs: BTreeMap<String, String>,
}

impl TestHarness {
    pub fn new() -> Self {
        Self::default()
    }

    /// The text that `read_text(path)` reads. Other paths are real files.
    pub fn input(mut self, path: impl Into<String>, text: impl Into<String>) -> Self {
        self.inputs.insert(path.into(), text.into());
        self
    }

    /// Subtasks of each operator; 1 if not set.
    pub fn parallelism(mut self, parallelism: u32) -> Self {
        self.settings.parallelism = parallelism;
        self
    }

    /// Runs in BATCH mode: keyed aggregations give out one result a key.
    pub fn batch_mode(mut self, yes: bool) -> Self {
        self.settings.batch_mode = yes;
        self
    }

    /// Whether operators are fused; they are if not set.
    pub fn chaining(mut self, yes: bool) -> Self {
        self.settings.chaining = yes;
        self
    }

    /// Target length of a batch in bytes.
    pub fn batch_size(mut self, bytes: u32) -> Self {
        self.settings.batch_size = bytes;
        self
    }

    /// How many bytes of state a subtask caches before it writes some back.
    pub fn state_cache_size(mut self, bytes: u64) -> Self {
        self.settings.state_cache_size = bytes;
        self
    }

    /// Runs the job to its end.
    pub fn run<S: Into<String>>(
        &self,
        job: impl Fn(&mut StreamExecutionEnvironment, Args) -> Result<()>,
        arguments: impl IntoIterator<Item = S>,
    ) -> Result<Outputs> {
        let arguments: Vec<String> = arguments.into_iter().map(Into::into).collect();
        let mut cluster = Cluster::start(&job, &arguments, &self.settings)?;
        cluster.read_sources(&self.inputs)?;
        while cluster.poll()? {}
        cluster.finish()?;
        let counters = cluster.counters.borrow().clone();
        let log = cluster.log.borrow().clone();
        Ok(Outputs { sinks: cluster.sinks, counters, log })
    }
}

/// What a job gave out.
pub struct Outputs {
    sinks: Sinks,
    counters: BTreeMap<String, i64>,
    log: Vec<String>,
}

impl Outputs {
    fn lines(&self, connector: &str, name: &str) -> &[String] {
        match self.sinks.get(&(connector.to_string(), name.to_string())) {
            Some(lines) => lines,
            None => panic!("the job has no `{connector}` sink `{name}`"),
        }
    }

    /// The lines written to a path.
    pub fn file(&self, path: &str) -> &[String] {
        self.lines("text-files", path)
    }

    /// The lines printed.
    pub fn printed(&self) -> &[String] {
        self.lines("print", "")
    }

    /// The elements collected under a name.
    pub fn collected<V: DeserializeOwned>(&self, name: &str) -> Result<Vec<V>> {
        self.lines("collect", name)
            .iter()
            .map(|line| serde_json::from_str(line).map_err(|error| Error::from(error).context(line)))
            .collect()
    }

    /// The sum of a counter.
    pub fn counter(&self, name: &str) -> i64 {
        self.counters.get(name).copied().unwrap_or_default()
    }

    /// The log, one `level: message` a line.
    pub fn log(&self) -> &[String] {
        &self.log
    }
}
