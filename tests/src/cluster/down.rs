//! Takes a testbed down: its processes (and with them mounts, links, routes and rules), its cgroups, its files.

use std::fs;
use std::io;
use std::time::Duration;

use anyhow::{Context, Result};

use super::layout::{Instance, Layout, MAX_NODES, testbeds};
use super::settings::Settings;
use super::{cgroups, mountpoints, processes, wait};
use crate::cache::Lock;

/// Takes an instance down; says whether there was anything.
pub(super) fn down(instance: &Instance) -> Result<bool> {
    let layout = Layout::of(instance);
    let lock = Lock::take(&layout.lock(), || eprintln!("  {instance} is being started or taken down; waiting"))?;
    let was_there = layout.root().exists() || !processes::of(&layout).is_empty();
    remove(&layout)?;
    lock.remove();
    mountpoints::remove_unused(&layout)?;
    Ok(was_there)
}

/// Removes everything of a testbed. The caller holds its lock.
pub(super) fn remove(layout: &Layout) -> Result<()> {
    processes::end(layout, |_| true)?;
    for node in 1..=MAX_NODES {
        cgroups::remove(&layout.cgroup(node))?;
    }
    remove_files(layout)
}

/// Removes the state folder. Mounts of a namespace that is just going may keep parts of it busy for a moment.
pub(super) fn remove_files(layout: &Layout) -> Result<()> {
    wait::until(&format!("{} to be removable", layout.root().display()), Duration::from_secs(10), || {
        match fs::remove_dir_all(layout.root()) {
            Ok(()) => Ok(Some(())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Some(())),
            Err(error) if [io::ErrorKind::ResourceBusy, io::ErrorKind::DirectoryNotEmpty].contains(&error.kind()) => {
                Ok(None)
            }
            Err(error) => Err(error).with_context(|| format!("cannot remove {}", layout.root().display())),
        }
    })
}

/// Removes what killed test runs left: testbeds that were to end with their starter, and of which no process is left.
pub(super) fn sweep() -> Result<()> {
    for entry in fs::read_dir(testbeds()).into_iter().flatten().flatten() {
        if !entry.path().is_dir() {
            continue;
        }
        let layout = Layout::at(entry.path());
        let Some(lock) = Lock::take_if_free(&layout.lock())? else { continue };
        let abandoned = Settings::read(&layout).map_or(true, |settings| settings.lifeline);
        if abandoned && processes::keepers(&layout).is_empty() {
            remove(&layout)?;
            lock.remove();
        }
    }
    Ok(())
}
