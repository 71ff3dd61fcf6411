//! `cargo xtask bench`: measures Heddle against Flink, and against itself
//! without the sandbox, on this machine in one run.
//!
//! What is measured stands in `catalogue`, each side in a module of its own.
//! No side has a special case for a benchmark: Heddle's is `heddle run`.

mod case;
mod catalogue;
mod corpus;
mod exchange;
mod flink;
mod flink_cluster;
mod folders;
mod heddle;
mod heddle_cluster;
mod machine;
mod native;
mod options;
mod process;
mod report;
mod yarn;

use crate::bench::case::{Case, Measure, Peer, Side};
use crate::bench::folders::Folders;
use crate::bench::options::{Options, Sides};
use crate::bench::report::Row;
use anyhow::{Context, Result, bail};

/// Runs with the arguments behind `bench`.
pub fn run(arguments: &[String]) -> Result<()> {
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        print!("{}", options::help());
        return Ok(());
    }
    let options = Options::parse(arguments)?;
    let cases = catalogue::cases(&options)?;
    let folders = Folders::find()?;
    let mut heddle = match options.sides {
        Sides::Peer => None,
        // What is measured on YARN has sides of its own.
        _ if cases.iter().all(|case| matches!(case.measure, Measure::Yarn(_))) => None,
        Sides::Both | Sides::Heddle => Some(heddle::Heddle::prepare(&folders, &cases)?),
    };
    let mut flink = match flink::Flink::prepare(&folders, &options, &cases) {
        Ok(flink) => Some(flink),
        Err(reason) => {
            report::loudly(&format!("the peer, Flink, is skipped: {reason:#}"));
            None
        }
    };
    let mut native = match options.sides {
        Sides::Both => native::Native::prepare(&folders, &cases)?,
        Sides::Heddle | Sides::Peer => None,
    };
    let mut socket = match options.sides {
        Sides::Both | Sides::Peer => exchange::BareSocket::prepare(&cases)?,
        Sides::Heddle => None,
    };
    let (mut heddle_on_yarn, mut flink_on_yarn) = yarn::prepare(&folders, &options, &cases)?;
    let machine = machine::describe();
    eprintln!("{machine}");
    let mut rows = Vec::new();
    let mut failures = Vec::new();
    for (index, case) in cases.iter().enumerate() {
        eprintln!("[{}/{}] {case}", index + 1, cases.len());
        let on_yarn = matches!(case.measure, Measure::Yarn(_));
        let peer = match case.peer {
            Peer::Flink if on_yarn => flink_on_yarn.as_mut().map(side),
            Peer::Flink => flink.as_mut().map(side),
            Peer::Native => native.as_mut().map(side),
            Peer::Socket => socket.as_mut().map(side),
            Peer::None => None,
        };
        let own = if on_yarn { heddle_on_yarn.as_mut().map(side) } else { heddle.as_mut().map(side) };
        match measure(case, &options, own, peer) {
            Ok(row) => {
                eprintln!("        {}", row.one_line());
                rows.push(row);
                if let Some(path) = &options.json {
                    // After each row: a run of an hour that is ended leaves what it has.
                    report::write_json(&rows, path)?;
                }
            }
            Err(error) => {
                eprintln!("        failed: {error:#}");
                failures.push(case.to_string());
            }
        }
    }
    print!("{}", report::table(&rows));
    if options.write {
        let path = folders.root.join("BENCHMARKS.md");
        report::write_into(&path, &rows, &machine).with_context(|| format!("{}", path.display()))?;
        eprintln!("wrote {}", path.display());
    }
    if !failures.is_empty() {
        bail!("{} of {} benchmarks failed: {}", failures.len(), cases.len(), failures.join("; "));
    }
    Ok(())
}

fn side<S: Side>(side: &mut S) -> &mut dyn Side {
    side
}

/// Runs both sides by turns; who goes first alternates too, so that a machine
/// that drifts drifts for both.
fn measure<'a>(
    case: &Case,
    options: &Options,
    heddle: Option<&'a mut dyn Side>,
    peer: Option<&'a mut dyn Side>,
) -> Result<Row> {
    let mut ours = (heddle, Vec::new());
    let mut theirs = (peer, Vec::new());
    for run in 1..=options.runs {
        let mut turns = [&mut ours, &mut theirs];
        if run % 2 == 0 {
            turns.reverse();
        }
        for (side, figures) in turns {
            let Some(side) = side else { continue };
            let figure =
                side.measure(case, options).with_context(|| format!("{} in run {run}", side.name()))?;
            eprintln!("        run {run} {:<12} {}", side.name(), case.show(figure.value));
            figures.push(figure);
        }
    }
    Ok(Row::new(case, &ours.1, &theirs.1))
}
