//! The processes of pods in the testbed, which this machine sees like its own.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

/// The gateway that a pod runs.
pub(crate) fn gateway_of(pod: &Pod) -> Result<Pid> {
    let uid = pod.uid().context("a pod has a uid")?;
    let all = fs::read_dir("/proc")?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let found = all.map(Pid::from_raw).find(|pid| is_gateway(*pid) && is_in(*pid, &uid));
    found.with_context(|| format!("no process of {} is to be seen", pod.name_any()))
}

/// Sends it a signal.
pub(crate) fn signal(pod: &Pod, signal: Signal) -> Result<()> {
    Ok(kill(gateway_of(pod)?, signal)?)
}

/// Fills the memory that its container may use, from within the container's cgroup, until the kernel ends whom it thinks
/// worth least: the gateway, whose score Kubernetes sets higher than that of what fills it. Ends with what is returned.
pub(crate) fn exhaust_memory(pod: &Pod) -> Result<Child> {
    let group = memory_cgroup(gateway_of(pod)?)?;
    let hog = r#"echo $$ > "$0/cgroup.procs" && exec tail /dev/zero"#;
    let mut command = Command::new("sh");
    command.args(["-c", hog]).arg(group).kill_on_drop(true);
    command.spawn().context("cannot start what fills the memory")
}

/// Its folder under version 1 of cgroups, which has a hierarchy for memory, or version 2, which has one for all.
fn memory_cgroup(pid: Pid) -> Result<PathBuf> {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let path = |controller: &str| {
        let mut lines =
            groups.lines().filter_map(|line| line.splitn(3, ':').skip(1).collect::<Vec<_>>().try_into().ok());
        lines.find_map(|[found, path]: [&str; 2]| (found == controller).then_some(path.trim_start_matches('/')))
    };
    let root = Path::new("/sys/fs/cgroup");
    let found =
        path("memory").map(|path| root.join("memory").join(path)).or_else(|| path("").map(|path| root.join(path)));
    found.context("no cgroup counts the memory of the gateway")
}

/// The server, and not the command that its preStop hook runs.
fn is_gateway(pid: Pid) -> bool {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut words = line.split(|byte| *byte == 0);
    words.next() == Some(b"/usr/bin/wscluster-gateway") && words.next() == Some(b"serve")
}

fn is_in(pid: Pid, pod: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|groups| groups.contains(&format!("pod{pod}")))
}
