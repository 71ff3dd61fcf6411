//! Where log lines go: to a file in the configured folder, if there is one, and
//! to standard error with `-v`; without it, to the screen what guests say
//! aloud.

use crate::guest_lines::GuestLines;
use heddle_model::config::value::LogLevel;
use heddle_model::config::{Configuration, options as o};
use heddle_model::failure::{ErrorCode, Failure};
use std::io::IsTerminal;
use std::path::Path;
use std::sync::Mutex;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer as _;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Starts logging. `verbose`: how often `-v` was given.
///
/// # Errors
/// H1201: the folder cannot be written.
pub fn start(
    configuration: &Configuration,
    command: &str,
    verbose: u8,
    guests: Option<&GuestLines>,
) -> Result<(), Failure> {
    let level = match configuration.get(&o::LOG_LEVEL) {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let level = if verbose > 1 { level.max(LevelFilter::DEBUG) } else { level };
    let file = match configuration.get(&o::LOG_DIR) {
        None => None,
        Some(folder) => Some(open(Path::new(&folder), command).map_err(|error| {
            let message = format!(
                "configuration `{}`: no log file can be written in {folder}: {error} (from {})",
                o::LOG_DIR.key(),
                configuration.origin(&o::LOG_DIR)
            );
            Failure::new(ErrorCode::ConfigurationInvalid, message)
        })?),
    };
    // With -v the lines of guests are among the others.
    let guests = guests.filter(|_| verbose == 0);
    if file.is_none() && verbose == 0 && guests.is_none() {
        return Ok(());
    }
    let file = file.map(|file| {
        tracing_subscriber::fmt::layer().with_ansi(false).with_writer(Mutex::new(file)).with_filter(level)
    });
    let terminal = (verbose > 0).then(|| {
        let ansi = std::io::stderr().is_terminal();
        tracing_subscriber::fmt::layer().with_ansi(ansi).with_writer(std::io::stderr).with_filter(level)
    });
    tracing_subscriber::registry().with(file).with(terminal).with(guests.map(GuestLines::layer)).init();
    Ok(())
}

fn open(folder: &Path, command: &str) -> std::io::Result<std::fs::File> {
    std::fs::create_dir_all(folder)?;
    let name = format!("heddle-{command}-{}.log", std::process::id());
    std::fs::OpenOptions::new().create(true).append(true).open(folder.join(name))
}
