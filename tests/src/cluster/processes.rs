//! Finds and ends the processes of a testbed. They are told by their arguments, which name the state folder and the node:
//! true from the first instant of a process, with no file that could be missing or out of date.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::layout::Layout;
use super::roles::Role;
use super::wait;

/// A process of a testbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Its id, as seen from the machine.
    pub pid: i32,
    /// What it does.
    pub role: Role,
    /// For which node.
    pub node: u32,
}

/// All keepers and node processes of a testbed.
pub(super) fn of(layout: &Layout) -> Vec<Found> {
    every_process().filter_map(|pid| parse(layout.root(), pid, &arguments(pid)?)).collect()
}

/// The keeper of each node.
pub(super) fn keepers(layout: &Layout) -> BTreeMap<u32, i32> {
    in_role(layout, Role::Keeper)
}

/// The process 1 of each node.
pub(super) fn inits(layout: &Layout) -> BTreeMap<u32, i32> {
    in_role(layout, Role::Inside)
}

/// Process 1 of a node.
pub(super) fn init(layout: &Layout, node: u32) -> Option<i32> {
    inits(layout).get(&node).copied()
}

/// Whether a process is still the process 1 of a node: cheaper than to look for it.
pub(super) fn is_init(layout: &Layout, pid: i32, node: u32) -> bool {
    let found = arguments(pid).and_then(|words| parse(layout.root(), pid, &words));
    found.is_some_and(|found| found.role == Role::Inside && found.node == node)
}

/// Whether there is a process of any testbed but this one.
pub(super) fn any_other_than(layout: &Layout) -> bool {
    every_process().filter_map(arguments).any(|words| {
        matches!(&words[..], [_, role, state, ..] if Role::parse(role).is_some() && Path::new(state) != layout.root())
    })
}

/// Ends the chosen processes, and returns when they are gone.
pub(super) fn end(layout: &Layout, chosen: impl Fn(&Found) -> bool) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        // Keepers first, so that none starts something while its node is ended.
        let mut found: Vec<_> = of(layout).into_iter().filter(&chosen).collect();
        if found.is_empty() {
            return Ok(());
        }
        if Instant::now() > until {
            bail!("processes of testbed {} do not end: {found:?}", layout.instance());
        }
        found.sort_by_key(|process| process.role != Role::Keeper);
        for process in found {
            match kill(Pid::from_raw(process.pid), Signal::SIGKILL) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(error) => bail!("cannot end process {}: {error} (started by another user?)", process.pid),
            }
        }
        wait::pause();
    }
}

/// A child of a keeper or of a process 1 looks like its parent until it becomes another program: it is not meant.
fn in_role(layout: &Layout, role: Role) -> BTreeMap<u32, i32> {
    let found: Vec<_> = of(layout).into_iter().filter(|found| found.role == role).collect();
    let is_child = |pid: i32| parent(pid).is_none_or(|parent| found.iter().any(|other| other.pid == parent));
    found.iter().filter(|process| !is_child(process.pid)).map(|process| (process.node, process.pid)).collect()
}

/// The parent of a process that is there.
fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    parse_parent(&stat)
}

/// The program's name, which may hold anything, stands in parentheses before the state and the parent.
fn parse_parent(stat: &str) -> Option<i32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

pub(super) fn every_process() -> impl Iterator<Item = i32> {
    fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn arguments(pid: i32) -> Option<Vec<String>> {
    let text = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    Some(text.split(|byte| *byte == 0).map(|part| String::from_utf8_lossy(part).into_owned()).collect())
}

fn parse(root: &Path, pid: i32, arguments: &[String]) -> Option<Found> {
    let [_, role, state, node, ..] = arguments else { return None };
    let role = Role::parse(role)?;
    (Path::new(state) == root).then_some(Found { pid, role, node: node.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str) -> Option<(Role, u32)> {
        let arguments: Vec<String> = line.split(' ').map(str::to_owned).collect();
        parse(Path::new("/state/demo"), 7, &arguments).map(|found| (found.role, found.node))
    }

    #[test]
    fn a_parent_is_read_whatever_the_program_is_called() {
        assert_eq!(parse_parent("7 (a) b) S 42 7 7 0"), Some(42));
        assert_eq!(parse_parent(""), None);
    }

    #[test]
    fn processes_are_told_by_role_state_folder_and_node() {
        assert_eq!(check("/x/wscluster-node cluster-keeper /state/demo 2"), Some((Role::Keeper, 2)));
        assert_eq!(check("/x/wscluster-node cluster-inside /state/demo 1"), Some((Role::Inside, 1)));
        assert_eq!(check("/x/wscluster-node cluster-keeper /state/other 2"), None);
        assert_eq!(check("vi cluster-keeper /state/demo"), None);
        assert_eq!(check("unshare --fork /x/wscluster-node cluster-inside /state/demo 1"), None);
    }
}
