//! `cargo xtask test`: everything that CI runs, cheapest first.
//!
//! One profile for all, so that each dependency is built once.

use crate::steps::Steps;
use crate::workspace::{cargo, check, target};
use crate::{deps, dist, tidy};
use std::process::Command;

pub fn run() -> anyhow::Result<()> {
    let mut steps = Steps::new(7);
    steps.step("format (rustfmt)", || check(cargo().args(["fmt", "--all", "--check"])))?;
    steps.step("form of the sources", tidy::run)?;
    steps.step("directions of dependencies", deps::run)?;
    let dist = steps.step("dist", dist::run)?;
    steps.step("lints (clippy, warnings denied)", || {
        let mut clippy = release("clippy");
        clippy.args(["--workspace", "--all-targets", "--", "--deny", "warnings"]);
        check(&mut clippy)
    })?;
    // The tests of the command line run what `dist` built.
    steps.step("tests", || {
        let mut tests = release("test");
        tests.args(["--workspace", "--lib", "--bins", "--tests"]).env("HEDDLE_DIST", &dist.folder);
        check(&mut tests)
    })?;
    steps.step("examples in documentation", || check(release("test").args(["--workspace", "--doc"])))?;
    eprintln!("\nall is well, in {}", steps.elapsed());
    Ok(())
}

fn release(command: &str) -> Command {
    let mut cargo = cargo();
    cargo.args([command, "--release"]).env("CARGO_TARGET_DIR", target());
    cargo
}
