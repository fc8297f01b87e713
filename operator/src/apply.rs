//! The only writer. Applies what was planned, with one field manager per concern, and decides nothing.
//!
//! Permissions that it, the observer and the lease need (the chart's ClusterRole and Role mirror this list):
//!
//! | API group | resource | verbs | for |
//! | --- | --- | --- | --- |
//! | wscluster.dev | wsclusters | get, list, watch, patch | reading; the finalizer |
//! | wscluster.dev | wsclusters/status | patch | status |
//! | wscluster.dev | wsclusters/finalizers | update | owner references that block deletion, where that admission is on |
//! | apps | deployments | get, list, watch, create, patch, delete | gateways; those of revisions that nobody can go back to are deleted |
//! | (core) | services | get, list, watch, create, patch | |
//! | (core) | configmaps | get, list, watch, create, patch, delete | the dashboard is deleted when switched off |
//! | (core) | serviceaccounts | get, list, watch, create, patch, delete | deleted when the user names another |
//! | (core) | secrets | get, list, watch, create, patch | generated keys; the Redis URL, the user's key of cookies |
//! | (core) | pods | get, list, watch, patch | status; marks of a drain, deletion cost |
//! | (core) | nodes | get | whether a node on which a gateway ends is being emptied |
//! | policy | poddisruptionbudgets | get, list, watch, create, patch | |
//! | autoscaling | horizontalpodautoscalers | get, list, watch, create, patch, delete | deleted when another scales, or none |
//! | keda.sh | scaledobjects | get, list, watch, create, patch, delete | the same |
//! | monitoring.coreos.com | podmonitors, prometheusrules | get, list, watch, create, patch, delete | the same, when disabled |
//! | networking.k8s.io | networkpolicies | get, list, watch, create, patch, delete | deleted when switched off |
//! | networking.k8s.io | ingresses | get, list, watch, create, patch, delete | the extra way in; deleted when dropped from the spec |
//! | gateway.networking.k8s.io | httproutes | get, list, watch, create, patch, delete | the same, by a Gateway |
//! | events.k8s.io | events | create, patch | Events |
//! | coordination.k8s.io | leases | get, create, update | leader election, in the operator's namespace only |
//!
//! What the metrics API needs beside these stands in the chart's `metrics-api.yaml`.

use std::sync::Arc;

use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions};
use kube::runtime::events::{Event, EventType, Recorder};
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::{Value, json};
use wscluster_crds::{GROUP, VERSION, WsCluster, WsClusterStatus};

use crate::compare;
use crate::error::{ReconcileError, gone, refusal};
use crate::kinds::{Kind, Object};
use crate::metrics::Metrics;
use crate::observe::{Observed, Observer};
use crate::plan::marks::PodChange;
use crate::plan::writes::{Removal, Why, Write};
use crate::plan::{FINALIZER, Finalizer};
use crate::recent::{self, Recent};
use crate::status::notices::Notice;

/// Field manager of the status.
const STATUS_MANAGER: &str = "wscluster-operator-status";
/// Field manager of the finalizer.
const FINALIZER_MANAGER: &str = "wscluster-operator-finalizer";
/// Longest note of an Event. Source: `events.k8s.io/v1`, validation of `note`.
const LONGEST_NOTE: usize = 1000;

/// Writes to the API server.
pub struct Writer {
    /// The client.
    pub client: Client,
    /// Publishes Events.
    pub recorder: Recorder,
    /// Counts writes.
    pub metrics: Metrics,
    /// Remembers them until the watch tells of them.
    pub recent: Arc<Recent>,
}

