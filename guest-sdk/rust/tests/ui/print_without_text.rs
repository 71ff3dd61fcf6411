use heddle::prelude::*;

fn job(env: &StreamExecutionEnvironment) {
    env.read_text("in").flat_map::<Bytes>(|line, out| out.collect(line.as_bytes())).print();
}

fn main() {}
