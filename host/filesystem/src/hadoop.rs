//! Hadoop's configuration: `core-site.xml`, `hdfs-site.xml`, `yarn-site.xml`
//! where users of Hadoop have them, with includes, final values and variables.
//! Reads files and is told the environment; opens no connection.

pub mod user;
mod xml;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

/// The files, later ones override earlier ones.
const FILES: [&str; 3] = ["core-site.xml", "hdfs-site.xml", "yarn-site.xml"];
/// How often a value is looked through for variables, as in Hadoop.
const SUBSTITUTIONS_MAX: usize = 20;
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Names that were given up, and what they are now.
const RENAMED: [(&str, &str); 2] =
    [("fs.default.name", "fs.defaultFS"), ("yarn.resourcemanager.zk.address", "hadoop.zk.address")];

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "no Hadoop configuration: looked for {} in {}; set HADOOP_CONF_DIR to the folder that has it",
        .files.join(", "),
        .places.join(", ")
    )]
    NotFound { files: Vec<&'static str>, places: Vec<String> },
    #[error("cannot read {}: {source}", .file.display())]
    Unreadable { file: PathBuf, source: io::Error },
    #[error("{}:{line}: {reason}", .file.display())]
    Xml { file: PathBuf, line: u32, reason: String },
    #[error("`{key}` is {expected}, not `{value}` ({origin})")]
    Value { key: String, value: String, expected: &'static str, origin: String },
    #[error("`{key}` must be set: {reason}")]
    Missing { key: String, reason: String },
}

/// The variables of a process that matter here.
pub type Environment = BTreeMap<String, String>;

/// Those of this process that are text.
pub fn environment() -> Environment {
    let text =
        |(key, value): (OsString, OsString)| Some((key.into_string().ok()?, value.into_string().ok()?));
    std::env::vars_os().filter_map(text).collect()
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    value: String,
    origin: String,
}

/// Keys and values, and where each came from.
#[derive(Clone, Debug, Default)]
pub struct Configuration {
    entries: BTreeMap<String, Entry>,
    finals: BTreeSet<String>,
    environment: Environment,
    files: Vec<PathBuf>,
}

/// The folders in which configuration is looked for, in this order, with the
/// variable that named each.
pub fn folders(environment: &Environment) -> Vec<(&'static str, PathBuf)> {
    let set = |name: &'static str| environment.get(name).filter(|value| !value.is_empty());
    let mut folders = Vec::new();
    for name in ["HADOOP_CONF_DIR", "YARN_CONF_DIR"] {
        folders.extend(set(name).map(|folder| (name, PathBuf::from(folder))));
    }
    folders.extend(set("HADOOP_HOME").map(|home| ("HADOOP_HOME", Path::new(home).join("etc/hadoop"))));
    folders
}

impl Configuration {
    /// Reads each file from the first folder that has it; there need be none.
    pub fn load(environment: &Environment) -> Result<Self, Error> {
        let folders = folders(environment);
        let mut configuration = Self { environment: environment.clone(), ..Self::default() };
        for name in FILES {
            let found = folders.iter().map(|(_, folder)| folder.join(name)).find(|file| file.is_file());
            if let Some(file) = found {
                configuration.read(&file)?;
            }
        }
        Ok(configuration)
    }

    /// # Errors
    /// `file` was in none of the folders.
    pub fn require(&self, file: &'static str) -> Result<(), Error> {
        if self.files.iter().any(|read| read.ends_with(file)) {
            return Ok(());
        }
        let folders = folders(&self.environment);
        let mut places: Vec<String> =
            folders.iter().map(|(name, folder)| format!("{} ({name})", folder.display())).collect();
        for name in ["HADOOP_CONF_DIR", "YARN_CONF_DIR", "HADOOP_HOME"] {
            if !folders.iter().any(|(set, _)| *set == name) {
                places.push(format!("${name} (not set)"));
            }
        }
        Err(Error::NotFound { files: vec![file], places })
    }

    /// Reads a file over what is there already.
    pub fn read(&mut self, file: &Path) -> Result<(), Error> {
        self.files.push(file.to_path_buf());
        for property in xml::properties(file)? {
            let origin = property.file.display().to_string();
            let (key, value) = (property.name, property.value);
            if self.finals.contains(&key) {
                if self.entries.get(&key).is_some_and(|entry| entry.value != value) {
                    tracing::warn!(%key, file = origin, "the value is final elsewhere and stays");
                }
                continue;
            }
            if property.is_final {
                self.finals.insert(current_name(&key).to_owned());
            }
            self.set(&key, &value, &origin);
        }
        Ok(())
    }

    /// Sets a value, whatever files say.
    pub fn set(&mut self, key: &str, value: &str, origin: &str) {
        let entry = Entry { value: value.to_owned(), origin: origin.to_owned() };
        self.entries.insert(current_name(key).to_owned(), entry);
    }

    /// The files that were read.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// A value, its variables replaced.
    pub fn get(&self, key: &str) -> Option<String> {
        let value = self.entries.get(current_name(key))?.value.trim();
        Some(self.substituted(value))
    }

    /// All keys with their values, variables replaced.
    pub fn all(&self) -> Vec<(String, String)> {
        self.entries.iter().map(|(key, entry)| (key.clone(), self.substituted(entry.value.trim()))).collect()
    }

    /// All of it as one file that needs no other.
    pub fn to_xml(&self) -> String {
        let escaped = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let properties = self.all().into_iter().map(|(key, value)| {
            format!("<property><name>{}</name><value>{}</value></property>\n", escaped(&key), escaped(&value))
        });
        format!(
            "<?xml version=\"1.0\"?>\n<configuration>\n{}</configuration>\n",
            properties.collect::<String>()
        )
    }

    pub fn get_or(&self, key: &str, default: &str) -> String {
        self.get(key).unwrap_or_else(|| default.to_owned())
    }

    /// A list with commas; blanks and empty parts do not count.
    pub fn list(&self, key: &str) -> Vec<String> {
        let value = self.get(key).unwrap_or_default();
        value.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
    }

    pub fn bool(&self, key: &str, default: bool) -> Result<bool, Error> {
        match self.get(key).as_deref().map(str::to_ascii_lowercase).as_deref() {
            None | Some("") => Ok(default),
            Some("true") => Ok(true),
            Some("false") => Ok(false),
            Some(_) => Err(self.wrong(key, "true or false")),
        }
    }

    pub fn int(&self, key: &str, default: i64) -> Result<i64, Error> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => value.parse().map_err(|_| self.wrong(key, "a whole number")),
        }
    }

    /// A time; a number alone is in milliseconds.
    pub fn duration(&self, key: &str, default: Duration) -> Result<Duration, Error> {
        let Some(value) = self.get(key) else { return Ok(default) };
        let digits = value.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
        let millis = match value[digits.len()..].to_ascii_lowercase().as_str() {
            "" | "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(self.wrong(key, "a time such as 500, 30s or 5m")),
        };
        let number: Option<u64> = digits.trim().parse().ok();
        let time = number.and_then(|number| number.checked_mul(millis)).map(Duration::from_millis);
        time.ok_or_else(|| self.wrong(key, "a time such as 500, 30s or 5m"))
    }

    /// The value of a key is not what it must be.
    pub fn wrong(&self, key: &str, expected: &'static str) -> Error {
        let origin = self.entries.get(current_name(key)).map(|entry| entry.origin.clone());
        Error::Value {
            key: key.to_owned(),
            value: self.get(key).unwrap_or_default(),
            expected,
            origin: origin.unwrap_or_default(),
        }
    }

    fn substituted(&self, value: &str) -> String {
        let mut value = value.to_owned();
        let mut seen = BTreeSet::new();
        for _ in 0..SUBSTITUTIONS_MAX {
            // The innermost variable, so that a name may have one in it.
            let Some(end) = value
                .match_indices('}')
                .find(|(end, _)| value[..*end].rfind("${").is_some_and(|start| start + 2 < *end))
                .map(|(end, _)| end)
            else {
                break;
            };
            let start = value[..end].rfind("${").unwrap_or_default();
            let name = value[start + 2..end].to_owned();
            let Some(replacement) = self.variable(&name) else { break };
            // A variable that leads to itself stays as it is, as in Hadoop.
            if !seen.insert((start, name)) {
                break;
            }
            value.replace_range(start..=end, &replacement);
        }
        value
    }

    fn variable(&self, name: &str) -> Option<String> {
        let environment = |name: &str| self.environment.get(name).cloned();
        if let Some(name) = name.strip_prefix("env.") {
            // `:-` also replaces what is set and empty.
            if let Some((name, default)) = name.split_once(":-") {
                return environment(name).filter(|value| !value.is_empty()).or(Some(default.to_owned()));
            }
            if let Some((name, default)) = name.split_once('-') {
                return environment(name).or(Some(default.to_owned()));
            }
            return environment(name);
        }
        if let Some(entry) = self.entries.get(current_name(name)) {
            return Some(entry.value.clone());
        }
        // What a JVM would have.
        match name {
            "user.name" => environment("USER").or_else(|| environment("LOGNAME")),
            "user.home" => environment("HOME"),
            "java.io.tmpdir" => Some("/tmp".to_owned()),
            "hadoop.tmp.dir" => Some("/tmp/hadoop-${user.name}".to_owned()),
            _ => None,
        }
    }
}

fn current_name(key: &str) -> &str {
    RENAMED.iter().find(|(old, _)| *old == key).map_or(key, |(_, new)| new)
}

fn content(file: &Path) -> Result<String, Error> {
    let unreadable = |source| Error::Unreadable { file: file.to_path_buf(), source };
    let length = fs::metadata(file).map_err(unreadable)?.len();
    if length > FILE_BYTES_MAX {
        return Err(unreadable(io::Error::other(format!("{length} bytes; the most is {FILE_BYTES_MAX}"))));
    }
    fs::read_to_string(file).map_err(unreadable)
}
