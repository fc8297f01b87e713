//! A node's cgroup: one of its own in every hierarchy (version 1), or in the one (version 2).

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::wait;

const ROOT: &str = "/sys/fs/cgroup";

/// Makes the cgroup in every hierarchy, ready to have children.
pub(super) fn create(name: &str) -> Result<()> {
    for hierarchy in hierarchies() {
        let group = hierarchy.join(name);
        fs::create_dir_all(&group).with_context(|| format!("cannot create the cgroup {}", group.display()))?;
        fill_cpuset(&hierarchy, &group);
        enable_controllers(&hierarchy);
        enable_controllers(&group);
    }
    Ok(())
}

/// Removes the cgroup, the deepest first. Its processes have ended, but the kernel may take a moment to notice.
pub(super) fn remove(name: &str) -> Result<()> {
    wait::until(&format!("the cgroup {name} to become empty"), Duration::from_secs(10), || {
        let left = hierarchies().into_iter().map(|hierarchy| hierarchy.join(name)).filter(|group| !remove_tree(group));
        Ok((left.count() == 0).then_some(()))
    })
}

fn is_unified() -> bool {
    Path::new(ROOT).join("cgroup.controllers").exists()
}

fn hierarchies() -> Vec<PathBuf> {
    if is_unified() {
        return vec![ROOT.into()];
    }
    let entries = fs::read_dir(ROOT).into_iter().flatten().flatten();
    let mut found: Vec<_> =
        entries.map(|entry| entry.path()).filter(|path| path.join("cgroup.procs").exists()).collect();
    // cpu and cpu,cpuacct may be one hierarchy with two names.
    found.sort();
    found
}

/// A cpuset of version 1 begins empty, and takes no process then.
fn fill_cpuset(hierarchy: &Path, group: &Path) {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if let Ok(all) = fs::read_to_string(hierarchy.join(file)) {
            let _ = fs::write(group.join(file), all);
        }
    }
}

/// In version 2 a group's children have the controllers that the group passes on. One that can't be is left out.
fn enable_controllers(group: &Path) {
    let controllers = fs::read_to_string(group.join("cgroup.controllers")).unwrap_or_default();
    for controller in controllers.split_whitespace() {
        let _ = fs::write(group.join("cgroup.subtree_control"), format!("+{controller}"));
    }
}

/// Whether nothing is left of it.
fn remove_tree(group: &Path) -> bool {
    let Ok(entries) = fs::read_dir(group) else { return true };
    for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_tree(&entry.path());
    }
    fs::remove_dir(group).is_ok() || !group.exists()
}
