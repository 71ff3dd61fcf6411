//! `heddle config`: what is in force and where it came from.

use crate::arguments::{ConfigArguments, ConfigurationArguments};
use crate::screen::print;
use heddle_client::configuration::{self, Sources};
use heddle_model::config::{Configuration, nearest_key, options as o};
use heddle_model::failure::{ErrorCode, Failure};
use std::fmt::Write as _;
use std::process::ExitCode;

/// The effective configuration of a command.
pub fn load(arguments: &ConfigurationArguments) -> Result<Configuration, Failure> {
    load_with(arguments, Vec::new())
}

/// The same with further options of the command line: key, value and the
/// option's name.
pub fn load_with(
    arguments: &ConfigurationArguments,
    further: Vec<(&'static str, String, &'static str)>,
) -> Result<Configuration, Failure> {
    let mut sources = Sources::of_process()?;
    sources.dynamic.clone_from(&arguments.dynamic);
    sources.command_line = further;
    let options = [
        (o::PARALLELISM_DEFAULT.key(), &arguments.parallelism, "-p"),
        (o::EXECUTION_TARGET.key(), &arguments.target, "-t"),
    ];
    for (key, value, option) in options {
        if let Some(value) = value {
            sources.command_line.push((key, value.clone(), option));
        }
    }
    configuration::load(&sources)
}

/// The effective configuration of a process, with its `-D`.
pub fn load_process(dynamic: &[String]) -> Result<Configuration, Failure> {
    load(&ConfigurationArguments { dynamic: dynamic.to_vec(), ..ConfigurationArguments::default() })
}

pub fn run(arguments: &ConfigArguments) -> Result<ExitCode, Failure> {
    let configuration = load(&arguments.configuration)?;
    let text =
        if arguments.json { json(&configuration, arguments) } else { table(&configuration, arguments) };
    if configuration.entries().all(|entry| !wanted(arguments, entry.info.key, entry.value)) {
        return Err(no_match(&configuration, arguments.filter.as_deref().unwrap_or_default()));
    }
    print(&text)?;
    // What is in force is shown also if a run would refuse it.
    configuration::check(&configuration).map(|_| ExitCode::SUCCESS)
}

fn no_match(configuration: &Configuration, filter: &str) -> Failure {
    let message = match configuration.entries().find(|entry| entry.info.key.contains(filter)) {
        Some(unset) => {
            format!("no key that contains `{filter}` has a value; --all shows `{}`", unset.info.key)
        }
        None => match nearest_key(filter) {
            Some(near) => format!("no configuration key contains `{filter}`; did you mean `{near}`?"),
            None => {
                format!("no configuration key contains `{filter}`; `heddle config --all` lists every key")
            }
        },
    };
    Failure::new(ErrorCode::ConfigurationInvalid, message)
}

fn wanted(arguments: &ConfigArguments, key: &str, value: Option<&str>) -> bool {
    let matches = arguments.filter.as_deref().is_none_or(|filter| key.contains(filter));
    matches && (arguments.all || value.is_some())
}

fn json(configuration: &Configuration, arguments: &ConfigArguments) -> String {
    let entries: Vec<serde_json::Value> = configuration
        .entries()
        .filter(|entry| wanted(arguments, entry.info.key, entry.value))
        .map(|entry| {
            serde_json::json!({
                "key": entry.info.key,
                "value": entry.value,
                "origin": entry.origin.to_string(),
                "type": (entry.info.type_name)(),
                "default": entry.info.default,
                "description": entry.info.description.trim(),
            })
        })
        .collect();
    let mut text = serde_json::to_string_pretty(&entries).unwrap_or_default();
    text.push('\n');
    text
}

fn table(configuration: &Configuration, arguments: &ConfigArguments) -> String {
    let entries: Vec<_> =
        configuration.entries().filter(|entry| wanted(arguments, entry.info.key, entry.value)).collect();
    let shown = |value: Option<&str>| match value {
        None => "(not set)".to_owned(),
        Some("") => "[]".to_owned(),
        Some(value) => value.to_owned(),
    };
    let key_width = entries.iter().map(|entry| entry.info.key.len()).max().unwrap_or(0);
    let value_width =
        entries.iter().map(|entry| shown(entry.value).chars().count()).max().unwrap_or(0).min(40);
    let mut out = String::new();
    for entry in entries {
        let value = shown(entry.value);
        let key = entry.info.key;
        let _ = writeln!(out, "{key:key_width$}  {value:value_width$}  {}", entry.origin);
        if arguments.all {
            for line in wrap(entry.info.description, 96) {
                let _ = writeln!(out, "    {line}");
            }
        }
    }
    out
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
