//! What the programs in a testbed's pods hold in memory, as the kernel of the machine says. Reads `/proc` only.

use std::fs;

use super::layout::Layout;
use super::processes::every_process;

/// A program in a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its name, like `wscluster-gateway`.
    pub program: String,
    /// Bytes of its anonymous memory: heap and stacks, without the program's file.
    pub bytes: u64,
}

/// The programs in all pods; one that ends meanwhile is left out.
pub(super) fn of(layout: &Layout, nodes: u32) -> Vec<Held> {
    let groups: Vec<_> = (1..=nodes).map(|node| layout.cgroup(node)).collect();
    every_process().filter_map(|pid| look(pid, &groups)).collect()
}

fn look(pid: i32, groups: &[String]) -> Option<Held> {
    let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    if !groups.iter().any(|group| is_pod_of(&cgroup, group)) {
        return None;
    }
    let program = fs::read_link(format!("/proc/{pid}/exe")).ok()?.file_name()?.to_str()?.to_owned();
    let bytes = anonymous(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)?;
    Some(Held { program, bytes })
}

/// Below a node's cgroup the kubelet keeps those of pods in one of their own.
fn is_pod_of(cgroup: &str, node: &str) -> bool {
    cgroup.lines().any(|line| line.contains(&format!("/{node}/kubepods")))
}

fn anonymous(status: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    value.split_whitespace().next()?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_are_told_by_the_cgroup_of_their_node() {
        let pod = "5:memory:/wscluster-a-node1/kubepods/burstable/pod7/c3\n0::/\n";
        assert!(is_pod_of(pod, "wscluster-a-node1"));
        assert!(!is_pod_of(pod, "wscluster-b-node1"));
        assert!(!is_pod_of("5:memory:/wscluster-a-node1\n", "wscluster-a-node1"), "the node's own");
    }

    #[test]
    fn memory_is_told_in_bytes() {
        assert_eq!(anonymous("VmRSS:\t 9 kB\nRssAnon:\t   12 kB\n"), Some(12 * 1024));
    }
}
