//! Ordinary mistakes of a program that uses the SDK; the first argument says
//! which. Each has a test in `tests/e2e/bad_input.rs`.

use heddle::prelude::*;

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
        _ => {}
    }
    let endless = fault == "endless" || fault == "slow-sink";
    let generator = if endless { Generator::unbounded() } else { Generator::count(10_000) };
    let numbers = env.generate(generator, |number| number).name("numbers").rebalance();
    let kind = fault.clone();
    let mapped = numbers
        .map(move |number| match kind.as_str() {
            "panics" if number == at => panic!("cannot take number {number}"),
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
    match output {
        Some(output) => checked.map(|number| number.to_string()).write_text(output),
        None => checked.discard(),
    };
    Ok(())
}
