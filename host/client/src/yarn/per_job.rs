//! The job of a per-job cluster, as it travels: its graph, made by the client,
//! and its component, two files in the application master's folder.

use crate::Job;
use crate::yarn::{COMPONENT, JOB_GRAPH};
use bytes::Bytes;
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::BlobKey;
use heddle_model::job_graph::JobGraph;
use std::path::PathBuf;

/// A job that is ready to be shipped.
#[derive(Clone, Debug)]
pub struct ShippedJob {
    /// The graph as JSON.
    pub(super) graph: Vec<u8>,
    pub(super) component: PathBuf,
}

impl ShippedJob {
    /// Of a job that was made of this component's file.
    ///
    /// # Errors
    /// H9001: a graph that cannot be written.
    pub fn new(job: &Job, component: PathBuf) -> Result<Self, Failure> {
        let graph = serde_json::to_vec(&job.graph)
            .map_err(|error| crate::internal(format!("the job's graph cannot be written: {error}")))?;
        Ok(Self { graph, component })
    }
}

/// Reads what was shipped to this process's folder.
pub(crate) fn shipped_job() -> Result<(JobGraph, Bytes), Failure> {
    let broken = |file: &str, reason: &dyn std::fmt::Display| {
        let message = format!(
            "the file {file} that was shipped with the job cannot be used: {reason}; submit the job again"
        );
        Failure::new(ErrorCode::YarnStaging, message)
    };
    let read = |file| std::fs::read(file).map_err(|error| broken(file, &error));
    let graph: JobGraph =
        serde_json::from_slice(&read(JOB_GRAPH)?).map_err(|error| broken(JOB_GRAPH, &error))?;
    let component = Bytes::from(read(COMPONENT)?);
    if BlobKey::of(&component) != graph.component {
        return Err(broken(COMPONENT, &"it is not the component that the graph was made of"));
    }
    Ok((graph, component))
}
