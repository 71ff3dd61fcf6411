//! Why a call of the state interface was refused.

use heddle_model::failure::{ErrorCode, Failure};
use std::ops::Range;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A length does not fit the list it stands in.
    #[error(
        "entry {entry} of a list of state entries is malformed: its {part} needs {needed} bytes, {left} are left"
    )]
    Malformed { entry: usize, part: &'static str, needed: u64, left: usize },
    #[error("a list of state entries has {length} bytes, at most {limit} may cross in one call")]
    CallTooLong { length: usize, limit: usize },
    #[error("the values that a call asks for exceed {limit} bytes; ask for fewer keys at a time")]
    AnswerTooLong { limit: usize },
    #[error("there is no state {state}; {registered} are registered")]
    UnknownState { state: u32, registered: usize },
    #[error("key group {key_group} (hash {hash:#010x}) does not belong to this subtask, which owns {}..{}", owned.start, owned.end)]
    ForeignKeyGroup { key_group: u32, hash: u32, owned: Range<u32> },
    #[error("the scan cursor {cursor:#x} was not given by the call before")]
    BadCursor { cursor: u64 },
    #[error("the name of a state has {length} bytes, at most {limit} are allowed")]
    NameTooLong { length: usize, limit: usize },
    /// The slot's managed memory is used up.
    #[error(
        "state does not fit into the slot's managed memory: {requested} bytes more are needed, {used} of {limit} are in use; \
         raise taskmanager.memory.managed.size (or .fraction), or the parallelism"
    )]
    Memory { requested: u64, used: u64, limit: u64 },
    /// One key group outgrew its table.
    #[error("a key group's state exceeds {limit} bytes; raise the maximum parallelism")]
    KeyGroupTooLarge { limit: u64 },
}

impl Error {
    /// The failure of the task whose guest met it.
    pub fn failure(&self, task: &str) -> Failure {
        match self {
            Error::Memory { .. } | Error::KeyGroupTooLarge { .. } => {
                Failure::new(ErrorCode::StateLimit, format!("`{task}`: {self}"))
            }
            _ => Failure::new(
                ErrorCode::ContractViolation,
                format!("the guest of `{task}` broke the contract of keyed state: {self}"),
            ),
        }
    }
}
