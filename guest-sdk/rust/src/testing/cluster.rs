//! Runs the chains of a job in one thread: sources are polled in turn, batches
//! are handed on at once, inputs end from the front to the back.

use super::backend::TestBackend;
use super::layout::{Chain, Target, chains};
use crate::args::Args;
use crate::batch::builder::BatchBuilder;
use crate::batch::reader::Batch;
use crate::element::Element;
use crate::element::text::Str;
use crate::error::{Error, Result};
use crate::native::types::{Connector, PollStatus, Program, Task};
use crate::native::{self, Subtask};
use crate::stream::environment::StreamExecutionEnvironment;
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::rc::Rc;

/// The job under test.
pub(super) type Job<'j> = &'j dyn Fn(&mut StreamExecutionEnvironment, Args) -> Result<()>;

/// How the job is run.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) parallelism: u32,
    pub(super) max_parallelism: u32,
    pub(super) batch_mode: bool,
    pub(super) chaining: bool,
    pub(super) batch_size: u32,
    pub(super) state_cache_size: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            parallelism: 1,
            max_parallelism: 128,
            batch_mode: false,
            chaining: true,
            batch_size: 32 * 1024,
            state_cache_size: 64 << 20,
        }
    }
}

struct Running {
    subtask: Subtask,
    backend: Rc<TestBackend>,
    /// The source has more to give.
    polling: bool,
}

/// What the sinks got, by connector and its `path`, `name` or nothing.
pub(super) type Sinks = BTreeMap<(String, String), Vec<String>>;

pub(super) struct Cluster {
    chains: Vec<Chain>,
    /// The subtasks of each chain.
    running: Vec<Vec<Running>>,
    queue: VecDeque<(usize, u32, u32, Vec<u8>)>,
    pub(super) sinks: Sinks,
    pub(super) counters: Rc<RefCell<BTreeMap<String, i64>>>,
    pub(super) log: Rc<RefCell<Vec<String>>>,
}

fn sink_key(connector: &Connector) -> (String, String) {
    let option = |key: &str| connector.options.iter().find(|(k, _)| k == key).map(|(_, v)| v.clone());
    (connector.name.clone(), option("path").or_else(|| option("name")).unwrap_or_default())
}

impl Cluster {
    pub(super) fn start(job: Job<'_>, arguments: &[String], settings: &Settings) -> Result<Self> {
        let program = Program { arguments: arguments.to_vec(), configuration: Vec::new() };
        let plan = native::plan(job, &program)?;
        let chains = chains(&plan, settings.parallelism, settings.max_parallelism, settings.chaining)?;
        let (counters, log) = (Rc::default(), Rc::default());
        let mut running = Vec::new();
        let mut sinks = Sinks::new();
        for chain in &chains {
            for (_, target) in &chain.outputs {
                if let Target::Sink(connector) = target {
                    sinks.entry(sink_key(connector)).or_default();
                }
            }
            let mut subtasks = Vec::new();
            for subtask in 0..chain.parallelism {
                let backend = Rc::new(TestBackend::new(&counters, &log));
                let task = Task {
                    program: program.clone(),
                    subtask,
                    parallelism: chain.parallelism,
                    max_parallelism: settings.max_parallelism,
                    attempt: 0,
                    task_name: format!("test ({}/{})", subtask + 1, chain.parallelism),
                    operators: chain.operators.clone(),
                    edges: chain.edges.clone(),
                    inputs: chain.inputs.clone(),
                    outputs: chain.outputs.iter().map(|(output, _)| output.clone()).collect(),
                    batch_mode: settings.batch_mode,
                    batch_size: settings.batch_size,
                    state_cache_size: settings.state_cache_size,
                    restored: false,
                    plan_fingerprint: plan.fingerprint.clone(),
                };
                let opened = Subtask::open(job, task, backend.clone())?;
                let polling = chain.is_source && chain.source.is_none();
                subtasks.push(Running { subtask: opened, backend, polling });
            }
            running.push(subtasks);
        }
        Ok(Self { chains, running, queue: VecDeque::new(), sinks, counters, log })
    }

    /// Gives the text sources their lines.
    pub(super) fn read_sources(&mut self, inputs: &BTreeMap<String, String>) -> Result<()> {
        for chain in 0..self.chains.len() {
            let Some(connector) = self.chains[chain].source.clone() else { continue };
            let (name, path) = sink_key(&connector);
            if name != "text-files" {
                return Err(Error::new(format_args!("the harness has no source `{name}`")));
            }
            let text = match inputs.get(&path) {
                Some(text) => text.clone(),
                None => read_path(Path::new(&path)).map_err(|error| {
                    Error::new(format_args!("no input `{path}`: {error}; give it with `input(path, text)`"))
                })?,
            };
            let parallelism = self.chains[chain].parallelism;
            for subtask in 0..parallelism {
                let lines = text.lines().skip(subtask as usize).step_by(parallelism as usize);
                for batch in text_batches(lines) {
                    self.queue.push_back((chain, subtask, 0, batch));
                }
            }
        }
        self.drain()
    }