impl Writer {
    /// Writes objects in order; a refused one does not keep the others from being written. Returns the refusals, in
    /// words for the user.
    pub async fn objects(
        &self,
        namespace: &str,
        writes: &[Write],
        observed: &Observed,
        known: &Observer,
    ) -> Result<Vec<String>, ReconcileError> {
        let mut refusals = Vec::new();
        for write in writes {
            let kind = write.object.kind;
            match self.object(namespace, write).await {
                Ok(answer) => {
                    let key = recent::key(kind.as_str(), namespace, &write.object.name);
                    let answer = serde_json::to_value(answer).ok();
                    self.check(&key, &write.object, answer.as_ref());
                    let stored = || known.stored_version(kind, namespace, &write.object.name);
                    let version = observed.versions.get(&write.key());
                    self.recent.wrote(key, version.map(String::as_str), stored, answer);
                }
                // Whoever looks for the kind is about to notice; the rest of the cluster does not wait for that.
                Err(error) if gone(kind, &error) => tracing::debug!(kind = kind.as_str(), "the kind has just gone"),
                Err(error) => match refusal(&error) {
                    Some(words) => refusals.push(refused(&write.object, words)),
                    None => return Err(ReconcileError::api(format!("write {}", write.object.name))(error)),
                },
            }
        }
        Ok(refusals)
    }

    /// Whether the API server took the object as it is. If not, writing it again would bring nothing but load.
    fn check(&self, key: &str, object: &Object, answer: Option<&Value>) {
        let Some(path) = answer.and_then(|answer| compare::difference(&object.body, answer)) else { return };
        tracing::warn!(
            object = key,
            path,
            "something in the cluster changes this field whenever it is written; it is left so"
        );
        self.recent.contest(key.to_owned(), object.digest().unwrap_or_default());
    }

    async fn object(&self, namespace: &str, write: &Write) -> kube::Result<DynamicObject> {
        let Object { kind, name, body } = &write.object;
        let api = self.api(*kind, namespace);
        if *kind == Kind::Secret && write.why == Why::Missing {
            // Created, never applied: keys that are there already must not be overwritten by fresh ones.
            self.metrics.wrote(kind.as_str(), "create");
            let params = PostParams { field_manager: Some(kind.manager().to_owned()), ..PostParams::default() };
            return api.create(&params, &serde_json::from_value(body.clone()).map_err(kube::Error::SerdeError)?).await;
        }
        let mut body = body.clone();
        if let Some(version) = &write.version {
            body["metadata"]["resourceVersion"] = Value::String(version.clone());
        }
        self.metrics.wrote(kind.as_str(), "apply");
        api.patch(name, &PatchParams::apply(kind.manager()).force(), &Patch::Apply(body)).await
    }

