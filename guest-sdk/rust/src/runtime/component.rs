//! The exports of the contract over the instance of this component.

use crate::args::Args;
use crate::error::Result;
use crate::push::Signal;
use crate::runtime::bindings::exports::heddle::operator::job::Guest;
use crate::runtime::bindings::types::{Failure, JobPlan, PollStatus, Program, Task};
use crate::runtime::instance::{self, Instance};
use crate::runtime::panic;
use crate::stream::environment::StreamExecutionEnvironment;
use std::cell::RefCell;
use std::marker::PhantomData;

/// A program: what `#[heddle::main]` makes of a function.
pub trait Main: 'static {
    /// Builds the graph.
    fn __heddle_main(environment: &mut StreamExecutionEnvironment, args: Args) -> Result<()>;
}

/// The component of a program.
pub struct Component<M> {
    _main: PhantomData<M>,
}

thread_local! {
    static INSTANCE: RefCell<Option<Instance>> = const { RefCell::new(None) };
}

fn with<R>(call: impl FnOnce(&mut Instance) -> Result<R, Failure>) -> Result<R, Failure> {
    INSTANCE.with(|instance| match &mut *instance.borrow_mut() {
        Some(instance) => call(instance),
        None => Err(Failure { message: "the subtask is not open".into(), operator: None }),
    })
}

impl<M: Main> Guest for Component<M> {
    fn plan(program: Program) -> Result<JobPlan, Failure> {
        install_panic_hook();
        instance::plan(&M::__heddle_main, &program)
    }

    fn open(task: Task) -> Result<(), Failure> {
        install_panic_hook();
        let opened = Instance::open(&M::__heddle_main, task)?;
        panic::set_names(opened.names());
        INSTANCE.with(|instance| *instance.borrow_mut() = Some(opened));
        Ok(())
    }

    fn process(input: u32, batch: Vec<u8>) -> Result<(), Failure> {
        // SAFETY: the host validates every batch before it calls.
        with(|instance| unsafe { instance.process(input, &batch) })
    }

    fn poll() -> Result<PollStatus, Failure> {
        with(Instance::poll)
    }

    fn flush() -> Result<(), Failure> {
        with(|instance| instance.signal(Signal::Flush))
    }

    fn end_input(input: u32) -> Result<(), Failure> {
        with(|instance| instance.end_input(input))
    }

    fn flush_state() -> Result<(), Failure> {
        with(|instance| instance.signal(Signal::FlushState))
    }

    fn fire_timers(operator: u32, _event_time: bool, _timers: Vec<u8>) -> Result<(), Failure> {
        Err(Failure { message: format!("operator {operator} has no timers"), operator: None })
    }

    fn finish() -> Result<(), Failure> {
        with(|instance| instance.signal(Signal::Finish))
    }
}

fn install_panic_hook() {
    #[cfg(target_family = "wasm")]
    panic::install();
}
