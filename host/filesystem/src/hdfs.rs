//! HDFS, spoken to without a JVM. The only module that knows how.

use crate::hadoop::Configuration;
use crate::{CreateOptions, FileSystem, Kind, Reader, Status, Writer};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use hdfs_native::client::FileStatus;
use hdfs_native::file::{FileReader, FileWriter};
use hdfs_native::{Client, ClientBuilder, HdfsError, WriteOptions};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::runtime::Handle;

/// Where a NameNode is when its address has no port.
const NAME_NODE_PORT: u16 = 8020;
/// How often a NameNode that does not answer is tried; the pauses between are
/// one, two and four seconds. Hadoop's own fifteen would take minutes.
const ATTEMPTS: (&str, &str) = ("dfs.client.failover.max.attempts", "3");
/// A call that has no answer then has failed: the connection is lost silently.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// For a piece of a file to come or to go.
const DATA_TIMEOUT: Duration = Duration::from_secs(180);
/// Of folders and files, as Hadoop's defaults.
const FOLDER_MODE: u32 = 0o755;
const FILE_MODE: u32 = 0o644;
/// A stream of a file is asked for that serves so many reads of a size: who
/// looks for a newline reads little, who reads a split reads on.
const STREAM_READS: u64 = 256;
/// Blocks have a multiple of this.
const BLOCK_STEP: u64 = 1 << 20;

pub(crate) struct Hdfs {
    client: Client,
    /// `hdfs://HOST:PORT`.
    root: String,
}

impl fmt::Debug for Hdfs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hdfs").field(&self.root).finish()
    }
}

impl Hdfs {
    pub(crate) fn open(configuration: &Configuration, user: &str, authority: &str) -> io::Result<Self> {
        let wrong = |reason: String| io::Error::new(io::ErrorKind::InvalidInput, reason);
        let port = match authority.rsplit_once(':') {
            None => None,
            Some((_, port)) => Some(port.parse::<u16>().map_err(|_| {
                wrong(format!("`{authority}` is not the address of a NameNode; expected HOST:PORT or a name"))
            })?),
        };
        // A name that the configuration knows has no port.
        let is_service = configuration.list("dfs.nameservices").iter().any(|name| name == authority);
        let root = match port {
            None if !is_service => format!("hdfs://{authority}:{NAME_NODE_PORT}"),
            _ => format!("hdfs://{authority}"),
        };
        let mut settings = configuration.all();
        if !is_service && configuration.get(ATTEMPTS.0).is_none() {
            settings.push((ATTEMPTS.0.to_owned(), ATTEMPTS.1.to_owned()));
        }
        let built = ClientBuilder::new().with_url(&root).with_config(settings).with_user(user).build();
        let client = built.map_err(|error| wrong(format!("{root} cannot be opened: {error}")))?;
        Ok(Self { client, root })
    }

    fn call<T>(&self, call: impl Future<Output = Result<T, HdfsError>>) -> io::Result<T> {
        wait(&self.root, CALL_TIMEOUT, call)
    }
}

/// Waits on this thread, which must be none of an async runtime.
fn wait<T>(root: &str, limit: Duration, call: impl Future<Output = Result<T, HdfsError>>) -> io::Result<T> {
    let runtime = Handle::try_current().map_err(io::Error::other)?;
    let answer = runtime.block_on(async { tokio::time::timeout(limit, call).await });
    match answer {
        Ok(answer) => answer.map_err(|error| io_error(root, &error)),
        Err(_) => {
            let text = format!("{root} has not answered for {limit:?}");
            Err(io::Error::new(io::ErrorKind::TimedOut, text))
        }
    }
}

/// The error with the kind that a local file system would give it, one line.
fn io_error(root: &str, error: &HdfsError) -> io::Error {
    use io::ErrorKind as K;
    let first = |text: &str| text.lines().next().unwrap_or_default().to_owned();
    let (kind, text) = match error {
        HdfsError::FileNotFound(_) => (K::NotFound, "no such file or folder".to_owned()),
        HdfsError::AlreadyExists(text) => (K::AlreadyExists, first(text)),
        HdfsError::IsADirectoryError(_) => (K::IsADirectory, "it is a folder".to_owned()),
        HdfsError::RPCError(class, text) | HdfsError::FatalRPCError(class, text) => {
            let name = class.rsplit(['.', '$']).next().unwrap_or_default();
            let text = first(text);
            match name {
                // A NameNode with a stand-in wraps the exception.
                _ if text.contains("safe mode") => {
                    let text =
                        format!("{root} is in safe mode and takes no changes; try again when it has left it");
                    (K::ReadOnlyFilesystem, text)
                }
                "AccessControlException" => (K::PermissionDenied, text),
                "FileNotFoundException" => (K::NotFound, text),
                "FileAlreadyExistsException" => (K::AlreadyExists, text),
                "PathIsNotEmptyDirectoryException" => (K::DirectoryNotEmpty, text),
                "ParentNotDirectoryException" => (K::NotADirectory, text),
                "NSQuotaExceededException" | "DSQuotaExceededException" => (K::QuotaExceeded, text),
                "StandbyException" => (K::NotConnected, format!("no NameNode of {root} is active: {text}")),
                _ => (K::Other, format!("{name}: {text}")),
            }
        }
        HdfsError::IOError(error) => (error.kind(), format!("{root} does not answer ({error})")),
        error => (K::Other, first(&error.to_string())),
    };
    io::Error::new(kind, text)
}

