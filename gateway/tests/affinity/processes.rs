//! Gateways as processes of their own, which can be stopped and killed.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures::StreamExt;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Process, http, soon, until};
use crate::{DAY, KEY, TOKEN, Visit, Visitor, cookie};

/// Two gateways as processes: `g0` through which clients run, and `g1` which serves them.
pub(crate) struct Two {
    pub(crate) through: Process,
    pub(crate) owner: Process,
    _folder: tempfile::TempDir,
}

impl Two {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (keys, token) = (folder.path().join("keys"), folder.path().join("token"));
        std::fs::write(&keys, KEY).unwrap();
        std::fs::write(&token, TOKEN).unwrap();
        let yaml = format!(
            "affinity: {{keysFile: {}}}\nlimits: {{handshakesPerSecond: 0, messagesPerSecond: 1000000, burst: 1000000}}",
            keys.display()
        );
        let token = token.to_str().unwrap();
        let (through, _) = Process::start_member(&yaml, "g0", token).await;
        let (owner, peer) = Process::start_member(&yaml, "g1", token).await;
        let peers = json!({"peers": {"g1": peer.to_string()}}).to_string();
        let header = format!("authorization: Bearer {TOKEN}\r\n");
        assert_eq!(http(through.admin, "PUT", "/v1/peers", &header, &peers).await.0, 200);
        Self { through, owner, _folder: folder }
    }

    pub(crate) async fn forwarded(&self) -> u64 {
        self.look("/v1/connections").await["forwarded"].as_u64().unwrap()
    }

    /// Clients that the owner has welcomed.
    async fn owner_served(&self) -> u64 {
        let text = http(self.owner.admin, "GET", "/metrics", "", "").await.1;
        let line = text.lines().find_map(|line| line.strip_prefix("ws_connections_opened_total{protocol=\"v1\"} "));
        line.unwrap().parse().unwrap()
    }

    async fn look(&self, path: &str) -> Value {
        serde_json::from_str(&http(self.through.admin, "GET", path, "", "").await.1).unwrap()
    }
}

pub(crate) async fn visits(address: SocketAddr, count: usize) -> Vec<Visit> {
    let mut visits = Vec::new();
    while visits.len() < count {
        let visit = Visitor::with(cookie("g1", "r1", DAY)).visit(address).await;
        if visit.owner == "g1" {
            visits.push(visit);
        } else {
            // A machine that is very busy may have let the owner be late: it is passed over for a while. Who came meanwhile would
            // be served here, by the hundred, and leave that in this one's memory.
            drop(visit);
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }
    visits
}

/// Whose welcome a client gets after its handshake, which must not fail; `None`: the owner died between the two.
async fn owner_after_handshake(address: SocketAddr) -> Option<String> {
    let mut visitor = Visitor::with(cookie("g1", "r1", DAY));
    let offer = [("sec-websocket-protocol", "wscluster.v1.json")];
    let (mut client, _) = visitor.open("127.0.0.1", address, "/ws", &offer).await.expect("a handshake failed");
    let Some(Ok(Message::Text(welcome))) = soon(client.socket.next()).await else { return None };
    let welcome: Value = serde_json::from_str(&welcome).unwrap();
    welcome["node"].as_str()?.split(' ').next().map(str::to_owned)
}

#[tokio::test]
async fn an_owner_that_is_killed_while_clients_come_costs_no_handshake() {
    let mut two = Two::start().await;
    let address = two.through.public;
    let coming = tokio::spawn(async move {
        let mut owners = Vec::new();
        while owners.iter().filter(|owner| *owner == "g0").count() < 20 {
            owners.extend(owner_after_handshake(address).await);
        }
        owners
    });
    until(async || two.owner_served().await > 20).await;
    two.owner.child.kill().await.unwrap();
    let owners = soon(coming).await.unwrap();
    assert!(owners.iter().filter(|owner| *owner == "g1").count() > 20);
}

#[tokio::test]
async fn an_owner_that_cannot_be_asked_holds_a_drain_up_until_its_deadline_only() {
    let two = Two::start().await;
    let held = visits(two.through.public, 3).await;
    two.owner.signal("STOP").await;
    let began = Instant::now();
    let header = format!("authorization: Bearer {TOKEN}\r\n");
    let wish = json!({"timeoutSeconds": 1}).to_string();
    assert_eq!(http(two.through.admin, "POST", "/v1/drain", &header, &wish).await.0, 200);
    until(async || two.look("/v1/drain").await["state"] == "drained").await;
    assert_eq!(two.look("/v1/drain").await["forced"], 3);
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
    two.owner.signal("CONT").await;
    drop(held);
}
