//! What lives beside a guest: its host, its limits, its log and its view of
//! WASI. One per instance.

use crate::fault::{Fault, PanicReport};
use crate::guest_log::GuestLog;
use crate::host::TaskHost;
use crate::options::{Grants, InstanceLimits};
use crate::wasi::{RandomSequence, WasiState};
use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};
use wasmtime::{Engine, ResourceLimiter, Store, StoreContextMut, UpdateDeadline};

/// Bytes that a guest may hand over in one call: a batch of the largest size
/// (64 MiB) and its header.
const HOSTCALL_FUEL: usize = (64 << 20) + 4096;
/// Bytes and elements of the answer of `plan`.
pub(crate) const PLAN_FUEL: usize = 16 << 20;
/// Tables and instances that one component may have.
const TABLES_MAX: usize = 64;
const INSTANCES_MAX: usize = 64;
const MEMORIES_MAX: usize = 16;

/// Why a call's future is pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Wait {
    /// For something of WASI, such as a clock.
    Wasi = 0,
    /// The guest gave way to its neighbours.
    Yield = 1,
    /// A channel has no room.
    Emit = 2,
}

/// Tells the future of a call, from inside of it, why it is pending; and the
/// guest, from outside, when it went on.
#[derive(Debug, Default)]
pub(crate) struct WaitReason {
    wait: AtomicU8,
    /// CPU time of the thread in nanoseconds when the call was taken up
    /// again; 0 in its first slice.
    resumed_at: AtomicU64,
}

/// CPU time of this thread, in nanoseconds.
fn thread_cpu_time() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    (now.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(now.tv_nsec as u64)
}

impl WaitReason {
    /// The call is polled for another time.
    pub(crate) fn resume(&self) {
        self.resumed_at.store(thread_cpu_time(), Ordering::Relaxed);
    }

    /// CPU time of the slice that ends now, if its start is known.
    fn end_slice(&self) -> Option<Duration> {
        match self.resumed_at.swap(0, Ordering::Relaxed) {
            0 => None,
            start => Some(Duration::from_nanos(thread_cpu_time().saturating_sub(start))),
        }
    }

