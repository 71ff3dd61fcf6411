use heddle::prelude::*;

fn job(env: &StreamExecutionEnvironment) {
    env.from_collection([1.5f64]).key_by::<f64>(|n| *n).count().discard();
}

fn main() {}
