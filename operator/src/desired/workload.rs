//! The gateways' Deployment. The pod template of a revision is computed once and kept with the object: a newer operator
//! finds it there and restarts nothing.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use wscluster_crds::labels;

use super::{POD_TEMPLATE, Wanted, pod, prune};
use crate::kinds::Kind;

/// Seconds that a new gateway must be ready before it counts.
const MIN_READY_SECONDS: i32 = 2;

/// The Deployment.
pub fn deployment(wanted: &Wanted<'_>) -> Value {
    let template = wanted.template.clone().unwrap_or_else(|| prune(pod::template(wanted)));
    let annotations = BTreeMap::from([(POD_TEMPLATE.to_owned(), template.to_string())]);
    let rollout = &wanted.spec.rollout;
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": wanted.metadata(Kind::Deployment, &annotations),
        "spec": {
            "replicas": wanted.replicas,
            "minReadySeconds": MIN_READY_SECONDS,
            "progressDeadlineSeconds": rollout.progress_deadline_seconds,
            "revisionHistoryLimit": 5,
            "selector": {"matchLabels": labels::selector(wanted.name.as_str())},
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxUnavailable": 0, "maxSurge": rollout.max_surge},
            },
            "template": template,
        },
    })
}

/// The template that the live Deployment keeps, when it is of this revision.
pub fn kept_template(deployment: &Value, revision: &str) -> Option<Value> {
    let text = deployment.pointer("/metadata/annotations")?.get(POD_TEMPLATE)?.as_str()?;
    let template: Value = serde_json::from_str(text).ok()?;
    let kept = template.pointer("/metadata/labels")?.get(labels::REVISION)?.as_str()?;
    (kept == revision).then_some(template)
}
