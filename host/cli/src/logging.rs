//! Where log lines go: to a file in the configured folder, to standard error
//! with `-v`, else nowhere.

use heddle_model::config::value::LogLevel;
use heddle_model::config::{Configuration, options as o};
use heddle_model::failure::{ErrorCode, Failure};
use std::io::IsTerminal;
use std::path::Path;
use std::sync::Mutex;
use tracing::level_filters::LevelFilter;

/// Starts logging. `verbose`: how often `-v` was given.
///
/// # Errors
/// H1201: the folder cannot be written.
pub fn start(configuration: &Configuration, command: &str, verbose: u8) -> Result<(), Failure> {
    let level = match configuration.get(&o::LOG_LEVEL) {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let builder = tracing_subscriber::fmt();
    if verbose > 0 {
        let level = if verbose > 1 { level.max(LevelFilter::DEBUG) } else { level };
        let ansi = std::io::stderr().is_terminal();
        builder.with_max_level(level).with_ansi(ansi).with_writer(std::io::stderr).init();
    } else if let Some(folder) = configuration.get(&o::LOG_DIR) {
        let file = open(Path::new(&folder), command).map_err(|error| {
            let message = format!(
                "configuration `{}`: no log file can be written in {folder}: {error} (from {})",
                o::LOG_DIR.key(),
                configuration.origin(&o::LOG_DIR)
            );
            Failure::new(ErrorCode::ConfigurationInvalid, message)
        })?;
        builder.with_max_level(level).with_ansi(false).with_writer(Mutex::new(file)).init();
    }
    Ok(())
}

fn open(folder: &Path, command: &str) -> std::io::Result<std::fs::File> {
    std::fs::create_dir_all(folder)?;
    let name = format!("heddle-{command}-{}.log", std::process::id());
    std::fs::OpenOptions::new().create(true).append(true).open(folder.join(name))
}
