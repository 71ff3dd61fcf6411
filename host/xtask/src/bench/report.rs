//! What the measurements say: rows, the printed table, JSON, BENCHMARKS.md.

use crate::bench::case::{Case, Figure, Peer, Target, significant};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

const BEGIN: &str = "<!-- begin of what `cargo xtask bench --write` writes -->";
const END: &str = "<!-- end of what `cargo xtask bench --write` writes -->";

/// The medians of a case.
pub struct Row {
    case: Case,
    /// Absent if only the peer was measured.
    heddle: Option<f64>,
    heddle_runs: Vec<f64>,
    peer: Option<f64>,
    peer_runs: Vec<f64>,
    heddle_cpu_ns: Option<f64>,
    peer_cpu_ns: Option<f64>,
    notes: Vec<String>,
}

impl Row {
    /// Of at least one figure.
    pub fn new(case: &Case, ours: &[Figure], theirs: &[Figure]) -> Self {
        let heddle_runs: Vec<f64> = ours.iter().map(|figure| figure.value).collect();
        let peer_runs: Vec<f64> = theirs.iter().map(|figure| figure.value).collect();
        let cpu = |figures: &[Figure]| {
            let all: Option<Vec<f64>> = figures.iter().map(|figure| figure.cpu_ns).collect();
            all.and_then(|all| median(&all))
        };
        let notes = [("heddle", ours), (peer_name(case), theirs)]
            .into_iter()
            .flat_map(|(side, figures)| {
                // Of the last run: they are there to be read, not to be compared.
                let last = figures.last().map_or(&[][..], |figure| &figure.notes);
                last.iter().map(move |(what, value)| format!("{side}, {what}: {value}"))
            })
            .collect();
        Self {
            case: case.clone(),
            heddle: median(&heddle_runs),
            peer: median(&peer_runs),
            heddle_runs,
            peer_runs,
            heddle_cpu_ns: cpu(ours),
            peer_cpu_ns: cpu(theirs),
            notes,
        }
    }

    /// How many times better Heddle is.
    fn ratio(&self) -> Option<f64> {
        let (heddle, peer) = (self.heddle?, self.peer?);
        Some(if self.case.unit.less_is_better() { peer / heddle } else { heddle / peer })
    }

    fn runs(&self) -> usize {
        self.heddle_runs.len().max(self.peer_runs.len())
    }

    fn verdict(&self) -> &'static str {
        let reached = |target: Target| target.reached(self.heddle?, self.ratio());
        match (reached(self.case.must), reached(self.case.goal)) {
            (_, Some(true)) => "goal",
            (Some(true), _) => "must",
            (Some(false), _) => "BELOW",
            _ => "",
        }
    }

    pub fn one_line(&self) -> String {
        let mut parts = Vec::new();
        parts.extend(self.heddle.map(|heddle| format!("heddle {}", self.case.show(heddle))));
        parts.extend(self.peer.map(|peer| format!("{} {}", peer_name(&self.case), self.case.show(peer))));
        parts.extend(self.ratio().map(|ratio| format!("{} × {}", significant(ratio), self.verdict())));
        parts.join("; ")
    }

    fn json(&self) -> Value {
        json!({
            "name": self.case.benchmark,
            "variant": self.case.variant,
            "parallelism": self.case.parallelism.max(1),
            "unit": self.case.unit.name(),
            "heddle": self.heddle,
            "peer_name": self.peer.map(|_| peer_name(&self.case)),
            "peer": self.peer,
            "ratio": self.ratio(),
            "runs": self.runs(),
            "heddle_runs": self.heddle_runs,
            "peer_runs": self.peer_runs,
            "heddle_cpu_ns_per_record": self.heddle_cpu_ns,
            "peer_cpu_ns_per_record": self.peer_cpu_ns,
            "must": self.case.must.show(self.case.unit),
            "goal": self.case.goal.show(self.case.unit),
            "reached": self.verdict(),
            "notes": self.notes,
        })
    }

    fn cells(&self) -> [String; 9] {
        let case = &self.case;
        let name = match case.variant {
            Some(variant) => format!("{}: {variant}", case.benchmark),
            None => case.benchmark.to_owned(),
        };
        [
            name,
            if case.parallelism > 0 { case.parallelism.to_string() } else { String::new() },
            self.heddle.map_or_else(|| "not measured".to_owned(), |heddle| case.show(heddle)),
            self.peer
                .map_or_else(|| missing(case), |peer| format!("{} ({})", case.show(peer), peer_name(case))),
            self.ratio().map_or_else(String::new, |ratio| format!("{} ×", significant(ratio))),
            case.must.show(case.unit),
            case.goal.show(case.unit),
            self.verdict().to_owned(),
            match (self.heddle_cpu_ns, self.peer_cpu_ns) {
                (Some(ours), Some(theirs)) => format!("{} / {}", significant(ours), significant(theirs)),
                (Some(ours), None) => significant(ours),
                _ => String::new(),
            },
        ]
    }
}

fn peer_name(case: &Case) -> &'static str {
    match case.peer {
        Peer::Flink => "flink-2.3.0",
        Peer::Native => "native",
        Peer::Socket => "bare socket",
        Peer::None => "none",
    }
}

fn missing(case: &Case) -> String {
    if case.peer == Peer::None { String::new() } else { "skipped".to_owned() }
}

const HEADER: [&str; 9] =
    ["benchmark", "p", "Heddle", "peer", "ratio", "must", "goal", "reached", "CPU ns a record"];

