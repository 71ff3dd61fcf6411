//! The benchmarks: what each measures, against whom, and what it must reach.

use crate::bench::case::{Case, ControlPlane, Instances, Measure, Peer, Quantile, Target, Unit, YarnMeasure};
use crate::bench::options::Options;
use anyhow::{Result, bail};

/// A benchmark as it is asked for by name.
pub struct Benchmark {
    pub name: &'static str,
    pub what: &'static str,
    cases: fn() -> Vec<Case>,
    /// Measured only when it is named.
    on_demand: bool,
}

const fn benchmark(name: &'static str, what: &'static str, cases: fn() -> Vec<Case>) -> Benchmark {
    Benchmark { name, what, cases, on_demand: false }
}

pub const BENCHMARKS: &[Benchmark] = &[
    benchmark("word-count", "lines of ten words, 10,000 keys, one update a word", || {
        rates("word-count", None, "word-count", &[], 15.0, 25.0)
    }),
    benchmark("word-count-large", "the same with 1,000,000 keys, and with words of 4-14 letters", || {
        let keys = &["--keys", "1000000"];
        let words = &["--words", "long"];
        let mut cases = rates("word-count-large", Some("1,000,000 keys"), "word-count", keys, 8.0, 15.0);
        cases.extend(rates(
            "word-count-large",
            Some("words of 4-14 letters"),
            "word-count",
            words,
            8.0,
            15.0,
        ));
        cases
    }),
    benchmark("map-filter", "integers: map, filter, discard", || {
        rates("map-filter", None, "map-filter", &[], 12.0, 25.0)
    }),
    benchmark("keyed-reduce", "integers with 10,000 integer keys, one update a record", || {
        rates("keyed-reduce", None, "keyed-reduce", &[], 15.0, 35.0)
    }),
    benchmark("text-file", "the words of real files on disk, BATCH, output written", text_file),
    benchmark("sandbox", "the chains of jobs against the same code compiled into the host", sandbox),
    benchmark("plain-user", "word count as a newcomer writes it", || {
        rates("plain-user", None, "plain-user", &[], 6.0, 12.0)
    }),
    benchmark("cold-start", "from the command to the first record at the sink", cold_start),
    benchmark("instances", "live idle keyed subtasks in one process", instances),
    benchmark("idle", "resident memory of a cluster in one process with no job", idle),
    benchmark("cluster-word-count", "word-count on a cluster of two worker processes", || {
        vec![Case {
            parallelism: 2,
            must: Target::Ratio(10.0),
            goal: Target::Ratio(18.0),
            ..case("cluster-word-count", Measure::ClusterRate { job: "word-count" }, Peer::Flink)
        }]
    }),
    benchmark("job-latency", "submit a job of nearly no work to a running cluster until FINISHED", || {
        vec![Case {
            unit: Unit::Milliseconds,
            must: Target::Ratio(10.0),
            goal: Target::AtMost(50.0),
            ..case("job-latency", Measure::JobLatency, Peer::Flink)
        }]
    }),
    benchmark("failover", "from a killed worker's detection until all tasks run again", || {
        vec![Case {
            unit: Unit::Milliseconds,
            must: Target::AtMost(500.0),
            goal: Target::AtMost(100.0),
            ..case("failover", Measure::Failover, Peer::None)
        }]
    }),
    benchmark("control-plane", "deploy, fail a region and cancel on simulated TaskExecutors", control_plane),
    benchmark("idle-cluster", "resident memory of JobManager and TaskExecutor with no job", || {
        vec![Case {
            unit: Unit::Mebibytes,
            must: Target::AtMost(60.0),
            goal: Target::AtMost(30.0),
            ..case("idle-cluster", Measure::IdleCluster, Peer::Flink)
        }]
    }),
    benchmark("exchange", "bytes a second from process to process, 64 KiB batches", exchange),
    benchmark(
        "exchange-latency",
        "a record from process to process at a tenth of the load",
        exchange_latency,
    ),
    benchmark("yarn-start", "an application on YARN, from the command to its first record and end", || {
        [("first record", YarnMeasure::FirstRecord), ("finished", YarnMeasure::Finished)]
            .map(|(variant, what)| Case {
                variant: Some(variant),
                ..on_yarn("yarn-start", what, Unit::Milliseconds, 3.0, 5.0)
            })
            .to_vec()
    }),
    benchmark("yarn-bytes", "what the client stages for an application on YARN", || {
        vec![on_yarn("yarn-bytes", YarnMeasure::Bytes, Unit::Mebibytes, 5.0, 10.0)]
    }),
    benchmark("yarn-memory", "resident memory of JobManager and one worker on YARN, counting words", || {
        vec![on_yarn("yarn-memory", YarnMeasure::Memory, Unit::Mebibytes, 5.0, 10.0)]
    }),
    benchmark("yarn-scale", "50 containers at once on four nodes, until all slots are registered", || {
        vec![Case {
            peer: Peer::None,
            must: Target::None,
            goal: Target::None,
            ..on_yarn("yarn-scale", YarnMeasure::Scale { workers: 50 }, Unit::Milliseconds, 0.0, 0.0)
        }]
    }),
    Benchmark {
        name: "lean-source",
        what: "Flink with a source that costs nothing (only when it is named)",
        cases: lean_source,
        on_demand: true,
    },
];