    pub(crate) fn set(&self, wait: Wait) {
        self.wait.store(wait as u8, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> Wait {
        match self.wait.load(Ordering::Relaxed) {
            1 => Wait::Yield,
            2 => Wait::Emit,
            _ => Wait::Wasi,
        }
    }
}

/// Two calls with less between them are one turn of the guest: nobody else had
/// its worker for long.
const SAME_TURN: Duration = Duration::from_micros(50);

/// How long the guest has had its worker without giving it to others, and
/// whether there are others: guests of other jobs. Those of its own job wait
/// for what it does.
pub(crate) struct Turn {
    began: Instant,
    /// When the last call ended.
    ended: Instant,
    neighbours: Neighbours,
}

/// Counts the calls of guests.
#[derive(Clone)]
pub(crate) struct Neighbours {
    /// Of all guests of this process.
    pub all: Arc<AtomicU64>,
    /// Of those of the job.
    pub job: Arc<AtomicU64>,
}

impl Neighbours {
    fn count_call(&self) {
        self.job.fetch_add(1, Ordering::Relaxed);
        self.all.fetch_add(1, Ordering::Relaxed);
    }

    /// Calls of guests of other jobs so far.
    fn calls(&self) -> u64 {
        self.all.load(Ordering::Relaxed).wrapping_sub(self.job.load(Ordering::Relaxed))
    }
}

impl Turn {
    fn new(neighbours: Neighbours) -> Self {
        let now = Instant::now();
        Self { began: now, ended: now, neighbours }
    }

    /// A call begins.
    pub(crate) fn enter(&mut self) {
        self.neighbours.count_call();
        let now = Instant::now();
        if now - self.ended > SAME_TURN {
            self.began = now;
        }
    }

    /// A call ends.
    pub(crate) fn leave(&mut self, wait: &WaitReason) {
        self.ended = Instant::now();
        // It waited, and others had the worker meanwhile.
        if let Some(slice) = wait.end_slice() {
            self.began = self.ended.checked_sub(slice).unwrap_or(self.ended);
        }
    }
}

/// The data of a store.
pub(crate) struct StoreData {
    /// Taken out while it is being called.
    pub host: Option<Box<dyn TaskHost>>,
    pub limiter: Limiter,
    pub log: Arc<GuestLog>,
    pub grants: Grants,
    pub wall_clock_ms: u64,
    pub random: RandomSequence,
    pub panic: Option<PanicReport>,
    pub wait: Arc<WaitReason>,
    pub clock: CallClock,
    pub turn: Turn,
    /// Made when the guest first asks for it.
    pub wasi: Option<Box<WasiState>>,
}

impl StoreData {
    /// Hands waiting lines of output to the host.
    pub(crate) fn flush_log(&mut self) {
        if self.log.is_waiting()
            && let Some(host) = &mut self.host
        {
            for line in self.log.take() {
                host.log(line.level, &line.target, &line.message);
            }
        }
    }
}

/// Counts the time that the current call spent in the guest. It is CPU time,
/// so that a busy machine ends no call before its time; what a call does in
/// its first tick counts as that tick.
pub(crate) struct CallClock {
    spent: Duration,
    tick: Duration,
    pub timeout: Duration,
    cancel: crate::options::CancelFlag,
}

impl CallClock {
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// A call begins.
    pub(crate) fn reset(&mut self) {
        self.spent = Duration::ZERO;
    }

    /// The epoch moved on while the guest ran.
    fn on_tick(&mut self, slice: Option<Duration>) -> Result<(), Fault> {
        if self.cancel.is_cancelled() {
            return Err(Fault::Cancelled);
        }
        self.spent += slice.unwrap_or(self.tick);
        if self.spent > self.timeout {
            return Err(Fault::Deadline { timeout: self.timeout });
        }
        Ok(())
    }
}

/// The memory of one instance, counted into the budget of its slot. Wasmtime's
/// own limit is per memory; a component may have several.
pub(crate) struct Limiter {
    limits: InstanceLimits,
    max_memory_per_instance: u64,
    taken: u64,
    /// Bytes of the growth that is under way.
    pending: u64,
}

impl Limiter {
    fn grow(&mut self, current: usize, desired: usize, unit: u64) -> wasmtime::Result<()> {
        let bytes = (desired.saturating_sub(current) as u64).saturating_mul(unit);
        let budget = &self.limits.memory;
        let wanted = self.taken.saturating_add(bytes);
        if wanted > self.max_memory_per_instance {
            return Err(wasmtime::Error::new(Fault::Memory(format!(
                "out of memory: it wants {} MiB, and one instance may have {} MiB",
                wanted.div_ceil(1 << 20),
                self.max_memory_per_instance >> 20
            ))));
        }
        if !budget.take(bytes) {
            return Err(wasmtime::Error::new(Fault::Memory(format!(
                "out of memory: it wants {} MiB more, and the slot's task memory of {} MiB has {} MiB in use: \
                 raise taskmanager.memory.task.size, or keep less in memory",
                bytes.div_ceil(1 << 20),
                budget.limit() >> 20,
                budget.used().div_ceil(1 << 20)
            ))));
        }
        self.taken = wanted;
        self.pending = bytes;
        Ok(())
    }

    fn undo(&mut self) {
        self.limits.memory.give_back(self.pending);
        self.taken -= self.pending;
        self.pending = 0;
    }
}

impl Drop for Limiter {
    fn drop(&mut self) {
        self.limits.memory.give_back(self.taken);
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        self.pending = 0;
        // Beyond what the guest itself declared, `memory.grow` just fails.
        // Without a maximum of its own, the pool's stands here.
        if maximum.is_some_and(|maximum| desired > maximum && (maximum as u64) < self.max_memory_per_instance)
        {
            return Ok(false);
        }
        self.grow(current, desired, 1)?;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.undo();
        tracing::debug!(task = self.limits.task_name, error = %error, "a guest's memory could not grow");
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        self.pending = 0;
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.grow(current, desired, size_of::<usize>() as u64)?;
        Ok(true)
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.undo();
        tracing::debug!(task = self.limits.task_name, error = %error, "a guest's table could not grow");
        Ok(())
    }

    fn instances(&self) -> usize {
        INSTANCES_MAX
    }

    fn tables(&self) -> usize {
        TABLES_MAX
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX
    }
}

/// A store for one instance.
pub(crate) fn new_store(
    engine: &Engine,
    host: Box<dyn TaskHost>,
    limits: InstanceLimits,
    max_memory_per_instance: u64,
    epoch_tick: Duration,
    neighbours: Neighbours,
) -> Store<StoreData> {
    let data = StoreData {
        host: Some(host),
        log: Arc::new(GuestLog::new(limits.log_lines_per_second)),
        grants: limits.grants,
        wall_clock_ms: limits.wall_clock_ms,
        random: RandomSequence::new(limits.random_seed),
        panic: None,
        wait: Arc::default(),
        clock: CallClock {
            spent: Duration::ZERO,
            tick: epoch_tick,
            timeout: limits.call_timeout,
            cancel: limits.cancel.clone(),
        },
        turn: Turn::new(neighbours),
        wasi: None,
        limiter: Limiter { limits, max_memory_per_instance, taken: 0, pending: 0 },
    };
    let mut store = Store::new(engine, data);
    store.limiter(|data| &mut data.limiter);
    store.set_hostcall_fuel(HOSTCALL_FUEL);
    store.epoch_deadline_callback(on_epoch);
    store.set_epoch_deadline(1);
    store
}

/// Called when a running guest notices that the epoch moved on.
fn on_epoch(mut store: StoreContextMut<'_, StoreData>) -> wasmtime::Result<UpdateDeadline> {
    let data = store.data_mut();
    let slice = data.wait.end_slice();
    data.clock.on_tick(slice).map_err(wasmtime::Error::new)?;
    let tick = data.clock.tick;
    // Most calls that notice a tick began moments ago.
    if slice.unwrap_or_else(|| data.turn.began.elapsed()) < tick / 2 {
        data.wait.set(Wait::Yield);
        return Ok(UpdateDeadline::Yield(1));
    }
    Ok(UpdateDeadline::YieldCustom(
        1,
        Box::pin(give_way(Arc::clone(&data.wait), data.turn.neighbours.clone(), tick)),
    ))
}

/// Whoever ran meanwhile was ready: an empty queue is gone through in less.
const SHORTEST_TURN: Duration = Duration::from_micros(5);
/// How long a worker is left to others at a time, the least that a timer waits.
const PAUSE: Duration = Duration::from_millis(1);

/// Leaves the worker to the neighbours after a time slice, for up to as long as
/// the slice was, while they have use for it. One turn of each would be little:
/// most work for microseconds, then wait for each other or for the system, and
/// would find the worker taken for another slice.
async fn give_way(wait: Arc<WaitReason>, neighbours: Neighbours, slice: Duration) {
    let began = Instant::now();
    loop {
        let (turn, calls) = (Instant::now(), neighbours.calls());
        let mut yielded = false;
        poll_fn(|context| {
            if std::mem::replace(&mut yielded, true) {
                return Poll::Ready(());
            }
            wait.set(Wait::Yield);
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        let is_wanted = turn.elapsed() >= SHORTEST_TURN && neighbours.calls() != calls;
        if !is_wanted || began.elapsed() >= slice {
            return;
        }
        let mut pause = pin!(tokio::time::sleep(PAUSE));
        poll_fn(|context| {
            wait.set(Wait::Yield);
            pause.as_mut().poll(context)
        })
        .await;
    }
}
