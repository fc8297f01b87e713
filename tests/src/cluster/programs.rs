//! What the programs in a testbed's pods hold in memory and have used of the CPU, as the kernel of the machine says. Reads
//! `/proc` only.

use std::fs;
use std::time::Duration;

use super::layout::Layout;
use super::processes::every_process;

/// The kernel's clock tick, which `/proc/PID/stat` counts in: 100 per second on every Linux (`USER_HZ`).
const TICK: Duration = Duration::from_millis(10);

/// A program that runs in a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Its name, like `wscluster-gateway`.
    pub name: String,
    /// Bytes of its anonymous memory: heap and stacks, without the program's file.
    pub bytes: u64,
    /// CPU time of all its threads since it began.
    pub cpu: Duration,
}

/// The programs in all pods; one that ends meanwhile is left out.
pub(super) fn of(layout: &Layout, nodes: u32) -> Vec<Program> {
    let groups: Vec<_> = (1..=nodes).map(|node| layout.cgroup(node)).collect();
    every_process().filter_map(|pid| look(pid, &groups)).collect()
}

fn look(pid: i32, groups: &[String]) -> Option<Program> {
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).ok();
    let cgroup = read("cgroup")?;
    if !groups.iter().any(|group| is_pod_of(&cgroup, group)) {
        return None;
    }
    let name = fs::read_link(format!("/proc/{pid}/exe")).ok()?.file_name()?.to_str()?.to_owned();
    Some(Program { name, bytes: anonymous(&read("status")?)?, cpu: cpu(&read("stat")?)? })
}

/// Below a node's cgroup the kubelet keeps those of pods in one of their own.
fn is_pod_of(cgroup: &str, node: &str) -> bool {
    cgroup.lines().any(|line| line.contains(&format!("/{node}/kubepods")))
}

fn anonymous(status: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    value.split_whitespace().next()?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

/// `utime` and `stime` (proc_pid_stat(5)). The program's name comes before them, and may contain anything.
fn cpu(stat: &str) -> Option<Duration> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11).map(str::parse::<u32>);
    Some(TICK * (fields.next()?.ok()? + fields.next()?.ok()?))
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
    fn memory_is_told_in_bytes_and_cpu_as_the_kernels_and_the_programs_own() {
        assert_eq!(anonymous("VmRSS:\t 9 kB\nRssAnon:\t   12 kB\n"), Some(12 * 1024));
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 900 0 0 0 25 17 3 4 20 0 8 0 33 44 55";
        assert_eq!(cpu(stat), Some(Duration::from_millis(420)));
    }
}
