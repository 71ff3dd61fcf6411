//! A runtime over a temporary folder, and a host that remembers.

use crate::guests::Guest;
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::plan::Program;
use heddle_wasm::{
    CancelFlag, CompilerCommand, Component, Emitted, Error, Grants, Instance, InstanceLimits, LogLevel,
    MemoryBudget, Options, Runtime, Task, TaskHost,
};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Semaphore;

/// What a guest did.
#[derive(Default)]
pub struct Seen {
    pub emitted: Vec<(u32, u32, Vec<u8>)>,
    pub logged: Vec<(LogLevel, String, String)>,
    pub metrics: HashMap<String, i64>,
    pub states: Vec<(u32, String)>,
    pub entries: Vec<u8>,
}

/// A host over shared memory of what happened.
pub struct Host {
    pub seen: Arc<Mutex<Seen>>,
    /// An emit waits until this has a permit.
    pub room: Option<Arc<Semaphore>>,
    pub refuse_emit: bool,
}

impl TaskHost for Host {
    fn emit(&mut self, output: u32, channel: u32, batch: &[u8]) -> Result<Emitted, Failure> {
        if self.refuse_emit {
            return Err(Failure::new(ErrorCode::ContractViolation, "malformed batch"));
        }
        self.seen.lock().unwrap().emitted.push((output, channel, batch.to_vec()));
        let Some(room) = self.room.clone() else { return Ok(Emitted::Done) };
        Ok(Emitted::Wait(Box::pin(async move {
            room.acquire().await.expect("open").forget();
            Ok(())
        })))
    }

    fn state_register(&mut self, operator: u32, name: &str) -> Result<u32, Failure> {
        let mut seen = self.seen.lock().unwrap();
        seen.states.push((operator, name.to_owned()));
        Ok(seen.states.len() as u32 - 1)
    }

    fn state_get_many(&mut self, _: u32, keys: &[u8]) -> Result<Vec<u8>, Failure> {
        Ok(keys.iter().rev().copied().collect())
    }

    fn state_put_many(&mut self, _: u32, entries: &[u8]) -> Result<(), Failure> {
        self.seen.lock().unwrap().entries.extend_from_slice(entries);
        Ok(())
    }

    fn state_scan(&mut self, _: u32, cursor: u64, _: u32) -> Result<(Vec<u8>, Option<u64>), Failure> {
        Ok((vec![cursor as u8; 3], Some(cursor + 1)))
    }

    fn add_metrics(&mut self, values: Vec<(String, i64)>) {
        let mut seen = self.seen.lock().unwrap();
        for (name, value) in values {
            *seen.metrics.entry(name).or_default() += value;
        }
    }

    fn log(&mut self, level: LogLevel, target: &str, message: &str) {
        self.seen.lock().unwrap().logged.push((level, target.to_owned(), message.to_owned()));
    }
}

/// One runtime with its folder.
pub struct Sandbox {
    pub runtime: Runtime,
    pub budget: Arc<MemoryBudget>,
    _folder: tempfile::TempDir,
}

pub fn compiler() -> CompilerCommand {
    CompilerCommand { program: env!("CARGO_BIN_EXE_compile-component").into(), arguments: vec![] }
}

/// Options over `folder/cache`.
pub fn options(folder: &tempfile::TempDir) -> Options {
    let mut options = Options::new(folder.path().join("cache"), compiler());
    options.max_instances = 8;
    options.max_memory_per_instance = 1 << 30;
    options
}

impl Sandbox {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut Options)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut options = options(&folder);
        change(&mut options);
        let runtime = Runtime::new(options).expect("a runtime");
        Self { runtime, budget: Arc::new(MemoryBudget::new(64 << 20)), _folder: folder }
    }

    pub fn limits(&self) -> InstanceLimits {
        InstanceLimits {
            memory: self.budget.clone(),
            call_timeout: Duration::from_secs(60),
            log_lines_per_second: 100,
            grants: Grants::default(),
            cancel: CancelFlag::new(),
            wall_clock_ms: 1_700_000_000_000,
            random_seed: 7,
            task_name: "Flat Map (1/4)".to_owned(),
        }
    }

    pub async fn load(&self, guest: &Guest) -> Component {
        self.runtime.load(&guest.component(), &Grants::default()).await.expect("the guest loads")
    }

    /// What the user reads when these bytes are loaded.
    pub async fn refuse(&self, bytes: &[u8]) -> String {
        self.refuse_with(bytes, &Grants::default()).await
    }

    pub async fn refuse_with(&self, bytes: &[u8], grants: &Grants) -> String {
        line(&self.runtime.load(bytes, grants).await.expect_err("refused"))
    }

    /// What the user reads when this guest plans.
    pub async fn plan_error(&self, guest: &Guest, change: impl FnOnce(&mut InstanceLimits)) -> String {
        let component = self.load(guest).await;
        let mut limits = self.limits();
        change(&mut limits);
        line(&self.runtime.plan(&component, &Program::default(), &limits).await.expect_err("refused"))
    }

    pub async fn start(&self, guest: &Guest) -> (Instance, Arc<Mutex<Seen>>) {
        self.start_with(guest, |_, _| {}).await
    }

    pub async fn start_with(
        &self,
        guest: &Guest,
        change: impl FnOnce(&mut InstanceLimits, &mut Host),
    ) -> (Instance, Arc<Mutex<Seen>>) {
        let component = self.load(guest).await;
        let seen = Arc::new(Mutex::new(Seen::default()));
        let mut host = Host { seen: seen.clone(), room: None, refuse_emit: false };
        let mut limits = self.limits();
        change(&mut limits, &mut host);
        let instance =
            self.runtime.instantiate(&component, Box::new(host), limits).await.expect("an instance");
        (instance, seen)
    }
}

/// `H1001: message`.
pub fn line(error: &Error) -> String {
    let failure = error.failure();
    assert!(!failure.message.contains('\n'), "one line: {}", failure.message);
    format!("{}: {}", failure.code, failure.message)
}

pub fn task() -> Task {
    Task {
        program: Program::default(),
        subtask: 0,
        parallelism: 4,
        max_parallelism: 128,
        attempt: 0,
        task_name: "Flat Map (1/4)".to_owned(),
        operators: vec![1, 2],
        edges: vec![],
        inputs: vec![],
        outputs: vec![],
        batch_mode: false,
        batch_size: 65536,
        state_cache_size: 1 << 20,
        restored: false,
    }
}
