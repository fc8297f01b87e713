//! What Grafana shows of a cluster: the chart's dashboard, held to this one cluster, in a ConfigMap that Grafana's sidecar
//! finds by its label.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Wanted;
use crate::compare;
use crate::kinds::Kind;

/// The dashboard, with variables for namespace and cluster. The chart has the same file.
const SOURCE: &str = include_str!("../../../charts/wscluster-operator/dashboards/wscluster.json");

static DASHBOARD: LazyLock<Value> = LazyLock::new(|| serde_json::from_str(SOURCE).expect("the dashboard is JSON"));

/// The ConfigMap.
pub fn config_map(wanted: &Wanted<'_>) -> Value {
    let (label, value) = &wanted.defaults.dashboard_label;
    let mut metadata = wanted.metadata(Kind::Dashboard, &BTreeMap::new());
    metadata["labels"][label] = json!(value);
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "data": {(file(wanted)): held_to(wanted).to_string()},
    })
}

/// Name of the file: sidecars put the files of all ConfigMaps into one folder. A namespace has no dot.
fn file(wanted: &Wanted<'_>) -> String {
    format!("wscluster.{}.{}.json", wanted.namespace, wanted.name)
}

fn held_to(wanted: &Wanted<'_>) -> Value {
    let mut dashboard = DASHBOARD.clone();
    let path = format!("{}/{}", wanted.namespace, wanted.name);
    dashboard["title"] = json!(format!("WsCluster {path}"));
    // Links to it last as long as the name does. Grafana takes 40 characters.
    let digest = compare::hex(&Sha256::digest(path.as_bytes())[..8]);
    dashboard["uid"] = json!(format!("wscluster-{digest}"));
    for variable in dashboard["templating"]["list"].as_array_mut().into_iter().flatten() {
        match variable["name"].as_str() {
            Some("namespace") => *variable = constant("namespace", &wanted.namespace),
            Some("wscluster") => *variable = constant("wscluster", wanted.name.as_str()),
            _ => {}
        }
    }
    dashboard
}

/// A variable of one value, which is not shown.
fn constant(name: &str, value: &str) -> Value {
    json!({
        "name": name,
        "type": "constant",
        "hide": 2,
        "query": value,
        "current": {"text": value, "value": value},
    })
}
