//! Fleets in every phase, a scripted API server, and a place for what commands print.

#![allow(dead_code)] // each test binary uses its part

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use clap::Parser;
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use kubectl_wscluster::access::Access;
use kubectl_wscluster::arguments::Arguments;
use kubectl_wscluster::ui::Ui;
use kubectl_wscluster::{Outcome, run};
use serde_json::{Value, json};
use wscluster_crds::WsCluster;

/// A WsCluster named `chat` with this status, and what `more` merges into it.
pub(crate) fn cluster(status: &str) -> WsCluster {
    let status: Value = serde_yaml::from_str(status).expect("a status");
    let mut object = json!({
        "apiVersion": "wscluster.dev/v1alpha1",
        "kind": "WsCluster",
        "metadata": {"name": "chat", "namespace": "web", "generation": 4, "resourceVersion": "10", "uid": "u"},
        "spec": {"replicas": 3, "redis": {"url": "redis://redis:6379"}, "gateway": {"maxConnections": 1000}},
    });
    if !status.is_null() {
        object["status"] = status;
        object["status"]["observedGeneration"].as_i64().or_else(|| {
            object["status"]["observedGeneration"] = json!(4);
            None
        });
    }
    serde_json::from_value(object).expect("a WsCluster")
}

pub(crate) const RUNNING: &str = "
phase: Running
readyReplicas: 3
ready: 3/3
connections: 1450
activeRevision: 3c4d5e6f70
endpoint: ws://198.51.100.7/ws
revisions: [{hash: 3c4d5e6f70, image: 'example.com/gateway:2', replicas: 3, ready: 3, connections: 1450, state: Active}]
gateways:
- {name: chat-gateway-3c4d5e6f70-aaaaa, revision: 3c4d5e6f70, node: node-1, state: Serving, connections: 700}
- {name: chat-gateway-3c4d5e6f70-bbbbb, revision: 3c4d5e6f70, node: node-2, state: Serving, connections: 500}
- {name: chat-gateway-3c4d5e6f70-ccccc, revision: 3c4d5e6f70, node: node-1, state: Serving, connections: 250}
rollout: {phase: Complete, from: 1a2b3c4d5e, to: 3c4d5e6f70, startedAt: '2026-01-01T00:00:00Z', finishedAt: '2026-01-01T00:01:05Z', sessionsAtStart: 1450, moved: 1450, resumed: 1450}
conditions:
- {type: Ready, status: 'True', reason: AllGatewaysReady, message: 3 of 3 gateways are ready, lastTransitionTime: '2026-01-01T00:00:00Z'}
- {type: Progressing, status: 'False', reason: Complete, message: All gateways are of revision 3c4d5e6f70, lastTransitionTime: '2026-01-01T00:00:00Z'}
- {type: Degraded, status: 'False', reason: AsExpected, message: Nothing needs attention, lastTransitionTime: '2026-01-01T00:00:00Z'}
- {type: RedisReachable, status: 'True', reason: Connected, message: Redis 7 answers, lastTransitionTime: '2026-01-01T00:00:00Z'}
- {type: SessionsPreserved, status: 'True', reason: NoneLost, message: '', lastTransitionTime: '2026-01-01T00:00:00Z'}
";

pub(crate) const SURGING: &str = "
phase: RollingOut
ready: 3/3
connections: 90
activeRevision: 1a2b3c4d5e
endpoint: ws://198.51.100.7/ws
revisions:
- {hash: 1a2b3c4d5e, image: 'example.com/gateway:1', replicas: 3, ready: 3, connections: 90, state: Active}
- {hash: 3c4d5e6f70, image: 'example.com/gateway:2', replicas: 3, ready: 1, connections: 0, state: Surging}
gateways:
- {name: chat-gateway-1a2b3c4d5e-aaaaa, revision: 1a2b3c4d5e, node: node-1, state: Serving, connections: 60}
- {name: chat-gateway-1a2b3c4d5e-bbbbb, revision: 1a2b3c4d5e, node: node-2, state: Serving, connections: 30}
- {name: chat-gateway-3c4d5e6f70-ddddd, revision: 3c4d5e6f70, node: node-2, state: NotReady}
rollout: {phase: Surging, from: 1a2b3c4d5e, to: 3c4d5e6f70, startedAt: '2026-01-01T00:00:00Z', sessionsAtStart: 90}
conditions:
- {type: Ready, status: 'True', reason: AllGatewaysReady, message: 3 of 3 gateways are ready, lastTransitionTime: '2026-01-01T00:00:00Z'}
- {type: Progressing, status: 'True', reason: RollingOut, message: 1 of 3 gateways of revision 3c4d5e6f70 are ready, lastTransitionTime: '2026-01-01T00:00:00Z'}
";

pub(crate) const DRAINING: &str = "
phase: RollingOut
ready: 3/3
connections: 500
activeRevision: 3c4d5e6f70
endpoint: ws://198.51.100.7/ws
revisions:
- {hash: 3c4d5e6f70, image: 'example.com/gateway:2', replicas: 3, ready: 3, connections: 340, state: Active}
- {hash: 1a2b3c4d5e, image: 'example.com/gateway:1', replicas: 2, ready: 2, connections: 160, state: Draining}
gateways:
- {name: chat-gateway-1a2b3c4d5e-aaaaa, revision: 1a2b3c4d5e, node: node-1, state: Draining, connections: 160}
- {name: chat-gateway-1a2b3c4d5e-bbbbb, revision: 1a2b3c4d5e, node: node-2, state: Drained, connections: 0}
- {name: chat-gateway-3c4d5e6f70-ddddd, revision: 3c4d5e6f70, node: node-2, state: Serving, connections: 340}
rollout: {phase: Draining, from: 1a2b3c4d5e, to: 3c4d5e6f70, startedAt: '2026-01-01T00:00:00Z', sessionsAtStart: 500, moved: 340, resumed: 338, remaining: 160, connectionsPerSecond: 40, etaSeconds: 4}
conditions:
- {type: Ready, status: 'True', reason: AllGatewaysReady, message: 3 of 3 gateways are ready, lastTransitionTime: '2026-01-01T00:00:00Z'}
- {type: Progressing, status: 'True', reason: RollingOut, message: Sessions move to revision 3c4d5e6f70, lastTransitionTime: '2026-01-01T00:00:00Z'}
";

