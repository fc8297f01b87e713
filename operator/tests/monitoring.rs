//! What is made of `spec.observability`: monitors where the cluster has their kinds, the dashboard everywhere, and what the
//! status says of what cannot be made. No server but a scripted one, no clock.

mod support;

use std::sync::{Arc, Mutex};

use futures::StreamExt;
use futures::channel::mpsc::unbounded;
use http::{Request, Response};
use kube::Client;
use kube::client::Body;
use kube::runtime::reflector::store::Writer;
use kube::runtime::watcher::Event;
use serde_json::{Value, json};
use support::{cluster, condition, defaults, everything, nothing, plan_of, running, status_of};
use tokio::sync::watch;
use wscluster_crds::WsCluster;
use wscluster_operator::config::Defaults;
use wscluster_operator::desired::monitors::Found::{Forbidden, Missing, Usable};
use wscluster_operator::desired::monitors::{Found, Monitoring};
use wscluster_operator::desired::{Wanted, keys::Keys, rules};
use wscluster_operator::kinds::Kind;
use wscluster_operator::look::Look;
use wscluster_operator::monitoring::Monitors;
use wscluster_operator::observe::Observed;

const KINDS: [Kind; 3] = [Kind::PodMonitor, Kind::PrometheusRule, Kind::Dashboard];

fn found(pod_monitors: Found, prometheus_rules: Found) -> Monitoring {
    Monitoring { pod_monitors, prometheus_rules }
}

fn written(cluster: &WsCluster, observed: &Observed) -> Vec<Kind> {
    let kinds = plan_of(cluster, observed).writes.into_iter().map(|write| write.object.kind);
    kinds.filter(|kind| KINDS.contains(kind)).collect()
}

#[test]
fn monitors_are_made_where_the_cluster_has_their_kinds() {
    use Kind::{Dashboard, PodMonitor, PrometheusRule};
    for (spec, monitoring, expected) in [
        ("", found(Missing, Missing), vec![Dashboard]),
        ("", found(Usable, Missing), vec![PodMonitor, Dashboard]),
        ("", found(Missing, Usable), vec![PrometheusRule, Dashboard]),
        ("", found(Forbidden, Forbidden), vec![Dashboard]),
        ("observability: {podMonitor: enabled, prometheusRule: enabled}", found(Missing, Missing), vec![Dashboard]),
        ("observability: {podMonitor: disabled, dashboards: false}", found(Usable, Usable), vec![PrometheusRule]),
        ("observability: {prometheusRule: disabled}", found(Usable, Usable), vec![PodMonitor, Dashboard]),
    ] {
        assert_eq!(written(&cluster(spec), &Observed { monitoring, ..nothing() }), expected, "{spec:?} {monitoring:?}");
    }
}

#[test]
fn what_is_not_wanted_any_more_goes() {
    let monitoring = found(Usable, Usable);
    let mut before = Observed { monitoring, ..nothing() };
    let all = cluster("");
    for write in plan_of(&all, &before).writes {
        let mut live = write.object.body;
        live["metadata"]["uid"] = json!("u");
        before.children.insert((write.object.kind, write.object.name), live);
    }
    assert!(written(&all, &before).is_empty());
    let none = cluster("observability: {podMonitor: disabled, prometheusRule: disabled, dashboards: false}");
    let removed: Vec<_> = plan_of(&none, &before).removals.into_iter().map(|removal| removal.kind).collect();
    assert_eq!(removed, KINDS);
}

#[test]
fn what_is_insisted_on_in_vain_is_named_with_its_remedy() {
    for (spec, field, kind) in [
        ("observability: {podMonitor: enabled}", "spec.observability.podMonitor", "PodMonitor"),
        ("observability: {prometheusRule: enabled}", "spec.observability.prometheusRule", "PrometheusRule"),
    ] {
        let cluster = cluster(spec);
        for (there, reason, remedy) in
            [(Missing, "MonitoringMissing", "CustomResourceDefinitions"), (Forbidden, "MonitoringForbidden", "roles")]
        {
            let status = status_of(&cluster, &Observed { monitoring: found(there, there), ..running(&cluster) });
            let (state, because, message) = condition(&status, "Degraded");
            assert_eq!((state.as_str(), because.as_str()), ("True", reason), "{spec}");
            for words in [field, kind, remedy] {
                assert!(message.contains(words), "{words} is not in: {message}");
            }
            assert_eq!(condition(&status, "Ready").0, "True", "the gateways go on");
        }
        let status = status_of(&cluster, &Observed { monitoring: found(Usable, Usable), ..running(&cluster) });
        assert_eq!(condition(&status, "Degraded").0, "False", "{spec}");
    }
    let plain = cluster("");
    assert_eq!(condition(&status_of(&plain, &running(&plain)), "Degraded").0, "False", "auto insists on nothing");
}

