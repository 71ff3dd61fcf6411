//! Reads the configuration from its places: `config.yaml`, the environment,
//! `-D`, options of the command line. What a key means is `model`'s matter.

use heddle_model::config::{Configuration, ENVIRONMENT_PREFIX, Origin, nearest_key, options};
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::job_graph::ExecutionConfig;
use heddle_model::memory::TaskExecutorProcessSpec;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The variable that names the folder of `config.yaml`.
const CONFIGURATION_FOLDER: &str = "HEDDLE_CONF_DIR";

/// Where the values of one run come from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// `config.yaml`, if there is one.
    pub file: Option<PathBuf>,
    /// All variables of the process.
    pub environment: Vec<(String, String)>,
    /// `key=value` of each `-D`.
    pub dynamic: Vec<String>,
    /// Key, value and the option's name (`-p`).
    pub command_line: Vec<(&'static str, String, &'static str)>,
}

impl Sources {
    /// The file and the environment of this process.
    ///
    /// # Errors
    /// `HEDDLE_CONF_DIR` names no folder, or what is there is no file; a
    /// variable is not UTF-8.
    pub fn of_process() -> Result<Self, Failure> {
        let environment = std::env::vars_os()
            .filter(|(name, _)| name.as_encoded_bytes().starts_with(b"HEDDLE_"))
            // The folder is a path, which may be any bytes.
            .filter(|(name, _)| name != CONFIGURATION_FOLDER)
            .map(|(name, value)| {
                let told = |name: &OsStr| name.to_string_lossy().into_owned();
                match (name.to_str(), value.to_str()) {
                    (Some(name), Some(value)) => Ok((name.to_owned(), value.to_owned())),
                    (None, _) => {
                        Err(format!("the name of environment variable {} is not UTF-8", told(&name)))
                    }
                    (_, None) => {
                        Err(format!("the value of environment variable {} is not UTF-8", told(&name)))
                    }
                }
            });
        let environment = environment.collect::<Result<_, _>>().map_err(invalid)?;
        Ok(Self { file: config_file()?, environment, ..Self::default() })
    }
}

/// `HEDDLE_CONF_DIR`, else `../conf` beside the binary, if it is there.
///
/// # Errors
/// H1201: `HEDDLE_CONF_DIR` names no folder.
pub fn configuration_folder() -> Result<Option<PathBuf>, Failure> {
    match std::env::var_os(CONFIGURATION_FOLDER).map(PathBuf::from) {
        Some(folder) if folder.is_dir() => Ok(Some(folder)),
        Some(folder) if folder.as_os_str().is_empty() => {
            Err(invalid(format!("{CONFIGURATION_FOLDER} is empty; unset it or name a folder")))
        }
        Some(folder) => {
            Err(invalid(format!("{CONFIGURATION_FOLDER} is {}, which is not a folder", folder.display())))
        }
        None => {
            let binary = std::env::current_exe().ok();
            let home = binary.as_deref().and_then(Path::parent).and_then(Path::parent);
            Ok(home.map(|home| home.join("conf")).filter(|folder| folder.is_dir()))
        }
    }
}

/// `config.yaml` there.
fn config_file() -> Result<Option<PathBuf>, Failure> {
    let Some(folder) = configuration_folder()? else { return Ok(None) };
    let file = folder.join("config.yaml");
    let what = match std::fs::symlink_metadata(&file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => Err(error),
        Ok(_) => std::fs::metadata(&file),
    };
    match what {
        Ok(meta) if meta.is_file() => Ok(Some(file)),
        Ok(_) => Err(invalid(format!("{} is not a file", file.display()))),
        Err(error) => Err(unreadable(&file, &error)),
    }
}

fn invalid(message: String) -> Failure {
    Failure::new(ErrorCode::ConfigurationInvalid, message)
}

fn unreadable(file: &Path, error: &std::io::Error) -> Failure {
    invalid(format!("{} cannot be read: {error}", file.display()))
}

