//! Files that all nodes see: on HDFS, or in a folder that every machine has at
//! the same place. For staging; knows no application.

use crate::configuration::Configuration;
use crate::launch::{LocalResource, Url, Visibility};
use heddle_filesystem::hadoop::Environment;
use heddle_filesystem::{CreateOptions, FileSystem, FileSystems, Kind, Writer};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A block of a file on HDFS is no smaller than that.
const BLOCK_MIN: u64 = 128 << 20;
/// Read at once while a file is uploaded.
const PIECE_BYTES: usize = 1 << 20;
/// Folders and files of an application are its owner's alone.
const MODE: u32 = 0o700;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("`{0}` is not the address of files that nodes can read; expected hdfs://… or file:/…")]
    Address(String),
    #[error(
        "`fs.defaultFS` is {0}, and files of one machine are not seen by the others; set `yarn.staging-directory`"
    )]
    Local(String),
    #[error("cannot read {}: {source}", .file.display())]
    Read { file: PathBuf, source: io::Error },
    #[error("cannot {what} {path}: {reason}")]
    Remote { what: &'static str, path: String, reason: String },
}

/// A file system and the folder in it that is worked in.
#[derive(Clone)]
pub struct Files {
    systems: FileSystems,
    system: Arc<dyn FileSystem>,
    folder: PathBuf,
}

impl Files {
    /// Opens a folder, which need not exist yet. `address` is a URL, or a path
    /// of the default file system; without it the home of `user`.
    pub fn open(configuration: &Configuration, user: &str, address: Option<&str>) -> Result<Self, Error> {
        let default = configuration.get_or("fs.defaultFS", "file:///");
        let home = format!("/user/{user}");
        let address = address.unwrap_or(&home);
        let is_url = address.contains(":/");
        if !is_url && !default.starts_with("hdfs:") {
            return Err(Error::Local(default));
        }
        let url = if is_url { address.to_owned() } else { format!("hdfs://{address}") };
        if !url.starts_with("hdfs://") && !url.starts_with("file:/") {
            return Err(Error::Address(url));
        }
        let environment = Environment::from([("HADOOP_USER_NAME".to_owned(), user.to_owned())]);
        let systems = FileSystems::with_hadoop(environment, configuration.clone());
        let resolved = systems.resolve(Path::new(&url));
        let (system, folder) =
            resolved.map_err(|error| Error::Remote { what: "open", path: url, reason: error.to_string() })?;
        Ok(Self { systems, system, folder })
    }

    /// A folder below this one.
    pub fn below(self, name: &str) -> Self {
        Self { folder: self.folder.join(name), ..self }
    }

    /// Of the folder.
    pub fn url(&self) -> String {
        let root = self.system.root();
        format!("{}{}", if root.is_empty() { "file://" } else { root }, self.folder.display())
    }

    /// Makes the folder, and those above it, for its owner only.
    pub async fn create(&self) -> Result<(), Error> {
        self.work("make", "", |files| files.system.create_folders(&files.folder, Some(MODE))).await
    }

    /// Writes a file into the folder; `name` has no slash.
    pub async fn write(
        &self,
        name: &str,
        content: Vec<u8>,
        replication: Option<u32>,
    ) -> Result<LocalResource, Error> {
        let path = self.folder.join(name);
        self.work("write", name, move |files| {
            let mut writer = files.new_file(&path, content.len() as u64, replication)?;
            writer.write_all(&content)?;
            writer.finish()?;
            resource(&*files.system, &path)
        })
        .await
    }

    /// Uploads a file of this machine.
    pub async fn upload(
        &self,
        name: &str,
        file: &Path,
        replication: Option<u32>,
    ) -> Result<LocalResource, Error> {
        let unreadable = |source| Error::Read { file: file.to_path_buf(), source };
        let mut source = File::open(file).map_err(unreadable)?;
        let bytes = source.metadata().map_err(unreadable)?.len();
        let path = self.folder.join(name);
        self.work("write", name, move |files| {
            let mut writer = files.new_file(&path, bytes, replication)?;
            let mut piece = vec![0; PIECE_BYTES];
            loop {
                match source.read(&mut piece)? {
                    0 => break,
                    length => writer.write_all(&piece[..length])?,
                }
            }
            writer.finish()?;
            resource(&*files.system, &path)
        })
        .await
    }

