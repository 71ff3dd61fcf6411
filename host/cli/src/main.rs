//! `heddle`: the one program of Heddle.
//!
//! It reads arguments, shows progress and results, and sets exit codes: 0 for
//! success, 1 for any failure, 130 after Ctrl-C. What is behind a command is
//! the client's matter.

mod arguments;
mod cancel_command;
mod cluster;
mod cluster_command;
mod config_command;
mod daemon;
mod explain_command;
mod follow;
mod guest_lines;
mod info_command;
mod job_info;
mod job_report;
mod later;
mod list_command;
mod logging;
mod process_command;
mod progress;
mod report;
mod request;
mod rolling_file;
mod run_command;
mod screen;
mod summary;
mod target;
mod utc;
mod yarn_command;

use arguments::{Arguments, Command};
use clap::{CommandFactory, Parser};
use std::process::ExitCode;

/// The sandbox starts this program with this subcommand to compile a component.
const COMPILE_SUBCOMMAND: &str = "compile-component";

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == COMPILE_SUBCOMMAND) {
        return heddle_wasm::compile_main(arguments);
    }
    let arguments = match Arguments::try_parse_from(yarn_command::spelled_out(std::env::args_os())) {
        Ok(arguments) => arguments,
        Err(error) => return report::usage(&error),
    };
    let outcome = match arguments.command {
        Command::Run(run) => run_command::run(&run),
        Command::Info(info) => info_command::run(&info),
        Command::Config(config) => config_command::run(&config),
        Command::Explain(explain) => explain_command::run(&explain),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "heddle", &mut script);
            screen::print(&String::from_utf8_lossy(&script)).map(|()| ExitCode::SUCCESS)
        }
        Command::List(list) => list_command::run(&list),
        Command::Cancel(cancel) => cancel_command::run(&cancel),
        Command::Stop(_) => later::savepoints("stop"),
        Command::Savepoint(_) => later::savepoints("savepoint"),
        Command::Jobmanager(jobmanager) => process_command::jobmanager(&jobmanager),
        Command::Taskexecutor(taskexecutor) => process_command::taskexecutor(&taskexecutor),
        Command::Cluster(cluster) => cluster_command::run(&cluster),
        Command::YarnSession(session) => yarn_command::session(&session),
    };
    outcome.unwrap_or_else(|failure| report::failure(&failure))
}
