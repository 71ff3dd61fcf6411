//! Both sides as applications on one real YARN: how long one takes to start,
//! what it stages, what its containers need. YARN itself is watched from the
//! outside: its pages, its logs, the processes of its containers.

mod flink;
mod heddle;
mod watch;

use crate::bench::case::{Case, Figure, Measure, Side, YarnMeasure};
use crate::bench::folders::Folders;
use crate::bench::options::{Options, Sides};
use crate::bench::yarn::watch::{Watched, Yarn};
use anyhow::{Context, Result};
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

/// A job that counts runs so long before its memory is read.
const SETTLE: Duration = Duration::from_secs(15);

/// How a side puts its jobs on YARN.
trait Submits {
    /// The command that runs a job of that name in a cluster of its own.
    fn submit(&self, job: &str) -> Result<Command>;
    fn name(&self) -> &'static str;
    /// The file of a worker's standard output, and the folder of staged files
    /// in the user's home.
    fn places(&self) -> (&'static str, &'static str);
    /// So many workers at once; the milliseconds until YARN had handed them
    /// out, and until their slots were registered.
    fn scale(&self, _workers: u32) -> Result<Option<(f64, f64)>> {
        Ok(None)
    }
}

/// A side on YARN.
pub struct OnYarn {
    yarn: Rc<Yarn>,
    submits: Box<dyn Submits>,
    /// A start gives several figures.
    last: Option<(YarnMeasure, Watched)>,
}

/// Heddle and Flink on a YARN that ends with them; none if no case needs it.
pub fn prepare(
    folders: &Folders,
    options: &Options,
    cases: &[Case],
) -> Result<(Option<OnYarn>, Option<OnYarn>)> {
    if !cases.iter().any(|case| matches!(case.measure, Measure::Yarn(_))) {
        return Ok((None, None));
    }
    let yarn = Rc::new(Yarn::start()?);
    let side = |submits: Box<dyn Submits>| OnYarn { yarn: Rc::clone(&yarn), submits, last: None };
    let heddle = match options.sides {
        Sides::Peer => None,
        _ => Some(side(Box::new(heddle::Heddle::prepare(&yarn)?))),
    };
    let flink = match options.sides {
        Sides::Heddle => None,
        _ => Some(side(Box::new(flink::Flink::prepare(folders, &yarn)?))),
    };
    Ok((heddle, flink))
}

impl Side for OnYarn {
    fn name(&self) -> &str {
        self.submits.name()
    }

    fn measure(&mut self, case: &Case, _: &Options) -> Result<Figure> {
        let Measure::Yarn(what) = case.measure else { anyhow::bail!("it is not measured on YARN") };
        let (output, staging) = self.submits.places();
        let mebibytes = |bytes: u64| bytes as f64 / (1 << 20) as f64;
        match what {
            YarnMeasure::FirstRecord | YarnMeasure::Finished | YarnMeasure::Bytes => {
                // Rows of a benchmark stand one behind the other.
                let known =
                    self.last.take().filter(|(of, _)| *of != what && what != YarnMeasure::FirstRecord);
                let watched = match known {
                    Some((_, watched)) => watched,
                    None => self.yarn.watch(&mut self.submits.submit("cold-start")?, output, staging)?,
                };
                let value = match what {
                    YarnMeasure::FirstRecord => watched.first_ms.context("no record came out")?,
                    YarnMeasure::Finished => watched.finished_ms,
                    _ => mebibytes(watched.staged),
                };
                let mut notes = Vec::new();
                if what == YarnMeasure::Finished {
                    let floor = format!("{:.0} ms", self.yarn.floor_ms()?);
                    notes.push(("a container that only exits, until YARN says so".to_owned(), floor));
                }
                self.last = Some((what, watched));
                Ok(Figure { value, notes, ..Figure::default() })
            }
            YarnMeasure::Memory => {
                let bytes = self.yarn.resident(&mut self.submits.submit("word-count")?, SETTLE)?;
                Ok(Figure { value: mebibytes(bytes), ..Figure::default() })
            }
            YarnMeasure::Scale { workers } => {
                let (given, registered) =
                    self.submits.scale(workers)?.context("it is not measured for this side")?;
                let part = format!("{given:.0} ms, the rest is {:.0} %", (registered / given - 1.0) * 100.0);
                let notes = vec![("until YARN had handed out all containers".to_owned(), part)];
                Ok(Figure { value: registered, notes, ..Figure::default() })
            }
        }
    }
}
