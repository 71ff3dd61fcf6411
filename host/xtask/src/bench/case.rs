//! What one row of the table measures, and what a side has to give for it.
//! Knows no side.

use crate::bench::options::Options;
use anyhow::Result;
use std::fmt;

/// One measurement: a benchmark, a variant of it, a parallelism.
#[derive(Clone, Debug)]
pub struct Case {
    pub benchmark: &'static str,
    /// What sets this row apart from others of the same benchmark.
    pub variant: Option<&'static str>,
    /// 0 where parallelism means nothing.
    pub parallelism: u32,
    pub measure: Measure,
    pub unit: Unit,
    pub peer: Peer,
    pub must: Target,
    pub goal: Target,
}

/// How the figure is taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Measure {
    /// Records a second in a window after a warm-up, of a job and its
    /// arguments, the same on both sides.
    Rate {
        job: &'static str,
        arguments: &'static [&'static str],
        /// Of the peer's side, on top.
        peer_arguments: &'static [&'static str],
    },
    /// The same on a cluster of processes: a JobManager and as many workers of
    /// one slot as the parallelism says.
    ClusterRate { job: &'static str },
    /// From the submission of a job of nearly no work to a running cluster
    /// until it is FINISHED.
    JobLatency,
    /// From the moment at which the JobManager knows that a worker process was
    /// killed until all tasks run again; a spare slot is there.
    Failover,
    /// Deploying a job, failing a region and cancelling, on so many simulated
    /// TaskExecutors with a hundred subtasks each.
    ControlPlane { workers: u32, what: ControlPlane },
    /// Resident memory of a JobManager and a worker with no job.
    IdleCluster,
    /// Bytes of text a second over a whole job that ends.
    TextFile,
    /// From the start of the process to the first line of output. Of Heddle,
    /// with the compiled component cached or not.
    ColdStart { cached: bool },
    /// Resident memory of a process that has a cluster and no job.
    Idle,
    /// The chains of a job with and without the sandbox.
    Sandbox { job: &'static str, preemption: bool },
    /// Live idle subtasks in one process.
    Instances(Instances),
    /// Bytes a second from one process to another, through so many producers
    /// and consumers. The peer is one connection, whatever their number.
    Exchange { producers: u32, consumers: u32 },
    /// As an application on YARN.
    Yarn(YarnMeasure),
    /// From a record's making in one process to its arrival in another.
    ExchangeLatency { buffer_timeout_ms: u32, quantile: Quantile },
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum YarnMeasure {
    /// From the command to the first record at the sink of a worker.
    FirstRecord,
    /// To YARN's word that the application has finished.
    Finished,
    /// What the client stages.
    Bytes,
    /// Resident memory of the JobManager and one worker that count words.
    Memory,
    /// From asking for so many containers at once until all slots are there.
    Scale { workers: u32 },
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ControlPlane {
    Time,
    /// Of the process that has all of them.
    Memory,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Quantile {
    P50,
    P99,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Instances {
    Count,
    ResidentKib,
    StartP50,
    StartP99,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Peer {
    Flink,
    /// The same Rust code compiled into the host.
    Native,
    /// A bare TCP connection that carries the same buffers.
    Socket,
    None,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unit {
    RecordsPerSecond,
    MegabytesPerSecond,
    Milliseconds,
    Mebibytes,
    Kibibytes,
    Count,
}

impl Unit {
    pub fn name(self) -> &'static str {
        match self {
            Unit::RecordsPerSecond => "records/s",
            Unit::MegabytesPerSecond => "MB/s",
            Unit::Milliseconds => "ms",
            Unit::Mebibytes => "MiB",
            Unit::Kibibytes => "KiB",
            Unit::Count => "subtasks",
        }
    }

    /// Whether less of it is better.
    pub fn less_is_better(self) -> bool {
        matches!(self, Unit::Milliseconds | Unit::Mebibytes | Unit::Kibibytes)
    }
}

/// What a row should reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    None,
    /// Of the ratio to the peer.
    Ratio(f64),
    /// Of Heddle's own figure.
    AtMost(f64),
    AtLeast(f64),
}

impl Target {
    /// Whether it is reached; `None` if it cannot be told.
    pub fn reached(self, heddle: f64, ratio: Option<f64>) -> Option<bool> {
        match self {
            Target::None => None,
            Target::Ratio(least) => ratio.map(|ratio| ratio >= least),
            Target::AtMost(most) => Some(heddle <= most),
            Target::AtLeast(least) => Some(heddle >= least),
        }
    }

    pub fn show(self, unit: Unit) -> String {
        match self {
            Target::None => String::new(),
            Target::Ratio(ratio) => format!("{ratio} ×"),
            Target::AtMost(most) => format!("≤ {}", show(unit, most)),
            Target::AtLeast(least) => format!("≥ {}", show(unit, least)),
        }
    }
}

/// What a side measured once.
#[derive(Clone, Debug, Default)]
pub struct Figure {
    /// In the case's unit.
    pub value: f64,
    /// CPU time of all threads a record, if it was measured.
    pub cpu_ns: Option<f64>,
    /// What else a reader may want to know: name and value with its unit.
    pub notes: Vec<(String, String)>,
}

/// Something that can be measured.
pub trait Side {
    /// What the table calls it.
    fn name(&self) -> &str;
    fn measure(&mut self, case: &Case, options: &Options) -> Result<Figure>;
}

impl Case {
    pub fn show(&self, value: f64) -> String {
        show(self.unit, value)
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.benchmark)?;
        if let Some(variant) = self.variant {
            write!(f, ", {variant}")?;
        }
        if self.parallelism > 0 {
            write!(f, ", parallelism {}", self.parallelism)?;
        }
        Ok(())
    }
}

fn show(unit: Unit, value: f64) -> String {
    match unit {
        Unit::RecordsPerSecond => format!("{} M/s", significant(value / 1e6)),
        Unit::Count => format!("{value:.0}"),
        _ => format!("{} {}", significant(value), unit.name()),
    }
}

/// Three digits that mean something.
pub fn significant(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude >= 100.0 || magnitude == 0.0 {
        format!("{value:.0}")
    } else if magnitude >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}
