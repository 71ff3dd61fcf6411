use heddle::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize, Element)]
struct Two<'a, 'b> {
    left: &'a str,
    right: &'b str,
}

fn main() {}
