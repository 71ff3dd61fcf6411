//! A log file that begins anew at each start and when it is full; a bounded
//! number of former ones stay beside it as `FILE.1`, `FILE.2`, …

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

pub struct RollingFile {
    path: PathBuf,
    file: File,
    length: u64,
    length_max: u64,
    former_max: u32,
}

impl RollingFile {
    /// Begins a new file. `length_max` in bytes; `former_max` stay.
    pub fn begin(path: PathBuf, length_max: u64, former_max: u32) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        roll(&path, former_max)?;
        let file = File::create(&path)?;
        Ok(Self { path, file, length: 0, length_max: length_max.max(1), former_max })
    }
}

/// Makes room for a new file at the path.
pub fn roll(path: &Path, former_max: u32) -> io::Result<()> {
    if !path.exists() {
        return Ok(());
    }
    let former = |number: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    };
    if former_max == 0 {
        return std::fs::remove_file(path);
    }
    for number in (1..former_max).rev() {
        if former(number).exists() {
            std::fs::rename(former(number), former(number + 1))?;
        }
    }
    std::fs::rename(path, former(1))
}

impl Write for RollingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.length > 0 && self.length.saturating_add(bytes.len() as u64) > self.length_max {
            roll(&self.path, self.former_max)?;
            self.file = File::create(&self.path)?;
            self.length = 0;
        }
        // A line stays in one piece.
        self.file.write_all(bytes)?;
        self.length += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_files_and_those_of_former_starts_stay_up_to_a_number() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log/x.log");
        for start in 0..2 {
            let mut file = RollingFile::begin(path.clone(), 12, 3).unwrap();
            for line in 0..4 {
                file.write_all(format!("{start}.{line}\n").as_bytes()).unwrap();
            }
        }
        let read = |name: &str| std::fs::read_to_string(folder.path().join("log").join(name)).unwrap();
        assert_eq!(read("x.log"), "1.3\n");
        assert_eq!(read("x.log.1"), "1.0\n1.1\n1.2\n");
        assert_eq!(read("x.log.2"), "0.3\n");
        assert_eq!(read("x.log.3"), "0.0\n0.1\n0.2\n");
        assert_eq!(std::fs::read_dir(folder.path().join("log")).unwrap().count(), 4);
    }
}
