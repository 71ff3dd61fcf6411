//! `cargo xtask fuzz`: feeds what decodes bytes of guests and servers with changed samples.

use crate::workspace::{cargo, check, target};

/// How long CI looks at each target.
pub const CI_SECONDS: &str = "5";
pub const TARGETS: [&str; 3] = ["batch", "hadoop", "state"];

/// The arguments are those of `heddle-fuzz`.
pub fn run(arguments: &[String]) -> anyhow::Result<()> {
    let mut fuzz = cargo();
    fuzz.args(["run", "--quiet", "--release", "--package", "heddle-fuzz", "--"]);
    check(fuzz.args(arguments).env("CARGO_TARGET_DIR", target()))
}

/// All targets, for a few seconds.
pub fn run_all() -> anyhow::Result<()> {
    TARGETS
        .iter()
        .try_for_each(|name| run(&[name.to_string(), "--seconds".to_owned(), CI_SECONDS.to_owned()]))
}
