//! One subtask: the chain that a task asks for, built from the program's graph
//! and driven by calls. The same natively and in Wasm.

use crate::args::Args;
use crate::counter::Counters;
use crate::error::{Error, Result};
use crate::failure;
use crate::graph::{Build, Channels, Graph, SubtaskInfo};
use crate::position;
use crate::push::{AnyNext, Signal};
use crate::runtime::bindings::types::{Failure, JobPlan, PollStatus, Program, Task, TransformationKind};
use crate::runtime::head::Head;
use crate::stream::environment::StreamExecutionEnvironment;
use std::collections::BTreeMap;
use std::rc::Rc;

/// The program's `main`.
pub(crate) type Main<'m> = &'m dyn Fn(&mut StreamExecutionEnvironment, Args) -> Result<()>;

/// Runs `main` and takes the graph.
fn graph_of(main: Main<'_>, program: &Program) -> Result<Graph> {
    let mut environment = StreamExecutionEnvironment::new();
    let args = Args::new(program.arguments.clone());
    let asked = args.asked();
    let ran = main(&mut environment, args);
    if let Some(help) = asked.borrow().help() {
        return Err(help);
    }
    ran?;
    let mut graph = environment.graph.with(std::mem::take);
    match graph.error.take() {
        Some(error) => Err(error),
        None => Ok(graph),
    }
}

/// The plan of a program.
pub(crate) fn plan(main: Main<'_>, program: &Program) -> Result<JobPlan, Failure> {
    let graph = graph_of(main, program).map_err(|e| failure_of(e, None))?;
    Ok(JobPlan {
        fingerprint: graph.fingerprint(),
        name: graph.job_name,
        transformations: graph.nodes.into_iter().map(|node| node.transformation).collect(),
        configuration: graph.configuration,
    })
}

fn failure_of(error: Error, operator: Option<String>) -> Failure {
    Failure { message: error.message().to_string(), operator }
}

/// A running subtask.
pub(crate) struct Instance {
    head: Box<dyn Head>,
    /// The port of each input of the task.
    ports: Vec<u32>,
    names: BTreeMap<u32, String>,
    counters: Counters,
}

impl Instance {
    /// Builds the chain of a task.
    pub(crate) fn open(main: Main<'_>, task: Task) -> Result<Self, Failure> {
        position::reset();
        Self::build(main, task).map_err(|e| failure_of(e, None))
    }

    fn build(main: Main<'_>, task: Task) -> Result<Self> {
        let mut graph = graph_of(main, &task.program)?;
        if graph.fingerprint() != task.plan_fingerprint {
            return Err(Error::new(
                "main built another graph than at submission: main must depend on its arguments alone, \
                 not on the time, the machine or random numbers",
            ));
        }
        let info = Rc::new(SubtaskInfo {
            subtask: task.subtask,
            parallelism: task.parallelism,
            max_parallelism: task.max_parallelism,
            attempt: task.attempt,
            task_name: task.task_name.clone(),
            batch_mode: task.batch_mode,
            state_cache_size: task.state_cache_size,
            restored: task.restored,
            counters: graph.counters.clone(),
        });
        let mut readers = Readers::default();
        for (index, output) in task.outputs.iter().enumerate() {
            let channels = Channels {
                index: index as u32,
                output: output.clone(),
                batch_size: task.batch_size as usize,
                subtask: task.subtask,
            };
            let encoder = encoder_for(&graph, &channels)?;
            readers.add(output.operator, output.side_output.clone(), encoder);
        }
        let mut names = BTreeMap::new();
        let mut heads = BTreeMap::<u32, Box<dyn Head>>::new();
        for &operator in task.operators.iter().rev() {
            let node = graph.node_mut(operator).ok_or_else(|| unknown(operator))?;
            if let TransformationKind::ConnectorSink(_) = node.transformation.kind {
                continue; // the host's own; its batches leave as an output
            }
            let name = node.transformation.name.clone();
            let build = node.build.take().ok_or_else(|| {
                Error::new(format_args!("transformation {operator} (`{name}`) is not an operator of a chain"))
            })?;
            let mut context =
                Build { operator, name: &name, info: info.clone(), readers: readers.take(operator) };
            let head = build(&mut context)?;
            names.insert(operator, name);
            let feeds: Vec<_> = task.edges.iter().filter(|edge| edge.consumer == operator).collect();
            match feeds.as_slice() {
                [] => {
                    heads.insert(operator, head);
                }
                [edge] => {
                    let next = head.into_next().ok_or_else(|| {
                        Error::new(format_args!("operator {operator} cannot be fused with what feeds it"))
                    })?;
                    readers.add(edge.producer, edge.side_output.clone(), next);
                }
                _ => return Err(Error::new(format_args!("operator {operator} has two edges in its chain"))),
            }
        }
        let (id, head) = match heads.len() {
            1 => heads.pop_first().expect("one"),
            count => return Err(Error::new(format_args!("the chain has {count} heads, not one"))),
        };
        check_inputs(&graph, &task, id)?;
        let ports = task.inputs.iter().map(|input| input.port).collect();
        Ok(Self { head, ports, names, counters: info.counters.clone() })
    }

