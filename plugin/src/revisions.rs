//! The revisions of a fleet that can be gone back to, and what going back changes. Pure.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt;
use serde::Serialize;
use serde_json::{Map, Value};
use wscluster_crds::status::RevisionState;
use wscluster_crds::{WsCluster, labels};

/// A revision, as its Deployment keeps it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Revision {
    /// Its hash.
    pub hash: String,
    /// What it is doing; nothing, if it is only kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<RevisionState>,
    /// When new connections were first sent to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activated_at: Option<Timestamp>,
    /// The gateway's image.
    pub image: String,
    /// Gateways that it is to have.
    pub replicas: i32,
    /// The fields of the spec that made it: in each section each field as a whole, null where it was not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec: Option<Value>,
}

/// Why there is no going back.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NoWayBack {
    /// Nothing was active before.
    #[error("{0} has no earlier revision to go back to; kubectl wscluster history {0} lists them")]
    NoneBefore(String),
    /// No revision is called so.
    #[error("{name} has no revision {wanted:?} (or more than one that begins so); there are: {}", .there.join(", "))]
    NoSuchRevision {
        /// The WsCluster.
        name: String,
        /// What was asked for.
        wanted: String,
        /// Those that are there.
        there: Vec<String>,
    },
    /// The Deployment does not say what made it.
    #[error(
        "revision {0} does not say which spec made it: an operator before revisions were kept made its Deployment; change the spec by hand"
    )]
    SpecUnknown(String),
}

/// The revisions of a cluster's Deployments, the latest activated first.
pub fn of(cluster: &WsCluster, deployments: &[Deployment]) -> Vec<Revision> {
    let mut revisions: Vec<_> = deployments.iter().filter_map(|deployment| revision(cluster, deployment)).collect();
    revisions.sort_by(|a, b| (b.activated_at, &b.hash).cmp(&(a.activated_at, &a.hash)));
    revisions
}

/// The revision named by `to`, or the one before.
pub fn target<'a>(cluster: &WsCluster, revisions: &'a [Revision], to: Option<&str>) -> Result<&'a Revision, NoWayBack> {
    let Some(wanted) = to else {
        return previous(cluster, revisions).ok_or_else(|| NoWayBack::NoneBefore(cluster.name_any()));
    };
    let matching: Vec<_> = revisions.iter().filter(|revision| revision.hash.starts_with(wanted)).collect();
    match matching.as_slice() {
        [only] => Ok(only),
        _ => Err(NoWayBack::NoSuchRevision {
            name: cluster.name_any(),
            wanted: wanted.to_owned(),
            there: revisions.iter().map(|revision| revision.hash.clone()).collect(),
        }),
    }
}

/// The JSON merge patch of `spec` that goes back to a revision; empty if nothing differs.
///
/// What a revision keeps is set as a whole: merged as it stands, a map would keep keys that the revision did not have.
pub fn patch(cluster: &WsCluster, revision: &Revision) -> Result<Value, NoWayBack> {
    let kept = revision.spec.as_ref().ok_or_else(|| NoWayBack::SpecUnknown(revision.hash.clone()))?;
    let now = serde_json::to_value(&cluster.spec).expect("plain data serialises");
    Ok(difference(&now, &with(&now, kept)))
}

/// A field that a patch changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// `spec.gateway.image`.
    pub field: String,
    /// Its value now.
    pub before: Value,
    /// Its value then.
    pub after: Value,
}

/// The fields that a merge patch of `spec` changes.
pub fn changes(cluster: &WsCluster, patch: &Value) -> Vec<Change> {
    let now = serde_json::to_value(&cluster.spec).expect("plain data serialises");
    let mut changes = Vec::new();
    collect("spec", &now, patch, &mut changes);
    changes
}

