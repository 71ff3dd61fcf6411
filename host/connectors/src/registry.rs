//! Which connectors there are, which options each has, and the calls of the
//! job master by connector.

use crate::sink::Published;
use crate::text_files::Reservation;
use crate::{collect, invalid, text_files};
use heddle_filesystem::FileSystems;
use heddle_model::failure::Failure;
use heddle_model::id::JobId;
use heddle_model::plan::ConnectorSpec;
use heddle_model::task::{Committable, InputSplit};

/// One option of a connector.
struct OptionInfo {
    key: &'static str,
    required: bool,
    check: fn(&str) -> Result<(), String>,
}

/// A connector in one of its two roles.
struct ConnectorInfo {
    name: &'static str,
    options: &'static [OptionInfo],
}

const SOURCES: &[ConnectorInfo] = &[ConnectorInfo {
    name: "text-files",
    options: &[
        OptionInfo { key: "path", required: true, check: text_files::check_source_path },
        OptionInfo {
            key: "max-line-length",
            required: false,
            check: |text| text_files::parse_max_line_length(text).map(|_| ()),
        },
    ],
}];

const SINKS: &[ConnectorInfo] = &[
    ConnectorInfo {
        name: "text-files",
        options: &[
            OptionInfo { key: "path", required: true, check: text_files::check_sink_path },
            OptionInfo { key: "overwrite", required: false, check: boolean },
        ],
    },
    ConnectorInfo {
        name: "print",
        options: &[OptionInfo { key: "prefix", required: false, check: anything }],
    },
    ConnectorInfo {
        name: "collect",
        options: &[
            OptionInfo { key: "name", required: false, check: anything },
            OptionInfo { key: collect::DISCARD, required: false, check: boolean },
        ],
    },
];

fn boolean(text: &str) -> Result<(), String> {
    match text {
        "true" | "false" => Ok(()),
        _ => Err("`true` or `false`".into()),
    }
}

fn anything(_: &str) -> Result<(), String> {
    Ok(())
}

/// Checks name and options, without touching any input or output. The message
/// of a failure (H1301) says what is wrong and what is known.
pub fn check(spec: &ConnectorSpec, as_source: bool) -> Result<(), Failure> {
    let (role, all) = if as_source { ("source", SOURCES) } else { ("sink", SINKS) };
    let Some(connector) = all.iter().find(|connector| connector.name == spec.name) else {
        let names = || all.iter().map(|connector| connector.name);
        return Err(invalid(format!(
            "unknown {role} connector `{}`; {}",
            spec.name,
            known(&spec.name, names)
        )));
    };
    let describe = format!("the `{}` {role}", spec.name);
    for (position, (key, value)) in spec.options.iter().enumerate() {
        let Some(option) = connector.options.iter().find(|option| option.key == key) else {
            let keys = || connector.options.iter().map(|option| option.key);
            return Err(invalid(format!("{describe} has no option `{key}`; {}", known(key, keys))));
        };
        if spec.options[..position].iter().any(|(earlier, _)| earlier == key) {
            return Err(invalid(format!("option `{key}` of {describe} is given twice")));
        }
        (option.check)(value).map_err(|expected| {
            invalid(format!("option `{key}` of {describe} is `{value}`; it must be {expected}"))
        })?;
    }
    match connector.options.iter().find(|option| option.required && spec.option(option.key).is_none()) {
        None => Ok(()),
        Some(missing) => Err(invalid(format!("{describe} needs the option `{}`", missing.key))),
    }
}

/// `did you mean …` or the list of what there is.
fn known<'a, I: Iterator<Item = &'a str>>(text: &str, names: impl Fn() -> I) -> String {
    let lower = text.to_ascii_lowercase();
    let nearest = names().map(|name| (edit_distance(&lower, name), name)).min();
    match nearest {
        // Further away than a third of the word it is another one, not a slip.
        Some((distance, name)) if distance <= (text.len() / 3).max(2) => {
            format!("did you mean `{name}`?")
        }
        _ => {
            let all: Vec<String> = names().map(|name| format!("`{name}`")).collect();
            format!("there is {}", all.join(", "))
        }
    }
}

/// Insertions, deletions and replacements that make one text of the other.
fn edit_distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// Cuts a source's input into splits. Blocking: it walks folders. Fails with
/// H1301, naming the path, when there is nothing to read.
pub fn enumerate_splits(
    source: &ConnectorSpec,
    parallelism: u32,
    files: &FileSystems,
) -> Result<Vec<InputSplit>, Failure> {
    check(source, true)?;
    text_files::enumerate_splits(source, parallelism, files)
}

