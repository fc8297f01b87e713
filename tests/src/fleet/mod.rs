//! A WsCluster on a cluster, as a user would run one: applies manifests, waits for what they promise, drives the probe.
//!
//! Knows a `kube::Client` and nothing of how the cluster came to be, so that it serves on any Kubernetes.

mod affinity_pod;
mod apply;
mod dump;
mod probe_pod;
mod probe_pods;
mod wait;

pub use affinity_pod::{AffinityPlan, AffinityPod};
pub use apply::{apply, apply_file, install_operator, render, uninstall_operator};
pub use dump::dump;
pub use probe_pod::{ProbePlan, ProbePod, ProbeStatus};
pub use probe_pods::ProbePods;
pub use wait::{Deadline, until, wait_for};

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use http::Request;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use wscluster_crds::status::WsClusterStatus;
use wscluster_crds::{WsCluster, labels};

/// The field manager of everything that a test or the demo applies, as `kubectl` would.
pub const FIELD_MANAGER: &str = "wscluster-harness";

/// The gateways' admin port.
const ADMIN_PORT: u16 = 9090;

/// One WsCluster in a namespace.
#[derive(Clone)]
pub struct Fleet {
    client: Client,
    namespace: String,
    name: String,
}

impl Fleet {
    /// The WsCluster `name` in `namespace`; nothing is asked of the server.
    pub fn new(client: Client, namespace: &str, name: &str) -> Self {
        Self { client, namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// The client that the fleet is driven with.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The namespace that the fleet lives in.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// WsClusters of the namespace.
    pub fn clusters(&self) -> Api<WsCluster> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Pods of the namespace.
    pub fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The resource as the server has it now.
    pub async fn get(&self) -> Result<WsCluster> {
        Ok(self.clusters().get(&self.name).await?)
    }

    /// Merges `patch` into the resource, as `kubectl patch --type merge` does.
    pub async fn patch(&self, patch: Value) -> Result<WsCluster> {
        Ok(self.clusters().patch(&self.name, &PatchParams::default(), &Patch::Merge(patch)).await?)
    }

    /// Changes the gateway's image: a rollout.
    pub async fn set_image(&self, image: &str) -> Result<WsCluster> {
        self.patch(json!({"spec": {"gateway": {"image": image}}})).await
    }

    /// Waits until the operator has seen the newest spec and reports the condition `Ready` and an idle `Progressing`.
    pub async fn wait_ready(&self, within: Duration) -> Result<WsCluster> {
        wait_for(self.clusters(), &self.name, within, "to be Ready", settled).await
    }

    /// Waits until the condition `type_` has this status and, where given, this reason.
    pub async fn wait_condition(
        &self,
        type_: &str,
        status: &str,
        reason: Option<&str>,
        within: Duration,
    ) -> Result<WsCluster> {
        let what = format!("to have {type_}={status} ({})", reason.unwrap_or("any reason"));
        wait_for(self.clusters(), &self.name, within, &what, |cluster| {
            condition(cluster, type_)
                .is_some_and(|found| found.status == status && reason.is_none_or(|r| found.reason == r))
        })
        .await
    }

    /// Waits until the operator reports what `holds` says.
    pub async fn wait_status(
        &self,
        within: Duration,
        what: &str,
        holds: impl Fn(&WsClusterStatus) -> bool,
    ) -> Result<WsCluster> {
        wait_for(self.clusters(), &self.name, within, what, |cluster| cluster.status.as_ref().is_some_and(&holds)).await
    }

    /// Asks for so many gateways by the `scale` subresource, as an autoscaler or `kubectl scale` does.
    pub async fn scale(&self, replicas: i32) -> Result<()> {
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        self.clusters().patch_scale(&self.name, &PatchParams::default(), &patch).await?;
        Ok(())
    }

    /// The Service in front of the gateways.
    pub async fn service(&self) -> Result<Service> {
        let services: Api<Service> = Api::namespaced(self.client.clone(), &self.namespace);
        Ok(services.get(&self.name).await?)
    }

    /// The revision that new connections go to, as the Service's selector has it.
    pub async fn selected_revision(&self) -> Result<Option<String>> {
        let selector = self.service().await?.spec.and_then(|spec| spec.selector).unwrap_or_default();
        Ok(selector.get(labels::REVISION).cloned())
    }

    /// The gateways' Deployments, one per revision; those of old revisions have no pods.
    pub async fn deployments(&self) -> Result<Vec<Deployment>> {
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), &self.namespace);
        Ok(api.list(&ListParams::default().labels(&self.selector())).await?.items)
    }