    /// Changes labels and annotations of pods. One that is gone, or is another by now, needs none.
    pub async fn pods(&self, namespace: &str, changes: &[PodChange]) -> Result<(), ReconcileError> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        for PodChange { name, uid, annotations, labels } in changes {
            let body = json!({"metadata": {"uid": uid, "annotations": annotations, "labels": labels}});
            self.metrics.wrote("Pod", "patch");
            match pods.patch(name, &PatchParams::default(), &Patch::Merge(body)).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
                Err(error) => return Err(ReconcileError::api(format!("mark Pod {name}"))(error)),
            }
        }
        Ok(())
    }

    /// Deletes objects. One that is gone already is as it should be.
    pub async fn removals(
        &self,
        namespace: &str,
        removals: &[Removal],
        observed: &Observed,
        known: &Observer,
    ) -> Result<(), ReconcileError> {
        for removal in removals {
            let uid = Some(removal.uid.clone());
            let params = DeleteParams::default().preconditions(Preconditions { uid, ..Preconditions::default() });
            self.metrics.wrote(removal.kind.as_str(), "delete");
            match self.api(removal.kind, namespace).delete(&removal.name, &params).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
                Err(error) => return Err(ReconcileError::api(format!("delete {}", removal.name))(error)),
            }
            let key = recent::key(removal.kind.as_str(), namespace, &removal.name);
            let stored = || known.stored_version(removal.kind, namespace, &removal.name);
            let version = observed.versions.get(&(removal.kind, removal.name.clone()));
            self.recent.wrote(key, version.map(String::as_str), stored, None);
        }
        Ok(())
    }

    /// Puts the finalizer on, or takes it off.
    pub async fn finalizer(&self, cluster: &WsCluster, change: Finalizer) -> Result<(), ReconcileError> {
        let (api, name) = (self.clusters(cluster), cluster.name_any());
        let result = match change {
            Finalizer::Add => {
                let body = identified(cluster, Some(&[FINALIZER]), None);
                self.metrics.wrote("WsCluster", "apply");
                api.patch(&name, &PatchParams::apply(FINALIZER_MANAGER).force(), &Patch::Apply(body)).await
            }
            Finalizer::Remove => {
                // A merge patch rather than an apply: others may co-own the finalizer (`kubectl replace`), and it must go.
                let rest: Vec<_> = cluster.finalizers().iter().filter(|other| *other != FINALIZER).collect();
                let body = json!({"metadata": {"resourceVersion": cluster.resource_version(), "finalizers": rest}});
                self.metrics.wrote("WsCluster", "patch");
                api.patch(&name, &PatchParams::default(), &Patch::Merge(body)).await
            }
        };
        match result {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(ReconcileError::api("change the finalizer")(error)),
        }
    }

    /// Writes the status.
    pub async fn status(
        &self,
        cluster: &WsCluster,
        status: &WsClusterStatus,
        known: &Observer,
        stored_before: Option<&str>,
    ) -> Result<(), ReconcileError> {
        let (namespace, name) = (cluster.namespace().unwrap_or_default(), cluster.name_any());
        let body = identified(cluster, None, Some(status));
        self.metrics.wrote("WsCluster", "status");
        let params = PatchParams::apply(STATUS_MANAGER).force();
        match self.clusters(cluster).patch_status(&name, &params, &Patch::Apply(body)).await {
            Ok(answer) => {
                let key = recent::key("WsCluster", &namespace, &name);
                let stored = || known.stored_cluster_version(&namespace, &name);
                self.recent.wrote(key, stored_before, stored, serde_json::to_value(answer).ok());
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(ReconcileError::api("write the status")(error)),
        }
    }

    /// Publishes Events. They are a courtesy: one that cannot be published is logged.
    pub async fn tell(&self, cluster: &WsCluster, notices: &[Notice]) {
        let reference = cluster.object_ref(&());
        let publishing = notices.iter().map(|notice| {
            let (event, reference) = (event(notice), &reference);
            async move { self.recorder.publish(&event, reference).await }
        });
        for error in join_all(publishing).await.into_iter().filter_map(Result::err) {
            tracing::warn!(%error, "an Event could not be published");
        }
    }

    fn api(&self, kind: Kind, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, &kind.resource())
    }

    fn clusters(&self, cluster: &WsCluster) -> Api<WsCluster> {
        Api::namespaced(self.client.clone(), &cluster.namespace().unwrap_or_default())
    }
}

/// A document that says which WsCluster it is about, by uid: a successor of the same name is not touched.
fn identified(cluster: &WsCluster, finalizers: Option<&[&str]>, status: Option<&WsClusterStatus>) -> Value {
    let mut body = json!({
        "apiVersion": format!("{GROUP}/{VERSION}"),
        "kind": "WsCluster",
        "metadata": {"name": cluster.name_any(), "namespace": cluster.namespace(), "uid": cluster.uid()},
    });
    if let Some(finalizers) = finalizers {
        body["metadata"]["finalizers"] = json!(finalizers);
    }
    if let Some(status) = status {
        body["status"] = json!(status);
    }
    body
}

fn event(notice: &Notice) -> Event {
    Event {
        type_: if notice.warning { EventType::Warning } else { EventType::Normal },
        reason: notice.reason.clone(),
        note: Some(notice.note.chars().take(LONGEST_NOTE).collect()),
        action: notice.action.to_owned(),
        secondary: None,
    }
}

fn refused(object: &Object, words: &str) -> String {
    format!(
        "{} {} is refused by the API server: {words}. Change what spec says about it",
        object.kind.as_str(),
        object.name
    )
}
