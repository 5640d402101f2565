//! The state file of `otpost dev`, by which other commands find it. If several `otpost dev` run, they use the one that was started last.

use std::fs::{File, TryLockError};
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The state file of a running `otpost dev`, with mode 0600. Other commands read it.
#[derive(Serialize, Deserialize)]
pub(super) struct StateFile {
    pub(super) api: String,
    pub(super) key: String,
    pub(super) operator_key: String,
    pub(super) gateway: String,
}

impl StateFile {
    /// The folder of `otpost dev`: `$XDG_STATE_HOME/otpost`.
    pub(super) fn folder() -> PathBuf {
        let home =
            || std::env::var_os("HOME").map_or_else(std::env::temp_dir, PathBuf::from).join(".local/state");
        std::env::var_os("XDG_STATE_HOME").map_or_else(home, PathBuf::from).join("otpost")
    }

    /// The port of the API is part of the name, so that a second `otpost dev` does not replace the file of the first.
    #[cfg(feature = "dev")]
    fn path(&self) -> PathBuf {
        let port = self.api.rsplit(':').next().unwrap_or_default();
        Self::folder().join(format!("dev-{port}.json"))
    }

    /// Writes the file, and locks it while the value lives.
    #[cfg(feature = "dev")]
    pub(super) fn write(&self) -> std::io::Result<OwnStateFile> {
        use std::io::Write;
        use std::os::unix::fs::OpenOptionsExt;
        std::fs::create_dir_all(Self::folder())?;
        // The file gets its name when it is locked, so that no command finds it without its lock.
        let (path, unnamed) = (self.path(), self.path().with_extension("new"));
        let _ = std::fs::remove_file(&unnamed);
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unnamed)?;
        file.write_all(serde_json::to_string(self)?.as_bytes())?;
        file.try_lock()?;
        std::fs::rename(&unnamed, &path)?;
        Ok(OwnStateFile { path, _locked: file })
    }

    /// The state of the `otpost dev` that was started last and still runs.
    pub(super) fn read() -> Option<Self> {
        let is_state =
            |name: &str| name.strip_prefix("dev-").is_some_and(|n| n.strip_suffix(".json").is_some());
        let mut files: Vec<(_, PathBuf)> = std::fs::read_dir(Self::folder())
            .ok()?
            .flatten()
            .filter(|entry| entry.file_name().to_str().is_some_and(is_state))
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        files.sort_unstable_by(|a, b| b.cmp(a));
        files.into_iter().find_map(|(_, path)| Self::read_locked(&path))
    }

    /// A killed process leaves its file, but not the lock.
    fn read_locked(path: &Path) -> Option<Self> {
        let mut file = File::open(path).ok()?;
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => {}
            _ => return None,
        }
        let mut text = String::new();
        file.read_to_string(&mut text).ok()?;
        serde_json::from_str(&text).ok()
    }
}

/// The state file of this process. It is deleted with the value.
#[cfg(feature = "dev")]
pub(super) struct OwnStateFile {
    path: PathBuf,
    _locked: File,
}

#[cfg(feature = "dev")]
impl Drop for OwnStateFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
