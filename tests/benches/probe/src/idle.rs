//! The cluster that `heddle run` starts, with no job.

use anyhow::{Result, anyhow};
use heddle_client::{EmbeddedCluster, Sandbox};
use heddle_connectors::Console;
use heddle_model::config::Configuration;
use std::io::{self, Write};
use std::sync::Arc;

struct Stdout;

impl Console for Stdout {
    fn write(&self, lines: &str) -> io::Result<()> {
        io::stdout().write_all(lines.as_bytes())
    }
}

/// Says when it is up, then runs until it is ended.
pub async fn run() -> Result<()> {
    let configuration = Configuration::new();
    let sandbox = Sandbox::open(&configuration).map_err(|failure| anyhow!("{failure}"))?;
    let mut cluster = EmbeddedCluster::start(&configuration, &sandbox, Arc::new(Stdout))
        .map_err(|failure| anyhow!("{failure}"))?;
    println!("ready");
    Err(anyhow!("{}", cluster.failed().await))
}
