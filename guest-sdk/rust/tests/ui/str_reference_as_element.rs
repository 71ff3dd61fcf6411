use heddle::prelude::*;

fn job(env: &StreamExecutionEnvironment) {
    env.read_text("in").flat_map::<(&'static str, u64)>(|_, out| out.collect(("x", 1))).discard();
}

fn main() {}
