//! Ten integers, keyed, reduced over an exchange and printed: the least that
//! has every part of a job.

use heddle::prelude::*;

#[heddle::main]
pub fn main(env: &mut StreamExecutionEnvironment) {
    env.from_sequence(0, 9).key_by::<u64>(|value| *value).reduce(|a, b| a + b).print();
}