fn text(path: &Path) -> io::Result<&str> {
    path.to_str().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a path on HDFS must be UTF-8"))
}

fn status_of(found: &FileStatus) -> Status {
    Status {
        kind: if found.isdir { Kind::Folder } else { Kind::File },
        length: found.length as u64,
        modified_ms: i64::try_from(found.modification_time).unwrap_or(i64::MAX),
        mode: u32::from(found.permission),
        block_bytes: found.blocksize.unwrap_or(0),
    }
}

/// The last part of a path.
fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

impl FileSystem for Hdfs {
    fn root(&self) -> &str {
        &self.root
    }

    fn status(&self, path: &Path) -> io::Result<Status> {
        Ok(status_of(&self.call(self.client.get_file_info(text(path)?))?))
    }

    fn names(&self, folder: &Path) -> io::Result<Vec<OsString>> {
        let found = self.call(self.client.list_status(text(folder)?, false))?;
        Ok(found.iter().map(|status| OsString::from(name(&status.path))).collect())
    }

    fn walk(&self, folder: &Path, wanted: &dyn Fn(&OsStr) -> bool) -> io::Result<Vec<(PathBuf, Status)>> {
        let mut files = Vec::new();
        let mut folders = vec![text(folder)?.to_owned()];
        while let Some(folder) = folders.pop() {
            for found in self.call(self.client.list_status(&folder, false))? {
                if !wanted(OsStr::new(name(&found.path))) {
                    continue;
                }
                let status = status_of(&found);
                match status.kind {
                    Kind::Folder => folders.push(found.path),
                    _ => files.push((PathBuf::from(found.path), status)),
                }
            }
        }
        Ok(files)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Reader>> {
        let reader = self.call(self.client.read(text(path)?))?;
        Ok(Box::new(HdfsReader { root: self.root.clone(), reader, coming: None }))
    }

    fn create(&self, path: &Path, options: &CreateOptions) -> io::Result<Box<dyn Writer>> {
        let mut given = WriteOptions::default()
            .overwrite(!options.is_new)
            .create_parent(false)
            .permission(options.mode.unwrap_or(FILE_MODE));
        if let Some(replication) = options.replication {
            given = given.replication(replication);
        }
        if let Some(bytes) = options.block_bytes {
            given = given.block_size(bytes.next_multiple_of(BLOCK_STEP));
        }
        let writer = self.call(self.client.create(text(path)?, given))?;
        Ok(Box::new(HdfsWriter { root: self.root.clone(), writer }))
    }

    fn create_folders(&self, path: &Path, mode: Option<u32>) -> io::Result<()> {
        self.call(self.client.mkdirs(text(path)?, mode.unwrap_or(FOLDER_MODE), true))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call(self.client.rename(text(from)?, text(to)?, true))
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call(self.client.rename(text(from)?, text(to)?, false))
    }

    fn link(&self, _: &Path, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        match self.call(self.client.delete(text(path)?, false))? {
            true => Ok(()),
            false => Err(io_error(&self.root, &HdfsError::FileNotFound(String::new()))),
        }
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        self.remove_file(path)
    }

    fn remove_all(&self, path: &Path) -> io::Result<()> {
        match self.call(self.client.delete(text(path)?, true))? {
            true => Ok(()),
            false => Err(io_error(&self.root, &HdfsError::FileNotFound(String::new()))),
        }
    }

    /// The NameNode has written each change before it answers.
    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
}

struct HdfsReader {
    root: String,
    reader: FileReader,
    coming: Option<Coming>,
}

/// Bytes that are on their way.
struct Coming {
    stream: BoxStream<'static, Result<Bytes, HdfsError>>,
    /// Of the next byte, and of the one behind the last.
    position: u64,
    end: u64,
    /// What came and was not asked for yet.
    rest: Bytes,
}

impl Reader for HdfsReader {
    fn read_at(&mut self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let length = self.reader.file_length() as u64;
        let wanted = buffer.len().min(usize::try_from(length.saturating_sub(position)).unwrap_or(usize::MAX));
        let mut filled = 0;
        while filled < wanted {
            let at = position + filled as u64;
            let mut coming = match self.coming.take().filter(|coming| coming.position == at) {
                Some(coming) => coming,
                None => {
                    let bytes = (length - at).min(buffer.len() as u64 * STREAM_READS);
                    let stream = self.reader.read_range_stream(at as usize, bytes as usize).boxed();
                    Coming { stream, position: at, end: at + bytes, rest: Bytes::new() }
                }
            };
            if coming.rest.is_empty() {
                let next = wait(&self.root, DATA_TIMEOUT, async { coming.stream.next().await.transpose() })?;
                coming.rest = next.unwrap_or_default();
                if coming.rest.is_empty() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            let piece = coming.rest.split_to(coming.rest.len().min(wanted - filled));
            buffer[filled..filled + piece.len()].copy_from_slice(&piece);
            filled += piece.len();
            coming.position += piece.len() as u64;
            self.coming = Some(coming).filter(|coming| coming.position < coming.end);
        }
        Ok(filled)
    }
}

struct HdfsWriter {
    root: String,
    writer: FileWriter,
}

impl Writer for HdfsWriter {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let write = self.writer.write_bytes(Bytes::copy_from_slice(bytes));
        wait(&self.root, DATA_TIMEOUT, write).map(|_| ())
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        wait(&self.root, DATA_TIMEOUT, self.writer.close())
    }
}