fn groups(spec: &str) -> Value {
    let (cluster, defaults) = (cluster(spec), defaults());
    rules::groups(&Wanted::new(&cluster, &defaults, Keys::default()).unwrap())
}

/// The expression of an alert, and for how many seconds it must hold.
fn alert(spec: &str, name: &str) -> Option<(String, String)> {
    let groups = groups(spec);
    let rules = groups[1]["rules"].as_array().unwrap().clone();
    let rule = rules.iter().find(|rule| rule["alert"] == name)?;
    Some((rule["expr"].as_str().unwrap().to_owned(), rule["for"].as_str().unwrap_or_default().to_owned()))
}

#[test]
fn thresholds_come_from_the_spec() {
    let near = |spec| alert(spec, "WsClusterConnectionsNearMaximum").unwrap().0;
    assert!(near("gateway: {maxConnections: 20000}").ends_with("> 18000"));
    assert!(near("gateway: {maxConnections: 1}").ends_with("> 0"));
    let drain = |seconds: u32| alert(&format!("drain: {{minSeconds: {seconds}}}"), "WsClusterDrainStuck").unwrap().0;
    assert!(drain(5).contains("offset 300s"), "{}", drain(5));
    assert!(drain(400).contains("offset 520s"), "nobody moves before minSeconds: {}", drain(400));
    let stuck = alert("drain: {minSeconds: 7}\nrollout: {progressDeadlineSeconds: 90}", "WsClusterRolloutStuck");
    assert_eq!(stuck.unwrap().1, "97s");
}

#[test]
fn nothing_is_expected_of_a_fleet_that_is_not_there_or_not_scaled() {
    let absent = |spec| alert(spec, "WsClusterAbsent").is_some();
    assert!(absent("replicas: 1") && !absent("replicas: 0"));
    let scaling = |spec| alert(spec, "WsClusterNotScaling").is_some();
    assert!(!scaling("") && scaling("autoscaling: {minReplicas: 1, maxReplicas: 2, targetConnections: 5}"));
}

#[test]
fn the_rules_do_not_change_when_the_fleet_is_scaled() {
    assert_eq!(groups("replicas: 2"), groups("replicas: 40"));
}

#[test]
fn labels_of_the_operators_own_are_not_taken_over() {
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let labels = [pair("release", "prometheus"), pair("app.kubernetes.io/managed-by", "somebody")];
    let defaults = Defaults { monitor_labels: labels.into(), ..defaults() };
    let cluster = cluster("");
    let wanted = Wanted::new(&cluster, &defaults, Keys::default()).unwrap();
    let wanted = Wanted { monitoring: found(Usable, Usable), ..wanted };
    let labelled =
        wanted.objects().into_iter().filter(|object| object.body["metadata"]["labels"]["release"] != Value::Null);
    let kinds: Vec<_> = labelled
        .map(|object| {
            assert_eq!(object.body["metadata"]["labels"]["app.kubernetes.io/managed-by"], "wscluster-operator");
            object.kind
        })
        .collect();
    assert_eq!(kinds, Kind::MONITORS);
}

/// The dashboard of a cluster, and the name of its file.
fn dashboard(name: &str, namespace: &str) -> (String, Value) {
    let mut cluster = cluster("");
    cluster.metadata.name = Some(name.to_owned());
    cluster.metadata.namespace = Some(namespace.to_owned());
    let defaults = defaults();
    let wanted = Wanted::new(&cluster, &defaults, Keys::default()).unwrap();
    let object = wanted.objects().into_iter().find(|object| object.kind == Kind::Dashboard).unwrap();
    assert_eq!(object.name, format!("{name}-dashboard"));
    assert_eq!(object.body["metadata"]["labels"]["grafana_dashboard"], "1");
    let (file, text) = object.body["data"].as_object().unwrap().iter().next().unwrap();
    (file.clone(), serde_json::from_str(text.as_str().unwrap()).unwrap())
}

#[test]
fn a_dashboard_is_held_to_its_cluster() {
    let (file, dashboard) = dashboard("chat", "shop");
    assert_eq!(file, "wscluster.shop.chat.json");
    assert_eq!(dashboard["title"], "WsCluster shop/chat");
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let value = |name: &str| {
        let variable = variables.iter().find(|variable| variable["name"] == name).unwrap();
        (variable["type"].as_str().unwrap(), variable["query"].as_str().unwrap())
    };
    assert_eq!(value("namespace"), ("constant", "shop"));
    assert_eq!(value("wscluster"), ("constant", "chat"));
    assert_eq!(value("datasource"), ("datasource", "prometheus"));
    assert!(dashboard["panels"].as_array().unwrap().len() > 20);
}

