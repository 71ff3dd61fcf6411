use heddle::prelude::*;

struct Nothing;

fn job(env: &StreamExecutionEnvironment) {
    env.read_text("in").key_by::<Str>(|line| line).process::<String>(Nothing).discard();
}

fn main() {}
