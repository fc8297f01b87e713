//! Traces, as a receiver gets them: a small one that reads OTLP over HTTP, and breaks when it is told to.

mod support;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use futures::StreamExt;
use http::{HeaderMap, StatusCode};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value as Any};
use parking_lot::Mutex;
use prost::Message as _;
use serde_json::json;
use support::{Client, Gateway, http, until};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const OTHER_TRACE: &str = "1af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// A span, as far as it is looked at.
#[derive(Clone, Debug, Default)]
struct Span {
    name: String,
    trace: String,
    parent: String,
    attributes: BTreeMap<String, String>,
    service: BTreeMap<String, String>,
    failed: bool,
}

#[derive(Default)]
struct Receiver {
    spans: Mutex<Vec<Span>>,
    broken: AtomicBool,
}

impl Receiver {
    async fn start() -> (Arc<Self>, SocketAddr) {
        let receiver = Arc::new(Self::default());
        let routes = Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&receiver));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, routes).await });
        (receiver, address)
    }

    fn named(&self, name: &str) -> Vec<Span> {
        self.spans.lock().iter().filter(|span| span.name == name).cloned().collect()
    }

    async fn has(&self, name: &str) -> Span {
        until(|| async { !self.named(name).is_empty() }).await;
        self.named(name).remove(0)
    }
}

async fn take(State(receiver): State<Arc<Receiver>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    assert_eq!(headers["content-type"], "application/x-protobuf");
    if receiver.broken.load(Relaxed) {
        return StatusCode::INTERNAL_SERVER_ERROR;
    }
    for resource in ExportTraceServiceRequest::decode(body).unwrap().resource_spans {
        let service = attributes(&resource.resource.unwrap().attributes);
        for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            receiver.spans.lock().push(Span {
                name: span.name,
                trace: hex(&span.trace_id),
                parent: hex(&span.parent_span_id),
                attributes: attributes(&span.attributes),
                service: service.clone(),
                failed: span.status.is_some_and(|status| status.code == 2),
            });
        }
    }
    StatusCode::OK
}

fn attributes(pairs: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |pair: &KeyValue| match pair.value.clone().and_then(|value| value.value) {
        Some(Any::StringValue(text)) => text,
        Some(Any::IntValue(number)) => number.to_string(),
        Some(Any::BoolValue(yes)) => yes.to_string(),
        other => format!("{other:?}"),
    };
    pairs.iter().map(|pair| (pair.key.clone(), text(pair))).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn settings(receiver: SocketAddr, one_in: u32) -> String {
    format!(
        "observability: {{otlpEndpoint: \"http://{receiver}/\", sampleOneIn: {one_in}}}\n\
         drain: {{timeoutSeconds: 1, connectionsPerSecond: 1000}}"
    )
}

/// Waits until the gateway sends its traces there.
async fn tracing(gateway: &Gateway, receiver: &Receiver) {
    until(|| async {
        http(gateway.public, "GET", "/api/v1/rooms", "", "").await;
        !receiver.spans.lock().is_empty()
    })
    .await;
    receiver.spans.lock().clear();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_for_and_what_is_drained_is_traced_and_no_delivery() {
    let (receiver, address) = Receiver::start().await;
    let gateway = Gateway::start(&settings(address, 1), None).await;
    tracing(&gateway, &receiver).await;
    let (mut client, mut writer) = (gateway.client().await, gateway.client().await);
    client.resume("a-room", "0-0").await;
    for n in 0..20 {
        writer.publish("a-room", json!(n)).await;
    }
    for _ in 0..20 {
        client.message().await;
    }
    let handshake = receiver.has("handshake").await;
    assert_eq!(handshake.attributes["http.response.status_code"], "101");
    assert_eq!(handshake.service["service.name"], "wscluster-gateway");
    assert_eq!(handshake.service["service.instance.id"], "test");
    assert_eq!(receiver.has("replay begin").await.attributes["wscluster.replay.messages"], "0");
    gateway.admin("POST", "/v1/drain").await;
    let drain = receiver.has("drain").await;
    assert_eq!(drain.attributes["wscluster.drain.remaining"], "2", "at the deadline: they are closed then");
    let spans = receiver.spans.lock().clone();
    let names: std::collections::BTreeSet<_> = spans.iter().map(|span| span.name.as_str()).collect();
    let known = ["GET /api/v1/rooms", "drain", "handshake", "publish", "replay begin"];
    assert!(names.iter().all(|name| known.contains(name)), "{names:?}");
    assert_eq!(receiver.named("publish").len(), 20);
    assert!(!format!("{spans:?}").contains("a-room"), "what clients choose is in no span");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_of_others_goes_on_here_if_it_is_sampled() {
    let (receiver, address) = Receiver::start().await;
    // Next to nothing of its own is sampled.
    let gateway = Gateway::start(&settings(address, 1_000_000_000), None).await;
    let sampled = format!("00-{TRACE}-{PARENT}-01");
    let not_sampled = format!("00-{OTHER_TRACE}-{PARENT}-00");
    until(|| async {
        for traceparent in [&not_sampled, &sampled] {
            Client::open(gateway.public, "/ws?room=a", &[("traceparent", traceparent)]).await.unwrap();
        }
        !receiver.spans.lock().is_empty()
    })
    .await;
    let header = format!("traceparent: {sampled}\r\n");
    http(gateway.public, "GET", "/api/v1/rooms/b/presence", &header, "").await;
    for name in ["handshake", "GET /api/v1/rooms/{room}/presence"] {
        let span = receiver.has(name).await;
        assert_eq!((span.trace.as_str(), span.parent.as_str(), span.failed), (TRACE, PARENT, false), "{name}");
    }
    assert!(receiver.spans.lock().iter().all(|span| span.trace == TRACE), "the other one is not sampled");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_fails_harms_nobody_and_is_used_again_when_it_is_back() {
    let (receiver, address) = Receiver::start().await;
    let gateway = Gateway::start(&settings(address, 1), None).await;
    tracing(&gateway, &receiver).await;
    receiver.broken.store(true, Relaxed);
    let mut client = gateway.client().await;
    client.subscribe("a").await;
    for n in 0..50 {
        client.publish("a", json!(n)).await;
    }
    receiver.broken.store(false, Relaxed);
    tracing(&gateway, &receiver).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_receiver_nothing_is_traced_and_one_may_come_while_the_gateway_runs() {
    let (receiver, address) = Receiver::start().await;
    let gateway = Gateway::start("", None).await;
    let mut client = gateway.client().await;
    client.publish("a", json!(1)).await;
    assert!(receiver.spans.lock().is_empty());
    let new = wscluster_gateway::config::Config::parse(&settings(address, 1)).unwrap();
    gateway.settings.store(Arc::new(new.into()));
    tracing(&gateway, &receiver).await;
    // What is on its way when it stops is still sent.
    client.publish("a", json!(2)).await;
    gateway.shutdown.send(wscluster_gateway::server::Shutdown::Now).await.unwrap();
    while client.socket.next().await.is_some_and(|frame| frame.is_ok()) {}
    gateway.run.await.unwrap();
    assert!(!receiver.named("publish").is_empty());
}
