//! Whether there are HTTPRoutes, asked of a scripted API server while they come, change and go.

use std::sync::{Arc, Mutex};

use futures::StreamExt;
use futures::channel::mpsc::unbounded;
use http::{Request, Response};
use kube::Client;
use kube::client::Body;
use kube::runtime::reflector::store::Writer;
use kube::runtime::watcher::Event;
use serde_json::{Value, json};
use tokio::sync::watch;
use wscluster_crds::WsCluster;
use wscluster_operator::desired::route::HttpRouteSupport;
use wscluster_operator::gateway_api::HttpRoutes;
use wscluster_operator::look::Look;

/// What the server serves.
#[derive(Clone, Copy)]
enum Serves {
    /// Nothing of the Gateway API.
    Nothing,
    /// An HTTPRoute with these fields in a rule.
    Routes(&'static [&'static str]),
    /// It is in trouble.
    Errors,
}
use Serves::{Errors, Nothing, Routes};

type Served = Arc<Mutex<Serves>>;

fn server(served: Served) -> (Client, Arc<Mutex<Vec<String>>>) {
    let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = asked.clone();
    tokio::spawn(async move {
        while let Some((request, respond)) = handle.next_request().await {
            let path = request.uri().to_string();
            let (code, body) = answer(&path, *served.lock().unwrap());
            seen.lock().unwrap().push(path);
            let body = Body::from(serde_json::to_vec(&body).unwrap());
            respond.send_response(Response::builder().status(code).body(body).unwrap());
        }
    });
    (Client::new(service, "default"), asked)
}

fn answer(path: &str, served: Serves) -> (u16, Value) {
    let fields = match served {
        Nothing => None,
        Routes(fields) => Some(fields),
        Errors => {
            let message =
                json!({"kind": "Status", "status": "Failure", "code": 500, "reason": "InternalError", "message": "no"});
            return (500, message);
        }
    };
    if path == "/openapi/v3" {
        let hash = fields.map(<[_]>::len);
        let address = hash.map(|hash| json!({"serverRelativeURL": format!("/openapi/v3/apis/gateway?hash={hash}")}));
        return (200, json!({"paths": {"apis/gateway.networking.k8s.io/v1": address}}));
    }
    let rule: serde_json::Map<_, _> =
        fields.into_iter().flatten().map(|field| ((*field).to_owned(), json!({"type": "object"}))).collect();
    let schema = json!({
        "x-kubernetes-group-version-kind": [{"kind": "HTTPRoute"}],
        "properties": {"spec": {"properties": {"rules": {"items": {"properties": rule}}}}},
    });
    (200, json!({"components": {"schemas": {"HTTPRoute": schema}}}))
}

fn clusters() -> kube::runtime::reflector::Store<WsCluster> {
    let mut writer = Writer::default();
    let store = writer.as_reader();
    for (name, route) in [("plain", ""), ("routed", ", route: {gatewayApi: {parentRefs: [{name: a}]}}")] {
        let spec = serde_yaml::from_str(&format!("{{redis: {{url: 'redis://r:1'}}{route}}}")).unwrap();
        let mut cluster = WsCluster::new(name, spec);
        cluster.metadata.namespace = Some("default".to_owned());
        writer.apply_watcher_event(&Event::Apply(cluster));
    }
    store
}

#[tokio::test(start_paused = true)]
async fn what_is_installed_upgraded_and_removed_is_noticed_and_told_to_whom_it_concerns() {
    const PLAIN: Option<HttpRouteSupport> = Some(HttpRouteSupport { session_persistence: false });
    const EXPERIMENTAL: Option<HttpRouteSupport> = Some(HttpRouteSupport { session_persistence: true });
    let served: Served = Arc::new(Mutex::new(Nothing));
    let (client, asked) = server(served.clone());
    let mut look = HttpRoutes::new(client);
    assert_eq!(look.first().await, None);
    let (sender, mut known) = watch::channel(None);
    let (triggers, mut told) = unbounded();
    tokio::spawn(look.follow(sender, clusters(), triggers));
    let steps: [(&'static [&'static str], _); 2] =
        [(&["matches"], PLAIN), (&["matches", "sessionPersistence"], EXPERIMENTAL)];
    for (fields, expected) in steps {
        *served.lock().unwrap() = Routes(fields);
        known.changed().await.unwrap();
        assert_eq!(*known.borrow_and_update(), expected);
        assert_eq!(told.next().await.unwrap().name, "routed");
    }
    let before = asked.lock().unwrap().len();
    tokio::time::sleep(std::time::Duration::from_mins(3)).await;
    let since = asked.lock().unwrap()[before..].to_vec();
    assert!(since.len() >= 2 && since.iter().all(|path| path == "/openapi/v3"), "the index alone: {since:?}");
    // Trouble proves nothing.
    *served.lock().unwrap() = Errors;
    tokio::time::sleep(std::time::Duration::from_mins(3)).await;
    assert_eq!(*known.borrow(), EXPERIMENTAL);
    *served.lock().unwrap() = Nothing;
    known.changed().await.unwrap();
    assert_eq!(*known.borrow_and_update(), None);
}
