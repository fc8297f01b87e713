//! Whole turns against a scripted API server: which requests are made, in which order, under which field manager.

mod support;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use futures::channel::mpsc::unbounded;
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::store::Writer as StoreWriter;
use kube::runtime::watcher::Event;
use serde_json::{Value, json};
use support::{cluster, defaults, everything};
use wscluster_crds::WsCluster;
use wscluster_operator::apply::Writer;
use wscluster_operator::desired::monitors::{Found, Monitoring};
use wscluster_operator::kinds::Kind;
use wscluster_operator::metrics::Metrics;
use wscluster_operator::nodes::Nodes;
use wscluster_operator::observe::Observer;
use wscluster_operator::recent::Recent;
use wscluster_operator::reconcile::{Context, reconcile};
use wscluster_operator::scalers::Known;
use wscluster_operator::secrets::Secrets;
use wscluster_operator::watches::Stores;
use wscluster_operator::workers::Workers;

/// A request, as the server saw it.
#[derive(Clone, Debug)]
struct Seen {
    method: Method,
    path: String,
    query: String,
    body: Value,
}

type Answer = (u16, Value);

/// A server that answers by a function and remembers what it was asked.
fn server(answer: impl Fn(&Seen) -> Answer + Send + 'static) -> (Client, Arc<Mutex<Vec<Seen>>>) {
    let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    tokio::spawn(async move {
        while let Some((request, respond)) = handle.next_request().await {
            let (parts, body) = request.into_parts();
            let bytes = body.collect().await.expect("a body").to_bytes();
            let request = Seen {
                method: parts.method,
                path: parts.uri.path().to_owned(),
                query: parts.uri.query().unwrap_or_default().to_owned(),
                body: serde_json::from_slice(&bytes).unwrap_or_default(),
            };
            let (status, value) = answer(&request);
            log.lock().unwrap().push(request);
            let body = Body::from(serde_json::to_vec(&value).unwrap());
            respond.send_response(Response::builder().status(status).body(body).unwrap());
        }
    });
    (Client::new(service, "default"), seen)
}

fn failure(code: u16, reason: &str, message: &str) -> Answer {
    (
        code,
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message}),
    )
}

/// Answers as a server that has nothing and takes everything.
fn willing(request: &Seen) -> Answer {
    if request.method == Method::GET {
        return failure(404, "NotFound", "not found");
    }
    let mut body = request.body.clone();
    if body["kind"] == "WsCluster" || request.path.contains("/wsclusters/") {
        body = serde_json::to_value(cluster("")).unwrap();
        body["status"] = request.body["status"].clone();
    }
    body["metadata"]["resourceVersion"] = json!("100");
    (if request.method == Method::POST { 201 } else { 200 }, body)
}

/// Stores that hold a cluster and its objects, as watches would have filled them.
fn stores(cluster: &WsCluster, children: bool) -> Stores {
    fn filled<K>(mut writer: StoreWriter<K>, objects: Vec<K>) -> kube::runtime::reflector::Store<K>
    where
        K: kube::runtime::reflector::Lookup<DynamicType: Clone + Eq + std::hash::Hash> + Clone + 'static,
    {
        writer.apply_watcher_event(&Event::Init);
        for object in objects {
            writer.apply_watcher_event(&Event::InitApply(object));
        }
        writer.apply_watcher_event(&Event::InitDone);
        writer.as_reader()
    }
    let live = if children { everything(cluster).children } else { BTreeMap::default() };
    let children = |kind: Kind| {
        let found = live.iter().filter(|((other, _), _)| other.watched_as() == kind);
        found.map(|(_, child)| serde_json::from_value(child.clone()).unwrap()).collect()
    };
    let secret =
        live.get(&(Kind::Secret, "chat-keys".to_owned())).map(|child| serde_json::from_value(child.clone()).unwrap());
    Stores {
        clusters: filled(StoreWriter::default(), vec![cluster.clone()]),
        children: Kind::ALL
            .into_iter()
            .filter(|kind| *kind != Kind::Secret)
            .map(|kind| (kind, filled(StoreWriter::new(kind.resource()), children(kind))))
            .collect(),
        pods: filled(StoreWriter::default(), Vec::new()),
        secrets: filled(StoreWriter::default(), secret.into_iter().collect()),
    }
}

