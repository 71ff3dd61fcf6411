//! Which file system an address means; those that were used are kept.

use crate::hadoop::{self, Environment, user};
use crate::hdfs::Hdfs;
use crate::{FileSystem, Local};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// The parts of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address<'a> {
    /// A path of this machine.
    Local(&'a Path),
    /// `host:port` or the name of a service, if there is one; an absolute path.
    Hdfs { authority: Option<&'a str>, path: &'a str },
}

/// The scheme of an address that no file system serves.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}:` is not served")]
pub struct UnknownScheme(pub String);

impl<'a> Address<'a> {
    pub fn parse(text: &'a Path) -> Result<Self, UnknownScheme> {
        // What is no text is no address.
        let Some(address) = text.to_str() else { return Ok(Self::Local(text)) };
        if let Some(rest) = address.strip_prefix("file:") {
            return Ok(Self::Local(Path::new(rest.strip_prefix("//").unwrap_or(rest))));
        }
        if let Some(rest) = address.strip_prefix("hdfs://") {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let path = if path.is_empty() { "/" } else { path };
            return Ok(Self::Hdfs { authority: Some(authority).filter(|text| !text.is_empty()), path });
        }
        match address.split_once("://") {
            Some((scheme, _)) if scheme.chars().all(|letter| letter.is_ascii_alphanumeric()) => {
                Err(UnknownScheme(scheme.to_owned()))
            }
            _ => Ok(Self::Local(text)),
        }
    }
}

/// Opens file systems, each once. Cheap to clone.
#[derive(Clone)]
pub struct FileSystems(Arc<Inner>);

struct Inner {
    environment: Environment,
    local: Arc<Local>,
    /// Read when it is needed first.
    hadoop: OnceLock<Result<hadoop::Configuration, String>>,
    /// By their roots.
    hdfs: Mutex<BTreeMap<String, Arc<Hdfs>>>,
}

impl fmt::Debug for FileSystems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FileSystems")
    }
}

impl FileSystems {
    /// `environment` says where Hadoop's configuration is, and under which name
    /// HDFS is spoken to.
    pub fn new(environment: Environment) -> Self {
        let (hadoop, hdfs) = (OnceLock::new(), Mutex::default());
        Self(Arc::new(Inner { environment, local: Arc::new(Local), hadoop, hdfs }))
    }

    /// Of this process.
    pub fn of_process() -> Self {
        Self::new(hadoop::environment())
    }

    /// With a configuration of Hadoop that was read.
    pub fn with_hadoop(environment: Environment, configuration: hadoop::Configuration) -> Self {
        let systems = Self::new(environment);
        // Nobody else has it yet.
        let _ = systems.0.hadoop.set(Ok(configuration));
        systems
    }

    /// The file system of an address, and the path in it.
    ///
    /// # Errors
    /// `Unsupported`: no such scheme; `InvalidInput`: Hadoop's configuration is
    /// wrong, or says too little.
    pub fn resolve(&self, address: &Path) -> io::Result<(Arc<dyn FileSystem>, PathBuf)> {
        let parsed = Address::parse(address);
        match parsed.map_err(|error| io::Error::new(io::ErrorKind::Unsupported, error))? {
            Address::Local(path) => Ok((Arc::<Local>::clone(&self.0.local), path.to_path_buf())),
            Address::Hdfs { authority, path } => Ok((self.hdfs(authority)?, normal(path))),
        }
    }

    fn hdfs(&self, authority: Option<&str>) -> io::Result<Arc<dyn FileSystem>> {
        let wrong = |reason: &str| io::Error::new(io::ErrorKind::InvalidInput, reason.to_owned());
        let loaded = self.0.hadoop.get_or_init(|| {
            hadoop::Configuration::load(&self.0.environment).map_err(|error| error.to_string())
        });
        let configuration = loaded.as_ref().map_err(|error| wrong(error))?;
        let default = configuration.get("fs.defaultFS");
        let authority = match authority {
            Some(authority) => authority,
            None => default
                .as_deref()
                .and_then(|url| url.strip_prefix("hdfs://"))
                .map(|rest| rest.split('/').next().unwrap_or_default())
                .filter(|authority| !authority.is_empty())
                .ok_or_else(|| match configuration.require("core-site.xml") {
                    // A container's configuration is one file.
                    Err(error) if default.is_none() => {
                        wrong(&format!("`hdfs:///…` needs `fs.defaultFS`, and there is {error}"))
                    }
                    _ => wrong(&format!(
                        "`hdfs:///…` needs a `fs.defaultFS` on HDFS, and it is `{}`; write hdfs://HOST:PORT/…",
                        default.as_deref().unwrap_or("file:///")
                    )),
                })?,
        };
        let mut known = self.0.hdfs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(system) = known.get(authority) {
            return Ok(Arc::<Hdfs>::clone(system));
        }
        let user = user::name(&self.0.environment);
        let system = Arc::new(Hdfs::open(configuration, &user, authority)?);
        known.insert(authority.to_owned(), Arc::clone(&system));
        Ok(system)
    }
}

/// Without empty parts and the end slash.
fn normal(path: &str) -> PathBuf {
    let mut normal = PathBuf::from("/");
    normal.extend(path.split('/').filter(|part| !part.is_empty() && *part != "."));
    normal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_which_file_system_it_means() {
        let check = |text: &str, expected: Result<Address<'_>, UnknownScheme>| {
            assert_eq!(Address::parse(Path::new(text)), expected, "{text}");
        };
        check("a/b", Ok(Address::Local(Path::new("a/b"))));
        check("file:/a/b", Ok(Address::Local(Path::new("/a/b"))));
        check("file:///a/b", Ok(Address::Local(Path::new("/a/b"))));
        check("a b://c", Ok(Address::Local(Path::new("a b://c"))));
        check("hdfs://n:1/a/b", Ok(Address::Hdfs { authority: Some("n:1"), path: "/a/b" }));
        check("hdfs:///a", Ok(Address::Hdfs { authority: None, path: "/a" }));
        check("hdfs://n", Ok(Address::Hdfs { authority: Some("n"), path: "/" }));
        check("s3://bucket/a", Err(UnknownScheme("s3".to_owned())));
    }

    #[test]
    fn without_a_default_file_system_an_address_must_have_a_host() {
        let systems = FileSystems::new(Environment::new());
        let error = systems.resolve(Path::new("hdfs:///a")).map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert_eq!(
            error.to_string(),
            "`hdfs:///…` needs `fs.defaultFS`, and there is no Hadoop configuration: looked for core-site.xml in \
             $HADOOP_CONF_DIR (not set), $YARN_CONF_DIR (not set), $HADOOP_HOME (not set); set HADOOP_CONF_DIR to \
             the folder that has it"
        );
    }
}
