//! Which objects are to be written or deleted, and why. Pure.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kube::ResourceExt;
use serde_json::Value;
use wscluster_crds::WsCluster;
use wscluster_crds::names::InvalidName;

use crate::compare;
use crate::config::Defaults;
use crate::desired::Wanted;
use crate::desired::keys::{COOKIE_KEY_LIVES, COOKIE_KEYS, Keys};
use crate::desired::ring::Ring;
use crate::desired::workload::{self, Revision};
use crate::kinds::{APPLIED_HASH, Kind, Object};
use crate::observe::{Key, Observed, Owner};
use crate::rollout;
use crate::status::notices::Notice;

/// An object to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    /// As it should be.
    pub object: Object,
    /// Why it is written.
    pub why: Why,
    /// Version of the live object, where the write must not overtake another: the keys.
    pub version: Option<String>,
}

/// Why an object is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is not there.
    Missing,
    /// What is wanted changed.
    Changed,
    /// Somebody changed a field of the operator's, at this path.
    Edited(String),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("missing"),
            Self::Changed => f.write_str("changed"),
            Self::Edited(path) => write!(f, "{path} was edited"),
        }
    }
}

/// An object to be deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Its uid, so that no successor is deleted.
    pub uid: String,
}

impl Write {
    /// Kind and name of the object.
    pub fn key(&self) -> Key {
        (self.object.kind, self.object.name.clone())
    }

    /// What is worth an Event of it: somebody's edit that is put back.
    pub fn notice(&self) -> Option<Notice> {
        let Why::Edited(path) = &self.why else { return None };
        let note = format!(
            "{} {}: {path} was changed by somebody else and is put back; change the WsCluster instead",
            self.object.kind.as_str(),
            self.object.name
        );
        Some(Notice::normal("PutBack", "Apply", note))
    }
}

/// What is wanted, with what is kept of what is there: the keys.
pub fn wanted<'a>(
    cluster: &'a WsCluster,
    observed: &Observed,
    defaults: &'a Defaults,
) -> Result<Wanted<'a>, InvalidName> {
    let wanted = Wanted::new(cluster, defaults, keys(cluster, observed))?;
    let Observed { http_routes, monitoring, .. } = *observed;
    Ok(Wanted { http_routes, monitoring, scalers: observed.scalers.clone(), ..wanted })
}

fn keys(cluster: &WsCluster, observed: &Observed) -> Keys {
    let secret = observed.child(Kind::Secret);
    let data = secret_data(secret);
    let text = data.get(COOKIE_KEYS).map(|bytes| String::from_utf8_lossy(bytes)).unwrap_or_default();
    let lives = secret.and_then(|secret| secret["metadata"]["annotations"][COOKIE_KEY_LIVES].as_str());
    let ring = Ring::read(&text, lives.unwrap_or_default(), observed.now);
    let max_age = cluster.spec.service.stickiness.cookie.max_age_seconds;
    let ring = ring.next(&observed.signing, &observed.entropy[2], max_age, observed.now);
    Keys::completed(&data, &observed.entropy, ring)
}

/// Has the way in and the Deployments be what the surge wants.
pub fn apply(surge: &rollout::Plan, observed: &Observed, wanted: &mut Wanted<'_>) {
    wanted.active.clone_from(&surge.active);
    let revision = |(hash, fleet): (&String, &rollout::Fleet)| {
        let live = observed.children.get(&(Kind::Deployment, wanted.name.deployment(hash)));
        let activated_at = live.and_then(workload::activated_at).or_else(|| fleet.activated.then_some(observed.now));
        let kept = live.and_then(workload::kept);
        Revision { hash: hash.clone(), replicas: fleet.replicas, activated_at, kept }
    };
    wanted.fleets = surge.fleets.iter().map(revision).collect();
}