const HOW_TO_READ: &str = "\
How to read it: each figure is the median of the runs of one side; the sides ran by turns on this machine.
Ratio says how many times better Heddle is (more records, less time, less memory); of `sandbox` it is the
share of the native speed that is left. `p` is the parallelism. `reached` names the better of must and goal
that the row reaches. CPU is the time of all threads of the process a record, Heddle / peer: it says what a
record costs where the rate says how well the cores are used.
";

/// The table for a terminal.
pub fn table(rows: &[Row]) -> String {
    let cells: Vec<_> = rows.iter().map(Row::cells).collect();
    let mut widths = HEADER.map(|title| title.chars().count());
    for row in &cells {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in std::iter::once(&HEADER.map(str::to_owned)).chain(&cells) {
        for (cell, width) in row.iter().zip(widths) {
            text.push_str(cell);
            text.extend(std::iter::repeat_n(' ', width - cell.chars().count() + 2));
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    for note in rows.iter().flat_map(|row| row.notes.iter().map(move |note| (row, note))) {
        text.push_str(&format!("{}: {}\n", note.0.case, note.1));
    }
    text.push('\n');
    text.push_str(HOW_TO_READ);
    text
}

pub fn write_json(rows: &[Row], path: &Path) -> Result<()> {
    let rows: Vec<Value> = rows.iter().map(Row::json).collect();
    fs::write(path, serde_json::to_string_pretty(&rows)? + "\n")
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Puts the table between the two marks of a Markdown file.
pub fn write_into(path: &Path, rows: &[Row], machine: &str) -> Result<()> {
    let text = fs::read_to_string(path)?;
    let begin = text.find(BEGIN).with_context(|| format!("it has no line `{BEGIN}`"))? + BEGIN.len();
    let end = text.find(END).with_context(|| format!("it has no line `{END}`"))?;
    let written = format!("{}\n\n{}\n{}", &text[..begin], markdown(rows, machine), &text[end..]);
    Ok(fs::write(path, written)?)
}

fn markdown(rows: &[Row], machine: &str) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let mut text = format!("Measured on {machine}.\n");
    let runs = rows.iter().map(Row::runs).min().unwrap_or(0);
    text.push_str(&format!("Medians of {runs} runs.\n\n"));
    text.push_str(&line(&HEADER.map(str::to_owned)));
    text.push_str(&line(&HEADER.map(|_| "---".to_owned())));
    for row in rows {
        text.push_str(&line(&row.cells()));
    }
    let notes: Vec<_> = rows
        .iter()
        .flat_map(|row| row.notes.iter().map(move |note| format!("- {}: {note}\n", row.case)))
        .collect();
    if !notes.is_empty() {
        text.push('\n');
        text.push_str(&notes.concat());
    }
    text
}

/// A line that is not overlooked.
pub fn loudly(message: &str) {
    let bar = "=".repeat(78);
    eprintln!("{bar}\n{message}\n{bar}");
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[n / 2]),
        n => Some((sorted[n / 2 - 1] + sorted[n / 2]) / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::{BEGIN, END, Row, median, write_into};
    use crate::bench::case::{Case, Figure, Measure, Peer, Target, Unit};

    fn case(unit: Unit) -> Case {
        Case {
            benchmark: "word-count",
            variant: None,
            parallelism: 2,
            measure: Measure::Idle,
            unit,
            peer: Peer::Flink,
            must: Target::Ratio(15.0),
            goal: Target::Ratio(25.0),
        }
    }

    fn figures(values: &[f64]) -> Vec<Figure> {
        values.iter().map(|&value| Figure { value, ..Figure::default() }).collect()
    }

    #[test]
    fn a_row_is_of_medians_and_says_what_it_reaches() {
        let rate = case(Unit::RecordsPerSecond);
        let row = Row::new(&rate, &figures(&[60e6, 10e6, 80e6]), &figures(&[3e6, 2.5e6, 9e6]));
        assert_eq!(row.one_line(), "heddle 60.0 M/s; flink-2.3.0 3.00 M/s; 20.0 × must");
        let row = Row::new(&rate, &figures(&[60e6]), &figures(&[9e6]));
        assert!(row.one_line().ends_with("6.67 × BELOW"));
    }

    #[test]
    fn less_memory_is_better() {
        let row = Row::new(&case(Unit::Mebibytes), &figures(&[20.0]), &figures(&[500.0]));
        assert_eq!(row.one_line(), "heddle 20.0 MiB; flink-2.3.0 500 MiB; 25.0 × goal");
    }

    #[test]
    fn without_the_peer_there_is_no_ratio_and_no_verdict() {
        let row = Row::new(&case(Unit::RecordsPerSecond), &figures(&[60e6]), &[]);
        assert_eq!(row.one_line(), "heddle 60.0 M/s");
        assert!(row.json()["ratio"].is_null());
    }

    #[test]
    fn only_the_marked_part_of_the_file_changes() {
        let folder = std::env::temp_dir().join(format!("heddle-report-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("BENCHMARKS.md");
        std::fs::write(&path, format!("before\n{BEGIN}\nold\n{END}\nbehind\n")).unwrap();
        let row = Row::new(&case(Unit::RecordsPerSecond), &figures(&[60e6]), &figures(&[3e6]));
        write_into(&path, &[row], "a machine").unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(text.starts_with("before\n") && text.ends_with("\nbehind\n"));
        assert!(!text.contains("old"));
        assert!(text.contains("| word-count | 2 | 60.0 M/s | 3.00 M/s (flink-2.3.0) | 20.0 × |"), "{text}");
    }

    #[test]
    fn the_median_of_an_even_number_is_between_two() {
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}
