//! Files that all nodes see: on HDFS, or in a folder that every machine has at
//! the same place. For staging; knows no application.

use crate::configuration::Configuration;
use crate::launch::{LocalResource, Url, Visibility};
use bytes::Bytes;
use hdfs_native::{Client, ClientBuilder, HdfsError, WriteOptions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::{fs, io};
use tokio::io::AsyncReadExt;

/// A block of a file on HDFS is a multiple of this, and no smaller than that.
const BLOCK_STEP: u64 = 1 << 20;
const BLOCK_MIN: u64 = 128 << 20;
/// Read at once while a file is uploaded.
const PIECE_BYTES: usize = 1 << 20;
/// Folders and files of an application are its owner's alone.
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o700;
/// Where a NameNode is when its address has no port.
const NAME_NODE_PORT: u16 = 8020;

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
pub struct Files {
    system: System,
    /// Absolute, without an end slash.
    folder: String,
}

enum System {
    Hdfs { client: Box<Client>, host: String, port: Option<u16> },
    Shared,
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
        let url =
            if is_url { address.to_owned() } else { format!("{}{address}", default.trim_end_matches('/')) };
        if let Some(rest) = url.strip_prefix("file:") {
            let path = rest.strip_prefix("//").unwrap_or(rest);
            let folder = path.trim_end_matches('/').to_owned();
            return if path.starts_with('/') {
                Ok(Self { system: System::Shared, folder })
            } else {
                Err(Error::Address(url))
            };
        }
        let Some(rest) = url.strip_prefix("hdfs://") else { return Err(Error::Address(url)) };
        let (authority, path) = rest.split_once('/').ok_or_else(|| Error::Address(url.clone()))?;
        let (host, port) = match authority.rsplit_once(':') {
            None => (authority, None),
            Some((host, port)) => (host, Some(port.parse().map_err(|_| Error::Address(url.clone()))?)),
        };
        // A name that the configuration knows has no port.
        let is_service = configuration.list("dfs.nameservices").iter().any(|name| name == host);
        let port = port.or((!is_service).then_some(NAME_NODE_PORT));
        let target = match port {
            Some(port) => format!("hdfs://{host}:{port}"),
            None => format!("hdfs://{host}"),
        };
        let client = ClientBuilder::new()
            .with_url(&target)
            .with_config(configuration.all())
            .with_user(user)
            .build()
            .map_err(|error| Error::Remote { what: "open", path: target, reason: error.to_string() })?;
        let system = System::Hdfs { client: Box::new(client), host: host.to_owned(), port };
        Ok(Self { system, folder: format!("/{}", path.trim_matches('/')) })
    }

    /// A folder below this one.
    pub fn below(self, name: &str) -> Self {
        Self { folder: format!("{}/{name}", self.folder), ..self }
    }

    /// Of the folder.
    pub fn url(&self) -> String {
        match &self.system {
            System::Shared => format!("file://{}", self.folder),
            System::Hdfs { host, port: Some(port), .. } => format!("hdfs://{host}:{port}{}", self.folder),
            System::Hdfs { host, port: None, .. } => format!("hdfs://{host}{}", self.folder),
        }
    }

    /// Makes the folder, and those above it, for its owner only.
    pub async fn create(&self) -> Result<(), Error> {
        match &self.system {
            System::Shared => {
                let made = fs::DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(&self.folder);
                made.map_err(|error| self.failed("make", "", &error))
            }
            System::Hdfs { client, .. } => {
                let made = client.mkdirs(&self.folder, FOLDER_MODE, true).await;
                made.map_err(|error| self.failed("make", "", &words(&error)))
            }
        }
    }

    /// Writes a file into the folder; `name` has no slash.
    pub async fn write(
        &self,
        name: &str,
        content: Vec<u8>,
        replication: Option<u32>,
    ) -> Result<LocalResource, Error> {
        let bytes = content.len() as u64;
        self.copy(name, &mut content.as_slice(), bytes, replication).await
    }

    /// Uploads a file of this machine.
    pub async fn upload(
        &self,
        name: &str,
        file: &Path,
        replication: Option<u32>,
    ) -> Result<LocalResource, Error> {
        let opened = tokio::fs::File::open(file).await;
        let unreadable = |source| Error::Read { file: file.to_path_buf(), source };
        let mut source = opened.map_err(unreadable)?;
        let bytes = source.metadata().await.map_err(unreadable)?.len();
        self.copy(name, &mut source, bytes, replication).await
    }

    async fn copy(
        &self,
        name: &str,
        source: &mut (impl AsyncReadExt + Unpin),
        bytes: u64,
        replication: Option<u32>,
    ) -> Result<LocalResource, Error> {
        let path = format!("{}/{name}", self.folder);
        let (bytes, modified_ms) = match &self.system {
            System::Shared => {
                let mut options = fs::OpenOptions::new();
                let file = options.write(true).create(true).truncate(true).mode(FILE_MODE).open(&path);
                let mut file =
                    tokio::fs::File::from_std(file.map_err(|error| self.failed("write", name, &error))?);
                let copied = tokio::io::copy(source, &mut file).await;
                copied.map_err(|error| self.failed("write", name, &error))?;
                file.sync_all().await.map_err(|error| self.failed("write", name, &error))?;
                let metadata = fs::metadata(&path).map_err(|error| self.failed("look at", name, &error))?;
                (metadata.len(), metadata.mtime() * 1000 + metadata.mtime_nsec() / 1_000_000)
            }
            System::Hdfs { client, .. } => {
                // In one block: each further one must wait for the former's copies,
                // and whoever needs the file reads all of it.
                let block_size = bytes.next_multiple_of(BLOCK_STEP).max(BLOCK_MIN);
                let options = WriteOptions::default().permission(FILE_MODE).overwrite(true);
                let mut options = options.block_size(block_size);
                if let Some(replication) = replication {
                    options = options.replication(replication);
                }
                let failed = |error: HdfsError| self.failed("write", name, &words(&error));
                let mut writer = client.create(&path, options).await.map_err(failed)?;
                loop {
                    let mut piece = vec![0; PIECE_BYTES];
                    let length = source.read(&mut piece).await;
                    let length =
                        length.map_err(|error| self.failed("read what is written to", name, &error))?;
                    if length == 0 {
                        break;
                    }
                    piece.truncate(length);
                    writer.write_bytes(Bytes::from(piece)).await.map_err(failed)?;
                }
                writer.close().await.map_err(failed)?;
                let status = client.get_file_info(&path).await.map_err(failed)?;
                (status.length as u64, i64::try_from(status.modification_time).unwrap_or(i64::MAX))
            }
        };
        let url = match &self.system {
            System::Shared => Url { scheme: "file".to_owned(), host: String::new(), port: None, path },
            System::Hdfs { host, port, .. } => {
                Url { scheme: "hdfs".to_owned(), host: host.clone(), port: *port, path }
            }
        };
        Ok(LocalResource { url, bytes, modified_ms, is_archive: false, visibility: Visibility::Application })
    }

    /// Deletes the folder and all in it; nothing if it is not there.
    pub async fn delete(&self) -> Result<(), Error> {
        match &self.system {
            System::Shared => match fs::remove_dir_all(&self.folder) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    Err(self.failed("delete", "", &error))
                }
                _ => Ok(()),
            },
            System::Hdfs { client, .. } => match client.delete(&self.folder, true).await {
                Ok(_) | Err(HdfsError::FileNotFound(_)) => Ok(()),
                Err(error) => Err(self.failed("delete", "", &words(&error))),
            },
        }
    }

    /// Whether the folder is there.
    pub async fn exists(&self) -> Result<bool, Error> {
        match &self.system {
            System::Shared => Ok(Path::new(&self.folder).is_dir()),
            System::Hdfs { client, .. } => match client.get_file_info(&self.folder).await {
                Ok(_) => Ok(true),
                Err(HdfsError::FileNotFound(_)) => Ok(false),
                Err(error) => Err(self.failed("look at", "", &words(&error))),
            },
        }
    }

    fn failed(&self, what: &'static str, name: &str, reason: &impl ToString) -> Error {
        let path = if name.is_empty() { self.url() } else { format!("{}/{name}", self.url()) };
        Error::Remote { what, path, reason: reason.to_string() }
    }
}

/// The exception and the first line of its message.
fn words(error: &HdfsError) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}
