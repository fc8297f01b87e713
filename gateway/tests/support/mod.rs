//! Gateways and clients for tests on real sockets.

#![allow(dead_code)] // Each test file uses a part of it.

pub(crate) mod certificates;
pub(crate) mod redis_server;
pub(crate) mod redis_topology;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use wscluster_gateway::config::{self, Config};
use wscluster_gateway::log::redis::Address;
use wscluster_gateway::metrics::Metrics;
use wscluster_gateway::server::{self, Shutdown, World};
use wscluster_gateway::shared::Parts;

pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Waits for something that must happen.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it did not happen in time")
}

/// Waits until a condition holds.
pub(crate) async fn until<F: Future<Output = bool>>(condition: impl Fn() -> F) {
    soon(async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

/// What a gateway is among others.
pub(crate) struct Member<'a> {
    pub(crate) name: &'a str,
    pub(crate) revision: &'a str,
    pub(crate) token: Option<&'a str>,
    pub(crate) api_keys: Option<PathBuf>,
    /// Others may come in.
    pub(crate) peers: bool,
}

impl Default for Member<'_> {
    fn default() -> Self {
        Self { name: "test", revision: "r1", token: None, api_keys: None, peers: false }
    }
}

/// A gateway within the test.
pub(crate) struct Gateway {
    pub(crate) public: SocketAddr,
    pub(crate) admin: SocketAddr,
    /// Where other gateways come in, if they may.
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) settings: config::Shared,
    pub(crate) shutdown: mpsc::Sender<Shutdown>,
    pub(crate) run: JoinHandle<()>,
}

impl Gateway {
    pub(crate) async fn start(yaml: &str, redis: Option<&str>) -> Self {
        Self::start_with(yaml, redis, None).await
    }

    pub(crate) async fn start_with(yaml: &str, redis: Option<&str>, token: Option<&str>) -> Self {
        Self::start_all(yaml, redis, Member { token, ..Member::default() }).await
    }

    /// One that knows the API keys in a file.
    pub(crate) async fn start_with_keys(yaml: &str, redis: Option<&str>, keys: &std::path::Path) -> Self {
        Self::start_all(yaml, redis, Member { api_keys: Some(keys.to_owned()), ..Member::default() }).await
    }

    /// One among others.
    pub(crate) async fn start_all(yaml: &str, redis: Option<&str>, member: Member<'_>) -> Self {
        let public = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let admin = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = if member.peers { Some(TcpListener::bind("127.0.0.1:0").await.unwrap()) } else { None };
        let peer_address = peer.as_ref().map(|listener| listener.local_addr().unwrap());
        let (addresses, settings) =
            ((public.local_addr().unwrap(), admin.local_addr().unwrap()), config::share(Config::parse(yaml).unwrap()));
        let (shutdown, receiver) = mpsc::channel(4);
        let parts = Parts {
            settings: Arc::clone(&settings),
            redis: redis.map(|url| Address::parse(url).unwrap().with_certificates(&settings.load().redis).unwrap()),
            node: member.name.into(),
            revision: member.revision.into(),
            admin_token: member.token.map(ToOwned::to_owned),
            api_key_file: member.api_keys,
            shards: 2,
            demo: false,
            metrics: Arc::new(Metrics::new()),
        };
        let world = World { public, admin, peer, socket: None, parts };
        let run = tokio::spawn(server::run(world, receiver));
        Self { public: addresses.0, admin: addresses.1, peer: peer_address, settings, shutdown, run }
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.public).await
    }

    pub(crate) async fn admin(&self, method: &str, path: &str) -> (u16, String) {
        http(self.admin, method, path, "", "").await
    }

    pub(crate) async fn connections(&self) -> Value {
        serde_json::from_str(&self.admin("GET", "/v1/connections").await.1).unwrap()
    }

    pub(crate) async fn drain_status(&self) -> Value {
        serde_json::from_str(&self.admin("GET", "/v1/drain").await.1).unwrap()
    }

    pub(crate) async fn metric(&self, line: &str) -> u64 {
        let text = self.admin("GET", "/metrics").await.1;
        let found = text.lines().find_map(|have| have.strip_prefix(line)?.strip_prefix(' '));
        found.unwrap_or_else(|| panic!("no {line} in\n{text}")).parse::<f64>().unwrap() as u64
    }

    pub(crate) async fn connected(&self) {
        until(|| async { self.connections().await["redis"]["connected"] == true }).await;
    }
}