/// The objects to be written and deleted. What shrinks comes last: sessions are sent elsewhere first.
pub fn of(cluster: &WsCluster, observed: &Observed, wanted: &Wanted<'_>) -> (Vec<Write>, Vec<Removal>) {
    let mut writes: Vec<_> =
        wanted.objects().into_iter().filter_map(|object| write(object, observed, wanted)).collect();
    writes.retain(|write| !rivalled(write.object.kind, observed, wanted));
    writes.sort_by_key(|write| shrinks(write, observed));
    let surplus = Kind::SINGLE.into_iter().chain(Kind::EXTRAS).filter(|kind| !wanted.wants(*kind));
    let surplus = surplus.map(|kind| (kind, kind.object_name(&wanted.name, "")));
    let stays = |name: &str| wanted.fleets.iter().any(|fleet| wanted.name.deployment(&fleet.hash) == name);
    let deployments = observed.children.keys().filter(|(kind, _)| *kind == Kind::Deployment);
    let outdated = deployments.filter(|(_, name)| !stays(name)).cloned();
    let removals = surplus.chain(outdated).filter_map(|key| removal(&key, cluster, observed)).collect();
    (writes, removals)
}

/// Whether another autoscaler of the cluster's is still there: it goes first, for two would fight, and KEDA refuses to be
/// the second.
fn rivalled(kind: Kind, observed: &Observed, wanted: &Wanted<'_>) -> bool {
    let others = Kind::AUTOSCALERS.into_iter().filter(|other| Kind::AUTOSCALERS.contains(&kind) && *other != kind);
    others.into_iter().any(|other| {
        let key = (other, other.object_name(&wanted.name, ""));
        observed.owner(&key, &wanted.uid, wanted.name.as_str()) == Some(Owner::Ours)
    })
}

fn shrinks(write: &Write, observed: &Observed) -> bool {
    let replicas = |object: &Value| object.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or_default();
    let live = observed.children.get(&write.key());
    write.object.kind == Kind::Deployment && live.is_some_and(|live| replicas(&write.object.body) < replicas(live))
}

fn write(object: Object, observed: &Observed, wanted: &Wanted<'_>) -> Option<Write> {
    let key = (object.kind, object.name.clone());
    let why = match observed.owner(&key, &wanted.uid, wanted.name.as_str()) {
        None => Why::Missing,
        Some(Owner::Ours | Owner::Orphaned) => {
            let why = stale(&object.body, &observed.children[&key])?;
            if matches!(why, Why::Edited(_)) && observed.contested.get(&key) == object.digest().as_ref() {
                return None;
            }
            why
        }
        Some(Owner::Former | Owner::Foreign) => return None,
    };
    let live = observed.children.get(&key).filter(|_| object.kind == Kind::Secret);
    let version = live.and_then(|live| live["metadata"]["resourceVersion"].as_str()).map(str::to_owned);
    Some(Write { object, why, version })
}

/// Why a live object is not as it should be, if it is not.
fn stale(desired: &Value, live: &Value) -> Option<Why> {
    let digest = |object: &Value| object["metadata"]["annotations"][APPLIED_HASH].clone();
    if digest(desired) != digest(live) {
        return Some(Why::Changed);
    }
    compare::difference(desired, live).map(Why::Edited)
}

fn removal(key: &Key, cluster: &WsCluster, observed: &Observed) -> Option<Removal> {
    let owner = observed.owner(key, &cluster.uid().unwrap_or_default(), &cluster.name_any())?;
    let metadata = &observed.children.get(key)?["metadata"];
    (owner == Owner::Ours && metadata["deletionTimestamp"].is_null()).then(|| Removal {
        kind: key.0,
        name: metadata["name"].as_str().unwrap_or_default().to_owned(),
        uid: metadata["uid"].as_str().unwrap_or_default().to_owned(),
    })
}

fn secret_data(secret: Option<&Value>) -> BTreeMap<String, Vec<u8>> {
    let data = secret.and_then(|secret| secret["data"].as_object());
    let decode = |(key, value): (&String, &Value)| Some((key.clone(), STANDARD.decode(value.as_str()?).ok()?));
    data.into_iter().flatten().filter_map(decode).collect()
}