/// The effective configuration.
///
/// # Errors
/// [`ErrorCode::ConfigurationInvalid`]: a file that is not YAML, an unknown
/// key, a value of another type; the message names where it stands.
pub fn load(sources: &Sources) -> Result<Configuration, Failure> {
    let mut configuration = Configuration::new();
    if let Some(file) = &sources.file {
        let text = std::fs::read_to_string(file).map_err(|error| unreadable(file, &error))?;
        add_yaml(&mut configuration, &file.display().to_string(), &text)?;
    }
    add_environment(&mut configuration, &sources.environment)?;
    for property in &sources.dynamic {
        // As Flink's: a key alone is true.
        let (key, value) = property.split_once('=').unwrap_or((property, "true"));
        configuration.set(key.trim(), value, Origin::DynamicProperty).map_err(|failure| {
            let hint = if property.contains('=') { "" } else { "; expected -DKEY=VALUE" };
            Failure { message: format!("{}{hint}", failure.message), ..failure }
        })?;
    }
    for (key, value, option) in &sources.command_line {
        configuration.set(key, value, Origin::CommandLine((*option).to_owned()))?;
    }
    Ok(configuration)
}

/// What a run refuses although each value alone is one of its option.
///
/// # Errors
/// [`ErrorCode::ConfigurationInvalid`]; the message names the option.
pub fn check(configuration: &Configuration) -> Result<TaskExecutorProcessSpec, Failure> {
    // Whether a job is bounded is its own matter.
    ExecutionConfig::from_configuration(configuration, true)?;
    heddle_entrypoint::grants(configuration)?;
    heddle_entrypoint::cache_dir(configuration)?;
    TaskExecutorProcessSpec::from_configuration(configuration)
}

fn add_environment(
    configuration: &mut Configuration,
    environment: &[(String, String)],
) -> Result<(), Failure> {
    for (name, value) in environment {
        let origin = Origin::Environment(name.clone());
        if name == "HEDDLE_LOG_DIR" {
            configuration.set(options::LOG_DIR.key(), value, origin)?;
        } else if name == "HEDDLE_PID_DIR" {
            configuration.set(options::PID_DIR.key(), value, origin)?;
        } else if name.starts_with(ENVIRONMENT_PREFIX) {
            let option = options::ALL.iter().find(|info| info.environment_variable() == *name);
            let Some(info) = option else { return Err(unknown_variable(name)) };
            configuration.set(info.key, value, origin)?;
        }
    }
    Ok(())
}

fn unknown_variable(name: &str) -> Failure {
    let key = name[ENVIRONMENT_PREFIX.len()..].to_ascii_lowercase().replace('_', ".");
    let hint = match nearest_key(&key).and_then(|near| options::ALL.iter().find(|info| info.key == near)) {
        Some(near) => format!("did you mean {}?", near.environment_variable()),
        None => "`heddle config --all` lists every key".to_owned(),
    };
    let message = format!("environment variable {name} names no configuration key; {hint}");
    invalid(message)
}

/// A YAML value, as far as configuration needs it.
enum Node {
    /// A quoted or a plain text.
    Text(String),
    /// A number or a truth value: its text stands in the file.
    Plain,
    Null,
    List(Vec<Spanned<Node>>),
    Map(Vec<(String, Spanned<Node>)>),
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value, a list or a mapping")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Plain)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
        Ok(Node::Plain)
    }

    fn visit_i128<E>(self, _: i128) -> Result<Node, E> {
        Ok(Node::Plain)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
        Ok(Node::Plain)
    }

    fn visit_u128<E>(self, _: u128) -> Result<Node, E> {
        Ok(Node::Plain)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Plain)
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Node::Map(map))
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct YamlFile<'a> {
    path: &'a str,
    text: &'a str,
    /// Keys that were set so far, and on which line.
    seen: BTreeMap<String, u64>,
}

fn add_yaml(configuration: &mut Configuration, path: &str, text: &str) -> Result<(), Failure> {
    let root: Option<Spanned<Node>> = serde_saphyr::from_str(text).map_err(|error| {
        let place = error.location().map_or(String::new(), |at| format!(":{}:{}", at.line(), at.column()));
        let told = match error.without_snippet() {
            serde_saphyr::Error::DuplicateMappingKey { key: Some(key), .. } => {
                return invalid(format!("{path}{place}: `{key}` is set twice"));
            }
            other => other.to_string(),
        };
        let what = told.lines().next().unwrap_or_default();
        // The place stands before it already.
        let what = what.rsplit_once(" at line ").map_or(what, |(what, _)| what);
        let message = format!("{path}{place} is not valid YAML: {what}");
        invalid(message)
    })?;
    let mut file = YamlFile { path, text, seen: BTreeMap::new() };
    match root {
        None => Ok(()),
        Some(root) => match &root.value {
            Node::Null => Ok(()),
            Node::Map(entries) => file.add_map(configuration, "", entries),
            _ => Err(Failure::new(
                ErrorCode::ConfigurationInvalid,
                format!("{path} is not a mapping: expected lines such as `parallelism.default: 2`"),
            )),
        },
    }
}

