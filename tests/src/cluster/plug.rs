//! Plugs a node into node 1's bridge, and again when node 1 has come back after a loss.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::layout::{Layout, node_address, node_name, pod_range};
use super::{processes, wait};

const LOOK: Duration = Duration::from_millis(200);

/// Keeps the node plugged in for as long as it lives.
pub(super) fn keep_plugged(layout: &Layout, node: u32, init: i32) -> Result<()> {
    let mut plugged_into = None;
    loop {
        if plugged_into.is_none_or(|first| !processes::is_init(layout, first, 1))
            && let Some(first) = processes::init(layout, 1)
        {
            // Node 1 may be lost just now: then there is another try.
            match wait_for_bridge(first).and_then(|()| plug(node, init, first)) {
                Ok(()) => plugged_into = Some(first),
                Err(error) => eprintln!("cannot plug in yet: {error:#}"),
            }
        }
        std::thread::sleep(LOOK);
    }
}

fn wait_for_bridge(first: i32) -> Result<()> {
    wait::until(
        "node 1's bridge",
        Duration::from_secs(10),
        || Ok(run(&inside(first), "ip route get 198.18.0.200").ok()),
    )
}

/// A veth pair goes from the one namespace to the other, and never is in the machine's.
fn plug(node: u32, init: i32, first: i32) -> Result<()> {
    let (name, here, there) = (node_name(node), inside(init), inside(first));
    let _ = run(&here, "ip link delete eth0");
    let _ = run(&there, &format!("ip link delete {name}"));
    run(&[], &format!("ip link add {name} netns {first} type veth peer name eth0 netns {init}"))?;
    run(&there, &format!("ip link set {name} master node0 up"))?;
    run(&here, &format!("ip address add {}/24 dev eth0", node_address(node)))?;
    run(&here, "ip link set eth0 up")?;
    run(&here, &format!("ip route replace default via {}", node_address(1)))?;
    run(&there, &format!("ip route replace {} via {}", pod_range(node), node_address(node)))
}

fn inside(init: i32) -> Vec<String> {
    ["nsenter", "-t", &init.to_string(), "-n"].map(str::to_owned).to_vec()
}

fn run(prefix: &[String], command: &str) -> Result<()> {
    let mut words = prefix.iter().map(String::as_str).chain(command.split(' '));
    let program = words.next().context("a command has a name")?;
    let output = Command::new(program).args(words).output().with_context(|| format!("cannot run `{program}`"))?;
    if !output.status.success() {
        bail!("`{command}` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
