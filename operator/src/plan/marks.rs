//! Which labels and annotations gateway pods are to carry: whether connections are sent to them, the mark of a drain, the
//! deletion cost. Pure.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::{Map, Value, json};
use wscluster_crds::labels;

use super::surge::{CHEAP, mark};
use crate::observe::Observed;
use crate::rollout::{self, Mark};

/// What is to change about one pod.
#[derive(Clone, Debug, PartialEq)]
pub struct PodChange {
    /// Name of the pod.
    pub name: String,
    /// Its uid, so that no successor is changed.
    pub uid: String,
    /// New values of annotations; null takes one off.
    pub annotations: Map<String, Value>,
    /// New values of labels.
    pub labels: Map<String, Value>,
}

/// The pods that do not carry what the surge wants.
pub fn of(observed: &Observed, surge: &rollout::Plan) -> Vec<PodChange> {
    let staying = observed.pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
    staying
        .filter_map(|pod| {
            let (name, mut annotations) = (pod.name_any(), Map::new());
            match (surge.drains.get(&name), mark(pod)) {
                (Some(order), old) if old.is_none_or(|old| old.reason != order.reason) => {
                    let since = old.map_or(observed.now, |old| old.since);
                    annotations.insert(labels::DRAIN.to_owned(), json!(text(Mark { reason: order.reason, since })));
                }
                (None, Some(_)) if surge.cancels.contains(&name) => {
                    annotations.insert(labels::DRAIN.to_owned(), Value::Null);
                }
                _ => {}
            }
            let carries = pod.annotations().get(labels::DELETION_COST).is_some_and(|cost| cost == CHEAP);
            if carries != surge.cheap.contains(&name) {
                let cost = if carries { Value::Null } else { json!(CHEAP) };
                annotations.insert(labels::DELETION_COST.to_owned(), cost);
            }
            let labels = serving(pod, !surge.drains.contains_key(&name));
            let uid = pod.uid().unwrap_or_default();
            (!annotations.is_empty() || !labels.is_empty()).then_some(PodChange { name, uid, annotations, labels })
        })
        .collect()
}

fn serving(pod: &Pod, wanted: bool) -> Map<String, Value> {
    let is = pod.labels().get(labels::SERVING).is_some_and(|value| value == "true");
    let label = (is != wanted).then(|| (labels::SERVING.to_owned(), json!(wanted.to_string())));
    label.into_iter().collect()
}

fn text(mark: Mark) -> String {
    serde_json::to_string(&mark).expect("plain data serialises")
}
