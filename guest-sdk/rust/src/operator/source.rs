//! Sources inside the guest: a poll gives out about as much as one batch.

use crate::block::{BLOCK, Block};
use crate::collector::{Collector, Stage};
use crate::element::{Element, Owned};
use crate::error::{Error, Result};
use crate::position;
use crate::push::{AnyNext, Next, Signal};
use crate::runtime::bindings::types::PollStatus;
use crate::runtime::head::Head;

/// Elements of one poll: enough that the call costs nothing, few enough that
/// barriers and cancellation are served soon.
const POLL_SIZE: u64 = 2048;
/// A source with a rate gives out what is due in about this many milliseconds
/// at once.
const PACE: f64 = 20.0;

/// Gives out the elements of some indices.
pub(crate) trait Generate<T: Element>: 'static {
    /// Gives out the elements of `count` indices from `first` on, `step` apart.
    fn generate(&mut self, indices: Indices, operator: u32, out: &mut Stage<T>);
}

/// Indices of one poll.
#[derive(Clone, Copy)]
pub(crate) struct Indices {
    first: u64,
    step: u64,
    count: u64,
}

/// An owned element for each index.
pub(crate) struct ByValue<F>(pub(crate) F);

impl<T: Owned, F: FnMut(u64) -> T + 'static> Generate<T> for ByValue<F> {
    fn generate(&mut self, indices: Indices, operator: u32, out: &mut Stage<T>) {
        let mut block = Block::new();
        let mut index = indices.first;
        let mut done = 0;
        while done < indices.count {
            let count = (indices.count - done).min(BLOCK as u64);
            position::operator(operator);
            position::leave_block();
            block.fill(done as u32, count as u32, |i| {
                position::row(done as u32 + i);
                let value = (self.0)(index);
                index = index.wrapping_add(indices.step);
                value
            });
            out.push_block(&mut block);
            done += count;
        }
    }
}

/// A function that gives out what it likes for each index.
pub(crate) struct ByCollector<F>(pub(crate) F);

impl<T: Element, F> Generate<T> for ByCollector<F>
where
    F: for<'c, 'd> FnMut(u64, &'c mut Collector<'d, T>) + 'static,
{
    fn generate(&mut self, indices: Indices, operator: u32, out: &mut Stage<T>) {
        let mut index = indices.first;
        for done in 0..indices.count {
            position::operator(operator);
            position::row(done as u32);
            (self.0)(index, &mut out.collector());
            index = index.wrapping_add(indices.step);
        }
    }
}

/// How many elements a generator gives out, and how fast.
#[derive(Clone, Copy, Debug)]
pub struct Generator {
    count: Option<u64>,
    per_second: Option<f64>,
}

impl Generator {
    /// So many elements over all subtasks, then the end.
    pub fn count(count: u64) -> Self {
        Self { count: Some(count), per_second: None }
    }

    /// Elements without an end.
    pub fn unbounded() -> Self {
        Self { count: None, per_second: None }
    }

    /// At most so many elements a second, over all subtasks.
    pub fn per_second(mut self, rate: impl Into<f64>) -> Self {
        self.per_second = Some(rate.into());
        self
    }

    pub(crate) fn is_bounded(&self) -> bool {
        self.count.is_some()
    }

    /// What is wrong with it.
    pub(crate) fn problem(&self) -> Option<String> {
        let rate = self.per_second?;
        (!(rate > 0.0 && rate.is_finite()))
            .then(|| format!("a generator cannot give out {rate} elements a second"))
    }
}

/// Runs a generator in one subtask: of all indices, every so-many-th.
pub(crate) struct GeneratorSource<T: Element, G> {
    id: u32,
    generate: G,
    next: u64,
    step: u64,
    /// Elements that are left for this subtask.
    left: u64,
    pace: Option<Pace>,
    out: Stage<T>,
}

impl<T: Element, G: Generate<T>> GeneratorSource<T, G> {
    pub(crate) fn new(
        id: u32,
        options: Generator,
        generate: G,
        subtask: u32,
        parallelism: u32,
        out: Next<T>,
    ) -> Self {
        let (subtask, parallelism) = (u64::from(subtask), u64::from(parallelism.max(1)));
        let left =
            options.count.map_or(u64::MAX, |count| count.saturating_sub(subtask).div_ceil(parallelism));
        let pace = options.per_second.map(|rate| Pace::new(rate / parallelism as f64));
        Self { id, generate, next: subtask, step: parallelism, left, pace, out: Stage::new(id, out) }
    }
}

