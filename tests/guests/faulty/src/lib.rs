//! Ordinary mistakes of a program that uses the SDK; the first argument says
//! which. Each has a test in `tests/e2e/bad_input.rs`.

use heddle::prelude::*;
use std::collections::HashMap;
use std::time::SystemTime;

#[heddle::main]
pub fn main(env: &mut StreamExecutionEnvironment, args: Args) -> heddle::Result<()> {
    let fault = args.positional(0).unwrap_or("none").to_owned();
    let output = args.get("output").map(str::to_owned);
    let at: u64 = args.parse_or("at", 1_234)?;
    match fault.as_str() {
        "main-panics" => panic!("main is broken"),
        "main-fails" => return Err(heddle::Error::new("main does not like this")),
        "main-never-returns" => loop {
            std::hint::black_box(0);
        },
        "main-iterates-a-map" => return of_a_map(env),
        "main-reads-the-clock" => return of_the_clock(env),
        _ => {}
    }
    let good_from: u32 = args.parse_or("good-from", u32::MAX)?;
    let endless = fault == "endless" || fault == "slow-sink";
    let records: Option<u64> = args.get("records").map(|_| args.parse_or("records", 0)).transpose()?;
    let generator = match records {
        Some(records) => Generator::count(records),
        None if endless => Generator::unbounded(),
        None => Generator::count(10_000),
    };
    let numbers = env.generate(generator, |number| number).name("numbers").rebalance();
    let steps: u64 = args.parse_or("steps", 20_000)?;
    let kind = fault.clone();
    let even = env.counter("even numbers");
    let mapped = numbers
        .map(move |number| match kind.as_str() {
            "slow-sink" => (0..steps).fold(number, |sum, step| std::hint::black_box(sum ^ step) ^ step),
            "panics" if number == at => panic!("cannot take number {number}"),
            "prints" if number == at => {
                println!("number {number} came by");
                eprintln!("and was looked at");
                heddle::log::info("nothing to see here");
                heddle::log::warn("number is suspicious");
                number
            }
            "floods" => {
                println!("number {number} came by");
                number
            }
            "counts" if number % 2 == 0 => {
                even.inc();
                number
            }
            "index" if number == at => [1u64, 2, 3][number as usize],
            "loops" if number == at => loop {
                std::hint::black_box(number);
            },
            _ => number,
        })
        .name("work");
    let checked = mapped
        .try_map::<u64>(move |number| {
            if fault == "fails" && number == at {
                return Err(heddle::Error::new(format!("number {number} is refused")));
            }
            Ok(number)
        })
        .name("check");
    let checked = match good_from {
        u32::MAX => checked,
        _ => until_attempt(&checked, good_from, at),
    };
    match output {
        Some(output) => checked.map(|number| number.to_string()).write_text(output),
        None => checked.discard(),
    };
    Ok(())
}

/// An operator whose attempts before this one fail at a number.
fn until_attempt(numbers: &DataStream<u64>, good_from: u32, at: u64) -> DataStream<u64> {
    numbers
        .process_with::<u64>(move |number, ctx, out| {
            let attempt = ctx.subtask().attempt;
            if number == at {
                println!("attempt {attempt}");
                assert!(attempt >= good_from, "attempt {attempt} is not good");
            }
            out.collect(number);
        })
        .name("until attempt")
}

/// A graph whose order is that of a hash map.
fn of_a_map(env: &mut StreamExecutionEnvironment) -> heddle::Result<()> {
    let numbers: HashMap<u64, String> = (0..12).map(|number| (number, format!("step {number}"))).collect();
    let mut stream = env.from_sequence(0, 100);
    for (number, name) in numbers {
        stream = stream.map(move |value| value + (1 << number)).name(name).disable_chaining();
    }
    stream.map(|value| format!("{value}")).collect("sums");
    Ok(())
}

/// A graph that is named after the time.
fn of_the_clock(env: &mut StreamExecutionEnvironment) -> heddle::Result<()> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    env.from_sequence(0, 100).map(|value| value).name(format!("at {}", now.as_nanos())).discard();
    Ok(())
}