/// The cases that were asked for.
pub fn cases(options: &Options) -> Result<Vec<Case>> {
    for name in &options.names {
        if !BENCHMARKS.iter().any(|benchmark| benchmark.name == name) {
            let known: Vec<_> = BENCHMARKS.iter().map(|benchmark| benchmark.name).collect();
            bail!("there is no benchmark `{name}`; there are {}", known.join(", "));
        }
    }
    let asked = |benchmark: &Benchmark| match options.names.as_slice() {
        [] => !benchmark.on_demand,
        names => names.iter().any(|name| name == benchmark.name),
    };
    let mut cases = Vec::new();
    for benchmark in BENCHMARKS.iter().filter(|benchmark| asked(benchmark)) {
        let own = (benchmark.cases)();
        match &options.parallelism {
            Some(wanted) if own.iter().any(|case| case.parallelism > 0) => {
                let mut seen = Vec::new();
                for case in own {
                    // One case a variant stands for all parallelisms.
                    if seen.contains(&case.variant) {
                        continue;
                    }
                    seen.push(case.variant);
                    cases.extend(wanted.iter().map(|&parallelism| Case { parallelism, ..case.clone() }));
                }
            }
            _ => cases.extend(own),
        }
    }
    Ok(cases)
}

fn case(benchmark: &'static str, measure: Measure, peer: Peer) -> Case {
    Case {
        benchmark,
        variant: None,
        parallelism: 0,
        measure,
        unit: Unit::RecordsPerSecond,
        peer,
        must: Target::None,
        goal: Target::None,
    }
}

fn rates(
    benchmark: &'static str,
    variant: Option<&'static str>,
    job: &'static str,
    arguments: &'static [&'static str],
    must: f64,
    goal: f64,
) -> Vec<Case> {
    [1, 2]
        .map(|parallelism| Case {
            variant,
            parallelism,
            must: Target::Ratio(must),
            goal: Target::Ratio(goal),
            ..case(benchmark, Measure::Rate { job, arguments, peer_arguments: &[] }, Peer::Flink)
        })
        .to_vec()
}

fn text_file() -> Vec<Case> {
    [1, 2]
        .map(|parallelism| Case {
            parallelism,
            unit: Unit::MegabytesPerSecond,
            must: Target::Ratio(8.0),
            goal: Target::Ratio(15.0),
            ..case("text-file", Measure::TextFile, Peer::Flink)
        })
        .to_vec()
}

fn idle() -> Vec<Case> {
    vec![Case {
        unit: Unit::Mebibytes,
        must: Target::AtMost(60.0),
        goal: Target::AtMost(30.0),
        ..case("idle", Measure::Idle, Peer::Flink)
    }]
}

/// What the others would say if Flink had a source that costs nothing.
fn lean_source() -> Vec<Case> {
    let peer_arguments = &["--source", "lean"];
    ["word-count", "map-filter", "keyed-reduce"]
        .iter()
        .flat_map(|&job| {
            [1, 2].map(|parallelism| Case {
                variant: Some(job),
                parallelism,
                ..case("lean-source", Measure::Rate { job, arguments: &[], peer_arguments }, Peer::Flink)
            })
        })
        .collect()
}

fn on_yarn(name: &'static str, what: YarnMeasure, unit: Unit, must: f64, goal: f64) -> Case {
    let (must, goal) = (Target::Ratio(must), Target::Ratio(goal));
    Case { unit, must, goal, ..case(name, Measure::Yarn(what), Peer::Flink) }
}

fn sandbox() -> Vec<Case> {
    let on = (Target::Ratio(0.55), Target::Ratio(0.7));
    let off = (Target::Ratio(0.7), Target::Ratio(0.85));
    // Without a target: they show what the code itself takes.
    let shown = (Target::None, Target::None);
    [
        ("word-count", true, "word-count, preemption on", on),
        ("word-count", false, "word-count, preemption off", off),
        ("map-filter", true, "map-filter, preemption on", on),
        ("map-filter", false, "map-filter, preemption off", off),
        ("keyed-reduce", true, "keyed-reduce, preemption on", shown),
        ("plain-user", true, "plain-user, preemption on", shown),
    ]
    .map(|(job, preemption, variant, (must, goal))| Case {
        variant: Some(variant),
        must,
        goal,
        ..case("sandbox", Measure::Sandbox { job, preemption }, Peer::Native)
    })
    .to_vec()
}