pub(crate) const FAILED: &str = "
phase: Degraded
ready: 3/3
connections: 90
activeRevision: 1a2b3c4d5e
revisions:
- {hash: 1a2b3c4d5e, image: 'example.com/gateway:1', replicas: 3, ready: 3, connections: 90, state: Active}
- {hash: 3c4d5e6f70, image: 'example.com/gateway:nope', replicas: 3, ready: 0, connections: 0, state: Failed}
rollout: {phase: Failed, from: 1a2b3c4d5e, to: 3c4d5e6f70, startedAt: '2026-01-01T00:00:00Z', sessionsAtStart: 90, message: 'revision 3c4d5e6f70 did not come up within 600 s: ErrImagePull, example.com/gateway:nope: not found'}
conditions:
- {type: Ready, status: 'True', reason: AllGatewaysReady, message: 3 of 3 gateways are ready, lastTransitionTime: '2026-01-01T00:00:00Z'}
- {type: Progressing, status: 'False', reason: ProgressDeadlineExceeded, message: Revision 3c4d5e6f70 did not come up in time, lastTransitionTime: '2026-01-01T00:00:00Z'}
- {type: Degraded, status: 'True', reason: ImagePullFailed, message: 'Gateway chat-gateway-3c4d5e6f70-ddddd cannot pull example.com/gateway:nope: not found', lastTransitionTime: '2026-01-01T00:00:00Z'}
";

pub(crate) const PAUSED: &str = "
phase: Paused
ready: 3/3
connections: 498
activeRevision: 3c4d5e6f70
revisions:
- {hash: 3c4d5e6f70, image: 'example.com/gateway:2', replicas: 3, ready: 3, connections: 338, state: Active}
- {hash: 1a2b3c4d5e, image: 'example.com/gateway:1', replicas: 2, ready: 2, connections: 160, state: Draining}
rollout: {phase: Paused, from: 1a2b3c4d5e, to: 3c4d5e6f70, startedAt: '2026-01-01T00:00:00Z', sessionsAtStart: 500, moved: 340, resumed: 337, dropped: 3, forced: 2, remaining: 160, message: 'lost 3 sessions, and spec.rollout.sessionLossBudget is 0'}
conditions:
- {type: Ready, status: 'True', reason: AllGatewaysReady, message: 3 of 3 gateways are ready, lastTransitionTime: '2026-01-01T00:00:00Z'}
- {type: SessionsPreserved, status: 'False', reason: SessionsLost, message: 3 sessions were lost, lastTransitionTime: '2026-01-01T00:00:00Z'}
";

/// A request, as the server saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) body: Value,
}

impl Seen {
    /// Whether it asks to be told of changes.
    pub(crate) fn watches(&self) -> bool {
        self.query.contains("watch=true")
    }
}

pub(crate) type Answer = (u16, Value);

/// A namespace `web` on a server that answers by a function, and what it was asked.
pub(crate) fn server(answer: impl Fn(&Seen) -> Answer + Send + 'static) -> (Access, Arc<Mutex<Vec<Seen>>>) {
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
            let mut text = match value {
                Value::String(text) => text,
                value => value.to_string(),
            };
            text.push('\n');
            respond.send_response(Response::builder().status(status).body(Body::from(text.into_bytes())).unwrap());
        }
    });
    (Access { client: Client::new(service, "web"), namespace: "web".to_owned() }, seen)
}

pub(crate) fn failure(code: u16, reason: &str, message: &str) -> Answer {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message});
    (code, status)
}

/// A list of what there is.
pub(crate) fn list(kind: &str, items: &Value) -> Answer {
    (200, json!({"kind": kind, "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": items}))
}

/// A change, as a watch tells of it.
pub(crate) fn modified(object: &impl serde::Serialize) -> Answer {
    (200, json!({"type": "MODIFIED", "object": object}))
}

/// Runs a command line, and returns how it ended and what it printed.
pub(crate) async fn command(
    words: &str,
    answer: impl Fn(&Seen) -> Answer + Send + 'static,
) -> (anyhow::Result<Outcome>, String, Vec<Seen>) {
    let (access, seen) = server(answer);
    let printed = Printed::default();
    let words = ["kubectl-wscluster"].into_iter().chain(words.split_whitespace());
    let command = Arguments::try_parse_from(words).unwrap().command;
    let outcome = Box::pin(run(command, &access, &mut printed.ui())).await;
    let seen = seen.lock().unwrap().clone();
    (outcome, printed.text(), seen)
}

/// The requests that write.
pub(crate) fn writes(seen: &[Seen]) -> Vec<&Seen> {
    seen.iter().filter(|request| request.method != Method::GET).collect()
}

/// What a command printed.
#[derive(Clone, Default)]
pub(crate) struct Printed(Arc<Mutex<Vec<u8>>>);

impl Printed {
    pub(crate) fn ui(&self) -> Ui {
        Ui::plain(self.clone())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).expect("text")
    }
}

impl Write for Printed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
