//! The metrics API over real TLS, with a scripted API server behind it and a scripted gateway: whom it believes, whom it lets
//! in, and what it answers.

mod support;

use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::routing::get;
use axum::{Json, Router};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kube::Client;
use kube::client::Body;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;
use wscluster_operator::figures::Figures;
use wscluster_operator::metrics_api::api::MetricsApi;
use wscluster_operator::metrics_api::certificates::Certificates;
use wscluster_operator::metrics_api::identity::FrontProxy;
use wscluster_operator::metrics_api::server::{self, Serving};

const NAME: &str = "metrics.system.svc";
const PODS: &str = "/apis/custom.metrics.k8s.io/v1beta2/namespaces/default/pods/*/ws_active_connections";
const CLUSTER: &str =
    "/apis/custom.metrics.k8s.io/v1beta1/namespaces/default/wsclusters.wscluster.dev/chat/ws_active_connections";

/// An authority that signs client certificates.
struct Authority(Issuer<'static, KeyPair>, String);

/// A certificate and its key, as PEM.
type Identity = (String, String);

impl Authority {
    fn new() -> Self {
        let (key, mut params) = (KeyPair::generate().unwrap(), CertificateParams::new(Vec::new()).unwrap());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self(Issuer::new(params, key), pem)
    }

    fn issue(&self, name: &str) -> Identity {
        let (key, mut params) = (KeyPair::generate().unwrap(), CertificateParams::new(Vec::new()).unwrap());
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }
}

/// The metrics API at an address, and what it asked the API server.
struct Stage {
    address: std::net::SocketAddr,
    front: Authority,
    trusted: String,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
    _end: tokio_util::sync::DropGuard,
}

/// Who asks: with which certificate, as whom.
struct Caller<'a> {
    identity: Option<Identity>,
    user: Option<&'a str>,
    group: &'a str,
}

impl Stage {
    async fn set() -> Self {
        let front = Authority::new();
        let port = gateway().await;
        let (client, asked) = api_server();
        let figures = Arc::new(Figures::new(client.clone(), Some("default".to_owned()), port));
        let names = [NAME.to_owned()];
        let (certificates, _) = Certificates::renewed(None, &names, jiff::Timestamp::now()).unwrap();
        let list = |header: &str| vec![header.to_owned()];
        let proxy = FrontProxy {
            authorities: front.1.clone(),
            names: list("front-proxy"),
            user_headers: list("X-Remote-User"),
            group_headers: list("X-Remote-Group"),
            extra_prefixes: list("X-Remote-Extra-"),
        };
        let serving = Serving::new(certificates.clone(), Arc::new(proxy)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, end) = (listener.local_addr().unwrap(), CancellationToken::new());
        let (sender, receiver) = watch::channel(Some(serving));
        let api = Arc::new(MetricsApi::new(client, figures));
        let shutdown = end.clone();
        tokio::spawn(async move {
            server::serve(listener, receiver, api, shutdown).await;
            drop(sender);
        });
        Self { address, front, trusted: certificates.authorities, asked, _end: end.drop_guard() }
    }

    /// A connection with that certificate, or with none. `protocols`: what is offered beside HTTP/1.1.
    async fn connect(&self, identity: Option<&Identity>, protocols: &[&str]) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.trusted.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(roots);
        let mut config = match identity {
            None => config.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
                config.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap()
            }
        };
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let stream = TcpStream::connect(self.address).await?;
        TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(NAME).unwrap(), stream).await
    }

    /// As the API server asks for somebody.
    fn proxied<'a>(&self, user: &'a str) -> Caller<'a> {
        Caller { identity: Some(self.front.issue("front-proxy")), user: Some(user), group: "system:authenticated" }
    }

    async fn get(&self, caller: Caller<'_>, path: &str) -> (StatusCode, Value) {
        self.ask(caller, Request::get(path)).await
    }

    async fn ask(&self, caller: Caller<'_>, request: http::request::Builder) -> (StatusCode, Value) {
        let stream = self.connect(caller.identity.as_ref(), &[]).await.expect("a handshake");
        let io = TokioIo::new(stream);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        let request = caller.user.into_iter().fold(request, |request, user| request.header("X-Remote-User", user));
        let request = request.header("X-Remote-Group", caller.group).header("Host", NAME);
        let answer = sender.send_request(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
        let (status, body) = (answer.status(), answer.into_body().collect().await.unwrap().to_bytes());
        (status, serde_json::from_slice(&body).expect("a document"))
    }

    fn reviews(&self) -> Vec<Value> {
        let asked = self.asked.lock().unwrap();
        let reviews = asked.iter().filter(|(path, _)| path.ends_with("/subjectaccessreviews"));
        reviews.map(|(_, body)| body["spec"].clone()).collect()
    }
}

