//! A job that reads a file of the host from an operator.

use heddle::prelude::*;

#[heddle::main]
pub fn main(env: &mut StreamExecutionEnvironment, _args: Args) -> heddle::Result<()> {
    env.from_sequence(0, 10)
        .map(|_| std::fs::read_to_string("/etc/passwd").unwrap_or_else(|error| format!("refused: {error}")))
        .collect("files");
    Ok(())
}
