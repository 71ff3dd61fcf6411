//! What committing jobs are to publish, as files: `<job id>_COMMITTING.json`
//! until the job is clean.

use super::folder::{Folder, Found, RESULTS};
use super::leader::LeaderFile;
use crate::{Commitments, Error, ResultState, Unreadable};
use heddle_model::id::JobId;
use heddle_model::plan::TransformationId;
use heddle_model::task::{Commitment, Committable};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tracing::error;

const KIND: &str = "job commitment";
pub(super) const COMMITTING: &str = "_COMMITTING.json";

/// The form of the file.
#[derive(Serialize, Deserialize)]
struct Stored {
    job_id: JobId,
    start_time_ms: u64,
    first_sink_record_at_ms: Option<u64>,
    accumulators: BTreeMap<String, i64>,
    committables: Vec<StoredCommittable>,
}

#[derive(Serialize, Deserialize)]
struct StoredCommittable {
    sink: TransformationId,
    content: Content,
}

/// Text as text: a list of bytes takes four times the space, and nobody can
/// read it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Content {
    Text(String),
    Bytes(Vec<u8>),
}

impl From<Commitment> for Stored {
    fn from(commitment: Commitment) -> Self {
        let content = |bytes: Vec<u8>| {
            String::from_utf8(bytes).map_or_else(|error| Content::Bytes(error.into_bytes()), Content::Text)
        };
        let committables = commitment.committables.into_iter();
        Self {
            job_id: commitment.job_id,
            start_time_ms: commitment.start_time_ms,
            first_sink_record_at_ms: commitment.first_sink_record_at_ms,
            accumulators: commitment.accumulators,
            committables: committables
                .map(|one| StoredCommittable { sink: one.sink, content: content(one.content) })
                .collect(),
        }
    }
}

impl From<Stored> for Commitment {
    fn from(stored: Stored) -> Self {
        let bytes = |content: Content| match content {
            Content::Text(text) => text.into_bytes(),
            Content::Bytes(bytes) => bytes,
        };
        let committables = stored.committables.into_iter();
        Self {
            job_id: stored.job_id,
            start_time_ms: stored.start_time_ms,
            first_sink_record_at_ms: stored.first_sink_record_at_ms,
            accumulators: stored.accumulators,
            committables: committables
                .map(|one| Committable { sink: one.sink, content: bytes(one.content) })
                .collect(),
        }
    }
}

pub(super) fn file(job_id: JobId) -> String {
    format!("{RESULTS}/{job_id}{COMMITTING}")
}

/// `from`: the job's state.
pub(super) fn create(
    folder: &Folder,
    leader: &LeaderFile,
    from: ResultState,
    commitment: Commitment,
) -> Result<(), Error> {
    let job_id = commitment.job_id;
    if from == ResultState::Absent {
        return folder.write(&file(job_id), KIND, &Stored::from(commitment), || leader.check());
    }
    if from == ResultState::Committing
        && let Found::Good(there) = folder.read::<Stored>(&file(job_id), KIND)?
        && Commitment::from(there) == commitment
    {
        leader.check()?;
        // It may have been written and renamed, and not yet be durable.
        return folder.sync_parent(&folder.path(&file(job_id)));
    }
    Err(Error::Transition { what: "the result", job_id, from, to: ResultState::Committing })
}

/// Reads what there is of these jobs.
pub(super) fn read(folder: &Folder, jobs: &[JobId]) -> Result<Commitments, Error> {
    let mut found = Commitments::default();
    for &job_id in jobs {
        let reason = match folder.read::<Stored>(&file(job_id), KIND)? {
            Found::Nothing => continue,
            Found::Good(stored) if stored.job_id == job_id => {
                found.good.push(stored.into());
                continue;
            }
            Found::Good(stored) => format!("it holds job {}", stored.job_id),
            Found::Corrupted(reason) => reason,
        };
        // It stays, too: without it the job would run again.
        let place = folder.copy_aside(&file(job_id))?;
        let path = folder.path(&file(job_id));
        error!(
            job = %job_id, file = %path.display(), reason, set_aside = %place.display(),
            "what a finished job is to publish cannot be read; it was set aside"
        );
        let reason = format!(
            "its tasks have finished, and what of their output is not published yet is not known: {} cannot \
             be read: {reason}; it was copied to {}",
            path.display(),
            place.display()
        );
        found.unreadable.push(Unreadable { job_id, reason });
    }
    Ok(found)
}
