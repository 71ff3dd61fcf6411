//! Copies of blobs as files, a folder for each job: `blobs/<job id>/<key>`.
//! Jobs of one component share its bytes on disk by links.

use super::folder::{BLOBS, Folder};
use super::leader::LeaderFile;
use super::{blocking, storage};
use crate::{BlobStore, Error};
use async_trait::async_trait;
use heddle_model::id::{BlobKey, JobId};
use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Copies that are remembered to be linked to; beyond it copies are made.
const MAX_REMEMBERED: usize = 10_000;

pub struct FileBlobStore {
    folder: Arc<Folder>,
    leader: Arc<LeaderFile>,
    /// The last copy of each key.
    copies: Arc<Mutex<HashMap<BlobKey, PathBuf>>>,
}

impl FileBlobStore {
    pub(super) fn new(folder: Arc<Folder>, leader: Arc<LeaderFile>) -> Self {
        Self { folder, leader, copies: Arc::default() }
    }
}

fn job_folder(folder: &Folder, job_id: JobId) -> PathBuf {
    folder.path(&format!("{BLOBS}/{job_id}"))
}

#[async_trait]
impl BlobStore for FileBlobStore {
    async fn put(&self, job_id: JobId, key: BlobKey, file: &Path) -> Result<(), Error> {
        let (folder, leader, copies) = (self.folder.clone(), self.leader.clone(), self.copies.clone());
        let file = file.to_path_buf();
        blocking(move || {
            let job_folder = job_folder(&folder, job_id);
            let copy = job_folder.join(key.to_string());
            let failed = |error: std::io::Error| storage("copying a blob", &copy, &error);
            folder.create_folder(&job_folder).map_err(failed)?;
            leader.check()?;
            let former = copies.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
            let linked = match former {
                Some(former) => match folder.files.link(&former, &copy) {
                    Ok(()) => true,
                    Err(error) => error.kind() == ErrorKind::AlreadyExists,
                },
                None => false,
            };
            if !linked {
                folder.copy_in(&file, &copy).map_err(failed)?;
            }
            folder.sync_parent(&copy)?;
            folder.sync_parent(&job_folder)?;
            let mut copies = copies.lock().unwrap_or_else(PoisonError::into_inner);
            if copies.len() < MAX_REMEMBERED || copies.contains_key(&key) {
                copies.insert(key, copy);
            }
            Ok(())
        })
        .await
    }

    async fn get(&self, job_id: JobId, key: BlobKey) -> Result<Option<PathBuf>, Error> {
        let folder = self.folder.clone();
        let copy = job_folder(&folder, job_id).join(key.to_string());
        blocking(move || match folder.on_this_machine(&copy) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(storage("looking for a blob", &copy, &error)),
        })
        .await
    }

    async fn remove(&self, job_id: JobId) -> Result<(), Error> {
        let (folder, leader) = (self.folder.clone(), self.leader.clone());
        blocking(move || {
            leader.check()?;
            let job_folder = job_folder(&folder, job_id);
            match folder.files.remove_all(&job_folder) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    Err(storage("removing the blobs of a job", &job_folder, &error))
                }
                _ => folder.sync_parent(&job_folder),
            }
        })
        .await
    }
}
