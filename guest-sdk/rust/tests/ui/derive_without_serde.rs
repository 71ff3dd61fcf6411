use heddle::prelude::*;

#[derive(Element)]
struct Reading {
    celsius: f64,
}

fn main() {}