#[test]
fn no_two_clusters_have_dashboards_that_grafana_would_take_for_one() {
    let all = [dashboard("b-c", "a"), dashboard("c", "a-b"), dashboard("c", "a")];
    for (number, (file, dashboard)) in all.iter().enumerate() {
        let uid = dashboard["uid"].as_str().unwrap();
        assert!(uid.len() <= 40 && uid.starts_with("wscluster-"), "{uid}");
        for (other_file, other) in &all[..number] {
            assert!(file != other_file && dashboard["uid"] != other["uid"] && dashboard["title"] != other["title"]);
        }
    }
}

#[test]
fn a_dashboard_as_it_should_be_is_left_alone() {
    let cluster = cluster("");
    assert!(written(&cluster, &everything(&cluster)).is_empty());
}

/// What the scripted server serves: names of resources, and whether they may be listed.
type Served = Arc<Mutex<Result<Vec<(&'static str, bool)>, ()>>>;

fn server(served: Served) -> Client {
    let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    tokio::spawn(async move {
        while let Some((request, respond)) = handle.next_request().await {
            let (code, body) = answer(request.uri().path(), &served.lock().unwrap());
            let body = Body::from(serde_json::to_vec(&body).unwrap());
            respond.send_response(Response::builder().status(code).body(body).unwrap());
        }
    });
    Client::new(service, "default")
}

fn answer(path: &str, served: &Result<Vec<(&'static str, bool)>, ()>) -> (u16, Value) {
    let failure = |code: u16| (code, json!({"kind": "Status", "status": "Failure", "code": code, "message": "no"}));
    let Ok(served) = served else { return failure(500) };
    if path == "/apis/monitoring.coreos.com/v1" {
        let resource =
            |name: &str| json!({"name": name, "singularName": "", "namespaced": true, "kind": "X", "verbs": []});
        let resources: Vec<_> = served.iter().map(|(name, _)| resource(name)).collect();
        let list =
            json!({"kind": "APIResourceList", "groupVersion": "monitoring.coreos.com/v1", "resources": resources});
        return if served.is_empty() { failure(404) } else { (200, list) };
    }
    let asked = served.iter().find(|(name, _)| path.ends_with(name));
    match asked {
        Some((_, true)) => (200, json!({"kind": "PartialObjectMetadataList", "metadata": {}, "items": []})),
        Some((_, false)) => failure(403),
        None => failure(404),
    }
}

fn clusters() -> kube::runtime::reflector::Store<WsCluster> {
    let mut writer = Writer::default();
    let store = writer.as_reader();
    for (name, spec) in
        [("none", "observability: {podMonitor: disabled, prometheusRule: disabled}"), ("monitored", "replicas: 1")]
    {
        let mut cluster = cluster(spec);
        cluster.metadata.name = Some(name.to_owned());
        writer.apply_watcher_event(&Event::Apply(cluster));
    }
    store
}

#[tokio::test(start_paused = true)]
async fn kinds_that_come_and_go_are_noticed_and_told_to_whom_it_concerns() {
    let served: Served = Arc::new(Mutex::new(Ok(vec![])));
    let mut look = Monitors::new(server(served.clone()), None);
    let first = look.first().await;
    assert_eq!(first, found(Missing, Missing));
    let (sender, mut known) = watch::channel(first);
    let (triggers, mut told) = unbounded();
    tokio::spawn(look.follow(sender, clusters(), triggers));
    for (serves, expected) in [
        (vec![("podmonitors", false), ("prometheusrules", true), ("servicemonitors", true)], found(Forbidden, Usable)),
        (vec![("podmonitors", true)], found(Usable, Missing)),
    ] {
        *served.lock().unwrap() = Ok(serves);
        known.changed().await.unwrap();
        assert_eq!(*known.borrow_and_update(), expected);
        assert_eq!(told.next().await.unwrap().name, "monitored");
    }
    // Trouble proves nothing.
    *served.lock().unwrap() = Err(());
    tokio::time::sleep(std::time::Duration::from_mins(3)).await;
    assert_eq!(*known.borrow(), found(Usable, Missing));
    *served.lock().unwrap() = Ok(vec![]);
    known.changed().await.unwrap();
    assert_eq!(*known.borrow_and_update(), found(Missing, Missing));
}
