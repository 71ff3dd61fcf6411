use heddle::prelude::*;

fn job(env: &StreamExecutionEnvironment) {
    env.read_text("in").map(|line| line.trim()).discard();
}

fn main() {}
