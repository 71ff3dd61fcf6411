//! The list of an application's staged files: the client writes it, the
//! application master starts other containers with the same files.

use crate::launch::LocalResource;
use std::collections::BTreeMap;

/// Its name in the container's folder.
pub const FILE: &str = "heddle-staged.json";
/// The environment variable with the address of the staging folder.
pub const FOLDER_VARIABLE: &str = "HEDDLE_YARN_STAGING";

/// One line of JSON.
pub fn encode(files: &BTreeMap<String, LocalResource>) -> Vec<u8> {
    serde_json::to_vec(files).expect("names and numbers are JSON")
}

pub fn decode(bytes: &[u8]) -> Result<BTreeMap<String, LocalResource>, serde_json::Error> {
    serde_json::from_slice(bytes)
}
