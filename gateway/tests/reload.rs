//! Settings that change while the gateway runs: each takes effect without a restart.

mod support;
#[allow(dead_code)]
#[path = "support/tokens.rs"]
mod tokens;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use support::redis_server::RedisServer;
use support::{Client, Gateway, until};
use tokio_tungstenite::tungstenite::Message;
use wscluster_gateway::config::watch;
use wscluster_gateway::metrics::Metrics;

/// A gateway that follows a settings file.
struct Running {
    gateway: Gateway,
    file: PathBuf,
    _folder: tempfile::TempDir,
}

impl Running {
    async fn start(yaml: &str) -> Self {
        Self::start_on(yaml, None).await
    }

    async fn start_on(yaml: &str, redis: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gateway.yaml");
        std::fs::write(&file, yaml).unwrap();
        let gateway = Gateway::start(yaml, redis).await;
        tokio::spawn(watch::follow(file.clone(), Arc::clone(&gateway.settings), Arc::new(Metrics::new())));
        Self { gateway, file, _folder: folder }
    }

    async fn connect(&self, headers: &[(&'static str, &str)]) -> Option<Client> {
        Client::open(self.gateway.public, "/ws?room=a", headers).await.ok()
    }
}

/// Whether the gateway behaves as the setting says; asked again and again until it does.
type Look = fn(&Running) -> BoxFuture<'_, bool>;

struct Case {
    key: &'static str,
    before: &'static str,
    after: &'static str,
    /// Holds with the settings `after`, and not with those `before`.
    new: Look,
}

macro_rules! look {
    ($running:ident, $body:expr) => {
        |$running| Box::pin(async move { $body })
    };
}

async fn asks(running: &Running, request: Value) -> Value {
    running.gateway.client().await.ask(request).await
}

/// What a client is answered that publishes so many times at once.
async fn codes(client: &mut Client, times: usize) -> Vec<Value> {
    let mut codes = Vec::new();
    for _ in 0..times {
        codes.push(client.publish("codes", json!(1)).await["code"].clone());
    }
    codes
}

async fn kept(running: &Running, room: &str) -> usize {
    let mut client = running.gateway.client().await;
    for n in 0..6 {
        client.publish(room, json!(n)).await;
    }
    let page = client.ask(json!({"type": "history", "ref": 1, "room": room})).await;
    page["messages"].as_array().unwrap().len()
}

/// How a client that does not read ends: pushed past `maxBufferedBytes`, by which limit.
async fn slow_closes(running: &Running, limit: &str) -> bool {
    let gateway = &running.gateway;
    let name = format!("ws_slow_closes_total{{limit=\"{limit}\"}}");
    let before = gateway.metric(&name).await;
    let mut lazy = gateway.client().await;
    lazy.subscribe("flood").await;
    let mut writer = gateway.client().await;
    for _ in 0..60 {
        writer.publish("flood", json!("x".repeat(60_000))).await;
    }
    gateway.metric(&name).await > before
}

const CASES: &[Case] = &[
    Case {
        key: "maxConnections",
        before: "maxConnections: 1",
        after: "maxConnections: 2",
        new: look!(running, {
            let first = running.connect(&[]).await;
            let second = running.connect(&[]).await;
            first.is_some() && second.is_some()
        }),
    },
    Case {
        key: "limits.connectionsPerIp",
        before: "limits: {connectionsPerIp: 1}",
        after: "limits: {connectionsPerIp: 2}",
        new: look!(running, {
            let first = running.connect(&[]).await;
            let second = running.connect(&[]).await;
            first.is_some() && second.is_some()
        }),
    },
    Case {
        key: "limits.handshakesPerSecond",
        before: "limits: {handshakesPerSecond: 0}",
        after: "limits: {handshakesPerSecond: 1}",
        new: look!(running, {
            let _ = (running.connect(&[]).await, running.connect(&[]).await);
            running.gateway.metric("ws_handshakes_rejected_total{reason=\"handshake_rate\"}").await > 0
        }),
    },
    Case {
        key: "limits.maxMessageBytes",
        before: "limits: {maxMessageBytes: 100}",
        after: "limits: {maxMessageBytes: 1000}",
        new: look!(running, {
            asks(running, json!({"type": "publish", "room": "a", "ref": 1, "payload": "x".repeat(500)})).await["type"]
                == "ok"
        }),
    },
    Case {
        key: "limits.maxRoomsPerConnection",
        before: "limits: {maxRoomsPerConnection: 1}",
        after: "limits: {maxRoomsPerConnection: 2}",
        new: look!(running, {
            let mut client = running.gateway.client().await;
            client.subscribe("1").await;
            client.ask(json!({"type": "subscribe", "ref": 1, "room": "2"})).await["type"] == "subscribed"
        }),
    },
    Case {
        key: "limits.burst",
        before: "limits: {messagesPerSecond: 1, burst: 2}",
        after: "limits: {messagesPerSecond: 1, burst: 200}",
        new: look!(running, !codes(&mut running.gateway.client().await, 20).await.contains(&json!("rate_limited"))),
    },
    Case {
        key: "limits.messagesPerSecond",
        before: "limits: {messagesPerSecond: 1, burst: 1}",
        after: "limits: {messagesPerSecond: 1000000, burst: 1}",
        new: look!(running, {
            let mut client = running.gateway.client().await;
            // Round trips take long enough for a bucket that is filled at once.
            let codes = codes(&mut client, 200).await;
            codes.iter().filter(|code| code.is_null()).count() >= 5
        }),
    },
    Case {
        key: "heartbeat",
        before: "heartbeat: {intervalSeconds: 3600, timeoutSeconds: 3600}",
        after: "heartbeat: {intervalSeconds: 1, timeoutSeconds: 1}",
        new: look!(running, {
            // Made anew each time: an interval holds from a connection's next ping on.
            let mut client = running.connect(&[]).await.unwrap();
            let ping = tokio::time::timeout(Duration::from_secs(2), client.socket.next()).await;
            matches!(ping, Ok(Some(Ok(Message::Ping(_)))))
        }),
    },
    Case {
        key: "streams.trim",
        before: "streams: {trim: {maxLen: 5, approximate: false}}",
        after: "streams: {trim: {maxLen: 2, approximate: false}}",
        new: look!(running, kept(running, "trimmed").await == 2),
    },
    Case {
        key: "streams.overrides",
        before: "",
        after: "streams: {overrides: [{match: \"few:*\", trim: {maxLen: 3, approximate: false}}]}",
        new: look!(running, kept(running, "few:1").await == 3),
    },
    Case {
        key: "streams.idleTtlSeconds",
        before: "streams: {idleTtlSeconds: 3600}",
        after: "streams: {idleTtlSeconds: 1}",
        new: look!(running, {
            let mut client = running.gateway.client().await;
            let history = json!({"type": "history", "ref": 1, "room": "idle"});
            if client.ask(history.clone()).await["messages"] == json!([]) {
                client.publish("idle", json!(1)).await;
            }
            // Whoever writes anywhere has idle rooms removed.
            client.publish("busy", json!(1)).await;
            client.ask(history).await["messages"] == json!([])
        }),
    },
    Case {
        key: "limits.authTimeoutSeconds",
        before: "auth: {anonymous: {subscribe: [], publish: []}}\nlimits: {authTimeoutSeconds: 3600}",
        after: "auth: {anonymous: {subscribe: [], publish: []}}\nlimits: {authTimeoutSeconds: 1}",
        new: look!(running, {
            let mut client = running.gateway.client().await;
            let end = tokio::time::timeout(Duration::from_secs(2), client.socket.next()).await;
            matches!(end, Ok(Some(Ok(Message::Close(Some(frame))))) if u16::from(frame.code) == 3008)
        }),
    },
    Case {
        key: "auth.jwt",
        before: "auth: {jwt: {algorithms: [EdDSA], publicKeyFile: KEYS/ed.pub.pem, issuer: \"https://a.example\"}}",
        after: "auth: {jwt: {algorithms: [EdDSA], publicKeyFile: KEYS/ed.pub.pem, issuer: \"https://b.example\"}}",
        new: look!(running, {
            let claims = json!({
                "sub": "ada", "exp": tokens::now() + 600, "iss": "https://b.example", "rooms": {"subscribe": ["a"]},
            });
            let token = tokens::token(&claims, tokens::Signer::EdDsa);
            running.connect(&[("authorization", &format!("Bearer {token}"))]).await.is_some()
        }),
    },
    Case {
        key: "backpressure.maxBufferedBytes",
        before: "backpressure: {maxBufferedBytes: 100000000}\nlimits: {burst: 1000}",
        after: "backpressure: {maxBufferedBytes: 70000}\nlimits: {burst: 1000}",
        new: look!(running, slow_closes(running, "connection").await),
    },
    Case {
        key: "backpressure.totalBufferBytes",
        before: "backpressure: {maxBufferedBytes: 100000000}\nlimits: {burst: 1000}",
        after: "backpressure: {maxBufferedBytes: 100000000, totalBufferBytes: 70000}\nlimits: {burst: 1000}",
        new: look!(running, slow_closes(running, "total").await),
    },
    Case {
        key: "backpressure.policy",
        before: "backpressure: {maxBufferedBytes: 200000, policy: Disconnect}\nlimits: {burst: 1000}",
        after: "backpressure: {maxBufferedBytes: 200000, policy: Resync}\nlimits: {burst: 1000}",
        new: look!(running, {
            slow_closes(running, "connection").await;
            running.gateway.metric("ws_resyncs_total{reason=\"slow\"}").await > 0
        }),
    },
    Case {
        key: "auth.allowedOrigins",
        before: "auth: {allowedOrigins: [\"https://a.example\"]}",
        after: "auth: {allowedOrigins: [\"https://b.example\"]}",
        new: look!(running, running.connect(&[("origin", "https://b.example")]).await.is_some()),
    },
    Case {
        key: "auth.anonymous.subscribe",
        before: "auth: {anonymous: {subscribe: [\"b\"]}}",
        after: "auth: {anonymous: {subscribe: [\"a\"]}}",
        new: look!(running, running.connect(&[]).await.is_some()),
    },
    Case {
        key: "auth.anonymous.publish",
        before: "auth: {anonymous: {publish: []}}",
        after: "auth: {anonymous: {publish: [\"codes\"]}}",
        new: look!(running, codes(&mut running.gateway.client().await, 1).await == [json!(null)]),
    },
    Case {
        key: "proxyProtocol",
        before: "",
        after: "proxyProtocol: true",
        new: look!(running, running.connect(&[]).await.is_none()),
    },
    Case {
        key: "trustedProxies",
        before: "limits: {connectionsPerIp: 1}",
        after: "{trustedProxies: [127.0.0.0/8], limits: {connectionsPerIp: 1}}",
        new: look!(running, {
            let first = running.connect(&[("x-forwarded-for", "203.0.113.7")]).await;
            let second = running.connect(&[("x-forwarded-for", "203.0.113.8")]).await;
            first.is_some() && second.is_some()
        }),
    },
    Case {
        key: "demo",
        before: "demo: false",
        after: "demo: true",
        new: look!(running, support::http(running.gateway.public, "GET", "/demo/", "", "").await.0 == 200),
    },
    Case {
        key: "presence.maxListed",
        before: "presence: {maxListed: 1}",
        after: "presence: {maxListed: 10}",
        new: look!(running, {
            let join = json!({"type": "subscribe", "ref": 1, "room": "listed", "presence": true});
            let (mut one, mut two) = (running.gateway.client().await, running.gateway.client().await);
            one.ask(join.clone()).await;
            two.ask(join).await;
            let list = asks(running, json!({"type": "presence", "ref": 6, "room": "listed"})).await;
            list["members"].as_array().unwrap().len() >= 2
        }),
    },
    Case {
        key: "drain",
        before: "drain: {timeoutSeconds: 60}",
        after: "drain: {timeoutSeconds: 7, minSeconds: 3}",
        new: look!(running, {
            let (_, began) = running.gateway.admin("POST", "/v1/drain").await;
            let began: Value = serde_json::from_str(&began).unwrap();
            running.gateway.admin("DELETE", "/v1/drain").await;
            began["deadlineAt"].as_u64().unwrap() - began["startedAt"].as_u64().unwrap() == 10_000
        }),
    },
];

/// The keys of the tests are there, whatever folder they run in.
fn with_keys(yaml: &str) -> String {
    yaml.replace("KEYS", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/keys"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_setting_takes_effect_while_the_gateway_runs() {
    let checks = CASES.iter().map(|case| async move {
        let running = Running::start(&with_keys(case.before)).await;
        assert!(!(case.new)(&running).await, "{} holds before the change", case.key);
        std::fs::write(&running.file, with_keys(case.after)).unwrap();
        until(|| (case.new)(&running)).await;
    });
    futures::future::join_all(checks).await;
}

/// Of use on Redis only: in one process nobody is left behind.
#[tokio::test(flavor = "multi_thread")]
async fn the_lease_of_members_changes_while_the_gateway_runs() {
    let redis = RedisServer::start(&[]).await;
    let running = Running::start_on("presence: {leaseSeconds: 3}", Some(&redis.url())).await;
    running.gateway.connected().await;
    let mut client = running.gateway.client().await;
    client.ask(json!({"type": "subscribe", "ref": 1, "room": "a", "presence": true})).await;
    let longest = async || {
        let mut longest = 0;
        for key in redis.command(&["KEYS", "*"]).await.split_whitespace() {
            longest = redis.command(&["PTTL", key]).await.parse::<i64>().unwrap().max(longest);
        }
        longest
    };
    until(|| async { longest().await > 0 }).await;
    assert!(longest().await <= 3000);
    std::fs::write(&running.file, "presence: {leaseSeconds: 600}").unwrap();
    until(|| async { longest().await > 500_000 }).await;
}
