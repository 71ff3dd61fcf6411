//! The sandbox of a process: the engine with its pool, the cache of compiled
//! components, and the thread that looks after busy guests.

use crate::cache::Cache;
use crate::component::{Component, Linkers, Loaded};
use crate::contract;
use crate::engine;
use crate::error::Error;
use crate::fault::{Phase, explain};
use crate::guest_log::{clean, cut};
use crate::host::TaskHost;
use crate::imports;
use crate::inspect::{self, Kind};
use crate::instance::{Instance, watched};
use crate::options::{Grants, InstanceLimits, Options, Preemption};
use crate::plan::{self, PlanHost};
use crate::store::{Neighbours, PLAN_FUEL, new_store};
use heddle_model::failure::ErrorCode;
use heddle_model::id::BlobKey;
use heddle_model::plan::{JobPlan, Program};
use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;
use wasmtime::Engine;

/// The sandbox of a process. Cheap to clone.
#[derive(Clone)]
pub struct Runtime {
    shared: Arc<Shared>,
}

/// What became of mapping an artefact.
enum Mapped {
    Ready(Arc<Loaded>),
    Absent,
    /// The engine's reason.
    Refused(String),
}

/// A place where one component is loaded at a time.
type Place = Arc<tokio::sync::Mutex<Weak<Loaded>>>;

/// Components that stay mapped without anybody who uses them: a task that is
/// restarted, or the next run of a job, need not verify and link it again.
const RECENT_MAX: usize = 8;

/// The last components that were asked for, the latest first.
#[derive(Default)]
struct Recent(VecDeque<Arc<Loaded>>);

impl Recent {
    fn add(&mut self, loaded: &Arc<Loaded>) {
        self.0.retain(|other| other.key != loaded.key);
        self.0.push_front(Arc::clone(loaded));
        self.0.truncate(RECENT_MAX);
    }
}

struct Shared {
    engine: Engine,
    options: Options,
    linkers: Linkers,
    cache: Cache,
    places: Mutex<HashMap<BlobKey, Place>>,
    recent: Mutex<Recent>,
    /// Calls of all guests.
    calls: Arc<AtomicU64>,
    /// Calls of the guests of each job, by the seed that its instances share.
    calls_of_jobs: Mutex<HashMap<u64, Weak<AtomicU64>>>,
    _ticker: Option<Ticker>,
}

