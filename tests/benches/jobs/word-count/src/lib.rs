//! Lines of ten words out of a table, split, keyed by word over an exchange,
//! one update a word, counted and thrown away.
//!
//! `--records N` words, `--keys N` different ones, `--words short|long`.

use bench_data::{Lines, WORDS_A_LINE};
use heddle::prelude::*;

#[heddle::main]
pub fn main(env: &mut StreamExecutionEnvironment, args: Args) -> heddle::Result<()> {
    let records: u64 = args.parse_or("records", 10_000_000)?;
    let keys: usize = args.parse_or("keys", 10_000)?;
    let long = args.get("words") == Some("long");
    args.deny_unknown()?;

    let mut table = None;
    let updates = env.counter("records");
    env.generate_with::<Str>(Generator::count(records / WORDS_A_LINE as u64), move |_, out| {
        out.collect(table.get_or_insert_with(|| Lines::new(keys, long)).next_line());
    })
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