/// A gateway that holds 40 connections, and its port. All pods have the address 127.0.0.1.
async fn gateway() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let router = Router::new().route("/v1/connections", get(async || Json(json!({"connections": 40}))));
    tokio::spawn(async move { axum::serve(listener, router).await });
    port
}

/// What was asked for: the path and the body.
type Asked = Arc<Mutex<Vec<(String, Value)>>>;

/// An API server that lets `hpa` in and nobody else, and knows three gateways: one that serves, one that drains, and one of
/// which nothing answers.
fn api_server() -> (Client, Asked) {
    let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = asked.clone();
    tokio::spawn(async move {
        while let Some((request, respond)) = handle.next_request().await {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let body: Value = serde_json::from_slice(&body).unwrap_or_default();
            let answer = answer(parts.uri.path(), parts.uri.query().unwrap_or_default(), &body);
            log.lock().unwrap().push((parts.uri.path().to_owned(), body));
            let (status, answer) = answer;
            let body = Body::from(serde_json::to_vec(&answer).unwrap());
            respond.send_response(Response::builder().status(status).body(body).unwrap());
        }
    });
    (Client::new(service, "default"), asked)
}

fn answer(path: &str, query: &str, body: &Value) -> (u16, Value) {
    let ours = support::cluster("");
    if path.ends_with("/subjectaccessreviews") {
        let mut review = body.clone();
        review["status"] = json!({"allowed": body["spec"]["user"] == "hpa"});
        return (201, review);
    }
    if path.ends_with("/wsclusters/chat") {
        let mut cluster = json!(ours);
        cluster["status"] = json!({"activeRevision": "r1"});
        return (200, cluster);
    }
    if path.ends_with("/pods") {
        // The selector of an autoscaler names what serves.
        let all = [pod("a", "true", "127.0.0.1"), pod("b", "false", "127.0.0.1"), pod("c", "true", "127.0.0.2")];
        let selected: Vec<_> = all
            .into_iter()
            .filter(|pod| !query.contains("serving") || pod["metadata"]["labels"]["wscluster.dev/serving"] == "true")
            .collect();
        return (200, json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": selected}));
    }
    (
        404,
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404, "reason": "NotFound", "message": "not found"}),
    )
}

fn pod(name: &str, serving: &str, ip: &str) -> Value {
    let labels = json!({
        "wscluster.dev/cluster": "chat", "wscluster.dev/revision": "r1", "wscluster.dev/serving": serving,
    });
    json!({
        "metadata": {"name": name, "namespace": "default", "uid": format!("uid-{name}"), "labels": labels},
        "status": {
            "phase": "Running", "podIP": ip,
            "containerStatuses": [{"name": "gateway", "started": true, "ready": true, "restartCount": 0, "image": "", "imageID": ""}],
        },
    })
}

#[tokio::test]
async fn who_comes_past_the_api_server_is_not_believed() {
    let stage = Stage::set().await;
    let nobody = Caller { identity: None, user: Some("hpa"), group: "system:masters" };
    let (status, body) = stage.get(nobody, PODS).await;
    assert_eq!((status, body["reason"].as_str()), (StatusCode::UNAUTHORIZED, Some("Unauthorized")));
    let other = Caller { identity: Some(stage.front.issue("admin")), user: Some("hpa"), group: "system:masters" };
    assert_eq!(stage.get(other, PODS).await.0, StatusCode::UNAUTHORIZED, "another certificate of the same authority");
    assert_eq!(stage.get(Caller { user: None, ..stage.proxied("") }, PODS).await.0, StatusCode::UNAUTHORIZED);
    assert!(stage.asked.lock().unwrap().is_empty(), "nothing is asked for them");
}

#[tokio::test]
async fn a_certificate_of_another_authority_gets_no_connection() {
    let stage = Stage::set().await;
    let stranger = Authority::new().issue("front-proxy");
    let stream = stage.connect(Some(&stranger), &[]).await;
    let Ok(stream) = stream else { return };
    // With TLS 1.3 a client hears of it only when it reads.
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get(PODS).header("Host", NAME).body(Empty::<Bytes>::new()).unwrap();
    assert!(sender.send_request(request).await.is_err());
}

