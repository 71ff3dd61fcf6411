use heddle::prelude::*;

#[derive(Clone)]
struct Reading {
    celsius: f64,
}

fn job(env: &StreamExecutionEnvironment) {
    env.from_sequence(0, 9).map(|n| Reading { celsius: n as f64 }).discard();
}

fn main() {}