fn context(client: Client, stores: Stores) -> Arc<Context> {
    let (recent, metrics) = (Arc::new(Recent::default()), Metrics::default());
    let reporter = Reporter { controller: "test".to_owned(), instance: Some("test".to_owned()) };
    Arc::new(Context {
        observer: Observer {
            client: client.clone(),
            secrets: Arc::new(Secrets::new(client.clone(), stores.secrets.clone())),
            stores,
            recent: recent.clone(),
            http_routes: tokio::sync::watch::channel(None).1,
            monitoring: tokio::sync::watch::channel(Monitoring::default()).1,
        },
        nodes: Nodes::new(client.clone()),
        writer: Writer { recorder: Recorder::new(client.clone(), reporter), client, metrics: metrics.clone(), recent },
        defaults: defaults(),
        metrics,
        triggers: unbounded().0,
        redis: Workers::default(),
        gateways: Workers::default(),
        scalers: Known::default(),
        failures: Mutex::default(),
    })
}

/// Method and last part of the path of every request that writes, Events apart.
fn writes(seen: &Mutex<Vec<Seen>>) -> Vec<String> {
    let seen = seen.lock().unwrap();
    let writing = seen.iter().filter(|request| request.method != Method::GET && !request.path.contains("events"));
    writing
        .map(|request| {
            let parts: Vec<_> = request.path.rsplit('/').take(2).collect();
            format!("{} {}/{}", request.method, parts[1], parts[0])
        })
        .collect()
}

#[tokio::test]
async fn a_new_cluster_is_written_in_order_and_its_status_last() {
    let mut new = cluster("");
    new.metadata.finalizers = None;
    let deployment = format!("PATCH deployments/{}", support::deployment_name(&new));
    let (client, seen) = server(willing);
    reconcile(Arc::new(new.clone()), context(client, stores(&new, false))).await.unwrap();
    assert_eq!(
        writes(&seen),
        [
            "PATCH wsclusters/chat",
            "PATCH serviceaccounts/chat-gateway",
            "POST default/secrets",
            "PATCH configmaps/chat-gateway",
            "PATCH networkpolicies/chat-gateway",
            deployment.as_str(),
            "PATCH poddisruptionbudgets/chat-gateway",
            "PATCH services/chat",
            "PATCH configmaps/chat-dashboard",
            "PATCH chat/status",
        ]
    );
    let seen = seen.lock().unwrap();
    let manager = |path: &str| {
        let request = seen.iter().find(|request| request.method == Method::PATCH && request.path.ends_with(path));
        request.expect("the request").query.clone()
    };
    assert!(manager("wsclusters/chat").contains("fieldManager=wscluster-operator-finalizer"));
    assert!(
        manager("services/chat").contains("fieldManager=wscluster-operator&")
            || manager("services/chat").ends_with("fieldManager=wscluster-operator")
    );
    assert!(manager("chat/status").contains("fieldManager=wscluster-operator-status"));
    assert!(seen.iter().any(|request| request.path.contains("events") && request.body["reason"] == "RollingOut"));
}

#[tokio::test]
async fn a_cluster_as_it_should_be_costs_no_request_but_its_status() {
    let existing = cluster("");
    let secret = everything(&existing).children[&(Kind::Secret, "chat-keys".to_owned())].clone();
    let (client, seen) = server(move |request| match request.method {
        Method::GET => (200, secret.clone()),
        _ => willing(request),
    });
    let context = context(client, stores(&existing, true));
    reconcile(Arc::new(existing.clone()), context.clone()).await.unwrap();
    assert_eq!(writes(&seen), ["PATCH chat/status"]);
    let gets =
        |seen: &Mutex<Vec<Seen>>| seen.lock().unwrap().iter().filter(|request| request.method == Method::GET).count();
    assert_eq!(gets(&seen), 1, "the keys, once");

    // The watch has told of nothing since; the answer to the status write is known all the same.
    let before = seen.lock().unwrap().len();
    reconcile(Arc::new(existing), context).await.unwrap();
    let after: Vec<_> = seen.lock().unwrap()[before..].to_vec();
    assert!(
        after.iter().all(|request| request.path.contains("events") || request.path.ends_with("/status")),
        "{after:?}"
    );
    assert_eq!(gets(&seen), 1, "unchanged Secrets are not fetched again");
}