fn revision(cluster: &WsCluster, deployment: &Deployment) -> Option<Revision> {
    let hash = deployment.labels().get(labels::REVISION)?.clone();
    let annotation = |key: &str| deployment.annotations().get(key);
    let spec = annotation(labels::REVISION_SPEC).and_then(|text| serde_json::from_str::<Value>(text).ok());
    let states = cluster.status.as_ref().map(|status| status.revisions.as_slice()).unwrap_or_default();
    let container = deployment.spec.as_ref()?.template.spec.as_ref().and_then(|pod| pod.containers.first().cloned());
    Some(Revision {
        state: states.iter().find(|state| state.hash == hash).map(|state| state.state),
        activated_at: annotation(labels::ACTIVATED_AT).and_then(|text| text.parse().ok()),
        image: container.and_then(|container| container.image).unwrap_or_default(),
        replicas: deployment.spec.as_ref()?.replicas.unwrap_or(1),
        // `{}` is written where the spec is not known.
        spec: spec.filter(|spec| spec.as_object().is_some_and(|fields| !fields.is_empty())),
        hash,
    })
}

/// Where a rollout is under way the one it came from, else the one that was active before.
fn previous<'a>(cluster: &WsCluster, revisions: &'a [Revision]) -> Option<&'a Revision> {
    let status = cluster.status.clone().unwrap_or_default();
    let rollout = status.rollout.unwrap_or_default();
    let find = |hash: &Option<String>| revisions.iter().find(|revision| Some(&revision.hash) == hash.as_ref());
    if status.observed_generation < cluster.metadata.generation {
        // The operator knows nothing of the newest spec yet: it leads away from the active revision, if it makes another.
        let active = find(&status.active_revision);
        let leads_away = |active: &&Revision| patch(cluster, active).is_ok_and(|patch| !is_empty(&patch));
        if let Some(active) = active.filter(leads_away) {
            return Some(active);
        }
    }
    let wanted = rollout.to.clone().or(status.active_revision);
    let from = find(&rollout.from).filter(|from| Some(&from.hash) != wanted.as_ref());
    from.or_else(|| {
        revisions.iter().find(|revision| revision.activated_at.is_some() && Some(&revision.hash) != wanted.as_ref())
    })
}

/// `now` with each field of each section of `kept` in place of its own.
fn with(now: &Value, kept: &Value) -> Value {
    let mut target = now.clone();
    for (section, fields) in kept.as_object().into_iter().flatten() {
        let Some(fields) = fields.as_object() else {
            place(&mut target, section, fields);
            continue;
        };
        if !target[section].is_object() {
            target[section] = Value::Object(Map::new());
        }
        for (field, value) in fields {
            place(&mut target[section], field, value);
        }
    }
    target
}

fn place(object: &mut Value, key: &str, value: &Value) {
    let Some(object) = object.as_object_mut() else { return };
    match value {
        Value::Null => object.remove(key),
        value => object.insert(key.to_owned(), value.clone()),
    };
}

/// The JSON merge patch (RFC 7386) from one object to another.
fn difference(from: &Value, to: &Value) -> Value {
    let (Some(old), Some(new)) = (from.as_object(), to.as_object()) else { return to.clone() };
    let mut patch = Map::new();
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, value) in new {
        match old.get(key) {
            Some(same) if same == value => {}
            Some(other) if other.is_object() && value.is_object() => {
                patch.insert(key.clone(), difference(other, value));
            }
            _ => {
                patch.insert(key.clone(), value.clone());
            }
        }
    }
    Value::Object(patch)
}

/// Whether a patch changes nothing.
pub fn is_empty(patch: &Value) -> bool {
    patch.as_object().is_some_and(Map::is_empty)
}

fn collect(within: &str, now: &Value, patch: &Value, changes: &mut Vec<Change>) {
    for (key, after) in patch.as_object().into_iter().flatten() {
        let (field, before) = (format!("{within}.{key}"), now.get(key).cloned().unwrap_or_default());
        if after.is_object() && before.is_object() {
            collect(&field, &before, after, changes);
        } else {
            changes.push(Change { field, before, after: after.clone() });
        }
    }
}

#[cfg(test)]
#[path = "revisions_tests.rs"]
mod tests;
