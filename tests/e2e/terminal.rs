//! What a run shows beside its results: what operators print and warn of, the
//! log, and nothing of it with `-q`.

use heddle_tests::terminal::{CLEAR, Terminal, seen};
use heddle_tests::{Heddle, Run, guest, signal, wait_until};

fn run(options: &[&str], mode: &str) -> Run {
    Heddle::new().args(["run", "-p", "1"]).args(options).arg(guest("faulty")).arg(mode).run().expect_success()
}

#[test]
fn what_an_operator_prints_and_warns_of_is_shown_unless_all_is_to_be_quiet() {
    let shown = run(&[], "prints");
    for line in ["] number 1234 came by", "] and was looked at", "WARN job: number is suspicious"] {
        let found = shown.stderr.lines().any(|shown| shown.starts_with("[work -> ") && shown.contains(line));
        assert!(found, "`{line}` expected in:\n{}", shown.stderr);
    }
    assert!(!shown.stderr.contains("nothing to see here"), "{}", shown.stderr);
    assert_eq!(shown.stdout, "", "standard output is for results");
    let quiet = run(&["-q"], "prints");
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("", ""));
}

#[test]
fn a_flood_of_lines_is_cut_and_counted() {
    let run = run(&["-D", "taskmanager.wasm.log-rate=1000"], "floods");
    let lines = run.stderr.lines().filter(|line| line.contains("came by")).count();
    assert!((20..=20 * (2 + run.elapsed.as_secs() as usize)).contains(&lines), "{lines} lines");
    assert!(run.stderr.contains("of the operators are not shown"), "{}", run.stderr);
}

#[test]
fn lines_beyond_the_log_rate_are_counted() {
    let run = run(&["-v", "-D", "taskmanager.wasm.log-rate=10"], "floods");
    let lines = run.stderr.lines().filter(|line| line.contains("came by")).count();
    assert!((10..=10 * (2 + run.elapsed.as_secs() as usize)).contains(&lines), "{lines} lines");
    assert!(
        run.stderr.contains("lines of the guest's log were dropped: more than 10 a second"),
        "{}",
        run.stderr
    );
}

#[test]
fn the_log_has_every_line_of_an_operator() {
    let expected = [
        "number 1234 came by",
        "and was looked at",
        "nothing to see here",
        "number is suspicious",
        "job status",
    ];
    let folder = tempfile::tempdir().expect("a folder");
    let log_dir = format!("env.log.dir={}", folder.path().display());
    let verbose = run(&["-v"], "prints");
    run(&["-q", "-D", &log_dir], "prints");
    let files: Vec<_> = std::fs::read_dir(folder.path()).expect("the folder").collect();
    let [file] = files.as_slice() else { panic!("one log file expected: {files:?}") };
    let file = std::fs::read_to_string(file.as_ref().expect("an entry").path()).expect("the log");
    for line in expected {
        assert!(verbose.stderr.contains(line), "`{line}` expected in:\n{}", verbose.stderr);
        assert!(file.contains(line), "`{line}` expected in:\n{file}");
    }
}

#[test]
fn a_line_on_a_terminal_shows_what_the_job_does_and_makes_way() {
    const COLUMNS: u16 = 60;
    let (terminal, end) = Terminal::open(COLUMNS);
    let run = Heddle::new()
        .env("TERM", "xterm")
        .args(["run", "-p", "1"])
        .arg(guest("faulty"))
        .arg("endless")
        .errors(end)
        .run_while(|child| {
            wait_until("the line is drawn twice", || {
                let written = terminal.written();
                written.matches("RUNNING │ Source: numbers 1/1 ").count() >= 2
            });
            signal(child.id(), rustix::process::Signal::INT);
        });
    assert_eq!(run.code(), 130);
    let written = terminal.close();
    for line in written.split(CLEAR).flat_map(str::lines).filter(|line| line.contains('│')) {
        assert!(line.chars().count() < COLUMNS.into(), "too wide: {line}");
    }
    let seen = seen(&written);
    assert!(seen.iter().all(|line| !line.contains('│')), "the line makes way: {seen:?}");
    for words in ["has been submitted with JobID", "cancelling the job", "CANCELED"] {
        assert!(seen.iter().any(|line| line.contains(words)), "`{words}` expected in {seen:?}");
    }
}

#[test]
fn nothing_is_drawn_where_nothing_can_be_drawn_anew_or_all_is_to_be_quiet() {
    for (term, options) in [("dumb", &["run"][..]), ("xterm", &["run", "-q"]), ("xterm", &["run", "-v"])] {
        let (terminal, end) = Terminal::open(100);
        Heddle::new().env("TERM", term).args(options).arg(guest("faulty")).errors(end).run().expect_success();
        let written = terminal.close();
        assert!(!written.contains(CLEAR), "{term} {options:?}: {written:?}");
        assert_eq!(written.is_empty(), options.contains(&"-q"), "{written:?}");
    }
}
