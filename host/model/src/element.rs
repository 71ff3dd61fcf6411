//! How the elements of a stream are encoded; mirrors `types` of
//! `proto/wit/operator.wit`.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The physical form of one column of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Column {
    /// Fixed width in bytes: 1, 2, 4 or 8.
    Fixed(u8),
    /// Bytes of any length, with end offsets.
    Bytes,
    /// UTF-8 text of any length, with end offsets.
    Utf8,
}

/// How the elements of a stream are encoded between two chains.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ElementType {
    /// `columns`, `postcard`, `msgpack`, `json` or `protobuf`.
    pub codec: String,
    /// The logical type in words; compared literally.
    pub schema: String,
    pub columns: Vec<Column>,
}

impl ElementType {
    /// One `utf8` column: what text connectors read and write.
    pub fn text() -> Self {
        Self { codec: "columns".into(), schema: "str".into(), columns: vec![Column::Utf8] }
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} as {}", self.schema, self.codec)
    }
}
