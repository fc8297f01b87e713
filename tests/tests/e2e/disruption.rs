//! What happens to a fleet without anybody asking for it.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, AttachParams, DeleteParams, ListParams};
use wscluster_tests::fleet::{Deadline, revision, until};

use crate::scenario::{MINUTE, Scenario, assert_seamless};

/// The operator dies without a word while old and new gateways stand side by side; its successor brings the rollout to its end.
pub(crate) async fn operator_killed_in_mid_rollout(scenario: Scenario) -> Result<()> {
    scenario.deploy().await?;
    let probe = scenario.probe(100).await?;
    let old = revisions(&scenario).await?;
    scenario.fleet.set_image(&Scenario::next_image()).await?;
    until(Deadline::after(MINUTE), "a gateway of the new revision exists", || async {
        Ok((revisions(&scenario).await? != old).then_some(()))
    })
    .await?;
    kill_operator(&scenario).await?;
    scenario.fleet.wait_rolled_out(4 * MINUTE).await?;
    assert_seamless(&probe.finish().await?)
}

/// Redis ends and comes back with its append-only file, 200 sessions connected: they stay, and miss nothing.
pub(crate) async fn a_redis_restart_loses_nothing(scenario: Scenario) -> Result<()> {
    scenario.deploy().await?;
    let probe = scenario.probe(200).await?;
    let redis = redis_pod(&scenario).await?;
    let restarts = restarts(&redis);
    // The connection ends with the server, so what `exec` makes of it says nothing.
    let command = ["redis-cli", "shutdown"];
    let _ended = scenario.fleet.pods().exec(&redis.name_any(), command, &AttachParams::default()).await;
    until(Deadline::after(MINUTE), "Redis was restarted and is ready", || async {
        let redis = redis_pod(&scenario).await?;
        Ok((self::restarts(&redis) > restarts && is_ready(&redis)).then_some(()))
    })
    .await?;
    let received = probe.status().await?.received;
    probe.wait_status(MINUTE, "messages flow again", |status| status.received > received + 1000).await?;
    let report = probe.finish().await?;
    assert_seamless(&report)?;
    ensure!(report.moves.total == 0, "sessions left their gateways because Redis was away:\n{report}");
    ensure!(report.resyncs == 0, "sessions were told of a hole where there was none:\n{report}");
    Ok(())
}

async fn kill_operator(scenario: &Scenario) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(scenario.fleet.client().clone(), "wscluster-system");
    for pod in pods.list(&ListParams::default()).await? {
        pods.delete(&pod.name_any(), &DeleteParams::default().grace_period(0)).await?;
    }
    Ok(())
}

async fn revisions(scenario: &Scenario) -> Result<std::collections::BTreeSet<String>> {
    Ok(scenario.fleet.gateways().await?.iter().map(revision).collect())
}

async fn redis_pod(scenario: &Scenario) -> Result<Pod> {
    let pods = scenario.fleet.pods().list(&ListParams::default().labels("app.kubernetes.io/name=redis")).await?;
    pods.items.into_iter().next().context("Redis has no pod")
}

fn restarts(pod: &Pod) -> i32 {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    statuses.and_then(|all| all.first()).map_or(0, |container| container.restart_count)
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|found| found.type_ == "Ready" && found.status == "True"))
}
