//! What a failed test leaves for a person: pod logs, events and the objects of its namespace.

use std::path::Path;

use anyhow::Result;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, ListParams, LogParams};
use kube::{Client, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use wscluster_crds::WsCluster;

/// Writes everything that is known of `namespace`, and the operator's log, into `folder`.
pub async fn dump(client: &Client, namespace: &str, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    objects::<WsCluster>(client, namespace, folder).await?;
    objects::<Deployment>(client, namespace, folder).await?;
    objects::<ReplicaSet>(client, namespace, folder).await?;
    objects::<Pod>(client, namespace, folder).await?;
    objects::<Service>(client, namespace, folder).await?;
    objects::<ConfigMap>(client, namespace, folder).await?;
    objects::<Event>(client, namespace, folder).await?;
    logs(client, namespace, folder).await?;
    logs(client, "wscluster-system", folder).await
}

async fn objects<K>(client: &Client, namespace: &str, folder: &Path) -> Result<()>
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Serialize
        + std::fmt::Debug,
    K::DynamicType: Default,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let list = api.list(&ListParams::default()).await?;
    let kind = K::kind(&K::DynamicType::default()).to_lowercase();
    std::fs::write(folder.join(format!("{kind}.yaml")), serde_yaml::to_string(&list.items)?)?;
    Ok(())
}

async fn logs(client: &Client, namespace: &str, folder: &Path) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    for pod in pods.list(&ListParams::default()).await? {
        let name = pod.name_any();
        for previous in [false, true] {
            // A pod that never started, or never restarted, has no such log.
            if let Ok(log) = pods.logs(&name, &LogParams { previous, ..LogParams::default() }).await {
                let suffix = if previous { ".previous" } else { "" };
                std::fs::write(folder.join(format!("{name}{suffix}.log")), log)?;
            }
        }
    }
    Ok(())
}