    fn new_file(&self, path: &Path, bytes: u64, replication: Option<u32>) -> io::Result<Box<dyn Writer>> {
        // In one block: each further one must wait for the former's copies, and
        // whoever needs the file reads all of it.
        let block_bytes = Some(bytes.max(BLOCK_MIN));
        self.system.create(path, &CreateOptions { is_new: false, mode: Some(MODE), replication, block_bytes })
    }

    /// A file, or all files of a folder, that nodes see already: by their
    /// paths below it. They are shared by applications.
    pub async fn provided(&self, address: &str) -> Result<BTreeMap<String, LocalResource>, Error> {
        let (systems, own) = (self.systems.clone(), PathBuf::from(address));
        let work = move || {
            let (system, folder) = systems.resolve(&own)?;
            let files = match system.status(&folder)?.kind {
                Kind::Folder => system.walk(&folder, &|_| true)?,
                _ => vec![(folder.clone(), system.status(&folder)?)],
            };
            let named = files.into_iter().filter(|(_, status)| status.kind == Kind::File).map(|(path, _)| {
                let below = path.strip_prefix(&folder).ok().filter(|name| !name.as_os_str().is_empty());
                let name = below.map(Path::as_os_str).or(path.file_name()).unwrap_or_default();
                let mut resource = resource(&*system, &path)?;
                resource.visibility =
                    if is_public(&*system, &path)? { Visibility::Public } else { Visibility::User };
                Ok((name.to_string_lossy().into_owned(), resource))
            });
            named.collect()
        };
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(io::Error::other).flatten().map_err(|error| Error::Remote {
            what: "use",
            path: address.to_owned(),
            reason: error.to_string(),
        })
    }

    /// Deletes the folder and all in it; nothing if it is not there.
    pub async fn delete(&self) -> Result<(), Error> {
        self.work("delete", "", |files| match files.system.remove_all(&files.folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        })
        .await
    }

    /// Whether the folder is there.
    pub async fn exists(&self) -> Result<bool, Error> {
        self.work("look at", "", |files| files.system.exists(&files.folder)).await
    }

    /// Work that waits for a disk or a network, on a thread for such.
    async fn work<T: Send + 'static>(
        &self,
        what: &'static str,
        name: &str,
        work: impl FnOnce(&Files) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let files = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&files)).await;
        done.map_err(io::Error::other).flatten().map_err(|error| {
            let path = if name.is_empty() { self.url() } else { format!("{}/{name}", self.url()) };
            Error::Remote { what, path, reason: error.to_string() }
        })
    }
}

/// As containers are told of a file.
fn resource(system: &dyn FileSystem, path: &Path) -> io::Result<LocalResource> {
    let status = system.status(path)?;
    let path = path.display().to_string();
    let url = match system.root().strip_prefix("hdfs://") {
        None => Url { scheme: "file".to_owned(), host: String::new(), port: None, path },
        Some(authority) => {
            let (host, port) = match authority.rsplit_once(':') {
                None => (authority, None),
                Some((host, port)) => (host, port.parse().ok()),
            };
            Url { scheme: "hdfs".to_owned(), host: host.to_owned(), port, path }
        }
    };
    Ok(LocalResource {
        url,
        bytes: status.length,
        modified_ms: status.modified_ms,
        is_archive: false,
        visibility: Visibility::Application,
    })
}

/// Whether everybody may read the file: only then a node shares it among users.
fn is_public(system: &dyn FileSystem, path: &Path) -> io::Result<bool> {
    let mut is_public = system.status(path)?.mode & 0o004 != 0;
    for folder in path.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty()) {
        is_public = is_public && system.status(folder)?.mode & 0o001 != 0;
    }
    Ok(is_public)
}
