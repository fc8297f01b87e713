//! The Deployment of a revision. Its pod template is computed once and kept with the object: a newer operator finds it
//! there and restarts nothing, and an older revision can be run again.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};
use wscluster_crds::labels;

use super::{POD_TEMPLATE, Wanted, pod, prune};
use crate::kinds::Kind;
use crate::revision;

/// Seconds that a new gateway must be ready before it counts.
const MIN_READY_SECONDS: i32 = 2;

/// A revision's Deployment, as far as it is not the same for all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Revision {
    /// Hash of the revision.
    pub hash: String,
    /// Gateways.
    pub replicas: i32,
    /// When new connections were first sent to it.
    pub activated_at: Option<Timestamp>,
    /// What its live Deployment keeps; of a revision that has none it is computed.
    pub kept: Option<Kept>,
}

/// What a Deployment keeps of its revision.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// The pod template, as first computed.
    pub template: Value,
    /// The fields of the spec that made the revision, as JSON.
    pub spec: String,
}

/// The Deployment.
pub fn deployment(wanted: &Wanted<'_>, fleet: &Revision) -> Value {
    let Kept { template, spec } = fleet.kept.clone().unwrap_or_else(|| computed(wanted));
    let name = Kind::Deployment.object_name(&wanted.name, &fleet.hash);
    let mut annotations =
        BTreeMap::from([(POD_TEMPLATE.to_owned(), template.to_string()), (labels::REVISION_SPEC.to_owned(), spec)]);
    annotations.extend(fleet.activated_at.map(|at| (labels::ACTIVATED_AT.to_owned(), at.to_string())));
    let mut metadata = wanted.metadata_of(&name, &annotations);
    metadata["labels"][labels::REVISION] = json!(fleet.hash);
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "replicas": fleet.replicas,
            "minReadySeconds": MIN_READY_SECONDS,
            "progressDeadlineSeconds": wanted.spec.rollout.progress_deadline_seconds,
            "revisionHistoryLimit": 1,
            "selector": {"matchLabels": labels::revision_selector(wanted.name.as_str(), &fleet.hash)},
            // A revision's template never changes; this is for somebody's edit that is put back.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "25%"}},
            "template": template,
        },
    })
}

/// What a live Deployment keeps of its revision. Where somebody took the annotations off, its template as it is must do.
pub fn kept(deployment: &Value) -> Option<Kept> {
    let annotation = |key: &str| deployment.pointer("/metadata/annotations")?.get(key)?.as_str();
    let template = annotation(POD_TEMPLATE).and_then(|text| serde_json::from_str(text).ok());
    let template = template.or_else(|| deployment.pointer("/spec/template").cloned())?;
    Some(Kept { template, spec: annotation(labels::REVISION_SPEC).unwrap_or("{}").to_owned() })
}

/// When new connections were first sent to the revision of a live Deployment.
pub fn activated_at(deployment: &Value) -> Option<Timestamp> {
    deployment.pointer("/metadata/annotations")?.get(labels::ACTIVATED_AT)?.as_str()?.parse().ok()
}

fn computed(wanted: &Wanted<'_>) -> Kept {
    Kept { template: prune(pod::template(wanted)), spec: revision::fields(wanted.spec).to_string() }
}
