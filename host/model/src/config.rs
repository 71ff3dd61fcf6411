//! Typed configuration options and the effective configuration, with the
//! origin of each value.
//!
//! Every option stands once, in [`options`]. Reading files and the environment
//! is the client's matter: here values only come in by [`Configuration::set`].

pub mod execution;
pub mod options;
pub mod render;
pub mod value;

use crate::failure::{ErrorCode, Failure};
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use value::ConfigValue;

/// Who may set an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Also the program itself, in its plan.
    Job,
    /// Only who runs Heddle: a program must not widen its own limits.
    Cluster,
}

/// What is known of an option, whatever its type.
#[derive(Debug)]
pub struct OptionInfo {
    pub key: &'static str,
    /// Other keys by which it is known; Flink's older ones.
    pub aliases: &'static [&'static str],
    pub type_name: fn() -> String,
    /// Whether a text is a value of the type; else what was expected.
    pub check: fn(&str) -> Result<(), String>,
    pub default: Option<&'static str>,
    pub group: &'static str,
    pub scope: Scope,
    pub description: &'static str,
}

/// Parts of the keys whose values are not to be shown; Flink's.
const SECRETS: [&str; 8] =
    ["password", "secret", "token", "apikey", "api-key", "account.key", "service-key", "credential"];

impl OptionInfo {
    /// Whether the value is not to be shown.
    pub fn is_secret(&self) -> bool {
        is_secret(self.key)
    }

    /// The environment variable that sets it: `HEDDLE_CONFIG_` and the key in
    /// capitals, with `_` for `.` and `-`.
    pub fn environment_variable(&self) -> String {
        let name = self.key.replace(['.', '-'], "_").to_ascii_uppercase();
        format!("{ENVIRONMENT_PREFIX}{name}")
    }
}

/// Whether the value of such a key is not to be shown.
pub fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    SECRETS.iter().any(|part| key.contains(part))
}

/// What names of environment variables that set options start with.
pub const ENVIRONMENT_PREFIX: &str = "HEDDLE_CONFIG_";

/// An option whose values are of type `T`.
#[derive(Debug)]
pub struct ConfigOption<T> {
    info: OptionInfo,
    value: PhantomData<fn() -> T>,
}

impl<T> ConfigOption<T> {
    pub const fn info(&self) -> &OptionInfo {
        &self.info
    }

    pub const fn key(&self) -> &'static str {
        self.info.key
    }
}

/// Where a value came from. A later one wins over an earlier one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    Default,
    /// Path of the file, and the line if it is known.
    File(String, Option<u64>),
    /// Name of the variable.
    Environment(String),
    /// The program set it while it built its graph.
    Program,
    /// `-Dkey=value`.
    DynamicProperty,
    /// An option of the command line, such as `-p`.
    CommandLine(String),
    /// The running process: a port that it got.
    Process,
}

