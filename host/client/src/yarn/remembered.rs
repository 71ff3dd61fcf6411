//! The session that later commands talk to: its id in a file of the user, as
//! Flink's properties file.

use heddle_model::config::{Configuration, options as o};
use heddle_model::failure::{ErrorCode, Failure};
use heddle_yarn::configuration::environment;
use heddle_yarn::id::ApplicationId;
use heddle_yarn::user;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The key in the file.
const KEY: &str = "applicationID";
/// A file of one short line.
const BYTES_MAX: u64 = 64 << 10;

/// The file, whether it is there or not.
pub struct Remembered {
    file: PathBuf,
}

impl Remembered {
    /// In the folder of `yarn.properties-file.location`, or where temporary
    /// files are.
    pub fn of(configuration: &Configuration) -> Self {
        let folder = configuration.get(&o::YARN_PROPERTIES_FILE);
        let folder = folder.map_or_else(std::env::temp_dir, PathBuf::from);
        let user = user::name(&environment()).replace('/', "_");
        Self { file: folder.join(format!(".heddle-properties-{user}")) }
    }

    pub fn file(&self) -> &Path {
        &self.file
    }

    /// None if nothing is remembered.
    ///
    /// # Errors
    /// H1201: the file is not as it was written, or another user's.
    pub fn read(&self) -> Result<Option<ApplicationId>, Failure> {
        let wrong = |reason: String| {
            let message = format!(
                "the session that is remembered in {} cannot be used: {reason}; delete the file, or name another \
                 with -D{}=…",
                self.file.display(),
                o::YARN_APPLICATION_ID.key()
            );
            Failure::new(ErrorCode::ConfigurationInvalid, message)
        };
        let metadata = match fs::symlink_metadata(&self.file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            looked => looked.map_err(|error| wrong(error.to_string()))?,
        };
        // Anybody may put a file into the folder of temporary ones.
        if !metadata.is_file() || metadata.uid() != rustix::process::geteuid().as_raw() {
            return Err(wrong("it is no file of this user".to_owned()));
        }
        if metadata.len() > BYTES_MAX {
            return Err(wrong(format!("it has {} bytes", metadata.len())));
        }
        let text = fs::read_to_string(&self.file).map_err(|error| wrong(error.to_string()))?;
        let id = text.lines().find_map(|line| line.trim().strip_prefix(KEY)?.trim_start().strip_prefix('='));
        let id = id.ok_or_else(|| wrong(format!("it has no `{KEY}`")))?;
        id.trim().parse().map(Some).map_err(|error: heddle_yarn::id::ParseError| wrong(error.to_string()))
    }

    /// For later commands of this user.
    pub fn write(&self, id: ApplicationId) -> io::Result<()> {
        // A link that somebody else put there is not followed.
        self.remove()?;
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.file)?;
        writeln!(
            file,
            "# The session on YARN that `heddle` talks to; delete this file to forget it.\n{KEY}={id}"
        )
    }

    /// Forgets the session, if it is this one.
    pub fn forget(&self, id: ApplicationId) {
        if self.read().is_ok_and(|remembered| remembered == Some(id))
            && let Err(error) = self.remove()
        {
            tracing::warn!(%error, file = %self.file.display(), "the session that ended stays remembered");
        }
    }

    fn remove(&self) -> io::Result<()> {
        match fs::remove_file(&self.file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remembered() -> (tempfile::TempDir, Remembered) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(".heddle-properties-bob");
        (folder, Remembered { file })
    }

    #[test]
    fn what_is_written_is_read_until_it_is_forgotten() {
        let (_folder, remembered) = remembered();
        let id = |number| ApplicationId { cluster_timestamp: 1_700_000_000_000, number };
        assert_eq!(remembered.read(), Ok(None));
        remembered.write(id(1)).unwrap();
        remembered.write(id(2)).unwrap();
        assert_eq!(remembered.read(), Ok(Some(id(2))));
        assert_eq!(fs::metadata(remembered.file()).unwrap().mode() & 0o777, 0o600);
        remembered.forget(id(1));
        assert_eq!(remembered.read(), Ok(Some(id(2))));
        remembered.forget(id(2));
        assert_eq!(remembered.read(), Ok(None));
    }

    #[test]
    fn what_is_no_session_is_told_with_the_file() {
        let (folder, remembered) = remembered();
        for (content, expected) in
            [("", "it has no `applicationID`"), ("applicationID=job_1\n", "`job_1` is no application id")]
        {
            fs::write(remembered.file(), content).unwrap();
            let failure = remembered.read().unwrap_err();
            assert!(failure.message.contains(expected), "{failure}");
            assert!(failure.message.contains(&remembered.file().display().to_string()), "{failure}");
        }
        fs::remove_file(remembered.file()).unwrap();
        std::os::unix::fs::symlink(folder.path(), remembered.file()).unwrap();
        assert!(remembered.read().unwrap_err().message.contains("no file of this user"));
    }
}
