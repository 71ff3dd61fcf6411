//! `cargo xtask bench`: measures what `heddle run` does, beside its peers.

use anyhow::bail;

/// `[NAME…] [--json FILE]`.
pub fn run(_arguments: &[String]) -> anyhow::Result<()> {
    bail!("there is no benchmark yet")
}
