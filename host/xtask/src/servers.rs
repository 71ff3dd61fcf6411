//! `cargo xtask servers`: real servers of other projects on free loopback
//! ports, for tests and for trying things by hand. Everything of a server lies
//! in `target/servers/NAME`; `down` leaves none of it running.

mod hadoop;
mod kafka;
pub mod ports;
mod process;
mod set;
mod zookeeper;

use crate::{maven, workspace};
use anyhow::{Context, Result, bail};
use set::Set;
use std::fs;
use std::path::PathBuf;

pub const USAGE: &str = "\
cargo xtask servers up NAME [OPTIONS]            start it, wait until it is ready
cargo xtask servers down NAME                    end it and all that it started
cargo xtask servers status NAME                  its processes; fails unless all are alive

  yarn        HDFS, ResourceManager, N NodeManagers (1)
  hdfs        NameNode, DataNode
  zookeeper   one server
  kafka       one broker

Options of yarn:
  --nodemanagers N       so many of them
  --set KEY=VALUE        a setting of Hadoop, for all
";

/// More NodeManagers than this are no test of one machine.
const NODEMANAGERS_MAX: usize = 16;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Yarn(YarnOptions),
    Hdfs,
    ZooKeeper,
    Kafka,
}

/// How YARN is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct YarnOptions {
    pub nodemanagers: usize,
    /// Keys of Hadoop and their values, for all processes and for clients.
    pub settings: Vec<(String, String)>,
}

impl Default for YarnOptions {
    fn default() -> Self {
        Self { nodemanagers: 1, settings: Vec::new() }
    }
}

impl Kind {
    fn parse(name: &str) -> Result<Self> {
        Ok(match name {
            "yarn" => Kind::Yarn(YarnOptions::default()),
            "hdfs" => Kind::Hdfs,
            "zookeeper" => Kind::ZooKeeper,
            "kafka" => Kind::Kafka,
            other => bail!("no server `{other}`; there are yarn, hdfs, zookeeper, kafka"),
        })
    }

    fn name(&self) -> &'static str {
        match self {
            Kind::Yarn(_) => "yarn",
            Kind::Hdfs => "hdfs",
            Kind::ZooKeeper => "zookeeper",
            Kind::Kafka => "kafka",
        }
    }

    /// The folder of its `pom.xml` below `tests/servers`.
    fn packages(&self) -> &'static str {
        match self {
            Kind::Yarn(_) | Kind::Hdfs => "hadoop",
            Kind::ZooKeeper => "zookeeper",
            Kind::Kafka => "kafka",
        }
    }
}

