//! Heddle's side on YARN: `heddle run -t yarn-application`.

use crate::bench::process::Process;
use crate::bench::yarn::Submits;
use crate::bench::yarn::watch::Yarn;
use crate::dist;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::rc::Rc;
use std::thread::sleep;
use std::time::{Duration, Instant};

const SCALE: Duration = Duration::from_secs(180);
/// A worker of `yarn-scale`: as many as possible go into the nodes.
const WORKER: &str = "-Dtaskmanager.memory.process.size=512m";

pub struct Heddle {
    program: PathBuf,
    jobs: Vec<(String, PathBuf)>,
    yarn: Rc<Yarn>,
}

impl Heddle {
    pub fn prepare(yarn: &Rc<Yarn>) -> Result<Self> {
        let dist = dist::run()?;
        let jobs = ["--package", "bench-cold-start", "--package", "bench-word-count"];
        let guest = ["--profile", "guest", "--target", dist::GUEST_TARGET];
        let jobs = dist::build(&[&guest[..], &jobs[..]].concat())?;
        Ok(Self { program: dist.heddle(), jobs, yarn: Rc::clone(yarn) })
    }

    fn run(&self, job: &str, options: &[&str]) -> Result<Command> {
        let package = format!("bench-{job}");
        let found = self.jobs.iter().find(|(name, _)| *name == package);
        let (_, component) = found.with_context(|| format!("{package} gave no component"))?;
        let mut command = Command::new(&self.program);
        command.env("HADOOP_CONF_DIR", self.yarn.conf());
        command.args(["run", "-q", "-t", "yarn-application"]).args(options).arg(component);
        Ok(command)
    }
}

impl Submits for Heddle {
    fn name(&self) -> &'static str {
        "heddle"
    }

    fn places(&self) -> (&'static str, &'static str) {
        ("taskexecutor.out", ".heddle")
    }

    fn submit(&self, job: &str) -> Result<Command> {
        let mut command = self.run(job, &[])?;
        if job == "word-count" {
            // It is killed long before.
            command.args(["--records", "1000000000000"]);
        }
        Ok(command)
    }

    /// From the log of the JobManager.
    fn scale(&self, workers: u32) -> Result<Option<(f64, f64)>> {
        let before = self.yarn.applications()?;
        let parallelism = workers.to_string();
        let mut command = self.run("cold-start", &["-p", &parallelism, WORKER])?;
        let _process = Process::start(&mut command)?;
        let began = Instant::now();
        while began.elapsed() < SCALE {
            for log in self.yarn.container_logs(&before)? {
                let text = fs::read_to_string(log.join("jobmanager.err")).unwrap_or_default();
                let times = |what: &str| -> Vec<f64> {
                    text.lines().filter(|line| line.contains(what)).filter_map(millis_of_day).collect()
                };
                let (asked, given) = (times("asking for containers"), times("YARN gave a container"));
                let registered = times("task executor registered");
                if registered.len() >= workers as usize
                    && let (Some(asked), Some(given)) = (asked.first(), given.last())
                {
                    let last = registered[workers as usize - 1];
                    return Ok(Some((given - asked, last - asked)));
                }
            }
            sleep(Duration::from_millis(200));
        }
        bail!("{workers} TaskExecutors were not registered within {SCALE:?}")
    }
}

/// Of `2026-01-31T12:34:56.123456Z …`.
fn millis_of_day(line: &str) -> Option<f64> {
    let time = line.get(11..26)?;
    let mut parts = time.split(':').map(|part| part.parse::<f64>().ok());
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    Some(((hours * 60.0 + minutes) * 60.0 + seconds) * 1e3)
}

#[cfg(test)]
mod tests {
    use super::millis_of_day;

    #[test]
    fn a_line_has_its_time() {
        assert_eq!(millis_of_day("2026-01-31T01:02:03.500000Z  INFO x"), Some(3_723_500.0));
        assert_eq!(millis_of_day("no time"), None);
    }
}
