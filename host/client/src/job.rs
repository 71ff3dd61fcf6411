//! From a component's file to a job graph: read, compile, plan, graphs, checks.

use crate::{Sandbox, configuration};
use bytes::Bytes;
use heddle_model::config::value::MemorySize;
use heddle_model::config::{Configuration, Origin, options as o};
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::JobId;
use heddle_model::job_graph::{ExecutionConfig, JobGraph};
use heddle_model::plan::{ConnectorSpec, JobPlan, Program};
use heddle_model::stream_graph::{GraphSettings, OperatorKind, StreamGraph};
use heddle_wasm::{CancelFlag, Component, InstanceLimits, MemoryBudget};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// What a user asks to run.
#[derive(Clone, Debug)]
pub struct JobRequest {
    pub component: PathBuf,
    /// The arguments behind the component.
    pub arguments: Vec<String>,
}

/// A job that is ready to be submitted.
#[derive(Debug)]
pub struct Job {
    pub stream_graph: StreamGraph,
    pub graph: JobGraph,
    pub component: Bytes,
    /// With what the program set.
    pub configuration: Configuration,
    /// Keeps the compiled code mapped until the job's tasks have it.
    _loaded: Component,
}

impl Job {
    /// Compiles the component unless that was done before, runs its `main` for
    /// the graph, and checks all that can be checked before submission.
    ///
    /// # Errors
    /// H10xx: the component; H11xx: `main` and its graph; H12xx: the
    /// configuration; H13xx: connectors.
    pub async fn prepare(
        request: &JobRequest,
        configuration: &Configuration,
        sandbox: &Sandbox,
    ) -> Result<Self, Failure> {
        let mut configuration = configuration.clone();
        // What is wrong with the configuration shows before anything is compiled.
        let memory = configuration::check(&configuration)?.slot_profile().task_memory;

        let component = read_component(&request.component, &configuration)?;
        let name = file_name(&request.component);
        let in_file = |error: heddle_wasm::Error| {
            let failure = error.failure();
            Failure { message: format!("{name}: {}", failure.message), ..failure }
        };
        let loaded = sandbox.runtime.load(&component, &sandbox.grants).await.map_err(in_file)?;

        let job_id = JobId(rand::random());
        let key = loaded.key();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut program = Program {
            arguments: request.arguments.clone(),
            configuration: configuration.job_pairs(),
            submitted_at_ms: now.as_millis() as u64,
            plan_fingerprint: String::new(),
        };
        let limits = InstanceLimits {
            memory: Arc::new(MemoryBudget::new(memory)),
            call_timeout: configuration.get(&o::PLAN_TIMEOUT),
            log_lines_per_second: configuration.get(&o::LOG_RATE),
            grants: sandbox.grants,
            cancel: CancelFlag::new(),
            wall_clock_ms: program.submitted_at_ms,
            random_seed: program.random_seed(&key),
            task_name: "main".into(),
        };
        let plan = sandbox.runtime.plan(&loaded, &program, &limits).await.map_err(in_file)?;
        let plan = apply_program_settings(plan, &mut configuration)?;
        program.plan_fingerprint.clone_from(&plan.fingerprint);

        let settings = GraphSettings {
            default_parallelism: configuration.get(&o::PARALLELISM_DEFAULT).0,
            default_max_parallelism: configuration.get(&o::PIPELINE_MAX_PARALLELISM).map(|max| max.0),
            job_name: configuration.get(&o::PIPELINE_NAME).unwrap_or_else(|| stem(&request.component)),
            chaining_enabled: configuration.get(&o::OPERATOR_CHAINING),
        };
        let stream_graph = StreamGraph::from_plan(&plan, &settings)?;
        for node in &stream_graph.nodes {
            match &node.kind {
                OperatorKind::ConnectorSource(spec) => heddle_connectors::check(spec, true)?,
                OperatorKind::ConnectorSink(spec) => heddle_connectors::check(spec, false)?,
                _ => {}
            }
        }
        let execution = ExecutionConfig::from_configuration(&configuration, stream_graph.bounded)?;
        let graph = JobGraph::build(&stream_graph, job_id, key, program, execution);
        check_slots(&graph, &configuration)?;
        Ok(Self { stream_graph, graph, component, configuration, _loaded: loaded })
    }
}

