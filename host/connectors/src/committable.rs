//! What a sink's subtask leaves behind, as it travels to the job master.

use crate::io_failed;
use heddle_model::failure::Failure;
use heddle_model::plan::TransformationId;
use heddle_model::task::Committable;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Content {
    /// The sink has shown everything already.
    Nothing,
    /// A file in the job's temporary folder.
    TextFile { subtask: u32, file: String, bytes: u64 },
    /// Lines for the client.
    Lines { subtask: u32, lines: Vec<String> },
}

impl Content {
    pub(crate) fn into_committable(self, sink: TransformationId) -> Committable {
        let content = serde_json::to_vec(&self).expect("plain data with text keys");
        Committable { sink, content }
    }

    pub(crate) fn read(committable: &Committable) -> Result<Self, Failure> {
        serde_json::from_slice(&committable.content).map_err(|error| {
            io_failed(format!(
                "what a subtask of sink {} left behind cannot be read: {error}",
                committable.sink
            ))
        })
    }
}
