//! `conf/config.yaml` and `docs/configuration.md`, written from the options.
//! A test keeps both files in step; `UPDATE_EXPECT=1` rewrites them.

use super::{OptionInfo, Scope, options};
use std::fmt::Write;

/// Options by group, in order.
fn groups() -> Vec<(&'static str, Vec<&'static OptionInfo>)> {
    let mut groups: Vec<(&str, Vec<&OptionInfo>)> = Vec::new();
    for info in options::ALL {
        match groups.last_mut() {
            Some((group, members)) if *group == info.group => members.push(info),
            _ => groups.push((info.group, vec![info])),
        }
    }
    groups
}

/// `text` in lines of at most `width` characters.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is always a line");
        if line.is_empty() {
            line.push_str(word);
        } else if line.len() + 1 + word.len() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

/// The commented template: every key, each with its default, none in force.
pub fn config_yaml() -> String {
    let mut out = String::from(
        "# Configuration of Heddle: every key there is, with its default.\n\
         # Remove the `#` before a key to change it. Keys may also be nested, as in YAML.\n\
         # `heddle config` shows what is in force and where it came from.\n",
    );
    for (group, members) in groups() {
        let _ = write!(out, "\n# ---- {group}\n");
        for info in members {
            out.push('\n');
            for line in wrap(info.description, 96) {
                let _ = writeln!(out, "# {line}");
            }
            let _ = match info.default {
                Some("") => writeln!(out, "# ({})\n#{}: []", (info.type_name)(), info.key),
                Some(default) => writeln!(out, "# ({})\n#{}: {default}", (info.type_name)(), info.key),
                None => writeln!(out, "# ({}; not set)\n#{}:", (info.type_name)(), info.key),
            };
        }
    }
    out
}

/// The reference page.
pub fn configuration_md() -> String {
    let mut out = String::from(
        "# Configuration\n\n\
         Written from `host/model/src/config/options.rs`; do not edit it by hand.\n\n\
         Values come from these places; a later one wins:\n\n\
         1. the defaults below;\n\
         2. `config.yaml` in the folder that `HEDDLE_CONF_DIR` names, else in `../conf` beside the binary; \
         keys flat (`parallelism.default: 2`) or nested;\n\
         3. environment variables: `HEDDLE_CONFIG_` and the key in capitals, with `_` for `.` and `-` \
         (`HEDDLE_CONFIG_PARALLELISM_DEFAULT=2`);\n\
         4. the program itself, for options of the job only;\n\
         5. `-Dkey=value` on the command line;\n\
         6. options of the command line that mean the same, such as `-p`.\n\n\
         `heddle config` shows what is in force and where each value came from. An unknown key, and a value \
         of another type, is an error: see [H1201](errors/H1201.md).\n\n\
         Durations are `500ms`, `10 s`, `1 min`, `2 h`, `1 d` (a bare number: milliseconds). Memory sizes are \
         `32768`, `64mb`, `1g` (units are powers of 1024; a bare number: bytes). Lists are YAML lists, or \
         items with `;` between them.\n",
    );
    for (group, members) in groups() {
        let _ = write!(out, "\n## {group}\n\n| key | type | default | meaning |\n|---|---|---|---|\n");
        for info in members {
            let default = match info.default {
                Some("") | None => String::new(),
                Some(default) => format!("`{default}`"),
            };
            let mut meaning = wrap(info.description, usize::MAX).join(" ");
            if info.scope == Scope::Job {
                meaning.push_str(" *A program may set it.*");
            }
            if !info.aliases.is_empty() {
                let _ = write!(meaning, " Also known as `{}`.", info.aliases.join("`, `"));
            }
            let type_name = (info.type_name)();
            let _ = writeln!(out, "| `{}` | {type_name} | {default} | {meaning} |", info.key);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use expect_test::expect_file;

    #[test]
    fn the_template_is_in_step() {
        expect_file!["../../../../conf/config.yaml"].assert_eq(&super::config_yaml());
    }

    #[test]
    fn the_reference_is_in_step() {
        expect_file!["../../../../docs/configuration.md"].assert_eq(&super::configuration_md());
    }
}