impl Origin {
    fn rank(&self) -> u8 {
        match self {
            Origin::Default => 0,
            Origin::File(..) => 1,
            Origin::Environment(_) => 2,
            Origin::Program => 3,
            Origin::DynamicProperty => 4,
            Origin::CommandLine(_) => 5,
            Origin::Process => 6,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(path, None) => write!(f, "{path}"),
            Origin::File(path, Some(line)) => write!(f, "{path}:{line}"),
            Origin::Environment(variable) => write!(f, "environment variable {variable}"),
            Origin::Program => f.write_str("the program"),
            Origin::DynamicProperty => f.write_str("-D"),
            Origin::CommandLine(option) => f.write_str(option),
            Origin::Process => f.write_str("the running process"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Setting {
    text: String,
    origin: Origin,
}

/// One option with its effective value.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    pub info: &'static OptionInfo,
    /// None if it is not set and has no default.
    pub value: Option<&'a str>,
    pub origin: Origin,
}

/// The effective configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    settings: BTreeMap<&'static str, Setting>,
}

impl Configuration {
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a value, unless one of a stronger origin is there.
    ///
    /// # Errors
    /// [`ErrorCode::ConfigurationInvalid`]: an unknown key, a value of another
    /// type, or a program that sets an option of the cluster.
    pub fn set(&mut self, key: &str, text: &str, origin: Origin) -> Result<(), Failure> {
        let invalid = |message| Failure::new(ErrorCode::ConfigurationInvalid, message);
        let info = find(key).ok_or_else(|| invalid(unknown_key(key, &origin)))?;
        let text = text.trim();
        if let Err(expected) = (info.check)(text) {
            return Err(invalid(format!(
                "configuration `{}`: `{text}` is not {expected} (from {origin})",
                info.key
            )));
        }
        if origin == Origin::Program && info.scope == Scope::Cluster {
            return Err(invalid(format!(
                "configuration `{}` is not for a program to set; set it in conf/config.yaml or with -D",
                info.key
            )));
        }
        let stronger = self.settings.get(info.key).is_some_and(|old| old.origin.rank() > origin.rank());
        if !stronger {
            self.settings.insert(info.key, Setting { text: text.to_owned(), origin });
        }
        Ok(())
    }

    /// The value in force.
    ///
    /// # Panics
    /// If an option without a default is not declared as `Option<_>`; a test
    /// of [`options`] rules it out.
    pub fn get<T: ConfigValue>(&self, option: &ConfigOption<T>) -> T {
        let text = self.settings.get(option.key()).map(|setting| setting.text.as_str());
        match text.or(option.info.default) {
            Some(text) => match T::parse(text) {
                Ok(value) => value,
                Err(expected) => panic!("`{text}` of {} was checked to be {expected}", option.key()),
            },
            None => T::absent().expect("an option without default is declared as Option"),
        }
    }

    /// Whether anything but the default is in force.
    pub fn is_set<T>(&self, option: &ConfigOption<T>) -> bool {
        self.settings.contains_key(option.key())
    }

    pub fn origin<T>(&self, option: &ConfigOption<T>) -> Origin {
        self.settings.get(option.key()).map_or(Origin::Default, |setting| setting.origin.clone())
    }

    /// Every option there is, in the order of the documentation.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        options::ALL.iter().map(|info| match self.settings.get(info.key) {
            Some(setting) => {
                Entry { info, value: Some(setting.text.as_str()), origin: setting.origin.clone() }
            }
            None => Entry { info, value: info.default, origin: Origin::Default },
        })
    }

    /// What was set of the job, as keys and values: what a program may read.
    /// The cluster's own settings are not its matter.
    pub fn job_pairs(&self) -> Vec<(String, String)> {
        let of_job = |key: &str| find(key).is_some_and(|info| info.scope == Scope::Job);
        let settings = self.settings.iter().filter(|(key, _)| of_job(key));
        settings.map(|(key, setting)| ((*key).to_owned(), setting.text.clone())).collect()
    }
}

/// The option of that key or alias.
pub fn find(key: &str) -> Option<&'static OptionInfo> {
    options::ALL.iter().copied().find(|info| info.key == key || info.aliases.contains(&key))
}

/// Flink's keys of the JVM, and what has taken their place.
const REPLACED: &[(&str, &str)] = &[
    ("taskmanager.memory.task.heap.size", "taskmanager.memory.task.size"),
    ("taskmanager.memory.task.off-heap.size", "taskmanager.memory.task.size"),
    ("taskmanager.memory.framework.heap.size", "taskmanager.memory.framework.size"),
    ("taskmanager.memory.framework.off-heap.size", "taskmanager.memory.framework.size"),
    ("taskmanager.memory.jvm-metaspace.size", "taskmanager.memory.code.size"),
    ("taskmanager.memory.jvm-overhead.fraction", "taskmanager.memory.overhead.fraction"),
    ("taskmanager.memory.jvm-overhead.min", "taskmanager.memory.overhead.min"),
    ("taskmanager.memory.jvm-overhead.max", "taskmanager.memory.overhead.max"),
    ("taskmanager.memory.flink.size", "taskmanager.memory.process.size"),
];

fn unknown_key(key: &str, origin: &Origin) -> String {
    if let Some((_, instead)) = REPLACED.iter().find(|(old, _)| *old == key) {
        return format!(
            "configuration key `{key}` has no meaning without a JVM (from {origin}); use `{instead}`"
        );
    }
    match nearest_key(key) {
        Some(near) => {
            format!("unknown configuration key `{key}` (from {origin}); did you mean `{near}`?")
        }
        None => format!(
            "unknown configuration key `{key}` (from {origin}); `heddle config --all` lists every key"
        ),
    }
}