#[tokio::test]
async fn the_api_server_decides_who_may_and_is_not_asked_again_at_once() {
    let stage = Stage::set().await;
    for _ in 0..2 {
        let (status, body) = stage.get(stage.proxied("eve"), PODS).await;
        assert_eq!((status, body["reason"].as_str()), (StatusCode::FORBIDDEN, Some("Forbidden")));
        assert_eq!(stage.get(stage.proxied("hpa"), PODS).await.0, StatusCode::OK);
    }
    let reviews = stage.reviews();
    assert_eq!(reviews.len(), 2, "{reviews:?}");
    let attributes = json!({
        "group": "custom.metrics.k8s.io", "version": "v1beta2", "namespace": "default", "resource": "pods",
        "name": "*", "subresource": "ws_active_connections", "verb": "get",
    });
    assert_eq!(reviews[0]["resourceAttributes"], attributes);
    assert_eq!((&reviews[0]["user"], &reviews[0]["groups"]), (&json!("eve"), &json!(["system:authenticated"])));
    let master = Caller { group: "system:masters", ..stage.proxied("system:kube-aggregator") };
    assert_eq!(stage.get(master, "/apis").await.0, StatusCode::OK);
    assert_eq!(stage.reviews().len(), 2, "the API server need not be asked about itself");
}

#[tokio::test]
async fn only_gateways_that_serve_and_answer_have_a_value() {
    let stage = Stage::set().await;
    for path in [PODS.to_owned(), format!("{PODS}?labelSelector=wscluster.dev%2Fserving%3Dtrue&metricLabelSelector=")] {
        let (status, body) = stage.get(stage.proxied("hpa"), &path).await;
        assert_eq!((status, body["kind"].as_str()), (StatusCode::OK, Some("MetricValueList")));
        let items = body["items"].as_array().unwrap();
        let values: Vec<_> = items.iter().map(|item| (&item["describedObject"]["name"], &item["value"])).collect();
        // Half of the 40 that come from the gateway that drains; the other half goes to the one that does not answer.
        assert_eq!(values, [(&json!("a"), &json!("60"))], "{path}");
        assert_eq!(items[0]["metric"]["name"], "ws_active_connections");
    }
}

#[tokio::test]
async fn a_sum_that_is_not_known_is_not_told() {
    let stage = Stage::set().await;
    let (status, body) = stage.get(stage.proxied("hpa"), CLUSTER).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(body["message"].as_str().unwrap().contains("gateway c does not answer"), "{body}");
}

#[tokio::test]
async fn what_is_not_served_is_not_found() {
    let stage = Stage::set().await;
    let base = "/apis/custom.metrics.k8s.io/v1beta2";
    for path in [
        format!("{base}/namespaces/default/pods/*/other"),
        format!("{base}/namespaces/default/services/*/ws_active_connections"),
        format!("{base}/namespaces/default/wsclusters.wscluster.dev/none/ws_active_connections"),
        format!("{base}/namespaces/other/pods/*/ws_active_connections"),
        format!("{base}/nodes/n/ws_active_connections"),
        "/apis/metrics.k8s.io".to_owned(),
    ] {
        let (status, body) = stage.get(stage.proxied("hpa"), &path).await;
        assert_eq!((status, body["kind"].as_str()), (StatusCode::NOT_FOUND, Some("Status")), "{path} {body}");
    }
    let post = Request::builder().method(Method::POST).uri(PODS);
    assert_eq!(stage.ask(stage.proxied("hpa"), post).await.0, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn discovery_is_plain_and_says_so() {
    let stage = Stage::set().await;
    let (status, body) = stage.get(stage.proxied("hpa"), "/apis/custom.metrics.k8s.io/v1beta1").await;
    assert_eq!((status, body["kind"].as_str()), (StatusCode::OK, Some("APIResourceList")));
    let form = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let request = Request::get("/apis").header("Accept", form);
    assert_eq!(stage.ask(stage.proxied("hpa"), request).await.0, StatusCode::NOT_ACCEPTABLE);
}

#[tokio::test]
async fn http2_is_spoken_too() {
    let stage = Stage::set().await;
    let stream = stage.connect(Some(&stage.front.issue("front-proxy")), &["h2"]).await.unwrap();
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.unwrap();
    tokio::spawn(connection);
    let request = Request::get(format!("https://{NAME}{PODS}")).header("X-Remote-User", "hpa");
    let answer = sender.send_request(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}
