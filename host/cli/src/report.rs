//! What went wrong, as a user reads it: one line, then what else is known.

use crate::arguments::Arguments;
use crate::screen::{say, written};
use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use heddle_model::failure::Failure;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

/// Most lines of details that are shown; a log has them all.
const DETAIL_LINES_MAX: usize = 40;

/// Prints a failure to standard error.
pub fn failure(failure: &Failure) -> ExitCode {
    say(&render(failure));
    ExitCode::FAILURE
}

/// `error[H1301]: …`, details indented, and where to read more.
pub fn render(failure: &Failure) -> String {
    let code = failure.code.text();
    let mut out = format!("error[{code}]: {}\n", one_line(&failure.message));
    let details = failure.details.as_deref().unwrap_or_default().trim_end();
    for line in details.lines().take(DETAIL_LINES_MAX) {
        let _ = writeln!(out, "  {}", printable(line));
    }
    let more = details.lines().count().saturating_sub(DETAIL_LINES_MAX);
    if more > 0 {
        let _ = writeln!(out, "  … and {more} more lines");
    }
    let _ = writeln!(out, "  'heddle explain {code}' tells what causes it and what helps");
    out
}

fn one_line(text: &str) -> String {
    printable(&text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Without what a terminal would obey: parts of it come from guests.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}

/// Prints what is wrong with the arguments, or the help that was asked for.
pub fn usage(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        let printed = written(error.print().and_then(|()| std::io::stdout().flush()));
        return printed.map_or_else(|unwritten| failure(&unwritten), |()| ExitCode::SUCCESS);
    }
    let arguments: Vec<_> =
        std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect();
    say(&render_usage(error, &arguments));
    ExitCode::FAILURE
}

fn render_usage(error: &clap::Error, arguments: &[String]) -> String {
    let rendered = error.to_string();
    let first = rendered.split("\n\n").next().unwrap_or_default();
    let message = match error.kind() {
        ErrorKind::MissingSubcommand => "a command is missing, such as `run`".to_owned(),
        _ => one_line(first.strip_prefix("error: ").unwrap_or(first)),
    };
    let suggestion =
        [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand, ContextKind::SuggestedValue]
            .into_iter()
            .find_map(|kind| match error.get(kind) {
                Some(ContextValue::String(text)) => Some(text.clone()),
                Some(ContextValue::Strings(texts)) => texts.first().cloned(),
                _ => None,
            })
            .map_or(String::new(), |near| format!("; did you mean `{near}`?"));
    let known = |name: &&String| Arguments::command().find_subcommand(name).is_some();
    let command = arguments.get(1).filter(known).map_or(String::new(), |name| format!(" {name}"));
    format!("error: {message}{suggestion}\n  run 'heddle{command} --help' for usage\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use expect_test::expect;
    use heddle_model::failure::ErrorCode;

    #[test]
    fn a_failure_is_one_line_and_then_the_rest() {
        let failure = Failure::new(ErrorCode::OperatorTrap, "operator `Map` panicked\nat record 7\u{1b}[2J")
            .with_details("guest backtrace:\n  0: main\n");
        expect![[r"
            error[H2001]: operator `Map` panicked at record 7�[2J
              guest backtrace:
                0: main
              'heddle explain H2001' tells what causes it and what helps
        "]]
        .assert_eq(&render(&failure));
    }

    #[test]
    fn wrong_arguments_are_one_line_and_a_hint() {
        let lines: Vec<String> = [
            &["heddle"][..],
            &["heddle", "rum"],
            &["heddle", "run"],
            &["heddle", "run", "--paralelism", "4", "job.wasm"],
            &["heddle", "run", "-p"],
            &["heddle", "config", "--jsn"],
            &["heddle", "completions", "fisch"],
        ]
        .iter()
        .map(|arguments| {
            let owned: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
            render_usage(&Arguments::try_parse_from(*arguments).unwrap_err(), &owned)
        })
        .collect();
        expect![[r#"
            error: a command is missing, such as `run`
              run 'heddle --help' for usage
            error: unrecognized subcommand 'rum'; did you mean `run`?
              run 'heddle --help' for usage
            error: the following required arguments were not provided: <JOB.wasm> [ARGUMENTS]...
              run 'heddle run --help' for usage
            error: unexpected argument '--paralelism' found; did you mean `--parallelism`?
              run 'heddle run --help' for usage
            error: a value is required for '--parallelism <N>' but none was supplied
              run 'heddle run --help' for usage
            error: unexpected argument '--jsn' found; did you mean `--json`?
              run 'heddle config --help' for usage
            error: invalid value 'fisch' for '<SHELL>' [possible values: bash, elvish, fish, powershell, zsh]; did you mean `fish`?
              run 'heddle completions --help' for usage
        "#]].assert_eq(&lines.concat());
    }
}
