//! Integers, mapped, every second one dropped, the others counted and thrown
//! away.
//!
//! `--records N` integers at the source.

use heddle::prelude::*;

#[heddle::main]
pub fn main(env: &mut StreamExecutionEnvironment, args: Args) -> heddle::Result<()> {
    let records: u64 = args.parse_or("records", 100_000_000)?;
    args.deny_unknown()?;

    let passed = env.counter("records");
    env.generate(Generator::count(records), |index| index)
        .map(|value| value.wrapping_mul(31).wrapping_add(7))
        .filter(|value| value & 1 == 0)
        .for_each(move |_| passed.inc());
    Ok(())
}