pub fn run(arguments: &[String]) -> Result<()> {
    let (command, kind) = parse(arguments)?;
    let set = Set::new(folder().join(kind.name()));
    match command {
        Command::Up => up(&kind, &set),
        Command::Down => set.down(),
        Command::Status => set.status(),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Command {
    Up,
    Down,
    Status,
}

fn parse(arguments: &[String]) -> Result<(Command, Kind)> {
    let mut arguments = arguments.iter().map(String::as_str);
    let command = match arguments.next() {
        Some("up") => Command::Up,
        Some("down") => Command::Down,
        Some("status") => Command::Status,
        other => bail!("up, down or status is expected, got `{}`\n\n{USAGE}", other.unwrap_or_default()),
    };
    let mut kind = Kind::parse(arguments.next().with_context(|| format!("which server?\n\n{USAGE}"))?)?;
    while let Some(argument) = arguments.next() {
        match (argument, &command, &mut kind) {
            ("--set", Command::Up, Kind::Yarn(options)) => {
                let value = arguments.next().unwrap_or_default();
                let (key, value) =
                    value.split_once('=').with_context(|| format!("{argument} needs KEY=VALUE"))?;
                options.settings.push((key.to_owned(), value.to_owned()));
            }
            ("--nodemanagers", Command::Up, Kind::Yarn(options)) => {
                let value = arguments.next().context("--nodemanagers needs a number")?;
                options.nodemanagers = value
                    .parse()
                    .ok()
                    .filter(|number| (1..=NODEMANAGERS_MAX).contains(number))
                    .with_context(|| {
                        format!("--nodemanagers is a number from 1 to {NODEMANAGERS_MAX}, got `{value}`")
                    })?;
            }
            _ => bail!("`{argument}` does not belong here\n\n{USAGE}"),
        }
    }
    Ok((command, kind))
}

fn folder() -> PathBuf {
    workspace::target().join("servers")
}

/// A running server that a command of the project uses; it ends with this.
pub struct Running {
    set: Set,
}

impl Running {
    /// Starts one of its own, beside what was started by hand.
    pub fn start(kind: Kind, name: &str) -> Result<Self> {
        let running = Self { set: Set::new(folder().join(name)) };
        up(&kind, &running.set)?;
        Ok(running)
    }

    /// The folder for `HADOOP_CONF_DIR`.
    pub fn conf(&self) -> PathBuf {
        self.set.folder().join("conf")
    }

    /// Ends it; an error says what is left.
    pub fn stop(self) -> Result<()> {
        self.set.down()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Err(error) = self.set.down() {
            eprintln!("{error:#}");
        }
    }
}

fn up(kind: &Kind, set: &Set) -> Result<()> {
    maven::available()?;
    let lib = packages(kind)?;
    if set.is_up()? {
        eprintln!("{} is up already", set.name());
        return set.status();
    }
    // What an earlier start left.
    set.down()?;
    let plan = match kind {
        Kind::Yarn(options) => hadoop::yarn(set.folder(), &lib, options),
        Kind::Hdfs => hadoop::hdfs(set.folder(), &lib),
        Kind::ZooKeeper => zookeeper::plan(set.folder(), &lib),
        Kind::Kafka => kafka::plan(set.folder(), &lib),
    }?;
    set.up(plan)?;
    set.status()
}

/// The folder of a server's jars, fetched unless they are there.
fn packages(kind: &Kind) -> Result<PathBuf> {
    let name = kind.packages();
    let pom = workspace::root().join("tests/servers").join(name).join("pom.xml");
    let lib = folder().join("lib").join(name);
    let stamp = lib.join("built-from");
    let wanted = fs::read_to_string(&pom).with_context(|| pom.display().to_string())?;
    if fs::read_to_string(&stamp).is_ok_and(|before| before == wanted) {
        return Ok(lib);
    }
    eprintln!("fetching the packages of {name} with Maven");
    if lib.exists() {
        fs::remove_dir_all(&lib).with_context(|| format!("cannot empty {}", lib.display()))?;
    }
    fs::create_dir_all(&lib).with_context(|| format!("cannot make {}", lib.display()))?;
    let output = format!("-DoutputDirectory={}", lib.display());
    maven::run(&pom, &["dependency:copy-dependencies".to_owned(), output])?;
    fs::write(&stamp, wanted)?;
    Ok(lib)
}

#[cfg(test)]
mod tests {
    use super::{Command, Kind, YarnOptions, parse};

    fn of(line: &str) -> anyhow::Result<(Command, Kind)> {
        parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn arguments_are_read() {
        let yarn = YarnOptions { nodemanagers: 3, settings: vec![("a".to_owned(), "b=c".to_owned())] };
        let line = "up yarn --nodemanagers 3 --set a=b=c";
        assert_eq!(of(line).unwrap(), (Command::Up, Kind::Yarn(yarn)));
        assert_eq!(of("down kafka").unwrap(), (Command::Down, Kind::Kafka));
    }

    #[test]
    fn bad_arguments_are_named() {
        for (line, expected) in [
            ("", "up, down or status"),
            ("up", "which server"),
            ("up hbase", "no server `hbase`"),
            ("up yarn --set a", "--set needs KEY=VALUE"),
            ("up yarn --nodemanagers 0", "from 1 to 16"),
            ("up hdfs --nodemanagers 2", "`--nodemanagers` does not belong here"),
            ("down yarn now", "`now` does not belong here"),
        ] {
            let error = of(line).err().unwrap().to_string();
            assert!(error.contains(expected), "{line}: {error}");
        }
    }
}