/// A gateway as a process.
pub(crate) struct Process {
    pub(crate) public: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) child: tokio::process::Child,
    pub(crate) folder: tempfile::TempDir,
}

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_wscluster-gateway");

impl Process {
    pub(crate) async fn start(yaml: &str, redis: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gateway.yaml");
        std::fs::write(&file, yaml).unwrap();
        let command = tokio::process::Command::new(BINARY);
        Self::run(command, folder, &file, Stdio::null(), redis).await
    }

    /// One that writes its log to the file `log`, and whose settings are mounted as Kubernetes mounts a ConfigMap.
    pub(crate) async fn start_logging(yaml: &str, redis: Option<&str>, level: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mounted = folder.path().join("mounted");
        std::fs::create_dir_all(mounted.join("..1")).unwrap();
        std::fs::write(mounted.join("..1/gateway.yaml"), yaml).unwrap();
        std::os::unix::fs::symlink("..1", mounted.join("..data")).unwrap();
        std::os::unix::fs::symlink("..data/gateway.yaml", mounted.join("gateway.yaml")).unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let mut command = tokio::process::Command::new(BINARY);
        command.env("WSCLUSTER_LOG", level).env("WSCLUSTER_LOG_FORMAT", "json").args(["--node", "log-test"]);
        Self::run(command, folder, &mounted.join("gateway.yaml"), log.into(), redis).await
    }

    /// One among others, and where they come in.
    pub(crate) async fn start_member(yaml: &str, name: &str, token_file: &str) -> (Self, SocketAddr) {
        let folder = tempfile::tempdir().unwrap();
        let (file, peer) = (folder.path().join("gateway.yaml"), free_address());
        std::fs::write(&file, yaml).unwrap();
        let mut command = tokio::process::Command::new(BINARY);
        command.env("WSCLUSTER_PEER_LISTEN", peer.to_string()).env("WSCLUSTER_REVISION", "r1");
        command.args(["--node", name, "--admin-token-file", token_file]);
        (Self::run(command, folder, &file, Stdio::null(), None).await, peer)
    }

    async fn run(
        mut command: tokio::process::Command,
        folder: tempfile::TempDir,
        file: &std::path::Path,
        log: Stdio,
        redis: Option<&str>,
    ) -> Self {
        let (public, admin) = (free_address(), free_address());
        command
            .env("WSCLUSTER_LISTEN", public.to_string())
            .args(["--admin-listen", &admin.to_string(), "--config"])
            .arg(file)
            .arg("--socket")
            .arg(folder.path().join("gateway.sock"))
            .stderr(log)
            .kill_on_drop(true);
        if let Some(url) = redis {
            command.args(["--redis", url]);
        }
        let process = Self { public, admin, child: command.spawn().unwrap(), folder };
        until(|| async { TcpStream::connect(admin).await.is_ok() }).await;
        process
    }

    pub(crate) fn drain_command(&self) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(BINARY);
        command.arg("drain").arg("--socket").arg(self.folder.path().join("gateway.sock"));
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// Sends a signal by its name, with the shell's own `kill`.
    pub(crate) async fn signal(&self, name: &str) {
        let pid = self.child.id().unwrap().to_string();
        let status = tokio::process::Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status().await;
        assert!(status.unwrap().success());
    }
}

