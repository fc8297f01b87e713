//! What is in front of the gateways, or instead of them: a slow load balancer, and a plain Deployment for comparison.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use wscluster_crds::labels;
use wscluster_tests::fleet::{Deadline, until, wait_for};

use crate::rollout::each_moved_once;
use crate::scenario::{FULL, Scenario, assert_seamless};
use crate::world::MINUTE;

/// Seconds for which the load balancer goes on sending to a gateway that it was told to forget.
const DEREGISTRATION: u32 = 60;
/// Seconds until it has been told.
const TOLD_WITHIN: u32 = 5;

/// A network load balancer that is slow to forget: a gateway that leaves goes on accepting for longer than that.
pub(crate) async fn behind_a_slow_load_balancer_each_session_moves_once(scenario: Scenario) -> Result<()> {
    let slow = json!({
        "replicas": 6,
        "service": {"annotations": {"testbed.wscluster.dev/deregistration-seconds": DEREGISTRATION.to_string()}},
        "drain": {"minSeconds": DEREGISTRATION + TOLD_WITHIN, "timeoutSeconds": 60, "connectionsPerSecond": 400},
    });
    scenario.deploy(&slow).await?;
    let ingress = scenario.fleet.service().await?.status.and_then(|status| status.load_balancer?.ingress);
    let mode = ingress.and_then(|all| all.first()?.ip_mode.clone());
    ensure!(mode.as_deref() == Some("Proxy"), "the load balancer is not the slow one: {mode:?}");
    let image = scenario.other_image().await?;
    let held = scenario.hold(FULL).await?;
    scenario.fleet.set_image(&image).await?;
    scenario.fleet.wait_rolled_out(4 * MINUTE).await?;
    let report = held.record(23, "new image behind a slow load balancer").await?;
    ensure!(report.connect_errors == 0, "a gateway left while it still got connections:\n{report}");
    each_moved_once(&report)
}

/// The same gateways under a plain Deployment, one in and one out: nothing is lost either, but sessions move again and again.
pub(crate) async fn a_plain_deployment_loses_nothing_but_moves_sessions_often(scenario: Scenario) -> Result<()> {
    let client = scenario.fleet.client().clone();
    let (deployments, pods): (Api<Deployment>, Api<Pod>) =
        (Api::namespaced(client.clone(), scenario.fleet.namespace()), scenario.fleet.pods());
    scenario.apply(plain(&scenario).await?).await?;
    wait_for(deployments.clone(), "plain", MINUTE, "to be available", is_rolled_out).await?;
    let services: Api<Service> = Api::namespaced(client, scenario.fleet.namespace());
    let service =
        wait_for(services.clone(), "plain", MINUTE, "to have an address", |found| address(found).is_some()).await?;
    let url = format!("ws://{}/ws", address(&service).context("an address")?);

    let held = scenario.hold_at(&url, FULL).await?;
    let changed = json!({"spec": {"template": {"metadata": {"annotations": {"changed": "yes"}}}}});
    let changed = deployments.patch("plain", &PatchParams::default(), &Patch::Merge(changed)).await?;
    let generation = changed.metadata.generation;
    wait_for(deployments.clone(), "plain", 4 * MINUTE, "to be rolled out", move |plain| {
        plain.status.as_ref().and_then(|status| status.observed_generation) >= generation && is_rolled_out(plain)
    })
    .await?;
    until(Deadline::after(2 * MINUTE), "the pods before are gone", || async {
        Ok((pods.list(&ListParams::default().labels("app=plain")).await?.items.len() == 6).then_some(()))
    })
    .await?;
    let report = held.record(24, "for comparison: a plain Deployment (maxSurge 1)").await?;
    deployments.delete("plain", &DeleteParams::default()).await?;
    services.delete("plain", &DeleteParams::default()).await?;
    assert_seamless(&report)
}

/// The fleet's own pods under another name, with nothing by which the operator would know them.
async fn plain(scenario: &Scenario) -> Result<Vec<Value>> {
    let revision = scenario.fleet.selected_revision().await?;
    let of_revision = |deployment: &Deployment| {
        deployment.metadata.labels.as_ref().and_then(|all| all.get(labels::REVISION).cloned()) == revision
    };
    let ours = scenario.fleet.deployments().await?.into_iter().find(of_revision);
    let ours = serde_json::to_value(ours.context("the fleet has a Deployment of its revision")?)?;
    let mut template = ours["spec"]["template"].clone();
    template["metadata"] = json!({"labels": {"app": "plain"}});
    let strategy = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}});
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "plain"},
        "spec": {
            "replicas": 6, "minReadySeconds": ours["spec"]["minReadySeconds"], "strategy": strategy,
            "selector": {"matchLabels": {"app": "plain"}}, "template": template,
        },
    });
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "plain"},
        "spec": {"type": "LoadBalancer", "selector": {"app": "plain"},
            "ports": [{"name": "ws", "port": 80, "targetPort": "public"}]},
    });
    Ok(vec![deployment, service])
}

fn is_rolled_out(deployment: &Deployment) -> bool {
    deployment.status.as_ref().is_some_and(|status| {
        [status.replicas, status.updated_replicas, status.available_replicas].iter().all(|count| *count == Some(6))
    })
}

fn address(service: &Service) -> Option<String> {
    service.status.as_ref()?.load_balancer.as_ref()?.ingress.as_ref()?.first()?.ip.clone()
}