impl YamlFile<'_> {
    fn add_map(
        &mut self,
        configuration: &mut Configuration,
        prefix: &str,
        entries: &[(String, Spanned<Node>)],
    ) -> Result<(), Failure> {
        for (name, node) in entries {
            let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
            let line = node.referenced.line();
            let text = match &node.value {
                Node::Map(entries) => {
                    self.add_map(configuration, &key, entries)?;
                    continue;
                }
                Node::Null => continue,
                Node::List(items) => {
                    let items: Option<Vec<String>> = items.iter().map(|item| self.scalar(item)).collect();
                    items.map(|items| items.join(";"))
                }
                _ => self.scalar(node),
            };
            let text = text.ok_or_else(|| {
                invalid(format!("{}:{line}: the items of `{key}` must be plain values", self.path))
            })?;
            if let Some(first) = self.seen.insert(key.clone(), line) {
                let message = format!("{}:{line}: `{key}` was set on line {first} already", self.path);
                return Err(invalid(message));
            }
            configuration.set(&key, &text, Origin::File(self.path.to_owned(), Some(line)))?;
        }
        Ok(())
    }

    /// The text of a value as it was written.
    fn scalar(&self, node: &Spanned<Node>) -> Option<String> {
        match &node.value {
            Node::Text(text) => Some(text.clone()),
            Node::Plain => {
                let span = node.defined.span();
                let start = usize::try_from(span.byte_offset()?).ok()?;
                let length = usize::try_from(span.byte_len()?).ok()?;
                let text = self.text.get(start..start.checked_add(length)?)?;
                Some(text.trim().to_owned())
            }
            Node::Null | Node::List(_) | Node::Map(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check_yaml(text: &str, expected: Expect) {
        let mut configuration = Configuration::new();
        let shown = match add_yaml(&mut configuration, "config.yaml", text) {
            Err(failure) => failure.message,
            Ok(()) => configuration
                .entries()
                .filter(|entry| entry.origin != Origin::Default)
                .map(|entry| format!("{} = {} ({})", entry.info.key, entry.value.unwrap(), entry.origin))
                .collect::<Vec<_>>()
                .join("\n"),
        };
        expected.assert_eq(&shown);
    }

    #[test]
    fn flat_and_nested_keys_are_the_same() {
        check_yaml(
            "# a comment\nparallelism.default: 4\npipeline:\n  name: \"nightly: count\"\n  \
             operator-chaining:\n    enabled: False\n  max-parallelism: 256\n\
             taskmanager:\n  memory.process.size: 2g\n  wasm:\n    grants: [clocks, random]\n\
             restart-strategy:\n  type: exponential-delay\n  exponential-delay.backoff-multiplier: 1.50\n\
             io.tmp.dirs:\n",
            expect![[r#"
                parallelism.default = 4 (config.yaml:2)
                pipeline.name = nightly: count (config.yaml:4)
                pipeline.max-parallelism = 256 (config.yaml:7)
                pipeline.operator-chaining.enabled = False (config.yaml:6)
                restart-strategy.type = exponential-delay (config.yaml:13)
                restart-strategy.exponential-delay.backoff-multiplier = 1.50 (config.yaml:14)
                taskmanager.memory.process.size = 2g (config.yaml:9)
                taskmanager.wasm.grants = clocks;random (config.yaml:11)"#]],
        );
        check_yaml(
            "pipeline.operator-chaining.enabled: false\ntaskmanager.memory.process.size: 1728m\n",
            expect![[r#"
                pipeline.operator-chaining.enabled = false (config.yaml:1)
                taskmanager.memory.process.size = 1728m (config.yaml:2)"#]],
        );
        check_yaml("", expect![[""]]);
        check_yaml("# nothing\n", expect![[""]]);
    }

    #[test]
    fn wrong_files_are_refused_with_their_line() {
        check_yaml(
            "a: [1\nb: 2\n",
            expect!["config.yaml:2:2 is not valid YAML: illegal placement of ':' indicator"],
        );
        check_yaml(
            "- parallelism.default\n",
            expect!["config.yaml is not a mapping: expected lines such as `parallelism.default: 2`"],
        );
        check_yaml(
            "parallelism.default: 1\nparallelism.default: 2\n",
            expect!["config.yaml:2:1: `parallelism.default` is set twice"],
        );
        check_yaml(
            "parallelism.default: 1\nparallelism:\n  default: 2\n",
            expect!["config.yaml:3: `parallelism.default` was set on line 1 already"],
        );
        check_yaml(
            "\nparallelism.default: lots\n",
            expect![
                "configuration `parallelism.default`: `lots` is not an integer from 1 to 32768 (from config.yaml:2)"
            ],
        );
        check_yaml(
            "taskmanager:\n  numberOfTaskSlot: 2\n",
            expect![
                "unknown configuration key `taskmanager.numberOfTaskSlot` (from config.yaml:2); did you mean `taskmanager.numberOfTaskSlots`?"
            ],
        );
        check_yaml(
            "taskmanager.wasm.grants:\n  - {a: b}\n",
            expect!["config.yaml:2: the items of `taskmanager.wasm.grants` must be plain values"],
        );
    }

    #[test]
    fn the_committed_template_is_read() {
        let text = include_str!("../../../conf/config.yaml");
        let mut configuration = Configuration::new();
        add_yaml(&mut configuration, "conf/config.yaml", text).unwrap();
        assert_eq!(configuration, Configuration::new());
        let uncommented: String = text
            .lines()
            .filter_map(|line| line.strip_prefix('#'))
            .filter(|l| !l.starts_with(' '))
            .fold(String::new(), |all, line| all + line + "\n");
        add_yaml(&mut configuration, "conf/config.yaml", &uncommented).unwrap();
        let with_default = options::ALL.iter().filter(|info| info.default.is_some()).count();
        let set = configuration.entries().filter(|entry| entry.origin != Origin::Default).count();
        assert_eq!(set, with_default);
    }

    #[test]
    fn places_are_merged_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.yaml");
        std::fs::write(&file, "parallelism.default: 2\nheartbeat.timeout: 7 s\npipeline.name: file\n")
            .unwrap();
        let sources = Sources {
            file: Some(file),
            environment: vec![
                ("HEDDLE_CONFIG_PARALLELISM_DEFAULT".into(), "3".into()),
                ("HEDDLE_CONFIG_PIPELINE_NAME".into(), "environment".into()),
                ("HEDDLE_LOG_DIR".into(), "/var/log".into()),
                ("HEDDLE_HOME".into(), "ignored".into()),
            ],
            dynamic: vec!["parallelism.default=4".into(), "execution.attached".into()],
            command_line: vec![("parallelism.default", "5".into(), "-p")],
        };
        let configuration = load(&sources).unwrap();
        assert_eq!(configuration.get(&options::PARALLELISM_DEFAULT).0, 5);
        assert_eq!(configuration.get(&options::PIPELINE_NAME).as_deref(), Some("environment"));
        assert_eq!(configuration.get(&options::HEARTBEAT_TIMEOUT).as_secs(), 7);
        assert_eq!(configuration.get(&options::LOG_DIR).as_deref(), Some("/var/log"));
        assert!(configuration.get(&options::EXECUTION_ATTACHED));
    }

    #[test]
    fn an_unknown_variable_is_refused() {
        let environment = vec![("HEDDLE_CONFIG_PARALELISM_DEFAULT".to_owned(), "3".to_owned())];
        let failure = load(&Sources { environment, ..Sources::default() }).unwrap_err();
        expect!["environment variable HEDDLE_CONFIG_PARALELISM_DEFAULT names no configuration key; did you mean HEDDLE_CONFIG_PARALLELISM_DEFAULT?"].assert_eq(&failure.message);
    }
}
