//! The operator dies, or is another: the gateways do not care.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;
use wscluster_tests::fleet::{Deadline, is_terminating, until, wait_for};

use crate::rollout::{each_moved_once, environment};
use crate::scenario::{FULL, Held, Load, Scenario, assert_moved_at_most};
use crate::world::MINUTE;

const NAMESPACE: &str = "wscluster-system";
const OPERATOR: &str = "wscluster-operator";

/// It dies without a word while new gateways come up.
pub(crate) async fn an_operator_killed_in_the_surge_is_carried_on(scenario: Scenario) -> Result<()> {
    let held = scenario.hold(FULL).await?;
    let old = scenario.fleet.deployments().await?.len();
    scenario.fleet.patch(environment("killed in the surge")).await?;
    until(Deadline::after(MINUTE), "the new revision has a Deployment", || async {
        Ok((scenario.fleet.deployments().await?.len() > old || surging(&scenario).await?).then_some(()))
    })
    .await?;
    killed(&scenario, held, 15, "operator killed in the surge").await
}

/// It dies right after it has turned the Service to the new gateways.
pub(crate) async fn an_operator_killed_at_the_turn_is_carried_on(scenario: Scenario) -> Result<()> {
    let held = scenario.hold(FULL).await?;
    let old = scenario.fleet.selected_revision().await?;
    scenario.fleet.patch(environment("killed at the turn")).await?;
    until(Deadline::after(MINUTE), "the Service selects the new revision", || async {
        Ok((scenario.fleet.selected_revision().await? != old).then_some(()))
    })
    .await?;
    killed(&scenario, held, 16, "operator killed at the turn").await
}

/// It dies while sessions move.
pub(crate) async fn an_operator_killed_in_the_drain_is_carried_on(scenario: Scenario) -> Result<()> {
    let held = scenario.hold(FULL).await?;
    scenario.fleet.patch(environment("killed in the drain")).await?;
    held.wait_moves(u64::from(FULL.sessions) / 4).await?;
    killed(&scenario, held, 17, "operator killed in the drain").await
}

/// Nobody operates for longer than any lease lasts: a gateway that goes meanwhile moves its sessions by itself, and what is
/// asked for meanwhile is done by the operator that comes.
pub(crate) async fn an_operator_that_is_away_costs_no_session(scenario: Scenario) -> Result<()> {
    let held = scenario.hold(FULL).await?;
    scale_operator(&scenario, 0).await?;
    let outcome = without_an_operator(&scenario, &held).await;
    scale_operator(&scenario, 1).await?;
    outcome?;
    scenario.fleet.wait_rolled_out(3 * MINUTE).await?;
    let report =
        held.record(18, "operator away for half a minute, a pod deleted and a new environment meanwhile").await?;
    ensure!(report.moves.total >= report.sessions, "not all moved to the new environment:\n{report}");
    // Those of the deleted pod once more.
    assert_moved_at_most(&report, 2)
}

async fn without_an_operator(scenario: &Scenario, held: &Held) -> Result<()> {
    let pods = scenario.fleet.gateways().await?;
    let name = pods.first().map(ResourceExt::name_any).unwrap_or_default();
    scenario.fleet.pods().delete(&name, &DeleteParams::default()).await?;
    until(Deadline::after(2 * MINUTE), "the deleted pod is gone", || async {
        Ok(scenario.fleet.pods().get_opt(&name).await?.is_none().then_some(()))
    })
    .await?;
    scenario.fleet.patch(environment("while the operator is away")).await?;
    held.wait_messages(20).await
}

/// Another version of the operator, whose default gateway is another too, restarts nothing.
pub(crate) async fn an_upgrade_of_the_operator_restarts_no_gateway(scenario: Scenario) -> Result<()> {
    let held = scenario.hold(Load::of(300)).await?;
    let before = lives(&scenario).await?;
    set_operator(&scenario, &Scenario::next_image()).await?;
    let outcome = is_reconciled(&scenario, &held).await;
    let after = lives(&scenario).await;
    set_operator(&scenario, &Scenario::image()).await?;
    outcome?;
    ensure!(after? == before, "gateways were restarted or replaced");
    is_reconciled(&scenario, &held).await?;
    ensure!(lives(&scenario).await? == before, "gateways were restarted or replaced");
    assert_moved_at_most(&held.record(19, "upgrade of the operator").await?, 0)
}

async fn killed(scenario: &Scenario, held: Held, order: u32, what: &str) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(scenario.fleet.client().clone(), NAMESPACE);
    for pod in pods.list(&ListParams::default()).await? {
        pods.delete(&pod.name_any(), &DeleteParams::default().grace_period(0)).await?;
    }
    scenario.fleet.wait_rolled_out(3 * MINUTE).await?;
    each_moved_once(&held.record(order, what).await?)
}

async fn surging(scenario: &Scenario) -> Result<bool> {
    let selected = scenario.fleet.selected_revision().await?;
    let pods = scenario.fleet.gateways().await?;
    Ok(pods.iter().any(|pod| Some(wscluster_tests::fleet::revision(pod)) != selected))
}

/// A change that goes through the new operator shows that it is at work.
async fn is_reconciled(scenario: &Scenario, held: &Held) -> Result<()> {
    let burst = scenario.fleet.get().await?.spec.limits.burst + 1;
    scenario.fleet.patch(json!({"spec": {"limits": {"burst": burst}}})).await?;
    scenario.fleet.wait_rolled_out(MINUTE).await?;
    held.wait_messages(2).await
}

/// Each gateway's identity, and how often it was started again.
async fn lives(scenario: &Scenario) -> Result<BTreeMap<Option<String>, i32>> {
    Ok(scenario.fleet.gateways().await?.iter().map(|pod| (pod.uid(), restarts(pod))).collect())
}

pub(crate) fn restarts(pod: &Pod) -> i32 {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    statuses.and_then(|all| all.first()).map_or(0, |container| container.restart_count)
}

async fn scale_operator(scenario: &Scenario, replicas: i32) -> Result<()> {
    let client = scenario.fleet.client().clone();
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
    deployments.patch_scale(OPERATOR, &PatchParams::default(), &patch).await?;
    let pods: Api<Pod> = Api::namespaced(client, NAMESPACE);
    until(Deadline::after(MINUTE), "so many operators run", || async {
        let there = pods.list(&ListParams::default()).await?.items.len();
        Ok((there == replicas as usize).then_some(()))
    })
    .await
}

async fn set_operator(scenario: &Scenario, image: &str) -> Result<()> {
    let client = scenario.fleet.client().clone();
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    let container =
        json!({"name": "operator", "image": image, "env": [{"name": "WSCLUSTER_GATEWAY_IMAGE", "value": image}]});
    let patch = json!({"spec": {"template": {"spec": {"containers": [container]}}}});
    let changed = deployments.patch(OPERATOR, &PatchParams::default(), &Patch::Strategic(patch)).await?;
    let generation = changed.metadata.generation;
    wait_for(deployments, OPERATOR, MINUTE, "to run the other operator", move |deployment| {
        deployment.status.as_ref().is_some_and(|status| {
            status.observed_generation >= generation
                && status.updated_replicas == Some(1)
                && status.replicas == Some(1)
                && status.available_replicas == Some(1)
        })
    })
    .await?;
    let pods: Api<Pod> = Api::namespaced(client, NAMESPACE);
    until(Deadline::after(MINUTE), "the operator before it is gone", || async {
        Ok((!pods.list(&ListParams::default()).await?.iter().any(is_terminating)).then_some(()))
    })
    .await
}
