//! The chains of a job compiled into the host: the same Rust code, the same
//! state backend, no sandbox, no check of batches.
//!
//! `bench-native JOB GRAPH.json SECONDS` prints a line of JSON.

mod task;

use anyhow::{Context, Result, bail};
use bench_drive::{Outbox, Subtask, line_of, measure};
use heddle::native::{self, Backend, types};
use heddle::prelude::{Args, StreamExecutionEnvironment};
use heddle_model::job_graph::JobGraph;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

type Job = fn(&mut StreamExecutionEnvironment, Args) -> heddle::Result<()>;

struct Host(RefCell<Outbox>);

impl Backend for Host {
    fn emit(&self, _: u32, _: u32, batch: &[u8]) {
        self.0.borrow_mut().emit(batch);
    }

    fn register_state(&self, operator: u32, name: &str) -> u32 {
        self.0.borrow_mut().register_state(operator, name).expect("a state")
    }

    fn get_many(&self, state: u32, keys: &[u8]) -> Vec<u8> {
        self.0.borrow().get_many(state, keys).expect("values")
    }

    fn put_many(&self, state: u32, entries: &[u8]) {
        self.0.borrow_mut().put_many(state, entries).expect("room for entries");
    }

    fn scan(&self, state: u32, cursor: u64, max_bytes: u32) -> (Vec<u8>, Option<u64>) {
        self.0.borrow().scan(state, cursor, max_bytes).expect("entries")
    }

    fn add_metrics(&self, values: &[(String, i64)]) {
        self.0.borrow_mut().count(values);
    }

    fn write_log(&self, _: types::Level, target: &str, message: &str) {
        eprintln!("{target}: {message}");
    }
}

struct Native {
    subtask: native::Subtask,
    host: Rc<Host>,
}

impl Subtask for Native {
    fn poll(&mut self) -> Result<bool> {
        match self.subtask.poll() {
            Ok(status) => Ok(status != types::PollStatus::Finished),
            Err(error) => bail!("{error}"),
        }
    }

    fn process(&mut self, batch: &[u8]) -> Result<()> {
        // SAFETY: the chain before this one built it, for this edge.
        unsafe { self.subtask.process(0, batch) }.map_err(|error| anyhow::anyhow!("{error}"))
    }

    fn flush(&mut self) -> Result<()> {
        self.subtask.flush().map_err(|error| anyhow::anyhow!("{error}"))
    }

    fn outbox<R>(&mut self, with: impl FnOnce(&mut Outbox) -> R) -> R {
        with(&mut self.host.0.borrow_mut())
    }
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [job, graph, seconds] = arguments.as_slice() else {
        bail!("usage: bench-native JOB GRAPH.json SECONDS");
    };
    let job: Job = match job.as_str() {
        "word-count" => bench_word_count::main,
        "map-filter" => bench_map_filter::main,
        "keyed-reduce" => bench_keyed_reduce::main,
        "plain-user" => bench_plain_user::main,
        other => bail!("no job {other}"),
    };
    let graph = std::fs::read_to_string(graph).with_context(|| graph.clone())?;
    let graph: JobGraph = serde_json::from_str(&graph)?;
    let mut line = Vec::new();
    for vertex in line_of(&graph)? {
        let host = Rc::new(Host(RefCell::new(Outbox::new(vertex))));
        let opened = native::Subtask::open(&job, task::of(&graph, vertex), host.clone());
        let subtask = opened.map_err(|error| anyhow::anyhow!("{}: {error}", vertex.name))?;
        line.push(Native { subtask, host });
    }
    let measured = measure(&mut line, Duration::from_secs_f64(seconds.parse()?))?;
    println!("{}", measured.json());
    Ok(())
}