/// The known key that looks most like this one, if one does.
pub fn nearest_key(key: &str) -> Option<&'static str> {
    let lower = key.to_ascii_lowercase();
    let (near, distance) = options::ALL
        .iter()
        .flat_map(|info| std::iter::once(&info.key).chain(info.aliases))
        .map(|known| (*known, edit_distance(&lower, &known.to_ascii_lowercase())))
        .min_by_key(|(_, distance)| *distance)?;
    // Further away than a third of the key it is another word, not a slip.
    (distance <= (key.len() / 3).max(2)).then_some(near)
}

/// Insertions, deletions, replacements and swaps of neighbours that make one
/// text of the other (optimal string alignment).
fn edit_distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn stronger_origins_win_in_any_order() {
        let file = || Origin::File("conf/config.yaml".into(), Some(3));
        let order = [
            (file(), "2"),
            (Origin::Environment("HEDDLE_CONFIG_PARALLELISM_DEFAULT".into()), "3"),
            (Origin::Program, "4"),
            (Origin::DynamicProperty, "5"),
            (Origin::CommandLine("-p".into()), "6"),
        ];
        for strongest in 0..order.len() {
            let mut forwards = Configuration::new();
            let mut backwards = Configuration::new();
            for (origin, text) in &order[..=strongest] {
                forwards.set("parallelism.default", text, origin.clone()).unwrap();
            }
            for (origin, text) in order[..=strongest].iter().rev() {
                backwards.set("parallelism.default", text, origin.clone()).unwrap();
            }
            assert_eq!(forwards, backwards);
            assert_eq!(forwards.get(&options::PARALLELISM_DEFAULT).0.to_string(), order[strongest].1);
            assert_eq!(forwards.origin(&options::PARALLELISM_DEFAULT), order[strongest].0);
        }
    }

    fn message(key: &str, text: &str, origin: Origin) -> String {
        let failure = Configuration::new().set(key, text, origin).unwrap_err();
        assert_eq!(failure.code, ErrorCode::ConfigurationInvalid);
        failure.message
    }

    #[test]
    fn wrong_settings_say_what_is_wrong() {
        expect_test::expect![[r"
            unknown configuration key `paralelism.default` (from -D); did you mean `parallelism.default`?
            unknown configuration key `web.port` (from conf/config.yaml:7); `heddle config --all` lists every key
            configuration key `taskmanager.memory.jvm-metaspace.size` has no meaning without a JVM (from -D); use `taskmanager.memory.code.size`
            configuration `parallelism.default`: `many` is not an integer from 1 to 32768 (from -D)
            configuration `heartbeat.timeout`: `5 parsecs` is not a duration such as `10 s`, `500ms` or `1 min` (from environment variable HEDDLE_CONFIG_HEARTBEAT_TIMEOUT)
            configuration `taskmanager.wasm.grants` is not for a program to set; set it in conf/config.yaml or with -D"]]
        .assert_eq(
            &[
                message("paralelism.default", "1", Origin::DynamicProperty),
                message("web.port", "1", Origin::File("conf/config.yaml".into(), Some(7))),
                message("taskmanager.memory.jvm-metaspace.size", "1g", Origin::DynamicProperty),
                message("parallelism.default", "many", Origin::DynamicProperty),
                message(
                    "heartbeat.timeout",
                    "5 parsecs",
                    Origin::Environment("HEDDLE_CONFIG_HEARTBEAT_TIMEOUT".into()),
                ),
                message("taskmanager.wasm.grants", "network", Origin::Program),
            ]
            .join("\n"),
        );
    }

    #[test]
    fn an_older_key_sets_the_same_option() {
        let mut configuration = Configuration::new();
        configuration.set("execution.buffer-timeout", "5 ms", Origin::DynamicProperty).unwrap();
        assert_eq!(configuration.get(&options::BUFFER_TIMEOUT), Duration::from_millis(5));
    }

    #[test]
    fn a_swap_or_a_slip_is_near_and_another_word_is_not() {
        assert_eq!(nearest_key("taskmanager.numberoftaskslot"), Some("taskmanager.numberOfTaskSlots"));
        assert_eq!(nearest_key("pipeline.nmae"), Some("pipeline.name"));
        assert_eq!(nearest_key("state.savepoints.dir"), None);
    }
}