/// Adds what the program set; it yields to `-D` and the command line. A job's
/// name counts as `pipeline.name`.
fn apply_program_settings(plan: JobPlan, configuration: &mut Configuration) -> Result<JobPlan, Failure> {
    for (key, value) in &plan.configuration {
        configuration.set(key, value, Origin::Program)?;
    }
    if let Some(name) = &plan.name {
        configuration.set(o::PIPELINE_NAME.key(), name, Origin::Program)?;
    }
    Ok(JobPlan { name: configuration.get(&o::PIPELINE_NAME), ..plan })
}

/// A limit on slots that the job cannot keep shows at once, not after the
/// time-out of the slot request.
fn check_slots(graph: &JobGraph, configuration: &Configuration) -> Result<(), Failure> {
    let Some(most) = configuration.get(&o::MAX_SLOTS) else { return Ok(()) };
    let required = graph.required_slots();
    if required <= most.get() {
        return Ok(());
    }
    let message = format!(
        "the job needs {required} slots, and the cluster may have {most} ({}, from {}); lower the parallelism",
        o::MAX_SLOTS.key(),
        configuration.origin(&o::MAX_SLOTS),
    );
    Err(Failure::new(ErrorCode::NoResources, message))
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

fn read_component(path: &Path, configuration: &Configuration) -> Result<Bytes, Failure> {
    let invalid =
        |what: String| Failure::new(ErrorCode::ComponentInvalid, format!("{}: {what}", path.display()));
    if path.as_os_str().is_empty() {
        let message = "the name of the component is empty; expected the .wasm file of a job";
        return Err(Failure::new(ErrorCode::ComponentInvalid, message));
    }
    let metadata = std::fs::metadata(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => invalid("no such file".into()),
        _ => invalid(format!("cannot be read: {error}")),
    })?;
    if metadata.is_dir() {
        return Err(invalid("is a folder; expected the .wasm file of a job".into()));
    }
    if !metadata.is_file() {
        return Err(invalid("is not a regular file; expected the .wasm file of a job".into()));
    }
    let limit = configuration.get(&o::MAX_COMPONENT_SIZE);
    if metadata.len() > limit.0 {
        let size = MemorySize(metadata.len());
        return Err(invalid(format!("has {size}; the limit is {limit} ({})", o::MAX_COMPONENT_SIZE.key())));
    }
    let content = std::fs::read(path).map_err(|error| invalid(format!("cannot be read: {error}")))?;
    Ok(content.into())
}

impl Job {
    fn sinks(&mut self, connector: &'static str) -> impl Iterator<Item = &mut ConnectorSpec> {
        let operators = self.graph.vertices.iter_mut().flat_map(|vertex| &mut vertex.operators);
        operators.filter_map(move |operator| match &mut operator.kind {
            OperatorKind::ConnectorSink(spec) if spec.name == connector => Some(spec),
            _ => None,
        })
    }

    /// Whether it has sinks that write to the console of their process.
    pub fn prints(&mut self) -> bool {
        self.sinks("print").next().is_some()
    }

    /// Nobody will wait for its result: what `collect` sinks would gather for
    /// it is dropped. Gives their names.
    pub fn drop_collected(&mut self) -> Vec<String> {
        let drop = |spec: &mut ConnectorSpec| {
            spec.options.retain(|(key, _)| key != heddle_connectors::DISCARD);
            spec.options.push((heddle_connectors::DISCARD.to_owned(), "true".to_owned()));
            spec.option("name").unwrap_or(&spec.name).to_owned()
        };
        self.sinks("collect").map(drop).collect()
    }

    /// Its parts for a submission.
    pub(crate) fn into_submission(self) -> (JobGraph, Bytes, Component) {
        (self.graph, self.component, self._loaded)
    }
}