impl Runtime {
    /// Sets up the engine and its pool, and checks the cache's folder.
    pub fn new(options: Options) -> Result<Self, Error> {
        let engine = engine::for_running(&options)?;
        let linkers = Linkers::new(&engine)
            .map_err(|error| Error::internal(format!("cannot link the sandbox: {error:#}")))?;
        let cache = Cache::open(&options.cache_dir, engine::compatibility(&engine))?;
        let ticker = match options.preemption {
            Preemption::Epoch => Some(Ticker::start(engine.clone(), options.epoch_tick)?),
            Preemption::None => None,
        };
        let shared = Shared {
            engine,
            options,
            linkers,
            cache,
            places: Mutex::default(),
            recent: Mutex::default(),
            calls: Arc::default(),
            calls_of_jobs: Mutex::default(),
            _ticker: ticker,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Checks a component's kind, world and imports, compiles it in a child
    /// process unless that was done before, and maps the code. The same bytes
    /// are compiled once, however many ask at the same time.
    pub async fn load(&self, bytes: &[u8], grants: &Grants) -> Result<Component, Error> {
        self.check_size(bytes.len() as u64)?;
        let key = BlobKey::of(bytes);
        let loaded = self.load_once(key, grants, async || Ok(bytes.to_vec())).await?;
        Ok(Component { loaded })
    }

    /// As `load`, for the content of this key. `fetch` brings it into a file,
    /// and is not asked if its compiled form is in the cache.
    pub async fn load_fetched(
        &self,
        key: BlobKey,
        grants: &Grants,
        fetch: impl AsyncFnOnce() -> Result<PathBuf, Error>,
    ) -> Result<Component, Error> {
        let read = async || {
            let path = fetch().await?;
            let cannot = |error: std::io::Error| {
                Error::new(
                    ErrorCode::ComponentInvalid,
                    format!("cannot read the component {}: {error}", path.display()),
                )
            };
            self.check_size(tokio::fs::metadata(&path).await.map_err(cannot)?.len())?;
            let bytes = tokio::fs::read(&path).await.map_err(cannot)?;
            if BlobKey::of(&bytes) != key {
                return Err(Error::internal(format!("{} does not have the content {key}", path.display())));
            }
            Ok(bytes)
        };
        let loaded = self.load_once(key, grants, read).await?;
        Ok(Component { loaded })
    }

    async fn load_once(
        &self,
        key: BlobKey,
        grants: &Grants,
        read: impl AsyncFnOnce() -> Result<Vec<u8>, Error>,
    ) -> Result<Arc<Loaded>, Error> {
        let place = self.place(key);
        let mut place = place.lock().await;
        let loaded = match place.upgrade() {
            Some(loaded) => loaded,
            None => {
                let loaded = self.load_anew(key, grants, read).await?;
                *place = Arc::downgrade(&loaded);
                loaded
            }
        };
        imports::check(&loaded.surface, grants)?;
        loaded.link(&self.shared.linkers, grants)?;
        self.shared.recent.lock().unwrap_or_else(PoisonError::into_inner).add(&loaded);
        Ok(loaded)
    }

    async fn load_anew(
        &self,
        key: BlobKey,
        grants: &Grants,
        read: impl AsyncFnOnce() -> Result<Vec<u8>, Error>,
    ) -> Result<Arc<Loaded>, Error> {
        match self.map(key).await? {
            Mapped::Ready(loaded) => return Ok(loaded),
            Mapped::Absent => {}
            Mapped::Refused(why) => {
                tracing::warn!(component = %key, why, "a compiled component cannot be mapped, compiling it again");
            }
        }
        let bytes = read().await?;
        if let Kind::Component(surface) = inspect::inspect(&bytes)? {
            imports::check(&surface, grants)?;
        }
        self.compile(key, bytes).await?;
        match self.map(key).await? {
            Mapped::Ready(loaded) => Ok(loaded),
            Mapped::Absent => Err(Error::internal(format!("the compiled component {key} is gone"))),
            // Valid, but with more tables or memory than an instance may have.
            Mapped::Refused(why) => Err(Error::new(
                ErrorCode::ComponentInvalid,
                format!("the component does not fit into the sandbox: {why}"),
            )),
        }
    }

    /// Maps a compiled component, if a sound one is in the cache.
    async fn map(&self, key: BlobKey) -> Result<Mapped, Error> {
        let shared = self.shared.clone();
        let map = move || {
            if !shared.cache.verify(&key) {
                return Mapped::Absent;
            }
            // SAFETY: the file was written by this program's compiler (only
            // the owner can write to the folder, and the checksum fits), for
            // an engine of the same compatibility (it is in the name), and
            // is never changed in place.
            let code = unsafe {
                wasmtime::component::Component::deserialize_file(&shared.engine, shared.cache.artefact(&key))
            };
            match code {
                Ok(code) => Mapped::Ready(Arc::new(Loaded::new(&shared.engine, key, code))),
                Err(error) => {
                    shared.cache.remove(&key);
                    Mapped::Refused(clean(&cut(&format!("{error:#}"), 500)))
                }
            }
        };
        tokio::task::spawn_blocking(map)
            .await
            .map_err(|error| Error::internal(format!("cannot map a component: {error}")))
    }

    async fn compile(&self, key: BlobKey, bytes: Vec<u8>) -> Result<(), Error> {
        let io =
            |error: std::io::Error| Error::internal(format!("cannot store a compiled component: {error}"));
        let options = &self.shared.options;
        let folder = self.shared.cache.scratch().map_err(io)?;
        let component = folder.path().join("component.wasm");
        let artefact = folder.path().join("component.cwasm");
        tokio::fs::write(&component, bytes).await.map_err(io)?;
        crate::compiler::compile(
            &options.compiler,
            &options.compile_limits,
            options.preemption,
            options.max_stack_size,
            &component,
            &artefact,
        )
        .await?;
        self.shared.cache.put(&key, &artefact).map_err(io)
    }

    fn check_size(&self, bytes: u64) -> Result<(), Error> {
        let limit = self.shared.options.compile_limits.component_size;
        if bytes > limit {
            return Err(Error::new(
                ErrorCode::ComponentInvalid,
                format!(
                    "the component has {} MiB; the limit is {} MiB (taskmanager.wasm.max-component-size)",
                    bytes.div_ceil(1 << 20),
                    limit >> 20
                ),
            ));
        }
        Ok(())
    }

    fn neighbours(&self, job: u64) -> Neighbours {
        let mut jobs = self.shared.calls_of_jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let calls = jobs.get(&job).and_then(Weak::upgrade).unwrap_or_else(|| {
            jobs.retain(|_, calls| calls.strong_count() > 0);
            let calls = Arc::default();
            jobs.insert(job, Arc::downgrade(&calls));
            calls
        });
        Neighbours { all: Arc::clone(&self.shared.calls), job: calls }
    }

    fn place(&self, key: BlobKey) -> Place {
        let mut places = self.shared.places.lock().unwrap_or_else(PoisonError::into_inner);
        // Places that nobody uses, of components that nobody has.
        places.retain(|_, place| {
            Arc::strong_count(place) > 1 || place.try_lock().is_ok_and(|loaded| loaded.strong_count() > 0)
        });
        places.entry(key).or_default().clone()
    }

    /// Runs the component's `main` and gives its graph, checked for size.
    pub async fn plan(
        &self,
        component: &Component,
        program: &Program,
        limits: &InstanceLimits,
    ) -> Result<JobPlan, Error> {
        let mut instance = self.start(component, Box::new(PlanHost), limits.clone(), Phase::Plan).await?;
        match instance.plan(program).await? {
            Ok(plan) => contract::job_plan(plan).map_err(|refusal| plan::refused(&refusal)),
            Err(failure) => Err(plan::returned_error(&contract::failure(failure).0)),
        }
    }

    /// Brings an instance to life for a subtask.
    pub async fn instantiate(
        &self,
        component: &Component,
        host: Box<dyn TaskHost>,
        limits: InstanceLimits,
    ) -> Result<Instance, Error> {
        self.start(component, host, limits, Phase::Start).await
    }

    async fn start(
        &self,
        component: &Component,
        host: Box<dyn TaskHost>,
        limits: InstanceLimits,
        phase: Phase,
    ) -> Result<Instance, Error> {
        let shared = &self.shared;
        let linked = component.loaded.link(&shared.linkers, &limits.grants)?;
        let task_name = limits.task_name.clone();
        let timeout = limits.call_timeout;
        let options = &shared.options;
        let neighbours = self.neighbours(limits.random_seed);
        let mut store = new_store(
            &shared.engine,
            host,
            limits,
            options.max_memory_per_instance,
            options.epoch_tick,
            neighbours,
        );
        if phase == Phase::Plan {
            store.set_hostcall_fuel(PLAN_FUEL);
        }
        let reason = store.data().wait.clone();
        let started = watched(linked.instantiate_async(&mut store), &reason, timeout).await;
        match started {
            Ok(exports) => Ok(Instance::new(store, exports, task_name)),
            Err(error) if error.is::<wasmtime::PoolConcurrencyLimitError>() => Err(Error::new(
                ErrorCode::NoResources,
                format!(
                    "no room for another instance: this process has {} (taskmanager.wasm.max-instances)",
                    options.max_instances
                ),
            )),
            Err(error) => {
                let data = store.data_mut();
                data.log.end();
                data.flush_log();
                let (panic, words) = (data.panic.take(), data.log.last_words());
                Err(explain(error, phase, &task_name, panic, words))
            }
        }
    }
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime").field("options", &self.shared.options).finish_non_exhaustive()
    }
}

/// The thread that moves the epoch on; it ends when this is dropped.
struct Ticker {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    fn start(engine: Engine, tick: Duration) -> Result<Self, Error> {
        let (stop, stopped) = channel::<()>();
        let run = move || {
            while stopped.recv_timeout(tick) == Err(RecvTimeoutError::Timeout) {
                engine.increment_epoch();
            }
        };
        let thread = std::thread::Builder::new()
            .name("wasm-epoch".to_owned())
            .spawn(run)
            .map_err(|error| Error::internal(format!("cannot start the epoch thread: {error}")))?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