    /// Waits until every gateway pod that exists is of the newest revision, and none is terminating.
    pub async fn wait_rolled_out(&self, within: Duration) -> Result<()> {
        let deadline = Deadline::after(within);
        let cluster = self.wait_ready(within).await?;
        let active = cluster.status.and_then(|status| status.active_revision).unwrap_or_default();
        until(deadline, "only pods of the active revision are left", || async {
            let pods = self.gateways().await?;
            let stale = pods.iter().filter(|pod| is_terminating(pod) || revision(pod) != active).count();
            Ok((stale == 0 && !pods.is_empty()).then_some(()))
        })
        .await
    }

    /// The gateway pods of all revisions.
    pub async fn gateways(&self) -> Result<Vec<Pod>> {
        Ok(self.pods().list(&ListParams::default().labels(&self.selector())).await?.items)
    }

    /// The gateways that a gateway's pod was told of by the operator, as its admin port has them. The API server must be let
    /// in there.
    pub async fn peers(&self, pod: &str) -> Result<BTreeSet<String>> {
        let uri = format!("/api/v1/namespaces/{}/pods/{pod}:{ADMIN_PORT}/proxy/v1/peers", self.namespace);
        let told: Value = self.client.request(Request::get(uri).body(Vec::new())?).await?;
        Ok(told["peers"].as_object().into_iter().flat_map(|peers| peers.keys().cloned()).collect())
    }

    fn selector(&self) -> String {
        format!("{}={},{}={}", labels::CLUSTER, self.name, labels::COMPONENT, labels::COMPONENT_GATEWAY)
    }

    /// Host and port where the Service's load balancer takes connections, as `status.endpoint` says.
    pub async fn endpoint(&self, within: Duration) -> Result<String> {
        let found = wait_for(self.clusters(), &self.name, within, "to have an endpoint", |cluster| {
            cluster.status.as_ref().is_some_and(|status| status.endpoint.is_some())
        })
        .await?;
        Ok(found.status.and_then(|status| status.endpoint).unwrap_or_default())
    }

    /// Deletes the resource and waits until it is gone.
    pub async fn delete(&self, within: Duration) -> Result<()> {
        self.clusters().delete(&self.name, &DeleteParams::default()).await?;
        until(Deadline::after(within), "the WsCluster is gone", || async {
            Ok(self.clusters().get_opt(&self.name).await?.is_none().then_some(()))
        })
        .await
    }
}

/// Makes a namespace, or leaves the one that is there.
pub async fn create_namespace(client: &Client, name: &str) -> Result<()> {
    let manifest = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces.patch(name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(manifest)).await?;
    Ok(())
}

/// Deletes a namespace with all that is in it, and waits until it is gone.
///
/// Pods go first: the namespace controller, once it has met a pod that is still ending, looks again only after half of
/// that pod's grace period, which for a gateway is minutes.
pub async fn delete_namespace(client: &Client, name: &str, within: Duration) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    if namespaces.get_opt(name).await?.is_none() {
        return Ok(());
    }
    let deadline = Deadline::after(within);
    empty::<WsCluster>(client, name, deadline).await?;
    empty::<Deployment>(client, name, deadline).await?;
    empty::<Pod>(client, name, deadline).await?;
    namespaces.delete(name, &DeleteParams::default()).await?;
    until(deadline, &format!("namespace {name} is gone"), || async {
        Ok(namespaces.get_opt(name).await?.is_none().then_some(()))
    })
    .await
}

/// Deletes all objects of a kind in a namespace, and waits until they are gone. A kind that is not known has none.
async fn empty<K>(client: &Client, namespace: &str, deadline: Deadline) -> Result<()>
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
    K::DynamicType: Default,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    match api.delete_collection(&DeleteParams::default(), &ListParams::default()).await {
        Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
        other => other?,
    };
    let kind = K::kind(&K::DynamicType::default()).into_owned();
    until(deadline, &format!("every {kind} of {namespace} is gone"), || async {
        Ok(api.list_metadata(&ListParams::default()).await?.items.is_empty().then_some(()))
    })
    .await
}

/// The condition of this type, if the operator has written it.
pub fn condition<'a>(
    cluster: &'a WsCluster,
    type_: &str,
) -> Option<&'a k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition> {
    cluster.status.as_ref()?.conditions.iter().find(|condition| condition.type_ == type_)
}

/// The revision label of a gateway pod, or nothing.
pub fn revision(pod: &Pod) -> String {
    pod.labels().get(labels::REVISION).cloned().unwrap_or_default()
}

/// Whether a pod has been asked to go.
pub fn is_terminating(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

fn settled(cluster: &WsCluster) -> bool {
    use wscluster_crds::status::condition::{PROGRESSING, READY};
    let observed = cluster.status.as_ref().and_then(|status| status.observed_generation);
    let is = |type_: &str, status: &str| condition(cluster, type_).is_some_and(|found| found.status == status);
    observed == cluster.metadata.generation && is(READY, "True") && is(PROGRESSING, "False")
}
