use heddle::prelude::*;

fn job(env: &StreamExecutionEnvironment) {
    env.read_text("in").key_by::<Str>(|line| line).sum(|line| line.to_string()).discard();
}

fn main() {}
