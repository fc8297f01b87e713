//! Creating and deleting a fleet.

use anyhow::{Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use kube::api::Api;
use serde::de::DeserializeOwned;
use wscluster_tests::fleet::{Deadline, until};

use crate::scenario::{MINUTE, Scenario, assert_seamless};

/// Deleting takes everything that the cluster owned with it, and leaves nothing in the way of a second one.
pub(crate) async fn a_deleted_cluster_can_be_created_again(scenario: Scenario) -> Result<()> {
    scenario.deploy().await?;
    scenario.fleet.delete(2 * MINUTE).await?;
    gone::<Deployment>(&scenario, "chat-gateway").await?;
    gone::<Service>(&scenario, "chat").await?;
    gone::<ConfigMap>(&scenario, "chat-gateway").await?;
    gone::<Secret>(&scenario, "chat-keys").await?;
    until(Deadline::after(MINUTE), "all gateway pods are gone", || async {
        Ok(scenario.fleet.gateways().await?.is_empty().then_some(()))
    })
    .await?;

    scenario.apply("examples/chat.yaml").await?;
    let cluster = scenario.fleet.wait_ready(2 * MINUTE).await?;
    ensure!(cluster.status.is_some_and(|status| status.ready.as_deref() == Some("3/3")), "not all gateways are ready");
    let probe = scenario.probe(50).await?;
    assert_seamless(&probe.finish().await?)
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
