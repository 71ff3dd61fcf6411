//! What a process takes of its machine: folders and threads.

use crate::folder::Folder;
use crate::{internal, invalid};
use heddle_blob::{BlobServer, ServerOptions};
use heddle_model::config::{ConfigOption, Configuration, options as o};
use heddle_model::failure::Failure;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::runtime::{Handle, Runtime};
use tracing::debug;

/// How long the work that blocks (files) may take to end at shutdown.
const WORKERS_SHUTDOWN: Duration = Duration::from_secs(1);

/// Threads for the messages of a process; what computes or blocks has its own.
const MESSAGE_THREADS_MAX: usize = 4;

/// Threads for blocking work a processor has by default, as Flink's.
const IO_THREADS_PER_PROCESSOR: usize = 4;

/// Turns of tasks after which a worker looks for what the system has to tell.
const EVENT_INTERVAL: u32 = 8;

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Runs the roles of a process, with its pool for what blocks.
///
/// # Errors
/// H9001: the system gives no threads.
pub fn process_runtime(configuration: &Configuration) -> Result<Runtime, Failure> {
    let io_pool = match configuration.get(&o::IO_POOL_SIZE) {
        Some(threads) => threads.get() as usize,
        None => IO_THREADS_PER_PROCESSOR * processors(),
    };
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(processors().min(MESSAGE_THREADS_MAX))
        .max_blocking_threads(io_pool)
        .thread_name("heddle-io")
        .enable_all()
        .build()
        .map_err(|error| internal(format!("cannot start the threads of the process: {error}")))
}

/// The fixed pool of threads that runs all subtasks.
pub struct Workers {
    /// Taken at shutdown.
    runtime: Option<Runtime>,
    handle: Handle,
}

impl Workers {
    /// # Errors
    /// H9001: the system gives no threads.
    pub fn start(configuration: &Configuration) -> Result<Self, Failure> {
        let threads = match configuration.get(&o::WORKER_THREADS) {
            Some(threads) => threads.get() as usize,
            None => processors(),
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("heddle-worker")
            // A guest that never waits has its worker for a time slice at each
            // turn. What other threads woke, and what the system has to tell,
            // would have to wait for 61 of them.
            .global_queue_interval(1)
            .event_interval(EVENT_INTERVAL)
            .enable_all()
            .build()
            .map_err(|error| internal(format!("cannot start {threads} worker threads: {error}")))?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Waits for what still reads or writes a file, at most a second.
    pub async fn shut_down(mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        // Dropping a runtime blocks, which an async thread must not.
        let ended = tokio::task::spawn_blocking(move || runtime.shutdown_timeout(WORKERS_SHUTDOWN)).await;
        if let Err(error) = ended {
            debug!(%error, "the workers did not end in order");
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The folders of one process, removed at its end. Those of a process that was
/// killed are removed by the next one that makes its own at the same place.
pub struct Folders {
    working: Folder,
    /// Where `blob.storage.directory` says.
    blobs: Option<Folder>,
}

impl Folders {
    /// # Errors
    /// H1201: none can be made where the configuration says.
    pub fn create(configuration: &Configuration, process: &str) -> Result<Self, Failure> {
        let parent = configuration.get(&o::TMP_DIRS).map_or_else(std::env::temp_dir, PathBuf::from);
        let working = folder_in(&parent, &format!("heddle-{process}-"), &o::TMP_DIRS)?;
        let parent = configuration.get(&o::BLOB_STORAGE_DIRECTORY);
        let blobs = match parent {
            Some(parent) => Some(folder_in(Path::new(&parent), "blobStore-", &o::BLOB_STORAGE_DIRECTORY)?),
            None => None,
        };
        Ok(Self { working, blobs })
    }

    pub fn working(&self) -> &Path {
        self.working.path()
    }

    /// The folder of the blob server.
    pub fn blobs(&self) -> PathBuf {
        self.blobs.as_ref().map_or_else(|| self.working().join("blobs"), |folder| folder.path().join("blobs"))
    }

    /// The folder of the copies of its blobs.
    pub fn blob_cache(&self) -> PathBuf {
        self.blobs.as_ref().map_or_else(|| self.working().join("cache"), |folder| folder.path().join("cache"))
    }

    /// Opens the blob server. Its blobs need not outlive the process: high
    /// availability has copies.
    ///
    /// # Errors
    /// H3201: the folder cannot be used.
    pub fn open_blob_server(&self, configuration: &Configuration) -> Result<BlobServer, Failure> {
        let options = ServerOptions::from_configuration(self.blobs(), configuration);
        Ok(BlobServer::open(ServerOptions { durable: false, ..options })?)
    }

    pub fn remove(self) {
        self.working.remove();
        if let Some(blobs) = self.blobs {
            blobs.remove();
        }
    }
}

fn folder_in(parent: &Path, prefix: &str, option: &ConfigOption<Option<String>>) -> Result<Folder, Failure> {
    Folder::create(parent, prefix).map_err(|error| {
        invalid(format!(
            "no working folder can be made in {}: {error}; set `{}` to a folder that can be written",
            parent.display(),
            option.key(),
        ))
    })
}
