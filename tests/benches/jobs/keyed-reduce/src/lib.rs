//! Integers with integer keys, reduced by key over an exchange, one update a
//! record, counted and thrown away.
//!
//! `--records N` integers, with 10,000 keys.

use bench_data::{below, mix};
use heddle::prelude::*;

const KEYS: u64 = 10_000;

#[heddle::main]
pub fn main(env: &mut StreamExecutionEnvironment, args: Args) -> heddle::Result<()> {
    let records: u64 = args.parse_or("records", 10_000_000)?;
    args.deny_unknown()?;

    let updates = env.counter("records");
    env.generate(Generator::count(records), |index| (below(mix(index), KEYS), index))
        .key_by::<u64>(|pair| pair.0)
        .reduce(|a, b| (a.0, a.1.wrapping_add(b.1)))
        .for_each(move |_| updates.inc());
    Ok(())
}
