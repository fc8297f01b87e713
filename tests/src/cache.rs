//! The user's cache folder, shared by checkouts: built tools, image archives, testbeds. Knows where, not what.

use std::env;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// `$WSCLUSTER_CACHE`, else `$XDG_CACHE_HOME/wscluster`, else `~/.cache/wscluster`.
pub fn folder() -> PathBuf {
    let named = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    named("WSCLUSTER_CACHE")
        .or_else(|| named("XDG_CACHE_HOME").map(|cache| cache.join("wscluster")))
        .unwrap_or_else(|| named("HOME").unwrap_or_else(|| "/root".into()).join(".cache/wscluster"))
}

/// A lock file held until dropped, or until the process ends however it ends.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    file: File,
}

impl Lock {
    /// Takes the lock, waiting for another process to let go; `waiting` is called once if there is one.
    pub fn take(path: &Path, waiting: impl FnOnce()) -> Result<Self> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
        }
        let mut waiting = Some(waiting);
        loop {
            let lock = Self::open(path)?;
            if !lock.try_take()? {
                if let Some(waiting) = waiting.take() {
                    waiting();
                }
                lock.file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
            }
            if lock.is_current() {
                return Ok(lock);
            }
        }
    }

    /// Takes the lock if nobody holds it.
    pub fn take_if_free(path: &Path) -> Result<Option<Self>> {
        let lock = Self::open(path)?;
        Ok((lock.try_take()? && lock.is_current()).then_some(lock))
    }

    /// Removes the lock file while it is held: whoever waited for it begins anew.
    pub fn remove(self) {
        let _ = fs::remove_file(&self.path);
    }

    fn open(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self { path: path.to_owned(), file })
    }

    fn try_take(&self) -> Result<bool> {
        match self.file.try_lock() {
            Ok(()) => Ok(true),
            Err(fs::TryLockError::WouldBlock) => Ok(false),
            Err(fs::TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("cannot lock {}", self.path.display()))
            }
        }
    }

    /// Whether the locked file is still the one that others would open.
    fn is_current(&self) -> bool {
        let number = |found: io::Result<fs::Metadata>| found.map(|found| (found.dev(), found.ino())).ok();
        number(fs::metadata(&self.path)) == number(self.file.metadata())
    }
}

/// Writes a file so that a reader sees the old text or the new, never a part.
pub fn write_atomically(path: &Path, contents: &[u8]) -> Result<()> {
    let name = path.file_name().context("a file to write has a name")?.to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.{}", std::process::id()));
    fs::write(&temporary, contents).with_context(|| format!("cannot write {}", temporary.display()))?;
    fs::rename(&temporary, path).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_lock_is_not_free_and_a_dropped_one_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = Lock::take(&path, || ()).unwrap();
        assert!(Lock::take_if_free(&path).unwrap().is_none());
        drop(held);
        assert!(Lock::take_if_free(&path).unwrap().is_some());
    }

    #[test]
    fn a_removed_lock_file_leaves_nothing_and_can_be_taken_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        Lock::take(&path, || ()).unwrap().remove();
        assert!(!path.exists());
        assert!(Lock::take(&path, || ()).unwrap().is_current());
    }
}
