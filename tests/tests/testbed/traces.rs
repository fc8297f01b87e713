//! What a testbed could leave on the machine: a before and an after to compare.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use wscluster_tests::cluster::{Instance, Layout};

/// Folders of the machine that nodes mount over.
const MOUNT_POINTS: [&str; 6] =
    ["/var/lib/kubelet", "/var/lib/containerd", "/var/lib/cni", "/var/log/pods", "/var/log/containers", "/etc/cni"];

/// What a testbed could leave on the machine.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Traces {
    pub(crate) processes: Vec<String>,
    pub(crate) mounts: Vec<String>,
    pub(crate) network: String,
    pub(crate) cgroups: Vec<String>,
    pub(crate) folders: Vec<&'static str>,
    pub(crate) folder: bool,
}

impl Traces {
    /// Looks for them.
    pub(crate) fn of(instance: &str) -> Result<Self> {
        let layout = Layout::of(&instance.parse::<Instance>()?);
        let root = layout.root().display().to_string();
        Ok(Self {
            processes: processes_with(&root),
            mounts: fs::read_to_string("/proc/self/mounts")?.lines().map(str::to_owned).collect(),
            network: machine_network()?,
            cgroups: cgroups_of(instance),
            folders: MOUNT_POINTS.iter().copied().filter(|folder| Path::new(folder).exists()).collect(),
            folder: layout.root().exists() || layout.lock().exists(),
        })
    }
}

/// What one has and the other has not, for a message.
pub(crate) fn difference(before: &Traces, after: &Traces) -> String {
    let lines = |traces: &Traces| format!("{traces:#?}").lines().map(str::to_owned).collect::<Vec<_>>();
    let (before, after) = (lines(before), lines(after));
    let only = |these: &[String], those: &[String], sign: &str| {
        let lines = these.iter().filter(|line| !those.contains(line));
        lines.map(|line| format!("{sign} {}", line.trim())).collect::<Vec<_>>()
    };
    [only(&before, &after, "-"), only(&after, &before, "+")].concat().join("\n")
}

/// All processes that have the text in their arguments or are in one of its files.
fn processes_with(text: &str) -> Vec<String> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let line =
        |path: &Path| fs::read(path.join("cmdline")).map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " "));
    processes.filter_map(|entry| line(&entry.path()).ok()).filter(|line| line.contains(text)).collect()
}

fn machine_network() -> Result<String> {
    let mut all = String::new();
    for command in ["ip -brief link", "ip route show table all", "ip rule", "nft list tables"] {
        let mut words = command.split(' ');
        let output = Command::new(words.next().unwrap_or_default()).args(words).output()?;
        all.push_str(&String::from_utf8_lossy(&output.stdout));
    }
    Ok(all)
}

fn cgroups_of(instance: &str) -> Vec<String> {
    let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path());
    let folders = hierarchies.chain([Path::new("/sys/fs/cgroup").to_owned()]);
    let groups = folders.filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
    let name = format!("wscluster-{instance}-");
    let named = groups.filter(|group| group.file_name().to_string_lossy().starts_with(&name));
    named.map(|group| group.path().display().to_string()).collect()
}
