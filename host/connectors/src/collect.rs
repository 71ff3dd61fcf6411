//! The `collect` sink: lines that go back to the client with the job's result.

use crate::committable::Content;
use crate::sink::Published;
use crate::{batch_lines, invalid};
use heddle_model::failure::Failure;
use heddle_model::plan::ConnectorSpec;
use heddle_model::task::Committable;

/// Most bytes of lines that a job's `collect` sink may gather: they stay in
/// memory and cross the control plane.
const MAX_COLLECTED: usize = 16 * 1024 * 1024;

/// The option with which nothing is gathered: nobody waits for the result.
pub const DISCARD: &str = "discard";

/// The name under which a sink without the option gathers.
const DEFAULT_NAME: &str = "collect";

fn name(sink: &ConnectorSpec) -> &str {
    sink.option("name").unwrap_or(DEFAULT_NAME)
}

fn too_much(name: &str) -> Failure {
    invalid(format!(
        "the `collect` sink `{name}` gathered more than {} MiB; write so much output to files (`text-files`)",
        MAX_COLLECTED >> 20
    ))
}

pub(crate) struct CollectWriter {
    name: String,
    lines: Vec<String>,
    bytes: usize,
    discard: bool,
}

impl CollectWriter {
    pub(crate) fn new(spec: &ConnectorSpec) -> Self {
        Self {
            name: name(spec).to_owned(),
            lines: Vec::new(),
            bytes: 0,
            discard: spec.option(DISCARD) == Some("true"),
        }
    }

    pub(crate) fn write(&mut self, batch: &[u8]) -> Result<(), Failure> {
        if self.discard {
            return Ok(());
        }
        for line in batch_lines::lines(batch)? {
            // A line costs its place in the list too, even an empty one.
            self.bytes += line.len() + size_of::<String>();
            if self.bytes > MAX_COLLECTED {
                return Err(too_much(&self.name));
            }
            self.lines.push(String::from_utf8_lossy(line).into_owned());
        }
        Ok(())
    }

    pub(crate) fn finish(self, subtask: u32) -> Content {
        Content::Lines { subtask, lines: self.lines }
    }
}

/// The lines of all subtasks, in the order of subtasks.
pub(crate) fn publish(sink: &ConnectorSpec, committables: &[Committable]) -> Result<Published, Failure> {
    if sink.option(DISCARD) == Some("true") {
        return Ok(Published::default());
    }
    let mut parts = Vec::new();
    for committable in committables {
        if let Content::Lines { subtask, lines } = Content::read(committable)? {
            parts.push((subtask, lines));
        }
    }
    parts.sort_by_key(|(subtask, _)| *subtask);
    let lines: Vec<String> = parts.into_iter().flat_map(|(_, lines)| lines).collect();
    if lines.iter().map(|line| line.len() + size_of::<String>()).sum::<usize>() > MAX_COLLECTED {
        return Err(too_much(name(sink)));
    }
    Ok(Published { collected: Some((name(sink).to_owned(), lines)) })
}
