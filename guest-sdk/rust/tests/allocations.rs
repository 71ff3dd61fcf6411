//! What the borrowed forms promise: a record passes from source to sink without
//! an allocation of its own.

use heddle::prelude::*;
use heddle::testing::TestHarness;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts the allocations of the process: this file has one test.
struct Counting;

static COUNT: AtomicU64 = AtomicU64::new(0);

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const LINE: &str = "the words of a line, counted again and again: w1 w22 w333 \
                    one-that-is-longer-than-sixteen-letters and the last";

fn word_count(env: &mut StreamExecutionEnvironment, args: Args) -> heddle::Result<()> {
    let updates = env.counter("updates");
    env.generate_with::<Str>(Generator::count(args.parse_or("records", 0)?), |_, out| out.collect(LINE))
        .flat_map::<(Str, u64)>(|line, out| {
            for word in heddle::text::split_whitespace(line) {
                out.collect((word, 1));
            }
        })
        .key_by::<Str>(|pair| pair.0)
        .sum(|pair| pair.1)
        .for_each(move |_| updates.inc());
    Ok(())
}

fn integers(env: &mut StreamExecutionEnvironment, args: Args) -> heddle::Result<()> {
    let updates = env.counter("updates");
    env.generate(Generator::count(args.parse_or("records", 0)?), |index| index)
        .map(|value| value * 31 + 7)
        .filter(|value| value % 3 != 0)
        .map(|value| (value % 100, value))
        .key_by::<u64>(|pair| pair.0)
        .reduce(|a, b| (a.0, a.1.wrapping_add(b.1)))
        .for_each(move |_| updates.inc());
    Ok(())
}

/// Allocations that a run of so many records makes, and its updates.
fn of_run(
    job: impl Fn(&mut StreamExecutionEnvironment, Args) -> heddle::Result<()>,
    parallelism: u32,
    records: u64,
) -> (u64, u64) {
    let harness = TestHarness::new().parallelism(parallelism);
    let before = COUNT.load(Ordering::Relaxed);
    let outputs = harness.run(job, ["--records".to_string(), records.to_string()]).unwrap();
    (COUNT.load(Ordering::Relaxed) - before, outputs.counter("updates") as u64)
}

#[test]
fn borrowed_records_pass_without_an_allocation() {
    for parallelism in [1, 3] {
        for (name, few, many) in [
            ("words", of_run(word_count, parallelism, 2_000), of_run(word_count, parallelism, 20_000)),
            ("integers", of_run(integers, parallelism, 20_000), of_run(integers, parallelism, 200_000)),
        ] {
            let (allocations, updates) = (many.0 - few.0, many.1 - few.1);
            assert!(updates > 100_000, "{name}: {updates} updates more");
            // Those that are left are of batches, whose number grows with the
            // records: the harness hands each on in memory of its own.
            assert!(
                allocations * 50 < updates,
                "{name} at parallelism {parallelism}: {allocations} allocations for {updates} updates"
            );
        }
    }
}