fn cold_start() -> Vec<Case> {
    [("compiled before", true, 100.0), ("never compiled", false, 1000.0)]
        .map(|(variant, cached, must)| Case {
            variant: Some(variant),
            unit: Unit::Milliseconds,
            must: Target::AtMost(must),
            goal: if cached { Target::AtMost(50.0) } else { Target::None },
            ..case("cold-start", Measure::ColdStart { cached }, Peer::Flink)
        })
        .to_vec()
}

fn instances() -> Vec<Case> {
    [
        ("live", Instances::Count, Unit::Count, Target::AtLeast(20_000.0)),
        ("resident each", Instances::ResidentKib, Unit::Kibibytes, Target::None),
        ("start, p50", Instances::StartP50, Unit::Milliseconds, Target::None),
        ("start, p99", Instances::StartP99, Unit::Milliseconds, Target::AtMost(1.0)),
    ]
    .map(|(variant, what, unit, must)| Case {
        variant: Some(variant),
        unit,
        must,
        ..case("instances", Measure::Instances(what), Peer::None)
    })
    .to_vec()
}

fn control_plane() -> Vec<Case> {
    let (time, memory) = (ControlPlane::Time, ControlPlane::Memory);
    [
        ("1,000 x 100 subtasks", 1000, time, Unit::Milliseconds, Target::AtMost(5000.0)),
        ("1,000 x 100 subtasks, memory", 1000, memory, Unit::Mebibytes, Target::None),
        ("100 x 100 subtasks", 100, time, Unit::Milliseconds, Target::None),
        ("100 x 100 subtasks, memory", 100, memory, Unit::Mebibytes, Target::None),
    ]
    .map(|(variant, workers, what, unit, must)| Case {
        variant: Some(variant),
        unit,
        must,
        goal: if must == Target::None { Target::None } else { Target::AtMost(2000.0) },
        ..case("control-plane", Measure::ControlPlane { workers, what }, Peer::None)
    })
    .to_vec()
}

fn exchange() -> Vec<Case> {
    [("1 channel", 1), ("100 x 100 channels", 100)]
        .map(|(variant, each)| Case {
            variant: Some(variant),
            unit: Unit::MegabytesPerSecond,
            must: Target::Ratio(0.8),
            goal: Target::Ratio(0.95),
            ..case("exchange", Measure::Exchange { producers: each, consumers: each }, Peer::Socket)
        })
        .to_vec()
}

fn exchange_latency() -> Vec<Case> {
    [
        ("buffer time-out 0, p50", 0, Quantile::P50, Target::None),
        ("buffer time-out 0, p99", 0, Quantile::P99, Target::AtMost(1.0)),
        ("buffer time-out 10 ms, p50", 10, Quantile::P50, Target::None),
        ("buffer time-out 10 ms, p99", 10, Quantile::P99, Target::AtMost(12.0)),
    ]
    .map(|(variant, buffer_timeout_ms, quantile, must)| Case {
        variant: Some(variant),
        unit: Unit::Milliseconds,
        must,
        ..case("exchange-latency", Measure::ExchangeLatency { buffer_timeout_ms, quantile }, Peer::None)
    })
    .to_vec()
}

#[cfg(test)]
mod tests {
    use super::{BENCHMARKS, cases};
    use crate::bench::options::Options;

    #[test]
    fn no_name_means_all() {
        let all = cases(&Options::parse(&[]).unwrap()).unwrap();
        for benchmark in BENCHMARKS.iter().filter(|benchmark| !benchmark.on_demand) {
            assert!(all.iter().any(|case| case.benchmark == benchmark.name), "{}", benchmark.name);
        }
    }

    #[test]
    fn the_parallelism_of_the_command_line_takes_the_place_of_each_variants() {
        let line = ["word-count-large", "--parallelism", "4"].map(str::to_owned);
        let found = cases(&Options::parse(&line).unwrap()).unwrap();
        assert_eq!(found.iter().map(|case| case.parallelism).collect::<Vec<_>>(), [4, 4]);
    }

    #[test]
    fn an_unknown_name_is_told_the_known_ones() {
        let error = cases(&Options::parse(&["nexmark".to_owned()]).unwrap()).unwrap_err();
        assert!(error.to_string().starts_with("there is no benchmark `nexmark`; there are word-count, "));
    }
}
