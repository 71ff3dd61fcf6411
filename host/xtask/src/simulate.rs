//! `cargo xtask simulate`: a cluster on a simulated network, seed after seed.

use crate::workspace::{cargo, check, target};

/// How many seeds CI looks at.
const CI_SEEDS: &str = "1000";

/// The arguments are those of `heddle-simulation`.
pub fn run(arguments: &[String]) -> anyhow::Result<()> {
    let mut simulation = cargo();
    simulation.args(["run", "--quiet", "--release", "--package", "heddle-simulation", "--"]);
    check(simulation.args(arguments).env("CARGO_TARGET_DIR", target()))
}

pub fn run_all() -> anyhow::Result<()> {
    run(&["--seeds".to_owned(), CI_SEEDS.to_owned()])
}
