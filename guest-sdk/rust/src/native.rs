//! A subtask outside of Wasm: the very chain that a component would run, driven
//! by calls, with a [`Backend`] in the place of the host. Tests and the
//! measurement of what the sandbox costs are built on it.

use crate::args::Args;
use crate::error::{Error, Result};
use crate::position::{self, Snapshot};
use crate::push::Signal;
use crate::runtime::bindings::types::{Failure, JobPlan, PollStatus, Program, Task};
use crate::runtime::host;
use crate::runtime::instance::{self, Instance};
use crate::stream::environment::StreamExecutionEnvironment;
use std::rc::Rc;

pub use crate::runtime::bindings::types;
pub use crate::runtime::host::Backend;

/// The plan of a job.
pub fn plan(
    job: &dyn Fn(&mut StreamExecutionEnvironment, Args) -> Result<()>,
    program: &Program,
) -> Result<JobPlan> {
    instance::plan(job, program).map_err(error_of)
}

fn error_of(failure: Failure) -> Error {
    match failure.operator {
        Some(operator) => Error::new(failure.message).context(format_args!("operator `{operator}`")),
        None => Error::new(failure.message),
    }
}

/// A subtask that runs natively.
pub struct Subtask {
    instance: Instance,
    backend: Rc<dyn Backend>,
    position: Snapshot,
}

impl Subtask {
    /// Builds the chain of a task.
    pub fn open(
        job: &dyn Fn(&mut StreamExecutionEnvironment, Args) -> Result<()>,
        task: Task,
        backend: Rc<dyn Backend>,
    ) -> Result<Self> {
        let former = host::set_backend(Some(backend.clone()));
        let opened = Instance::open(job, task);
        host::set_backend(former);
        Ok(Self { instance: opened.map_err(error_of)?, backend, position: Snapshot::default() })
    }

    fn call<R>(&mut self, call: impl FnOnce(&mut Instance) -> Result<R, Failure>) -> Result<R> {
        let former = host::set_backend(Some(self.backend.clone()));
        position::restore(self.position);
        let answer = call(&mut self.instance);
        self.position = position::snapshot();
        host::set_backend(former);
        answer.map_err(error_of)
    }

    /// Takes a batch of an input.
    ///
    /// # Safety
    /// `batch` is a valid batch of the input's element type; nobody checks.
    pub unsafe fn process(&mut self, input: u32, batch: &[u8]) -> Result<()> {
        // SAFETY: the caller's promise.
        self.call(|instance| unsafe { instance.process(input, batch) })
    }

    /// Lets a source produce about a batch.
    pub fn poll(&mut self) -> Result<PollStatus> {
        self.call(Instance::poll)
    }

    /// Sends what is buffered.
    pub fn flush(&mut self) -> Result<()> {
        self.call(|instance| instance.signal(Signal::Flush))
    }

    /// Writes cached state to the backend.
    pub fn flush_state(&mut self) -> Result<()> {
        self.call(|instance| instance.signal(Signal::FlushState))
    }

    /// An input has ended.
    pub fn end_input(&mut self, input: u32) -> Result<()> {
        self.call(|instance| instance.end_input(input))
    }

    /// All inputs have ended.
    pub fn finish(&mut self) -> Result<()> {
        self.call(|instance| instance.signal(Signal::Finish))
    }
}
