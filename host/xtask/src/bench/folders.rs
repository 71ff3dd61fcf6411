//! Where the benchmarks keep things: the repository, and `target/bench`.

use crate::workspace;
use anyhow::{Context, Result};
use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};

#[derive(Clone)]
pub struct Folders {
    /// Of the repository.
    pub root: PathBuf,
    /// What the benchmarks build, generate and write.
    pub bench: PathBuf,
}

impl Folders {
    pub fn find() -> Result<Self> {
        let bench = workspace::target().join("bench");
        fs::create_dir_all(&bench).with_context(|| format!("cannot make {}", bench.display()))?;
        Ok(Self { root: workspace::root(), bench })
    }
}

/// The folder, empty.
pub fn fresh(folder: &Path) -> Result<PathBuf> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder.to_path_buf())
}

/// A number that changes with the content of a folder. Hidden files and
/// folders named `target` do not count.
pub fn fingerprint(folder: &Path) -> Result<u64> {
    let mut hasher = DefaultHasher::new();
    let mut files = files_below(folder)?;
    files.sort();
    for file in files {
        hasher.write(file.strip_prefix(folder).unwrap_or(&file).as_os_str().as_encoded_bytes());
        hasher.write(&fs::read(&file).with_context(|| format!("{}", file.display()))?);
    }
    Ok(hasher.finish())
}

/// All regular files below a folder, in no order.
pub fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            if name.as_encoded_bytes().starts_with(b".") || name == "target" {
                continue;
            }
            let kind = entry.file_type()?;
            if kind.is_dir() {
                open.push(entry.path());
            } else if kind.is_file() {
                found.push(entry.path());
            }
        }
    }
    Ok(found)
}
