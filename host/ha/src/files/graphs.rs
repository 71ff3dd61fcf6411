//! Job graphs as files.

use super::blocking;
use super::folder::{Folder, Found, GRAPHS};
use super::leader::LeaderFile;
use crate::{Error, JobGraphStore, JobGraphs, Unreadable};
use async_trait::async_trait;
use heddle_model::id::JobId;
use heddle_model::job_graph::JobGraph;
use std::sync::Arc;
use tracing::error;

const KIND: &str = "job graph";
const ENDING: &str = ".json";

pub struct FileJobGraphStore {
    folder: Arc<Folder>,
    leader: Arc<LeaderFile>,
}

impl FileJobGraphStore {
    pub(super) fn new(folder: Arc<Folder>, leader: Arc<LeaderFile>) -> Self {
        Self { folder, leader }
    }
}

fn file(job_id: JobId) -> String {
    format!("{GRAPHS}/{job_id}{ENDING}")
}

#[async_trait]
impl JobGraphStore for FileJobGraphStore {
    async fn put(&self, graph: &JobGraph) -> Result<(), Error> {
        let (folder, leader, graph) = (self.folder.clone(), self.leader.clone(), graph.clone());
        blocking(move || folder.write(&file(graph.job_id), KIND, &graph, || leader.check())).await
    }

    async fn remove(&self, job_id: JobId) -> Result<(), Error> {
        let (folder, leader) = (self.folder.clone(), self.leader.clone());
        blocking(move || {
            leader.check()?;
            folder.remove(&file(job_id))
        })
        .await
    }

    async fn list(&self) -> Result<JobGraphs, Error> {
        let folder = self.folder.clone();
        blocking(move || {
            let mut found = JobGraphs::default();
            for name in folder.names(GRAPHS)? {
                let Some(job_id) = name.strip_suffix(ENDING).and_then(|id| id.parse::<JobId>().ok()) else {
                    continue;
                };
                let reason = match folder.read::<JobGraph>(&file(job_id), KIND)? {
                    Found::Nothing => continue,
                    Found::Good(graph) if graph.job_id == job_id => {
                        found.graphs.push(graph);
                        continue;
                    }
                    Found::Good(graph) => format!("it holds job {}", graph.job_id),
                    Found::Corrupted(reason) => reason,
                };
                let place = folder.set_aside(&file(job_id))?;
                let path = folder.path(&file(job_id));
                error!(
                    job = %job_id, file = %path.display(), reason, set_aside = %place.display(),
                    "the graph of a job cannot be read; it was set aside"
                );
                let reason = format!(
                    "{} cannot be read: {reason}; it was moved to {}",
                    path.display(),
                    place.display()
                );
                found.unreadable.push(Unreadable { job_id, reason });
            }
            Ok(found)
        })
        .await
    }
}