/// Makes sure that a sink can write, before any task of the job starts.
/// Blocking. May be called again for the same job. What it gives is kept as
/// long as the job runs: no other job writes to the same place meanwhile.
pub fn prepare_sink(sink: &ConnectorSpec, job: JobId, files: &FileSystems) -> Result<Reservation, Failure> {
    check(sink, false)?;
    match sink.name.as_str() {
        "text-files" => text_files::prepare(sink, job, files),
        _ => Ok(Reservation::default()),
    }
}

/// Makes visible what the subtasks of one sink left behind. Blocking. May be
/// called again with the same committables, also after it stopped half-way.
pub fn publish_sink(
    sink: &ConnectorSpec,
    job: JobId,
    committables: &[Committable],
    files: &FileSystems,
) -> Result<Published, Failure> {
    check(sink, false)?;
    match sink.name.as_str() {
        "text-files" => text_files::publish(sink, job, committables, files).map(|()| Published::default()),
        "collect" => collect::publish(sink, committables),
        _ => Ok(Published::default()),
    }
}

/// Removes all that a job which failed or was cancelled left behind. Blocking.
/// May be called again, and without `prepare_sink` before it.
pub fn discard_sink(sink: &ConnectorSpec, job: JobId, files: &FileSystems) -> Result<(), Failure> {
    check(sink, false)?;
    match sink.name.as_str() {
        "text-files" => text_files::discard(sink, job, files),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(name: &str, options: &[(&str, &str)], as_source: bool) -> String {
        let options = options.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        match check(&ConnectorSpec { name: name.into(), options }, as_source) {
            Ok(()) => "fine".into(),
            Err(failure) => format!("{} {}", failure.code, failure.message),
        }
    }

    /// Connector, options, whether as a source, what is said.
    type Case = (&'static str, &'static [(&'static str, &'static str)], bool, &'static str);

    #[test]
    fn each_mistake_has_one_clear_line() {
        let table: &[Case] = &[
            ("text-files", &[("path", "data")], true, "fine"),
            ("text-files", &[("path", "data"), ("max-line-length", "1 MiB")], true, "fine"),
            ("text-files", &[("path", "out"), ("overwrite", "true")], false, "fine"),
            ("print", &[], false, "fine"),
            ("collect", &[("name", "totals")], false, "fine"),
            (
                "text-file",
                &[("path", "data")],
                true,
                "H1301 unknown source connector `text-file`; did you mean `text-files`?",
            ),
            ("kafka", &[], true, "H1301 unknown source connector `kafka`; there is `text-files`"),
            (
                "kafka",
                &[],
                false,
                "H1301 unknown sink connector `kafka`; there is `text-files`, `print`, `collect`",
            ),
            ("text-files", &[], true, "H1301 the `text-files` source needs the option `path`"),
            (
                "text-files",
                &[("path", "")],
                true,
                "H1301 option `path` of the `text-files` source is ``; it must be a file, a folder or a glob",
            ),
            (
                "text-files",
                &[("path", "s3://bucket/x")],
                true,
                "H1301 option `path` of the `text-files` source is `s3://bucket/x`; \
                 it must be a local path or an address `hdfs://…` (`s3:` is not served)",
            ),
            (
                "text-files",
                &[("pth", "data")],
                true,
                "H1301 the `text-files` source has no option `pth`; did you mean `path`?",
            ),
            (
                "text-files",
                &[("path", "data"), ("overwrite", "true")],
                true,
                "H1301 the `text-files` source has no option `overwrite`; there is `path`, `max-line-length`",
            ),
            (
                "text-files",
                &[("path", "a"), ("path", "b")],
                true,
                "H1301 option `path` of the `text-files` source is given twice",
            ),
            (
                "text-files",
                &[("path", "a"), ("overwrite", "yes")],
                false,
                "H1301 option `overwrite` of the `text-files` sink is `yes`; it must be `true` or `false`",
            ),
            (
                "text-files",
                &[("path", "a"), ("max-line-length", "1 GiB")],
                true,
                "H1301 option `max-line-length` of the `text-files` source is `1 GiB`; \
                 it must be a size from 1 byte to 20 MiB, such as `16 MiB`",
            ),
            (
                "text-files",
                &[("path", "a/[x")],
                true,
                "H1301 option `path` of the `text-files` source is `a/[x`; \
                 it must be a valid glob: unclosed character class; missing ']'",
            ),
        ];
        for (name, options, as_source, expected) in table {
            assert_eq!(message(name, options, *as_source), *expected);
        }
    }
}
