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
use crate::desired::keys::Keys;
use crate::desired::{Wanted, workload};
use crate::kinds::{APPLIED_HASH, Kind, Object};
use crate::observe::{Observed, Owner};
use crate::status::notices::Notice;

/// Field manager of the objects that a cluster owns.
pub const MANAGER: &str = "wscluster-operator";

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

/// What is wanted, with what is kept of what is there: keys, the revision's pod template, an autoscaler's number.
pub fn wanted<'a>(
    cluster: &'a WsCluster,
    observed: &Observed,
    defaults: &'a Defaults,
) -> Result<Wanted<'a>, InvalidName> {
    let keys = Keys::completed(&secret_data(observed.children.get(&Kind::Secret)), &observed.entropy);
    let mut wanted = Wanted::new(cluster, defaults, keys)?;
    if observed.owner(Kind::Deployment, &wanted.uid, wanted.name.as_str()) == Some(Owner::Ours) {
        let live = &observed.children[&Kind::Deployment];
        wanted.template = workload::kept_template(live, &wanted.revision);
        if cluster.spec.autoscaling.is_some() && scaled_by_another(live) {
            wanted.replicas = None;
        }
    }
    Ok(wanted)
}

/// The objects to be written and deleted.
pub fn of(cluster: &WsCluster, observed: &Observed, wanted: &Wanted<'_>) -> (Vec<Write>, Vec<Removal>) {
    let writes = wanted.objects().into_iter().filter_map(|object| write(object, observed, wanted)).collect();
    let surplus = Kind::ALL.into_iter().filter(|kind| !wanted.wants(*kind));
    let removals = surplus.filter_map(|kind| removal(kind, cluster, observed)).collect();
    (writes, removals)
}

fn write(object: Object, observed: &Observed, wanted: &Wanted<'_>) -> Option<Write> {
    let why = match observed.owner(object.kind, &wanted.uid, wanted.name.as_str()) {
        None => Why::Missing,
        Some(Owner::Ours | Owner::Orphaned) => {
            let why = stale(&object.body, &observed.children[&object.kind])?;
            if matches!(why, Why::Edited(_)) && observed.contested.get(&object.kind) == object.digest().as_ref() {
                return None;
            }
            why
        }
        Some(Owner::Former | Owner::Foreign) => return None,
    };
    let live = observed.children.get(&object.kind).filter(|_| object.kind == Kind::Secret);
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

fn removal(kind: Kind, cluster: &WsCluster, observed: &Observed) -> Option<Removal> {
    let owner = observed.owner(kind, &cluster.uid().unwrap_or_default(), &cluster.name_any())?;
    let metadata = &observed.children.get(&kind)?["metadata"];
    (owner == Owner::Ours).then(|| Removal {
        kind,
        name: metadata["name"].as_str().unwrap_or_default().to_owned(),
        uid: metadata["uid"].as_str().unwrap_or_default().to_owned(),
    })
}

/// Whether somebody else, an autoscaler for instance, manages the number of replicas.
fn scaled_by_another(deployment: &Value) -> bool {
    let managers = deployment["metadata"]["managedFields"].as_array();
    managers
        .into_iter()
        .flatten()
        .any(|entry| entry["manager"] != MANAGER && entry.pointer("/fieldsV1/f:spec/f:replicas").is_some())
}

fn secret_data(secret: Option<&Value>) -> BTreeMap<String, Vec<u8>> {
    let data = secret.and_then(|secret| secret["data"].as_object());
    let decode = |(key, value): (&String, &Value)| Some((key.clone(), STANDARD.decode(value.as_str()?).ok()?));
    data.into_iter().flatten().filter_map(decode).collect()
}
