//! The text that `text-file` counts: the source files of the crates that the
//! project was built from, as they lie in cargo's registry, put together into
//! files of some MB. (Over thousands of small files Flink would spend its time
//! on asking for the next one: 7 ms each.) Only valid UTF-8, so that both
//! sides read the same characters.

use crate::bench::folders::{Folders, files_below};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::{env, fs};

/// Enough that the start of a job does not count.
const BYTES_MAX: u64 = 512 << 20;
/// Of one file.
const FILE_BYTES: usize = 8 << 20;
/// Of sources; data files of tests are other kinds of text.
const KINDS: [&str; 8] = ["rs", "md", "toml", "txt", "c", "h", "wit", "wat"];

/// A folder of text.
pub struct Corpus {
    pub folder: PathBuf,
    pub bytes: u64,
    pub files: u64,
}

/// Writes the files into `target/bench/text`, once.
pub fn prepare(folders: &Folders) -> Result<Corpus> {
    let folder = folders.bench.join("text");
    let stamp = folder.join(".done");
    if !stamp.exists() {
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        gather(&registry()?, &folder)?;
        fs::write(&stamp, "")?;
    }
    let mut corpus = Corpus { folder, bytes: 0, files: 0 };
    for file in files_below(&corpus.folder)? {
        corpus.bytes += fs::metadata(file)?.len();
        corpus.files += 1;
    }
    if corpus.files == 0 {
        bail!("there is no text in {}", corpus.folder.display());
    }
    Ok(corpus)
}

fn registry() -> Result<PathBuf> {
    let home = match env::var_os("CARGO_HOME") {
        Some(home) => PathBuf::from(home),
        None => PathBuf::from(env::var_os("HOME").context("HOME is not set")?).join(".cargo"),
    };
    let sources = home.join("registry").join("src");
    if !sources.is_dir() {
        bail!("no sources of crates in {}", sources.display());
    }
    Ok(sources)
}

fn gather(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    let mut files: Vec<PathBuf> = files_below(from)?.into_iter().filter(|file| is_text(file)).collect();
    files.sort();
    let mut bytes = 0;
    let mut written = 0;
    let mut text = Vec::new();
    for file in &files {
        let content = fs::read(file).with_context(|| format!("{}", file.display()))?;
        bytes += content.len() as u64;
        if bytes > BYTES_MAX {
            break;
        }
        if std::str::from_utf8(&content).is_ok() {
            text.extend_from_slice(&content);
            text.push(b'\n');
        }
        if text.len() >= FILE_BYTES {
            write(to, &mut written, &mut text)?;
        }
    }
    if !text.is_empty() {
        write(to, &mut written, &mut text)?;
    }
    Ok(())
}

fn write(to: &Path, written: &mut u32, text: &mut Vec<u8>) -> Result<()> {
    let path = to.join(format!("sources-{written:03}.txt"));
    fs::write(&path, &text).with_context(|| format!("cannot write {}", path.display()))?;
    *written += 1;
    text.clear();
    Ok(())
}

fn is_text(file: &Path) -> bool {
    file.extension().is_some_and(|extension| KINDS.iter().any(|kind| extension == *kind))
}
