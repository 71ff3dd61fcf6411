//! Word count as a newcomer writes it: owned strings, `to_lowercase`, tuples,
//! nothing borrowed, nothing annotated that need not be.
//!
//! `--records N` words.

use bench_data::{Lines, WORDS_A_LINE};
use heddle::prelude::*;

#[heddle::main]
pub fn main(env: &mut StreamExecutionEnvironment, args: Args) -> heddle::Result<()> {
    let records: u64 = args.parse_or("records", 10_000_000)?;
    args.deny_unknown()?;

    let mut table = None;
    let updates = env.counter("records");
    env.generate(Generator::count(records / WORDS_A_LINE as u64), move |_| {
        table.get_or_insert_with(|| Lines::new(10_000, false)).next_line().to_string()
    })
    .flat_map::<(String, u64)>(|line, out| {
        for word in line.to_lowercase().split_whitespace() {
            out.collect((word.to_string(), 1));
        }
    })
    .key_by::<String>(|(word, _)| word.clone())
    .sum(|(_, count)| *count)
    .for_each(move |_| updates.inc());
    Ok(())
}
