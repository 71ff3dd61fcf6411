//! Finds the leader in the folder: for TaskExecutors and clients, which take no
//! part in the election and write nothing.

use super::folder::read;
use super::leader::{FILE, KIND, LeaderInformation};
use super::{blocking, document, storage};
use crate::Error;
use heddle_filesystem::FileSystem;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tracing::warn;

pub struct FileLeaderRetrieval {
    files: Arc<dyn FileSystem>,
    file: PathBuf,
    poll_interval: Duration,
    /// What was told last.
    told: Option<LeaderInformation>,
}

impl FileLeaderRetrieval {
    pub(super) fn new(files: Arc<dyn FileSystem>, folder: PathBuf, poll_interval: Duration) -> Self {
        Self { files, file: folder.join(FILE), poll_interval, told: None }
    }

    /// The leader that has published its address, if there is one.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub async fn current(&self) -> Result<Option<LeaderInformation>, Error> {
        let (files, file) = (self.files.clone(), self.file.clone());
        let found = blocking(move || match read(&*files, &file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(storage("reading the leader file", &file, &error)),
            Ok(bytes) => match document::decode::<LeaderInformation>(KIND, &bytes) {
                Ok(leader) => Ok(Some(leader)),
                Err(reason) => Err(Error::Storage {
                    operation: "reading the leader file",
                    reason: format!("{}: {reason}", file.display()),
                }),
            },
        })
        .await?;
        Ok(found.filter(|leader| leader.address.is_some()))
    }

    /// Waits for a leader that differs from the one told last. One of an older
    /// epoch is never told. Cancel-safe.
    pub async fn next(&mut self) -> LeaderInformation {
        let mut failed = None;
        loop {
            match self.current().await {
                Ok(Some(leader)) => {
                    let newer = self.told.as_ref().is_none_or(|told| {
                        leader.epoch > told.epoch || (leader.epoch == told.epoch && leader != *told)
                    });
                    if newer {
                        self.told = Some(leader.clone());
                        return leader;
                    }
                }
                Ok(None) => {}
                Err(error) => {
                    if failed.as_ref() != Some(&error) {
                        warn!(%error, "the leader cannot be looked up; trying again");
                        failed = Some(error);
                    }
                }
            }
            tokio::time::sleep(self.poll_interval).await;
        }
    }
}
