//! Applying manifests by server-side apply, as `kubectl apply --server-side -f` does.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::{GroupVersionKind, TypeMeta};
use kube::discovery::{ApiCapabilities, ApiResource, Scope, pinned_kind};
use kube::{Client, ResourceExt};
use serde::Deserialize;

use super::{Deadline, FIELD_MANAGER, until, wait_for};

/// Time that a new kind may take until the server knows it.
const KIND_KNOWN_WITHIN: Duration = Duration::from_secs(20);

/// The documents of a YAML text as objects; empty documents are left out.
pub fn render(yaml: &str) -> Result<Vec<DynamicObject>> {
    serde_yaml::Deserializer::from_str(yaml)
        .map(serde_json::Value::deserialize)
        .filter(|document| !matches!(document, Ok(serde_json::Value::Null)))
        .map(|document| Ok(serde_json::from_value(document?)?))
        .collect()
}

/// Applies every document of a file; objects without a namespace go to `namespace`.
pub async fn apply_file(client: &Client, namespace: &str, path: &Path) -> Result<()> {
    let yaml = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    apply(client, namespace, &render(&yaml)?).await.with_context(|| format!("cannot apply {}", path.display()))
}

/// Applies objects in the order given. A kind that was only just defined is waited for.
pub async fn apply(client: &Client, namespace: &str, objects: &[DynamicObject]) -> Result<()> {
    let mut kinds = HashMap::new();
    for object in objects {
        let types = object.types.clone().context("an object without apiVersion and kind")?;
        if !kinds.contains_key(&types) {
            kinds.insert(types.clone(), kind_of(client, &types).await?);
        }
        let api = api_of(client, namespace, object, &kinds[&types]);
        let name = object.name_any();
        api.patch(&name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(object))
            .await
            .with_context(|| format!("{} {name}", types.kind))?;
    }
    Ok(())
}

/// Applies the operator's install manifest, and waits until the custom resource and the operator serve.
pub async fn install_operator(client: &Client, manifest: &Path, within: Duration) -> Result<()> {
    apply_file(client, "wscluster-system", manifest).await?;
    wait_for::<CustomResourceDefinition>(
        Api::all(client.clone()),
        "wsclusters.wscluster.dev",
        within,
        "to be Established",
        is_established,
    )
    .await?;
    wait_for::<Deployment>(
        Api::namespaced(client.clone(), "wscluster-system"),
        "wscluster-operator",
        within,
        "to be available",
        is_available,
    )
    .await?;
    Ok(())
}

/// Deletes what the install manifest made, but for the custom resource and with it the users' WsClusters.
pub async fn uninstall_operator(client: &Client, manifest: &Path, within: Duration) -> Result<()> {
    let objects = render(&std::fs::read_to_string(manifest)?)?;
    for object in objects.iter().rev() {
        let types = object.types.clone().context("an object without apiVersion and kind")?;
        if types.kind == "CustomResourceDefinition" || types.kind == "Namespace" {
            continue;
        }
        let api = api_of(client, "wscluster-system", object, &kind_of(client, &types).await?);
        match api.delete(&object.name_any(), &DeleteParams::default()).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(error).with_context(|| format!("{} {}", types.kind, object.name_any())),
        }
    }
    super::delete_namespace(client, "wscluster-system", within).await
}

fn api_of(
    client: &Client,
    namespace: &str,
    object: &DynamicObject,
    (resource, capabilities): &(ApiResource, ApiCapabilities),
) -> Api<DynamicObject> {
    match capabilities.scope {
        Scope::Cluster => Api::all_with(client.clone(), resource),
        Scope::Namespaced => {
            let own = object.namespace();
            Api::namespaced_with(client.clone(), own.as_deref().unwrap_or(namespace), resource)
        }
    }
}

fn is_established(crd: &CustomResourceDefinition) -> bool {
    let conditions = crd.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|found| found.type_ == "Established" && found.status == "True"))
}

fn is_available(deployment: &Deployment) -> bool {
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let Some(status) = &deployment.status else { return false };
    status.observed_generation == deployment.metadata.generation
        && status.updated_replicas == Some(wanted)
        && status.available_replicas == Some(wanted)
        && status.replicas == Some(wanted)
}

async fn kind_of(client: &Client, types: &TypeMeta) -> Result<(ApiResource, ApiCapabilities)> {
    let gvk = GroupVersionKind::try_from(types)?;
    until(Deadline::after(KIND_KNOWN_WITHIN), &format!("the server knows the kind {}", gvk.kind), || async {
        Ok(Some(pinned_kind(client, &gvk).await?))
    })
    .await
}
