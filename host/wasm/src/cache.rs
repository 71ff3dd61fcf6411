//! Compiled components on disk. A file is complete or absent, only its owner
//! can have written it, and its checksum is verified before it is mapped.

use crate::error::Error;
use heddle_model::id::BlobKey;
use sha2::{Digest, Sha256};
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The folder of artefacts of one kind of engine.
#[derive(Debug)]
pub(crate) struct Cache {
    folder: PathBuf,
    compatibility: String,
}

impl Cache {
    /// Creates the folder owner-only, or checks one that is there.
    pub(crate) fn open(folder: &Path, compatibility: String) -> Result<Self, Error> {
        let refuse = |why: String| {
            Error::new(
                heddle_model::failure::ErrorCode::ConfigurationInvalid,
                format!("the cache of compiled components {} cannot be used: {why}", folder.display()),
            )
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|error| refuse(error.to_string()))?;
        // A link of somebody else's could lead elsewhere tomorrow.
        let link = fs::symlink_metadata(folder).map_err(|error| refuse(error.to_string()))?;
        let owners = [0, rustix::process::geteuid().as_raw()];
        if link.is_symlink() && !owners.contains(&link.uid()) {
            return Err(refuse("it is a link that belongs to another user".to_owned()));
        }
        let meta = fs::metadata(folder).map_err(|error| refuse(error.to_string()))?;
        if meta.uid() != rustix::process::geteuid().as_raw() {
            return Err(refuse("it belongs to another user, who could plant code there".to_owned()));
        }
        if meta.permissions().mode() & 0o022 != 0 {
            return Err(refuse(format!(
                "others can write to it, and could plant code there: chmod go-w {}",
                folder.display()
            )));
        }
        Ok(Self { folder: folder.to_owned(), compatibility })
    }

    /// Where the compiled form of a component is.
    pub(crate) fn artefact(&self, key: &BlobKey) -> PathBuf {
        self.folder.join(format!("{key}-{}.cwasm", self.compatibility))
    }

    fn checksum(artefact: &Path) -> PathBuf {
        artefact.with_extension("sha256")
    }

    /// Whether the artefact is there and is what was put there.
    pub(crate) fn verify(&self, key: &BlobKey) -> bool {
        let artefact = self.artefact(key);
        let Ok(expected) = fs::read_to_string(Self::checksum(&artefact)) else { return false };
        let Ok(found) = checksum_of(&artefact) else { return false };
        let intact = expected.trim() == found;
        if !intact {
            tracing::warn!(path = %artefact.display(), "a compiled component is damaged, compiling it again");
        }
        intact
    }

    /// A name in the folder that nothing else uses, for the compiler to write to.
    pub(crate) fn scratch(&self) -> io::Result<tempfile::TempDir> {
        tempfile::Builder::new().prefix(".compiling-").tempdir_in(&self.folder)
    }

    /// Moves a finished artefact to its place. Never changes a file that may
    /// be mapped: the name is given to a new file.
    pub(crate) fn put(&self, key: &BlobKey, finished: &Path) -> io::Result<()> {
        let artefact = self.artefact(key);
        let checksum = Self::checksum(&artefact);
        let written = checksum_of(finished)?;
        // Without its checksum an artefact does not count, so the order of
        // these steps leaves nothing half-written.
        let staged = finished.with_extension("sha256");
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&staged)?;
        file.write_all(written.as_bytes())?;
        fs::rename(finished, &artefact)?;
        fs::rename(&staged, &checksum)
    }

    /// Forgets an artefact that could not be used.
    pub(crate) fn remove(&self, key: &BlobKey) {
        let artefact = self.artefact(key);
        for path in [Self::checksum(&artefact), artefact] {
            if let Err(error) = fs::remove_file(&path)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(path = %path.display(), %error, "cannot remove a compiled component");
            }
        }
    }
}

fn checksum_of(path: &Path) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut file = fs::File::open(path)?;
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            length => hasher.update(&buffer[..length]),
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