/// Spreads elements over time without a clock, which a sandbox may not have:
/// the host waits as long as it is told to.
struct Pace {
    /// Milliseconds that an element stands for.
    interval: f64,
    /// Milliseconds that were not yet waited for.
    owed: f64,
}

impl Pace {
    fn new(per_second: f64) -> Self {
        Self { interval: 1000.0 / per_second, owed: 0.0 }
    }

    /// Elements to give out at once.
    fn share(&self) -> u64 {
        ((PACE / self.interval) as u64).max(1)
    }

    /// How long to wait after so many elements, in milliseconds.
    fn wait(&mut self, given: u64) -> u32 {
        self.owed += given as f64 * self.interval;
        let wait = self.owed.floor();
        self.owed -= wait;
        wait as u32
    }
}

impl<T: Element, G: Generate<T>> Head for GeneratorSource<T, G> {
    unsafe fn process(&mut self, _: u32, _: &[u8]) -> Result<()> {
        Err(Error::new("a source has no input"))
    }

    fn poll(&mut self) -> Result<PollStatus> {
        if self.left == 0 {
            return Ok(PollStatus::Finished);
        }
        let share = self.pace.as_ref().map_or(POLL_SIZE, Pace::share);
        let count = POLL_SIZE.min(self.left).min(share);
        let indices = Indices { first: self.next, step: self.step, count };
        position::start_batch();
        self.generate.generate(indices, self.id, &mut self.out);
        self.out.signal(Signal::EndBatch)?;
        position::end_batch(count as u32);
        self.next = self.next.wrapping_add(self.step.wrapping_mul(count));
        if self.left != u64::MAX {
            self.left -= count;
        }
        if self.left == 0 {
            return Ok(PollStatus::Finished);
        }
        Ok(match self.pace.as_mut().map_or(0, |pace| pace.wait(count)) {
            0 => PollStatus::More,
            milliseconds => PollStatus::Idle(milliseconds),
        })
    }

    fn signal(&mut self, signal: Signal) -> Result<()> {
        self.out.signal(signal)
    }

    fn into_next(self: Box<Self>) -> Option<Box<dyn AnyNext>> {
        None
    }
}

/// What a source of the program did in one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceStatus {
    /// There is more now.
    More,
    /// Nothing now; ask again in this many milliseconds.
    Idle(u32),
    /// Bounded, and at its end.
    Finished,
}

/// A source of the program's own.
pub trait SourceFunction<T: Element>: 'static {
    /// Called once, before the first poll.
    fn open(&mut self, _ctx: &mut crate::context::OpenContext<'_>) -> Result<()> {
        Ok(())
    }

    /// Gives out some elements, about as many as take a millisecond or two.
    fn poll(&mut self, out: &mut Collector<'_, T>) -> Result<SourceStatus>;
}

/// Runs a source of the program.
pub(crate) struct FunctionSource<T: Element, F> {
    id: u32,
    f: F,
    out: Stage<T>,
}

impl<T: Element, F: SourceFunction<T>> FunctionSource<T, F> {
    pub(crate) fn new(id: u32, f: F, out: Next<T>) -> Self {
        Self { id, f, out: Stage::new(id, out) }
    }
}

impl<T: Element, F: SourceFunction<T>> Head for FunctionSource<T, F> {
    unsafe fn process(&mut self, _: u32, _: &[u8]) -> Result<()> {
        Err(Error::new("a source has no input"))
    }

    fn poll(&mut self) -> Result<PollStatus> {
        position::operator(self.id);
        let status = self.f.poll(&mut self.out.collector())?;
        self.out.signal(Signal::EndBatch)?;
        Ok(match status {
            SourceStatus::More => PollStatus::More,
            SourceStatus::Idle(milliseconds) => PollStatus::Idle(milliseconds),
            SourceStatus::Finished => PollStatus::Finished,
        })
    }

    fn signal(&mut self, signal: Signal) -> Result<()> {
        self.out.signal(signal)
    }

    fn into_next(self: Box<Self>) -> Option<Box<dyn AnyNext>> {
        None
    }
}

/// The elements of a collection, in order.
pub(crate) struct Collection<T>(pub(crate) std::vec::IntoIter<T>);

impl<T: Owned> SourceFunction<T> for Collection<T> {
    fn poll(&mut self, out: &mut Collector<'_, T>) -> Result<SourceStatus> {
        for value in self.0.by_ref().take(POLL_SIZE as usize) {
            out.collect(value);
        }
        Ok(if self.0.len() == 0 { SourceStatus::Finished } else { SourceStatus::More })
    }
}
