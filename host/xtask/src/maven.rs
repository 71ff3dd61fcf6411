//! Java and Maven, where they are there: packages of other projects for
//! benchmarks and tests. Knows none of those projects.

use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::Command;

/// Says what is missing, if anything is.
pub fn available() -> Result<()> {
    for (program, argument) in [("java", "-version"), ("mvn", "--version")] {
        let found = Command::new(program).arg(argument).output();
        if !found.is_ok_and(|output| output.status.success()) {
            bail!("`{program}` does not run here; install Java 17 and Maven to have it");
        }
    }
    Ok(())
}

/// Runs a goal of a `pom.xml`; an error repeats the first of Maven's own.
pub fn run(pom: &Path, arguments: &[String]) -> Result<()> {
    let output = Command::new("mvn")
        .args(["--quiet", "--batch-mode", "--file"])
        .arg(pom)
        .args(arguments)
        .output()
        .context("cannot start mvn")?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<&str> = said.lines().filter(|line| line.contains("ERROR")).take(6).collect();
    bail!("Maven failed on {}:\n  {}", pom.display(), lines.join("\n  "))
}
