//! Creating and deleting a fleet.

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use kube::api::{Api, DeleteParams};
use serde::de::DeserializeOwned;
use serde_json::json;
use wscluster_crds::status::GatewayState;
use wscluster_tests::fleet::{Deadline, until};

use crate::scenario::{Load, Scenario, assert_moved_at_most, assert_seamless};
use crate::world::MINUTE;

/// Deleting takes everything that the cluster owned with it, and leaves nothing in the way of a second one.
pub(crate) async fn a_deleted_cluster_can_be_created_again(scenario: Scenario) -> Result<()> {
    scenario.deploy(&json!({})).await?;
    scenario.fleet.delete(2 * MINUTE).await?;
    gone::<Service>(&scenario, "chat").await?;
    gone::<ConfigMap>(&scenario, "chat-gateway").await?;
    gone::<Secret>(&scenario, "chat-keys").await?;
    until(Deadline::after(MINUTE), "all Deployments and pods of gateways are gone", || async {
        let left = scenario.fleet.deployments().await?.len() + scenario.fleet.gateways().await?.len();
        Ok((left == 0).then_some(()))
    })
    .await?;

    scenario.deploy(&json!({})).await?;
    let cluster = scenario.fleet.wait_ready(2 * MINUTE).await?;
    ensure!(cluster.status.is_some_and(|status| status.ready.as_deref() == Some("3/3")), "not all gateways are ready");
    let held = scenario.hold(Load::of(50)).await?;
    assert_seamless(&held.finish().await?)
}

/// Deleting is announced to the sessions first, and they are served meanwhile.
pub(crate) async fn a_deleted_cluster_drains_first(scenario: Scenario) -> Result<()> {
    scenario.deploy(&json!({"drain": {"minSeconds": 5, "timeoutSeconds": 30}})).await?;
    let held = scenario.hold(Load::of(300)).await?;
    scenario.fleet.clusters().delete("chat", &DeleteParams::default()).await?;
    scenario
        .fleet
        .wait_status(MINUTE, "to drain all gateways", |status| {
            status.phase.as_deref() == Some("Deleting")
                && !status.gateways.is_empty()
                && status.gateways.iter().all(|gateway| gateway.state == GatewayState::Draining)
        })
        .await?;
    held.wait_messages(2).await?;
    // The sessions have nowhere to go: they leave now, before the deadline.
    assert_moved_at_most(&held.record(25, "deleted while sessions are connected").await?, 0)?;
    until(Deadline::after(MINUTE), "the WsCluster and its pods are gone", || async {
        let left = scenario.fleet.clusters().get_opt("chat").await?.is_some();
        Ok((!left && scenario.fleet.gateways().await?.is_empty()).then_some(()))
    })
    .await
}

async fn gone<K>(scenario: &Scenario, name: &str) -> Result<()>
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
    K::DynamicType: Default,
{
    let api: Api<K> = Api::namespaced(scenario.fleet.client().clone(), scenario.fleet.namespace());
    let kind = K::kind(&K::DynamicType::default()).into_owned();
    until(Deadline::after(MINUTE), &format!("{kind} {name} is gone"), || async {
        Ok(api.get_opt(name).await?.is_none().then_some(()))
    })
    .await
}
