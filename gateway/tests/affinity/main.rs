//! Several gateways, and clients that come back to whichever one their load balancer chooses.

mod cost;
mod drains;
mod finding;
mod keys;
mod owners;
mod peer_port;
mod processes;
#[path = "../support/mod.rs"]
mod support;
mod told;

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::net::TcpSocket;
use tokio_tungstenite::tungstenite::Error as WsError;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use wscluster_gateway::affinity::cookie::{Affinity, Key, Keys};
use wscluster_gateway::clock;

use support::{Client, Gateway, Member, http};

const TOKEN: &str = "cluster-t0ken";
/// 32 times the byte 7.
const KEY: &str = "k1 BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc";

/// Gateways of one cluster, named `g0`, `g1` and so on.
struct Fleet {
    gateways: Vec<Gateway>,
    folder: tempfile::TempDir,
}

impl Fleet {
    /// So many, which know each other.
    async fn start(count: usize, yaml: &str) -> Self {
        Self::start_on(count, yaml, None).await
    }

    async fn start_on(count: usize, yaml: &str, redis: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut fleet = Self { gateways: Vec::new(), folder };
        fleet.write_keys(&[KEY]);
        for _ in 0..count {
            fleet.add(yaml, redis).await;
        }
        fleet.tell_peers().await;
        fleet
    }

    /// One more, that nobody knows.
    async fn add(&mut self, yaml: &str, redis: Option<&str>) {
        let name = format!("g{}", self.gateways.len());
        let member = Member { name: &name, token: Some(TOKEN), peers: true, ..Member::default() };
        self.gateways.push(Gateway::start_all(&self.settings(yaml), redis, member).await);
    }

    fn keys_file(&self) -> std::path::PathBuf {
        self.folder.path().join("cookie-keys")
    }

    fn write_keys(&self, keys: &[&str]) {
        std::fs::write(self.keys_file(), keys.join("\n")).unwrap();
    }

    /// Settings with affinity.
    fn settings(&self, yaml: &str) -> String {
        format!("affinity: {{keysFile: {}}}\n{yaml}", self.keys_file().display())
    }

    /// As the operator does.
    async fn tell_peers(&self) {
        let pairs = self.gateways.iter().enumerate();
        let peers: Vec<_> = pairs.map(|(n, each)| (format!("g{n}"), each.peer.unwrap())).collect();
        for gateway in &self.gateways {
            tell(gateway, &peers).await;
        }
    }

    fn public(&self, number: usize) -> SocketAddr {
        self.gateways[number].public
    }

    async fn sum(&self, metric: &str) -> u64 {
        let mut sum = 0;
        for gateway in &self.gateways {
            sum += gateway.metric(metric).await;
        }
        sum
    }
}

/// Tells a gateway who its peers are.
async fn tell(gateway: &Gateway, peers: &[(String, SocketAddr)]) {
    let peers: serde_json::Map<String, Value> =
        peers.iter().map(|(name, address)| (name.clone(), json!(address.to_string()))).collect();
    let (status, body) = put_peers(gateway, &json!({ "peers": peers }).to_string()).await;
    assert_eq!(status, 200, "{body}");
}

async fn put_peers(gateway: &Gateway, body: &str) -> (u16, String) {
    http(gateway.admin, "PUT", "/v1/peers", &format!("authorization: Bearer {TOKEN}\r\n"), body).await
}

/// A cookie as a gateway of this cluster signs it, for so many milliseconds.
fn cookie(pod: &str, revision: &str, for_ms: u64) -> String {
    let keys = Keys { current: Key::new("k1", &[7; 32]).unwrap(), others: Vec::new() };
    signed(&keys, pod, revision, for_ms)
}

fn signed(keys: &Keys, pod: &str, revision: &str, for_ms: u64) -> String {
    let expires_at = clock::now() + for_ms;
    keys.write(&Affinity { pod: pod.into(), revision: revision.into(), expires_at }).unwrap()
}

const DAY: u64 = 86_400_000;

/// Somebody with a browser: keeps the cookie that it was given.
#[derive(Default)]
struct Visitor {
    cookie: Option<String>,
}

/// A visit under way.
struct Visit {
    client: Client,
    /// As the welcome says.
    node: String,
    /// The gateway that serves.
    owner: String,
    /// A cookie was set.
    cookie_set: bool,
}

impl Visitor {
    fn with(cookie: String) -> Self {
        Self { cookie: Some(cookie) }
    }

    async fn visit(&mut self, address: SocketAddr) -> Visit {
        self.visit_from("127.0.0.1", address).await
    }

    async fn visit_from(&mut self, from: &str, address: SocketAddr) -> Visit {
        let (mut client, set) = self
            .open(from, address, "/ws", &[("sec-websocket-protocol", "wscluster.v1.json")])
            .await
            .expect("a handshake failed");
        let welcome = client.next().await;
        assert_eq!(welcome["type"], "welcome", "{welcome}");
        let node = welcome["node"].as_str().unwrap().to_owned();
        let owner = node.split(' ').next().unwrap().to_owned();
        Visit { client, node, owner, cookie_set: set }
    }

    /// A handshake. `true`: it brought a cookie.
    async fn open(
        &mut self,
        from: &str,
        address: SocketAddr,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<(Client, bool), WsError> {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(from.parse().unwrap(), 0)).unwrap();
        let stream = socket.connect(address).await.unwrap();
        let mut request = format!("ws://{address}{path}").into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        if let Some(cookie) = &self.cookie {
            let header = format!("theme=dark; wscluster={cookie}");
            request.headers_mut().insert("cookie", header.parse().unwrap());
        }
        let (socket, response) = tokio_tungstenite::client_async(request, stream).await?;
        let set = response.headers().get("set-cookie").map(|value| value.to_str().unwrap().to_owned());
        if let Some(set) = &set {
            let (name, rest) = set.split_once('=').unwrap();
            assert_eq!((name, set.ends_with("; Path=/; Max-Age=86400; HttpOnly; SameSite=Lax")), ("wscluster", true));
            self.cookie = Some(rest.split(';').next().unwrap().to_owned());
        }
        Ok((Client { socket }, set.is_some()))
    }
}
