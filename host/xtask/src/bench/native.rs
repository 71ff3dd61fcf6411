//! The peer of `sandbox`: the same Rust code compiled into the host.

use crate::bench::case::{Case, Figure, Measure, Peer, Side};
use crate::bench::folders::Folders;
use crate::bench::options::Options;
use crate::bench::process::{Process, number};
use crate::dist;
use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

const SLACK: Duration = Duration::from_secs(60);

pub struct Native {
    program: PathBuf,
    bench: PathBuf,
}

impl Native {
    /// Builds it as the guests are built (`--profile guest`), if a case needs it.
    pub fn prepare(folders: &Folders, cases: &[Case]) -> Result<Option<Self>> {
        if !cases.iter().any(|case| case.peer == Peer::Native) {
            return Ok(None);
        }
        let built = dist::build(&["--profile", "guest", "--package", "bench-native"])?;
        let (_, program) = built.into_iter().next_back().context("cargo named no program")?;
        Ok(Some(Self { program, bench: folders.bench.clone() }))
    }
}

impl Side for Native {
    fn name(&self) -> &str {
        "native"
    }

    fn measure(&mut self, case: &Case, options: &Options) -> Result<Figure> {
        let Measure::Sandbox { job, .. } = case.measure else { bail!("there is no native side of it") };
        let graph = self.bench.join(format!("{job}.graph.json"));
        let mut command = Command::new(&self.program);
        command.arg(job).arg(graph).arg(options.window.as_secs_f64().to_string());
        let finished = Process::start(&mut command)?.finish(options.window * 10 + SLACK)?;
        Ok(Figure { value: number(&finished.json()?, "rate")?, ..Figure::default() })
    }
}