    /// Polls each source once. Says whether any has more.
    pub(super) fn poll(&mut self) -> Result<bool> {
        let mut more = false;
        for chain in 0..self.running.len() {
            for subtask in 0..self.running[chain].len() {
                let running = &mut self.running[chain][subtask];
                if !running.polling {
                    continue;
                }
                match running.subtask.poll()? {
                    PollStatus::Finished => running.polling = false,
                    PollStatus::More => more = true,
                    PollStatus::Idle(milliseconds) => {
                        std::thread::sleep(std::time::Duration::from_millis(milliseconds.into()));
                        more = true;
                    }
                }
                self.collect(chain, subtask)?;
                self.drain()?;
            }
        }
        Ok(more)
    }

    /// Sends all buffered records on.
    pub(super) fn flush(&mut self) -> Result<()> {
        self.each(Subtask::flush)
    }

    /// Ends all inputs, from the front to the back.
    pub(super) fn finish(&mut self) -> Result<()> {
        for chain in 0..self.running.len() {
            for subtask in 0..self.running[chain].len() {
                for input in 0..self.chains[chain].inputs.len() {
                    self.running[chain][subtask].subtask.end_input(input as u32)?;
                }
                self.running[chain][subtask].subtask.finish()?;
                self.collect(chain, subtask)?;
            }
            self.drain()?;
        }
        Ok(())
    }

    fn each(&mut self, call: impl Fn(&mut Subtask) -> Result<()>) -> Result<()> {
        for chain in 0..self.running.len() {
            for subtask in 0..self.running[chain].len() {
                call(&mut self.running[chain][subtask].subtask)?;
                self.collect(chain, subtask)?;
            }
            self.drain()?;
        }
        Ok(())
    }

    fn drain(&mut self) -> Result<()> {
        while let Some((chain, subtask, input, batch)) = self.queue.pop_front() {
            let running = &mut self.running[chain][subtask as usize];
            // SAFETY: all batches here were built by this crate, for the
            // element type of the edge that they came on.
            unsafe { running.subtask.process(input, &batch)? };
            self.collect(chain, subtask as usize)?;
        }
        Ok(())
    }

    /// Takes what a subtask has sent to where it goes.
    fn collect(&mut self, chain: usize, subtask: usize) -> Result<()> {
        let sent = std::mem::take(&mut *self.running[chain][subtask].backend.sent.borrow_mut());
        for (output, channel, batch) in sent {
            let (spec, target) = &self.chains[chain].outputs[output as usize];
            match target {
                Target::Sink(connector) => {
                    let lines = self.sinks.entry(sink_key(connector)).or_default();
                    // SAFETY: sinks get text batches, built by this crate.
                    lines.extend(unsafe { lines_of(&batch) });
                }
                &Target::Chain { chain: to, input } => {
                    let count = self.chains[to].parallelism;
                    let forward = spec.partitioner == crate::native::types::Partitioner::Forward;
                    if channel == u32::MAX {
                        for channel in 0..count {
                            self.queue.push_back((to, channel, input, batch.clone()));
                        }
                    } else {
                        let channel = if forward { subtask as u32 } else { channel };
                        self.queue.push_back((to, channel, input, batch));
                    }
                }
            }
        }
        Ok(())
    }
}

fn read_path(path: &Path) -> std::io::Result<String> {
    if !path.is_dir() {
        return std::fs::read_to_string(path);
    }
    let mut files: Vec<_> = std::fs::read_dir(path)?.collect::<Result<Vec<_>, _>>()?;
    files.sort_by_key(std::fs::DirEntry::path);
    let mut text = String::new();
    for file in files {
        text.push_str(&read_path(&file.path())?);
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
    }
    Ok(text)
}

/// Lines as batches of one text column.
fn text_batches<'l>(lines: impl Iterator<Item = &'l str>) -> Vec<Vec<u8>> {
    let mut builder = BatchBuilder::<Str>::new(false, 8 * 1024);
    let mut batches = Vec::new();
    for line in lines {
        while !builder.push(None, &line) {
            match builder.finish() {
                Some(batch) => batches.push(batch.to_vec()),
                None => builder.grow(),
            }
        }
    }
    batches.extend(builder.finish().map(<[u8]>::to_vec));
    batches
}

/// The lines of a text batch.
///
/// # Safety
/// `bytes` is a valid batch of one text column.
unsafe fn lines_of(bytes: &[u8]) -> Vec<String> {
    // SAFETY: the caller's promise.
    let batch = unsafe { Batch::<Str>::new(bytes) };
    let mut cursor = batch.cursor();
    // SAFETY: rows are read in order and below the batch's count.
    (0..batch.rows()).map(|row| unsafe { Str::read(&mut cursor, row as usize) }.to_owned()).collect()
}
