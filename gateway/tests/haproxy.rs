//! Behind a real HAProxy, set up as `docs/routes.md` says: the page's own text, with the test's addresses and short times.

mod support;

use std::net::SocketAddr;
use std::process::Stdio;

use futures::StreamExt;
use serde_json::{Value, json};
use support::{Client, Process, http, soon, until};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

const PAGE: &str = include_str!("../../docs/routes.md");
/// No heartbeat: what is idle here is idle.
const QUIET: &str =
    "{heartbeat: {intervalSeconds: 3600, timeoutSeconds: 10}, drain: {minSeconds: 0, timeoutSeconds: 60}}";

/// HAProxy, gone with the test.
struct Proxy {
    address: SocketAddr,
    _process: Child,
    _folder: TempDir,
}

impl Proxy {
    /// The page's configuration in front of two gateways. `changes` are made to its text, each of which must be there.
    async fn start(gateways: [SocketAddr; 2], changes: &[(&str, &str)]) -> Self {
        let address = free_address();
        let text =
            PAGE.split_once("```haproxy\n").and_then(|(_, rest)| rest.split_once("```")).expect("a configuration").0;
        let own = [
            ("bind :80\n", format!("bind {address}\n")),
            ("10.0.0.1:8080", gateways[0].to_string()),
            ("10.0.0.2:8080", gateways[1].to_string()),
            ("check inter 2s", "check inter 100ms".to_owned()),
        ];
        let changes = changes.iter().map(|(from, to)| (*from, (*to).to_owned()));
        let text = own.into_iter().chain(changes).fold(text.to_owned(), |text, (from, to)| {
            assert!(text.contains(from), "the page no longer has {from:?}");
            text.replace(from, &to)
        });
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("haproxy.cfg");
        std::fs::write(&file, text).unwrap();
        let process = Command::new("haproxy")
            .arg("-db")
            .arg("-f")
            .arg(&file)
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("haproxy is needed for this test: apt-get install haproxy");
        until(|| async { TcpStream::connect(address).await.is_ok() }).await;
        Self { address, _process: process, _folder: folder }
    }

    /// A client that shows a cookie, and the cookie that it was given.
    async fn connect(&self, cookie: Option<&str>) -> (Client, Option<String>) {
        let mut request = format!("ws://{}/ws", self.address).into_client_request().unwrap();
        let headers = request.headers_mut();
        headers.insert("sec-websocket-protocol", "wscluster.v1.json".parse().unwrap());
        if let Some(cookie) = cookie {
            headers.insert("cookie", cookie.parse().unwrap());
        }
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (socket, response) = soon(tokio_tungstenite::client_async(request, stream)).await.unwrap();
        let cookies = response.headers().get_all("set-cookie").iter().filter_map(|value| value.to_str().ok());
        let given = cookies.filter_map(|text| text.split(';').next()).find(|pair| pair.starts_with("wscluster-route="));
        let mut client = Client { socket };
        assert_eq!(client.next().await["type"], "welcome");
        (client, given.map(str::to_owned))
    }
}

fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

async fn connections(gateway: &Process) -> u64 {
    let answer: Value = serde_json::from_str(&http(gateway.admin, "GET", "/v1/connections", "", "").await.1).unwrap();
    answer["connections"].as_u64().unwrap()
}

/// The gateways, the one that holds the only connection first.
async fn holder_first(gateways: [Process; 2]) -> (Process, Process) {
    let [one, other] = gateways;
    if connections(&one).await == 1 { (one, other) } else { (other, one) }
}

#[tokio::test]
async fn a_client_with_its_cookie_comes_back_to_its_gateway_until_that_one_drains() {
    let gateways = [Process::start(QUIET, None).await, Process::start(QUIET, None).await];
    let proxy = Proxy::start([gateways[0].public, gateways[1].public], &[]).await;
    let (mut first, cookie) = proxy.connect(None).await;
    let cookie = cookie.expect("a cookie with the upgrade");
    let (old, new) = holder_first(gateways).await;
    let mut others = Vec::new();
    for number in 2..=5 {
        let (client, again) = proxy.connect(Some(&cookie)).await;
        assert_eq!((again, connections(&old).await), (None, number), "the cookie counts, and is not renewed");
        others.push(client);
    }
    drop(others);
    until(|| async { connections(&old).await == 1 }).await;

    let (status, _) = http(old.admin, "POST", "/v1/drain", "content-type: application/json\r\n", "{}").await;
    assert_eq!(status, 200);
    assert_eq!(first.next().await["type"], "drain", "its session is told, and not cut");
    until(|| async {
        let (client, again) = proxy.connect(Some(&cookie)).await;
        let moved = connections(&new).await > 0;
        assert_eq!(again.is_some(), moved, "another gateway is another cookie");
        client.leave().await;
        moved
    })
    .await;
    assert_eq!(first.subscribe("a").await["room"], "a", "who is there is served until it leaves");
    let published = first.publish("a", json!(1)).await;
    assert!(matches!(published["type"].as_str(), Some("ok" | "message")), "{published}");
}

#[tokio::test]
async fn a_connection_that_says_nothing_for_long_stays_while_an_idle_request_does_not() {
    let gateways = [Process::start(QUIET, None).await, Process::start(QUIET, None).await];
    let short = [
        ("timeout client 30s", "timeout client 500ms"),
        ("timeout server 30s", "timeout server 500ms"),
        ("timeout http-request 10s", "timeout http-request 500ms"),
    ];
    let proxy = Proxy::start([gateways[0].public, gateways[1].public], &short).await;
    let (mut client, _) = proxy.connect(None).await;
    for _ in 0..2 {
        // Who sends no request is cut off after the short time: then it has passed for the silent session, too.
        let mut idle = TcpStream::connect(proxy.address).await.unwrap();
        let mut end = Vec::new();
        soon(idle.read_to_end(&mut end)).await.unwrap();
    }
    assert_eq!(client.subscribe("a").await["room"], "a");
    assert!(futures::poll!(client.socket.next()).is_pending(), "nothing but the answer came");
}

#[tokio::test]
async fn readiness_is_told_where_clients_come_in() {
    let gateway = Process::start(QUIET, None).await;
    assert_eq!(http(gateway.public, "GET", "/readyz", "", "").await, (200, "ok".to_owned()));
    // A connection keeps it from being drained, and from its end.
    let _client = Client::connect(gateway.public).await;
    assert_eq!(http(gateway.admin, "POST", "/v1/drain", "content-type: application/json\r\n", "{}").await.0, 200);
    assert_eq!(http(gateway.public, "GET", "/readyz", "", "").await, (503, "draining".to_owned()));
    for hidden in ["/livez", "/metrics", "/v1/drain", "/v1/connections"] {
        assert_eq!(http(gateway.public, "GET", hidden, "", "").await.0, 404, "{hidden}");
    }
}