#[tokio::test]
async fn what_is_refused_is_in_the_status_and_does_not_stop_the_rest() {
    let new = cluster("");
    let deployment = format!("PATCH deployments/{}", support::deployment_name(&new));
    let (client, seen) = server(|request| {
        if request.method == Method::PATCH && request.path.contains("/configmaps/") {
            return failure(422, "Invalid", "spec.ports[0].port: Invalid value");
        }
        willing(request)
    });
    let error = reconcile(Arc::new(new.clone()), context(client, stores(&new, false))).await.unwrap_err();
    assert_eq!((error.label(), error.retry()), ("refused", true));
    assert!(writes(&seen).contains(&deployment));
    let seen = seen.lock().unwrap();
    let status = seen.iter().rfind(|request| request.path.ends_with("/status")).expect("a status write");
    let conditions = status.body["status"]["conditions"].as_array().unwrap();
    let degraded = conditions.iter().find(|condition| condition["type"] == "Degraded").unwrap();
    assert_eq!(degraded["reason"], "ApplyFailed");
    assert!(degraded["message"].as_str().unwrap().contains("spec.ports[0].port: Invalid value"));
}

#[tokio::test]
async fn a_kind_that_has_just_gone_does_not_stop_the_rest() {
    let new = cluster("");
    let (client, seen) = server(|request| {
        if request.path.contains("monitoring.coreos.com") {
            return (404, json!("404 page not found"));
        }
        willing(request)
    });
    let mut context = context(client, stores(&new, false));
    let monitoring = Monitoring { pod_monitors: Found::Usable, prometheus_rules: Found::Usable };
    Arc::get_mut(&mut context).unwrap().observer.monitoring = tokio::sync::watch::channel(monitoring).1;
    reconcile(Arc::new(new), context).await.unwrap();
    let writes = writes(&seen);
    assert!(writes.contains(&"PATCH podmonitors/chat-gateway".to_owned()), "{writes:?}");
    assert!(
        writes.ends_with(&["PATCH configmaps/chat-dashboard".to_owned(), "PATCH chat/status".to_owned()]),
        "{writes:?}"
    );
}

#[tokio::test]
async fn what_a_webhook_changes_on_the_way_in_is_written_once() {
    let new = cluster("");
    let (client, seen) = server(|request| {
        let (code, mut body) = willing(request);
        if request.path.contains("/deployments/") && request.method == Method::PATCH {
            body["spec"]["template"]["spec"]["containers"][0]["image"] = json!("mirror.example/gateway:1");
        }
        (code, body)
    });
    let context = context(client, stores(&new, false));
    reconcile(Arc::new(new.clone()), context.clone()).await.unwrap();
    reconcile(Arc::new(new), context).await.unwrap();
    let applied = writes(&seen).into_iter().filter(|write| write.contains("deployments/")).count();
    assert_eq!(applied, 1);
}

#[tokio::test]
async fn an_api_server_in_trouble_is_an_error_and_no_news_for_the_user() {
    let new = cluster("");
    let (client, seen) = server(|request| match request.method {
        Method::GET => failure(404, "NotFound", "not found"),
        _ => failure(500, "InternalError", "etcd is away"),
    });
    let error = reconcile(Arc::new(new.clone()), context(client, stores(&new, false))).await.unwrap_err();
    assert_eq!(error.label(), "api");
    assert!(writes(&seen).iter().all(|write| !write.ends_with("/status")));
}

#[tokio::test]
async fn keys_that_appeared_meanwhile_are_not_overwritten() {
    let new = cluster("");
    let (client, _) = server(|request| match request.method {
        Method::POST if request.path.ends_with("/secrets") => failure(409, "AlreadyExists", "exists"),
        _ => willing(request),
    });
    let error = reconcile(Arc::new(new.clone()), context(client, stores(&new, false))).await.unwrap_err();
    assert_eq!(error.label(), "conflict");
}

#[tokio::test]
async fn a_deleted_cluster_without_gateways_loses_its_finalizer() {
    let mut gone = cluster("");
    gone.metadata.finalizers.as_mut().unwrap().push("other.example/kept".to_owned());
    gone.metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::now()));
    let secret = everything(&gone).children[&(Kind::Secret, "chat-keys".to_owned())].clone();
    let (client, seen) = server(move |request| match request.method {
        Method::GET => (200, secret.clone()),
        _ => willing(request),
    });
    reconcile(Arc::new(gone.clone()), context(client, stores(&gone, true))).await.unwrap();
    assert_eq!(writes(&seen), ["PATCH wsclusters/chat"]);
    let seen = seen.lock().unwrap();
    let patch = seen.iter().find(|request| request.method == Method::PATCH).unwrap();
    assert_eq!(patch.body["metadata"]["finalizers"], json!(["other.example/kept"]));
    assert_eq!(patch.body["metadata"]["resourceVersion"], "1");
}