fn free_address() -> SocketAddr {
    loop {
        let address = SocketAddr::from(([127, 0, 0, 1], 32_000 - rand::random_range(0..12_000)));
        if std::net::TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// One HTTP request, by hand: what comes back is what was sent.
pub(crate) async fn http(address: SocketAddr, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
    http_over(TcpStream::connect(address).await.unwrap(), address, method, path, headers, body).await
}

/// The same over a connection that is there.
pub(crate) async fn http_over(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> (u16, String) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    soon(stream.read_to_string(&mut response)).await.unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, if body.is_empty() { head.to_owned() } else { body.to_owned() })
}

/// A client of the JSON protocol, or of the raw one.
pub(crate) struct Client<S = TcpStream> {
    pub(crate) socket: WebSocketStream<S>,
}

impl Client {
    /// Connects with the JSON protocol, and takes the welcome.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let mut client = Self::open(address, "/ws", &[("sec-websocket-protocol", "wscluster.v1.json")]).await.unwrap();
        assert_eq!(client.next().await["type"], "welcome");
        client
    }

    pub(crate) async fn raw(address: SocketAddr, query: &str) -> Self {
        Self::open(address, &format!("/ws?{query}"), &[]).await.unwrap()
    }

    /// With a small receive buffer, so that a client that does not read is felt at once.
    pub(crate) async fn open(
        address: SocketAddr,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, WsError> {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        Self::over(socket.connect(address).await.unwrap(), address, path, headers).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    /// Over a connection that is there.
    pub(crate) async fn over(
        stream: S,
        address: SocketAddr,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, WsError> {
        let mut request = format!("ws://{address}{path}").into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let (socket, _) = tokio_tungstenite::client_async(request, stream).await?;
        Ok(Self { socket })
    }

    pub(crate) async fn send(&mut self, frame: Value) {
        self.send_text(&frame.to_string()).await;
    }

    pub(crate) async fn send_text(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    /// The next text frame.
    pub(crate) async fn next_text(&mut self) -> String {
        soon(async {
            loop {
                match self.socket.next().await {
                    Some(Ok(Message::Text(text))) => return text.to_string(),
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    other => panic!("no text but {other:?}"),
                }
            }
        })
        .await
    }

    pub(crate) async fn next(&mut self) -> Value {
        serde_json::from_str(&self.next_text().await).unwrap()
    }

    /// The next message of a room: its id and payload.
    pub(crate) async fn message(&mut self) -> (String, Value) {
        let frame = self.next().await;
        assert_eq!(frame["type"], "message", "{frame}");
        (frame["id"].as_str().unwrap().to_owned(), frame["payload"].clone())
    }

    /// The close code, after whatever else comes.
    pub(crate) async fn close_code(&mut self) -> u16 {
        soon(async {
            loop {
                match self.socket.next().await {
                    Some(Ok(Message::Close(Some(frame)))) => return frame.code.into(),
                    Some(Ok(Message::Close(None))) => return 1005,
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return 1006,
                }
            }
        })
        .await
    }

    pub(crate) async fn ask(&mut self, frame: Value) -> Value {
        self.send(frame).await;
        self.next().await
    }

    pub(crate) async fn subscribe(&mut self, room: &str) -> Value {
        let answer = self.ask(json!({"type": "subscribe", "ref": 1, "room": room})).await;
        assert_eq!(answer["type"], "subscribed", "{answer}");
        answer
    }

    pub(crate) async fn resume(&mut self, room: &str, since: &str) -> Value {
        self.ask(json!({"type": "subscribe", "ref": 1, "room": room, "since": since})).await
    }

    pub(crate) async fn publish(&mut self, room: &str, payload: Value) -> Value {
        self.ask(json!({"type": "publish", "ref": 2, "room": room, "payload": payload})).await
    }

    pub(crate) async fn leave(mut self) {
        let _ = self.socket.close(None).await;
        while let Some(Ok(_)) = self.socket.next().await {}
    }
}
