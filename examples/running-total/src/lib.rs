//! Keeps a running total of generated numbers for each key: a keyed reduce
//! with one update a record.

use heddle::prelude::*;

#[heddle::main]
pub fn main(env: &mut StreamExecutionEnvironment, args: Args) -> heddle::Result<()> {
    let records: u64 = args.parse_or("records", 1_000_000)?;
    let keys: u64 = args.parse_or("keys", 1_000)?;
    let output = args.required("output")?;
    args.deny_unknown()?;
    if keys == 0 {
        return Err(heddle::Error::new("--keys must be at least 1"));
    }
    env.set_job_name("Running Total");

    env.generate(Generator::count(records), move |number| (number % keys, number))
        .name("numbers")
        .key_by::<u64>(|pair| pair.0)
        .reduce(|total, next| (total.0, total.1 + next.1))
        .name("totals")
        .write_csv(output);
    Ok(())
}
