//! A cluster and what is observed of it, built for tests that decide without a server.

#![allow(dead_code)] // each test binary uses its part

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use wscluster_crds::{WsCluster, WsClusterStatus};
use wscluster_operator::config::Defaults;
use wscluster_operator::desired::monitors::Monitoring;
use wscluster_operator::desired::ring::Signing;
use wscluster_operator::kinds::Kind;
use wscluster_operator::observe::Observed;
use wscluster_operator::plan::{FINALIZER, Plan, plan, writes};
use wscluster_operator::scalers::Scalers;
use wscluster_operator::secrets::Address;
use wscluster_operator::streams::report::{Reachability, Report};
use wscluster_operator::{gateways, revision};

/// The uid of every cluster here.
pub(crate) const UID: &str = "11111111-2222-3333-4444-555555555555";
/// 2026-01-01T00:00:00Z.
pub(crate) const NOW: i64 = 1_767_225_600;

pub(crate) fn defaults() -> Defaults {
    Defaults {
        gateway_image: "gateway:1".to_owned(),
        operator_namespace: "wscluster-system".to_owned(),
        monitor_labels: BTreeMap::new(),
        dashboard_label: ("grafana_dashboard".to_owned(), "1".to_owned()),
    }
}

/// A WsCluster named `chat`, finalizer on, with a plain spec and what `yaml` adds to it.
pub(crate) fn cluster(yaml: &str) -> WsCluster {
    let redis = if yaml.contains("redis:") { "" } else { "redis: {url: 'redis://redis:6379'}\n" };
    let mut cluster = WsCluster::new("chat", serde_yaml::from_str(&format!("{redis}{yaml}")).expect("a spec"));
    cluster.metadata.namespace = Some("default".to_owned());
    cluster.metadata.uid = Some(UID.to_owned());
    cluster.metadata.generation = Some(1);
    cluster.metadata.resource_version = Some("1".to_owned());
    cluster.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
    cluster
}

/// A cluster that nothing was made of yet. Its Redis answers.
pub(crate) fn nothing() -> Observed {
    Observed {
        now: jiff::Timestamp::from_second(NOW).expect("a time"),
        children: BTreeMap::new(),
        versions: BTreeMap::new(),
        contested: BTreeMap::new(),
        pods: Vec::new(),
        cordoned: BTreeSet::new(),
        address: Address::Known("redis://redis:6379".to_owned()),
        redis: Report {
            host: "redis:6379".to_owned(),
            reachability: Reachability::Reachable { mode: "standalone".to_owned(), version: "7.0.15".to_owned() },
            ..Report::default()
        },
        gateways: gateways::Report::default(),
        entropy: [[1; 32], [2; 32], [3; 32]],
        signing: Signing::Generated,
        lacking: Vec::new(),
        http_routes: None,
        scalers: Scalers::default(),
        monitoring: Monitoring::default(),
        failures: Vec::new(),
    }
}

/// The same, with every object as the API server would hold it.
pub(crate) fn everything(cluster: &WsCluster) -> Observed {
    let mut observed = nothing();
    let defaults = defaults();
    let mut wanted = writes::wanted(cluster, &observed, &defaults).expect("a valid name");
    wanted.fleets[0].activated_at = Some(observed.now);
    for object in wanted.objects() {
        let mut live = object.body;
        live["metadata"]["resourceVersion"] = json!("7");
        live["metadata"]["uid"] = json!(format!("uid-of-{}", object.kind.as_str()));
        live["metadata"]["generation"] = json!(1);
        let key = (object.kind, object.name);
        observed.versions.insert(key.clone(), "7".to_owned());
        observed.children.insert(key, live);
    }
    observed
}

/// The same, with all gateways up and connected.
pub(crate) fn running(cluster: &WsCluster) -> Observed {
    let mut observed = everything(cluster);
    let replicas = cluster.spec.replicas;
    rolled_out(&mut observed, replicas);
    for number in 0..replicas {
        let name = format!("chat-gateway-{number}");
        observed.pods.push(ready_pod(cluster, &name));
        observed.gateways.answers.insert(name, gateways::Answer { connections: 100, ..Default::default() });
    }
    if cluster.spec.service.type_ == wscluster_crds::spec::ServiceType::LoadBalancer {
        live(&mut observed, Kind::Service)["status"] = json!({"loadBalancer": {"ingress": [{"ip": "198.51.100.7"}]}});
    }
    observed
}

/// Name of the Deployment of the revision that a cluster asks for.
pub(crate) fn deployment_name(cluster: &WsCluster) -> String {
    format!("chat-gateway-{}", revision::hash(&cluster.spec))
}

/// The live object of a kind of which there is one.
pub(crate) fn live(observed: &mut Observed, kind: Kind) -> &mut Value {
    observed.children.iter_mut().find(|((other, _), _)| *other == kind).expect("the object is there").1
}

/// Has the Deployment say that it is done.
pub(crate) fn rolled_out(observed: &mut Observed, replicas: i32) {
    live(observed, Kind::Deployment)["status"] = json!({
        "observedGeneration": 1, "replicas": replicas, "updatedReplicas": replicas,
        "readyReplicas": replicas, "availableReplicas": replicas,
    });
}

pub(crate) fn ready_pod(cluster: &WsCluster, name: &str) -> Arc<Pod> {
    pod(
        cluster,
        name,
        &json!({
            "phase": "Running",
            "podIP": "10.0.0.1",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{
                "name": "gateway", "ready": true, "restartCount": 0, "image": "", "imageID": "",
                "state": {"running": {}},
            }],
        }),
    )
}

/// A pod whose gateway waits for a reason.
pub(crate) fn waiting_pod(cluster: &WsCluster, name: &str, reason: &str, message: &str) -> Arc<Pod> {
    pod(
        cluster,
        name,
        &json!({
            "phase": "Pending",
            "containerStatuses": [{
                "name": "gateway", "ready": false, "restartCount": 3, "image": "", "imageID": "",
                "state": {"waiting": {"reason": reason, "message": message}},
            }],
        }),
    )
}

pub(crate) fn pod(cluster: &WsCluster, name: &str, status: &Value) -> Arc<Pod> {
    let labels = json!({
        "wscluster.dev/cluster": "chat",
        "wscluster.dev/revision": revision::hash(&cluster.spec),
        "wscluster.dev/serving": "true",
    });
    let pod = json!({
        "metadata": {"name": name, "namespace": "default", "labels": labels},
        "spec": {"containers": [{"name": "gateway", "image": "gateway:1"}]},
        "status": status,
    });
    Arc::new(serde_json::from_value(pod).expect("a pod"))
}

pub(crate) fn plan_of(cluster: &WsCluster, observed: &Observed) -> Plan {
    plan(cluster, observed, &defaults()).expect("a valid name")
}

/// The status that the plan writes, or the one that is there already.
pub(crate) fn status_of(cluster: &WsCluster, observed: &Observed) -> WsClusterStatus {
    plan_of(cluster, observed).status.or_else(|| cluster.status.clone()).expect("a status")
}

/// Status, reason and message of a condition.
pub(crate) fn condition(status: &WsClusterStatus, type_: &str) -> (String, String, String) {
    let found = status.conditions.iter().find(|condition| condition.type_ == type_).expect("the condition");
    (found.status.clone(), found.reason.clone(), found.message.clone())
}