    /// Takes a batch.
    ///
    /// # Safety
    /// `batch` is a valid batch of the input's element type.
    pub(crate) unsafe fn process(&mut self, input: u32, batch: &[u8]) -> Result<(), Failure> {
        let Some(&port) = self.ports.get(input as usize) else {
            return Err(failure_of(Error::new(format_args!("the task has no input {input}")), None));
        };
        // SAFETY: the caller's promise.
        let processed = unsafe { self.head.process(port, batch) };
        self.outcome(processed)
    }

    pub(crate) fn poll(&mut self) -> Result<PollStatus, Failure> {
        let polled = self.head.poll();
        self.outcome(polled)
    }

    pub(crate) fn end_input(&mut self, input: u32) -> Result<(), Failure> {
        match self.ports.get(input as usize) {
            Some(_) => Ok(()),
            None => Err(failure_of(Error::new(format_args!("the task has no input {input}")), None)),
        }
    }

    pub(crate) fn signal(&mut self, signal: Signal) -> Result<(), Failure> {
        let done = self.head.signal(signal);
        if matches!(signal, Signal::Flush | Signal::Finish) {
            self.counters.send();
        }
        self.outcome(done)
    }

    /// What a call answers: an error that it gave, or one that an operator's
    /// function returned meanwhile.
    fn outcome<R>(&self, result: Result<R>) -> Result<R, Failure> {
        if let Some(failed) = failure::take() {
            let operator = failed.operator.and_then(|id| self.names.get(&id).cloned());
            let error = match failed.record {
                Some(record) => Error::new(format_args!("{} (at record {record})", failed.error)),
                None => failed.error,
            };
            return Err(failure_of(error, operator));
        }
        let operator = || position::current_operator().and_then(|id| self.names.get(&id).cloned());
        let answer = result.map_err(|error| failure_of(error, operator()));
        position::operator(position::NO_OPERATOR);
        answer
    }

    /// Names of the operators, by transformation id.
    pub(crate) fn names(&self) -> &BTreeMap<u32, String> {
        &self.names
    }
}

/// What reads the output of each operator.
#[derive(Default)]
struct Readers(BTreeMap<u32, BTreeMap<Option<String>, Vec<Box<dyn AnyNext>>>>);

impl Readers {
    fn add(&mut self, operator: u32, tag: Option<String>, next: Box<dyn AnyNext>) {
        self.0.entry(operator).or_default().entry(tag).or_default().push(next);
    }

    fn take(&mut self, operator: u32) -> BTreeMap<Option<String>, Vec<Box<dyn AnyNext>>> {
        self.0.remove(&operator).unwrap_or_default()
    }
}

fn unknown(operator: u32) -> Error {
    Error::new(format_args!(
        "the program has no transformation {operator}: `main` must build the same graph every time, \
         whatever the time, the machine or random numbers say"
    ))
}

/// The encoder of an output: its partition's, its side output's or its
/// producer's.
fn encoder_for(graph: &Graph, channels: &Channels) -> Result<Box<dyn AnyNext>> {
    let output = &channels.output;
    let from_partition = output.partition.filter(|_| {
        use crate::runtime::bindings::types::Partitioner::{Custom, KeyGroups};
        matches!(output.partitioner, KeyGroups(_) | Custom(_))
    });
    let node = match (&output.side_output, from_partition) {
        (_, Some(partition)) => graph.node(partition).ok_or_else(|| unknown(partition))?,
        (Some(tag), None) => side_output_node(graph, output.operator, tag)?,
        (None, None) => graph.node(output.operator).ok_or_else(|| unknown(output.operator))?,
    };
    if let Some(element) = node.transformation.output.as_ref().filter(|e| **e != output.element) {
        return Err(Error::new(format_args!(
            "`{}` gives out {}, but {} is expected",
            node.transformation.name, element.schema, output.element.schema
        )));
    }
    let encode = node.encode.clone().ok_or_else(|| {
        Error::new(format_args!("`{}` is a sink and has no output", node.transformation.name))
    })?;
    encode(channels)
}

fn side_output_node<'g>(graph: &'g Graph, operator: u32, tag: &str) -> Result<&'g crate::graph::Node> {
    graph
        .nodes
        .iter()
        .find(|node| {
            node.transformation.inputs == [operator]
                && matches!(&node.transformation.kind, TransformationKind::SideOutput(t) if t == tag)
        })
        .ok_or_else(|| Error::new(format_args!("the program has no side output `{tag}` of {operator}")))
}

/// Every input of the task must be of the head, with the element type that its
/// operator reads.
fn check_inputs(graph: &Graph, task: &Task, head: u32) -> Result<()> {
    for (index, input) in task.inputs.iter().enumerate() {
        if input.operator != head {
            return Err(Error::new(format_args!(
                "input {index} is of operator {}, but {head} is the head of the chain",
                input.operator
            )));
        }
        let node = graph.node(head).ok_or_else(|| unknown(head))?;
        let expected = match node.transformation.kind {
            TransformationKind::ConnectorSource(_) => node.transformation.output.clone(),
            _ => node
                .transformation
                .inputs
                .get(input.port as usize)
                .and_then(|&id| graph.node(id)?.transformation.output.clone()),
        };
        if expected.as_ref() != Some(&input.element) {
            return Err(Error::new(format_args!(
                "input {index} brings {}, but `{}` reads {}",
                input.element.schema,
                node.transformation.name,
                expected.map_or_else(|| "nothing".into(), |e| e.schema)
            )));
        }
    }
    Ok(())
}
