//! Where log lines go: to a file in the configured folder, if there is one, and
//! to standard error with `-v`; without it, to the screen what guests say
//! aloud.

use crate::daemon::{self, Daemon};
use crate::guest_lines::GuestLines;
use crate::rolling_file::RollingFile;
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
    let level = level(configuration);
    let level = if verbose > 1 { level.max(LevelFilter::DEBUG) } else { level };
    let file = match configuration.get(&o::LOG_DIR) {
        None => None,
        Some(folder) => {
            let file = open(Path::new(&folder), command);
            Some(file.map_err(|error| unusable(configuration, &folder, &error))?)
        }
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

/// Starts the log of a process of a cluster: a file in the configured folder,
/// and standard error unless it runs behind the terminal, as that `instance`.
///
/// # Errors
/// H1201: the folder cannot be written.
pub fn start_process(
    configuration: &Configuration,
    daemon: Daemon,
    instance: Option<&str>,
) -> Result<(), Failure> {
    let level = level(configuration);
    let file = match configuration.get(&o::LOG_DIR) {
        None => None,
        Some(folder) => {
            let own = format!("foreground-{}", std::process::id());
            let name = format!("{}.log", daemon::log_name(daemon, instance.unwrap_or(&own)));
            let length_max = configuration.get(&o::LOG_FILE_SIZE).0;
            let former_max = configuration.get(&o::LOG_FILES_MAX);
            let file = RollingFile::begin(Path::new(&folder).join(name), length_max, former_max);
            Some(file.map_err(|error| unusable(configuration, &folder, &error))?)
        }
    };
    let file = file.map(|file| {
        tracing_subscriber::fmt::layer().with_ansi(false).with_writer(Mutex::new(file)).with_filter(level)
    });
    let terminal = instance.is_none().then(|| {
        let ansi = std::io::stderr().is_terminal();
        tracing_subscriber::fmt::layer().with_ansi(ansi).with_writer(std::io::stderr).with_filter(level)
    });
    tracing_subscriber::registry().with(file).with(terminal).init();
    Ok(())
}

fn level(configuration: &Configuration) -> LevelFilter {
    match configuration.get(&o::LOG_LEVEL) {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

fn unusable(configuration: &Configuration, folder: &str, error: &std::io::Error) -> Failure {
    let message = format!(
        "configuration `{}`: no log file can be written in {folder}: {error} (from {})",
        o::LOG_DIR.key(),
        configuration.origin(&o::LOG_DIR)
    );
    Failure::new(ErrorCode::ConfigurationInvalid, message)
}

fn open(folder: &Path, command: &str) -> std::io::Result<std::fs::File> {
    std::fs::create_dir_all(folder)?;
    let name = format!("heddle-{command}-{}.log", std::process::id());
    std::fs::OpenOptions::new().create(true).append(true).open(folder.join(name))
}
