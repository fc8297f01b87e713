//! Folders of the machine that nodes mount over. Those that the machine lacked are made, remembered, and removed when the
//! last testbed has gone.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::layout::Layout;
use super::processes;
use crate::cache::{self, Lock, write_atomically};

/// Makes the missing ones. Hold the lock until something is mounted on them: nobody removes them before.
pub(super) fn create(paths: &[PathBuf]) -> Result<Lock> {
    let lock = lock()?;
    let mut ours = remembered();
    for path in paths {
        for folder in missing(path) {
            // Remembered first: an interruption then leaves no folder that nobody knows of.
            ours.push(folder.clone());
            remember(&ours)?;
            fs::create_dir(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        }
    }
    Ok(lock)
}

/// Removes those that we made, where they are empty and no testbed is left on this machine
/// but the one that is going.
/// (Removing a folder would take away what another namespace has mounted on it.)
pub(super) fn remove_unused(gone: &Layout) -> Result<()> {
    let ours = remembered();
    if ours.is_empty() {
        return Ok(());
    }
    let lock = lock()?;
    if processes::any_other_than(gone) {
        return Ok(());
    }
    for folder in ours.iter().rev() {
        let _ = fs::remove_dir(folder);
    }
    let _ = fs::remove_file(record());
    lock.remove();
    Ok(())
}

/// The folder and its parents that do not exist, the outermost first.
fn missing(path: &Path) -> Vec<PathBuf> {
    let mut all: Vec<_> = path.ancestors().take_while(|folder| !folder.exists()).map(Path::to_owned).collect();
    all.reverse();
    all
}

fn record() -> PathBuf {
    cache::folder().join("mount-points")
}

fn lock() -> Result<Lock> {
    Lock::take(&cache::folder().join("mount-points.lock"), || ())
}

fn remembered() -> Vec<PathBuf> {
    fs::read_to_string(record()).unwrap_or_default().lines().map(PathBuf::from).collect()
}

fn remember(folders: &[PathBuf]) -> Result<()> {
    let lines: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
    write_atomically(&record(), format!("{}\n", lines.join("\n")).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_folders_are_named_from_outside_in() {
        let folder = tempfile::tempdir().unwrap();
        let (outer, inner) = (folder.path().join("a"), folder.path().join("a/b"));
        assert_eq!(missing(&inner), [outer.clone(), inner.clone()]);
        fs::create_dir(&outer).unwrap();
        assert_eq!(missing(&inner), std::slice::from_ref(&inner));
        fs::create_dir(&inner).unwrap();
        assert!(missing(&inner).is_empty());
    }
}
