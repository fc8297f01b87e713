//! Process 1 of a node, inside its namespaces: mounts, the node's own end of the network, then the components.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount};

use super::components::of_node;
use super::layout::{Layout, node_address, node_name};
use super::settings::Settings;
use super::{configs, mountpoints, supervisor};

/// Machine folders that a node has its own of, so that every program keeps its default paths.
const OWN_FOLDERS: &[&str] = &["lib/kubelet", "lib/containerd", "lib/cni", "log/pods", "log/containers"];

/// Runs until the node is ended.
pub(super) fn run(layout: &Layout, node: u32) -> Result<()> {
    let settings = Settings::read(layout)?;
    fs::write("/proc/sys/kernel/hostname", node_name(node)).context("cannot set the host name")?;
    mount_own_folders(layout, node)?;
    bring_up_network(node)?;
    write_configs(layout, node)?;
    supervisor::run(layout, node, of_node(layout, &settings.programs, node))
}

/// What the kubelet mounts must propagate within this namespace, and none of it to the machine. An empty /run hides the
/// machine's own containerd.
fn mount_own_folders(layout: &Layout, node: u32) -> Result<()> {
    propagate(Path::new("/"))?;
    let places: Vec<PathBuf> = OWN_FOLDERS.iter().map(|folder| Path::new("/var").join(folder)).collect();
    let _held = mountpoints::create(&[&places[..], &[PathBuf::from("/etc/cni")]].concat())?;
    mount_empty(Path::new("/run"))?;
    fs::create_dir_all("/run/netns")?;
    for (folder, place) in OWN_FOLDERS.iter().zip(&places) {
        let own = layout.node(node).join("var").join(folder);
        fs::create_dir_all(&own)?;
        mount(Some(&own), place, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .with_context(|| format!("cannot mount {}", place.display()))?;
    }
    propagate(Path::new("/var/lib/kubelet"))?;
    mount_empty(Path::new("/etc/cni"))?;
    fs::create_dir_all("/etc/cni/net.d")?;
    Ok(())
}

fn propagate(path: &Path) -> Result<()> {
    mount(None::<&str>, path, None::<&str>, MsFlags::MS_REC | MsFlags::MS_SHARED, None::<&str>)
        .with_context(|| format!("cannot share the mount {}", path.display()))
}

fn mount_empty(path: &Path) -> Result<()> {
    mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), Some("mode=755"))
        .with_context(|| format!("cannot mount an empty {}", path.display()))
}

/// Node 1 has the bridge that the others are plugged into (by their keepers, which see both namespaces).
/// Its default route leads nowhere: nothing can leave, but Service addresses need some route to be rewritten.
fn bring_up_network(node: u32) -> Result<()> {
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("cannot forward packets between pods")?;
    ip("link set lo up")?;
    if node == 1 {
        ip("link add node0 type bridge")?;
        ip(&format!("address add {}/24 dev node0", node_address(1)))?;
        ip("link set node0 up")?;
        ip("route add default dev node0")?;
    }
    Ok(())
}

fn ip(arguments: &str) -> Result<()> {
    let output = Command::new("ip").args(arguments.split(' ')).output().context("cannot run `ip`")?;
    if !output.status.success() {
        bail!("`ip {arguments}` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

fn write_configs(layout: &Layout, node: u32) -> Result<()> {
    let folder = layout.node(node);
    let json = |value: serde_json::Value| value.to_string();
    let snapshotter = if can_overlay(&folder) { "overlayfs" } else { "native" };
    fs::write(folder.join("containerd.toml"), configs::containerd(snapshotter))?;
    fs::write(folder.join("kubelet.json"), json(configs::kubelet(layout, node)))?;
    fs::write(folder.join("proxy.json"), json(configs::proxy(layout, node)))?;
    fs::write(folder.join("Corefile"), configs::corefile(layout))?;
    fs::write(folder.join("audit-policy.json"), json(configs::audit_policy()))?;
    fs::write("/etc/cni/net.d/10-pods.conflist", json(configs::pod_network(node)))?;
    Ok(())
}

/// Whether the state folder's file system can carry overlays (one that is an overlay itself cannot).
fn can_overlay(folder: &Path) -> bool {
    let probe = folder.join("overlay-probe");
    let part = |name: &str| probe.join(name);
    if ["lower", "upper", "work", "merged"].iter().any(|name| fs::create_dir_all(part(name)).is_err()) {
        return false;
    }
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        part("lower").display(),
        part("upper").display(),
        part("work").display()
    );
    let merged = part("merged");
    let mounted = mount(Some("overlay"), &merged, Some("overlay"), MsFlags::empty(), Some(options.as_str())).is_ok();
    if mounted {
        let _ = nix::mount::umount(&merged);
    }
    let _ = fs::remove_dir_all(&probe);
    mounted
}
