//! What happens to a fleet without anybody asking the operator for it.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt;
use kube::api::{Api, AttachParams, DeleteParams, ListParams};
use nix::sys::signal::Signal;
use serde_json::json;
use tokio::process::Command;
use wscluster_tests::fleet::{Deadline, condition, until};
use wscluster_tests::tools;

use crate::operator::restarts;
use crate::process;
use crate::rollout::{each_moved_once, environment};
use crate::scenario::{FULL, Load, Scenario, assert_moved_at_most, assert_seamless, redis_pod};
use crate::world::MINUTE;

/// `kubectl drain` of a node with half of the gateways: their sessions move to those on the other node.
pub(crate) async fn a_node_drain_moves_its_sessions_once(scenario: Scenario) -> Result<()> {
    let nodes = Api::<Node>::all(scenario.fleet.client().clone()).list(&ListParams::default()).await?;
    let node = nodes.iter().map(ResourceExt::name_any).find(|name| *name != scenario.home);
    let node = node.context("the cluster has one node, so none can be drained")?;
    ensure!(on_node(&scenario, &node).await? > 0, "no gateway is on {node}");
    let held = scenario.hold(FULL).await?;
    let drained = kubectl(&["drain", &node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=180s"]).await;
    let settled = scenario.fleet.wait_rolled_out(2 * MINUTE).await;
    let left = on_node(&scenario, &node).await;
    kubectl(&["uncordon", &node]).await?;
    drained?;
    settled?;
    ensure!(left? == 0, "gateways are left on {node}");
    held.wait_messages(1).await?;
    let report = held.record(11, "node drain").await?;
    assert_moved_at_most(&report, 1)?;
    ensure!(report.moves.total > 0, "no session had to move:\n{report}");
    Ok(())
}

/// `kubectl delete pod`: its sessions move, the others stay.
pub(crate) async fn a_deleted_pod_moves_its_sessions_once(scenario: Scenario) -> Result<()> {
    let held = scenario.hold(FULL).await?;
    let pods = scenario.fleet.gateways().await?;
    let name = pods.first().context("there are gateways")?.name_any();
    scenario.fleet.pods().delete(&name, &DeleteParams::default()).await?;
    until(Deadline::after(2 * MINUTE), "the pod is gone", || async {
        Ok(scenario.fleet.pods().get_opt(&name).await?.is_none().then_some(()))
    })
    .await?;
    scenario.fleet.wait_rolled_out(MINUTE).await?;
    let report = held.record(12, "pod deleted").await?;
    assert_moved_at_most(&report, 1)?;
    ensure!((1..report.sessions / 2).contains(&report.moves.total), "not one gateway's sessions moved:\n{report}");
    Ok(())
}

/// A gateway's process is killed: its sessions are cut off without a word, come back, and miss nothing.
pub(crate) async fn a_killed_gateway_costs_time_and_no_message(scenario: Scenario) -> Result<()> {
    let held = scenario.hold(FULL).await?;
    let pods = scenario.fleet.gateways().await?;
    let victim = pods.first().context("there are gateways")?;
    process::signal(victim, Signal::SIGKILL)?;
    until(Deadline::after(MINUTE), "the gateway was started again", || async {
        let pod = scenario.fleet.pods().get(&victim.name_any()).await?;
        Ok((restarts(&pod) > restarts(victim) && is_ready(&pod)).then_some(()))
    })
    .await?;
    scenario.fleet.wait_rolled_out(MINUTE).await?;
    held.wait_messages(2).await?;
    let report = held.record(13, "gateway killed (SIGKILL)").await?;
    assert_seamless(&report)?;
    ensure!(report.moves.max == 1, "a session came back {} times:\n{report}", report.moves.max);
    ensure!(report.disconnects_without_notice == report.moves.total, "others were cut off too:\n{report}");
    Ok(())
}

/// A gateway gets no more memory: the kernel kills it, the kubelet says why, its sessions come back and miss nothing.
pub(crate) async fn a_gateway_out_of_memory_costs_time_and_no_message(scenario: Scenario) -> Result<()> {
    scenario.deploy(&json!({"replicas": 3, "gateway": {"resources": {"limits": {"memory": "96Mi"}}}})).await?;
    let held = scenario.hold(Load::of(300)).await?;
    let pods = scenario.fleet.gateways().await?;
    let victim = pods.first().context("there are gateways")?;
    let hog = process::exhaust_memory(victim)?;
    until(Deadline::after(MINUTE), "the gateway was started again", || async {
        let pod = scenario.fleet.pods().get(&victim.name_any()).await?;
        Ok((restarts(&pod) > restarts(victim) && is_ready(&pod)).then_some(()))
    })
    .await?;
    drop(hog);
    let reason = last_end(&scenario.fleet.pods().get(&victim.name_any()).await?);
    ensure!(reason.as_deref() == Some("OOMKilled"), "it ended for another reason: {reason:?}");
    scenario.fleet.wait_rolled_out(MINUTE).await?;
    held.wait_messages(2).await?;
    let report = held.record(14, "gateway out of memory (OOM)").await?;
    assert_seamless(&report)?;
    ensure!(report.moves.max == 1, "a session came back {} times:\n{report}", report.moves.max);
    ensure!(report.disconnects_without_notice == report.moves.total, "others were cut off too:\n{report}");
    Ok(())
}

/// Redis ends and comes back with its append-only file: sessions stay, and miss nothing.
pub(crate) async fn a_redis_restart_loses_nothing(scenario: Scenario) -> Result<()> {
    let held = scenario.hold(FULL).await?;
    restart_redis(&scenario).await?;
    held.wait_messages(3).await?;
    assert_moved_at_most(&held.record(20, "Redis restarted").await?, 0)
}

/// The same while sessions move: who cannot join anew stays where it is, and moves later.
pub(crate) async fn a_redis_restart_in_mid_rollout_loses_nothing(scenario: Scenario) -> Result<()> {
    let held = scenario.hold(FULL).await?;
    scenario.fleet.patch(environment("while Redis restarts")).await?;
    held.wait_moves(u64::from(FULL.sessions) / 6).await?;
    restart_redis(&scenario).await?;
    scenario.fleet.wait_rolled_out(3 * MINUTE).await?;
    held.wait_messages(3).await?;
    each_moved_once(&held.record(21, "Redis restarted in mid-rollout").await?)
}

/// A gateway hangs: the rollout names it, does not wait for it longer than the deadline, and nothing is lost.
pub(crate) async fn a_gateway_that_hangs_holds_a_rollout_up_to_the_deadline(scenario: Scenario) -> Result<()> {
    scenario.deploy(&json!({"replicas": 3, "drain": {"minSeconds": 2, "timeoutSeconds": 15}})).await?;
    let held = scenario.hold(Load::of(300)).await?;
    let pods = scenario.fleet.gateways().await?;
    let hung = pods.first().context("there are gateways")?;
    let name = hung.name_any();
    process::signal(hung, Signal::SIGSTOP)?;
    scenario.fleet.patch(environment("while one hangs")).await?;
    scenario
        .fleet
        .wait_status(MINUTE, &format!("to name {name}"), |status| {
            let rollout = status.rollout.as_ref().and_then(|rollout| rollout.message.as_ref());
            let mut messages = status.conditions.iter().map(|condition| &condition.message).chain(rollout);
            messages.any(|message| message.contains(&name))
        })
        .await?;
    scenario.fleet.wait_rolled_out(3 * MINUTE).await?;
    let report = held.record(22, "new environment while a gateway hangs").await?;
    assert_seamless(&report)?;
    // Its sessions notice by their heartbeat. One that does so before new gateways are there moves twice.
    ensure!(report.moves.max <= 2, "a session moved {} times:\n{report}", report.moves.max);
    ensure!(report.forced == 0, "sessions were still there at the drain deadline:\n{report}");
    let cluster = scenario.fleet.get().await?;
    let told = cluster.status.iter().flat_map(|status| &status.conditions).any(|told| told.message.contains(&name));
    ensure!(!told, "it is gone, and still named: {:?}", condition(&cluster, "Degraded"));
    Ok(())
}

async fn restart_redis(scenario: &Scenario) -> Result<()> {
    let before = redis_pod(scenario).await?;
    // The connection ends with the server, so what `exec` makes of it says nothing.
    let command = ["redis-cli", "shutdown"];
    let _ended = scenario.fleet.pods().exec(&before.name_any(), command, &AttachParams::default()).await;
    until(Deadline::after(MINUTE), "Redis was restarted and is ready", || async {
        let redis = redis_pod(scenario).await?;
        Ok((restarts(&redis) > restarts(&before) && is_ready(&redis)).then_some(()))
    })
    .await
}

async fn on_node(scenario: &Scenario, node: &str) -> Result<usize> {
    let pods = scenario.fleet.gateways().await?;
    let there = |pod: &&Pod| pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(node);
    Ok(pods.iter().filter(there).count())
}

async fn kubectl(arguments: &[&str]) -> Result<()> {
    let output = Command::new(tools::kubectl()?).args(arguments).output().await.context("cannot run kubectl")?;
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "kubectl {}: {}", arguments.join(" "), words.trim());
    Ok(())
}

/// Why its container ended the last time.
fn last_end(pod: &Pod) -> Option<String> {
    let container = pod.status.as_ref()?.container_statuses.as_ref()?.first()?;
    container.last_state.as_ref()?.terminated.as_ref()?.reason.clone()
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|found| found.type_ == "Ready" && found.status == "True"))
}
