//! Clients that keep cookies, behind a load balancer that chooses at random, while gateways drain.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use wscluster_client::{Backoff, Client, CookieJar, Event, Events};
use wscluster_gateway::{
    config::{self, Config},
    log::redis::Address,
    metrics::Metrics,
    server::{self, Shutdown, World},
    shared::Parts,
};

#[allow(dead_code)] // Shared with the gateway's tests.
#[path = "../../../gateway/tests/support/redis_server.rs"]
mod redis_server;

use redis_server::RedisServer;

const TOKEN: &str = "cluster-t0ken";
const SESSIONS: usize = 20;
const MESSAGES: u64 = 200;

struct Gateway {
    public: SocketAddr,
    admin: SocketAddr,
    peer: SocketAddr,
    _shutdown: mpsc::Sender<Shutdown>,
}

impl Gateway {
    async fn start(name: &str, keys: &Path, redis: &str) -> Self {
        let listen = async || TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (public, admin, peer) = (listen().await, listen().await, listen().await);
        let addresses = [&public, &admin, &peer].map(|listener| listener.local_addr().unwrap());
        let yaml = format!(
            "affinity: {{keysFile: {}}}\ndrain: {{timeoutSeconds: 30}}\nlimits: {{burst: 1000}}",
            keys.display()
        );
        let parts = Parts {
            settings: config::share(Config::parse(&yaml).unwrap()),
            redis: Some(Address::parse(redis).unwrap()),
            node: name.into(),
            revision: "r1".into(),
            admin_token: Some(TOKEN.into()),
            api_key_file: None,
            shards: 2,
            demo: false,
            metrics: Arc::new(Metrics::new()),
        };
        let (shutdown, receiver) = mpsc::channel(4);
        tokio::spawn(server::run(World { public, admin, peer: Some(peer), socket: None, parts }, receiver));
        Self { public: addresses[0], admin: addresses[1], peer: addresses[2], _shutdown: shutdown }
    }

    /// The answer's body.
    async fn call(&self, method: &str, path: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(self.admin).await.unwrap();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\nauthorization: Bearer {TOKEN}\r\n\
             content-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }
}

/// As the operator does: those that do not drain.
async fn tell_peers(all: &[&Gateway], names: &[&str], gateways: &[&Gateway]) {
    let peers: Vec<_> =
        names.iter().zip(gateways).map(|(name, each)| format!("\"{name}\":\"{}\"", each.peer)).collect();
    for gateway in all {
        gateway.call("PUT", "/v1/peers", &format!("{{\"peers\":{{{}}}}}", peers.join(","))).await;
    }
}

/// A load balancer that chooses at random among whoever is in its list.
async fn balancer(to: Vec<SocketAddr>) -> (SocketAddr, Arc<std::sync::Mutex<Vec<SocketAddr>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, targets) = (listener.local_addr().unwrap(), Arc::new(std::sync::Mutex::new(to)));
    let chosen = targets.clone();
    tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            let to = {
                let targets = chosen.lock().unwrap();
                targets[rand::random_range(0..targets.len())]
            };
            tokio::spawn(async move {
                let Ok(mut to) = TcpStream::connect(to).await else { return };
                tokio::io::copy_bidirectional(&mut from, &mut to).await.ok();
            });
        }
    });
    (address, targets)
}

/// One session, and what it has got.
struct Session {
    client: Client,
    events: Events,
    jar: CookieJar,
    node: String,
    seen: Vec<u64>,
    moves: Vec<(String, String)>,
}

impl Session {
    /// With the cookies of a former one, or with none.
    async fn start(address: SocketAddr, jar: CookieJar) -> Self {
        let backoff = Backoff { base: Duration::from_millis(5), max: Duration::from_millis(50) };
        let builder = Client::builder(format!("ws://{address}/ws")).backoff(backoff).cookies(&jar);
        let (client, events) = builder.connect().unwrap();
        client.subscribe("lobby", None);
        let mut session = Self { client, events, jar, node: String::new(), seen: Vec::new(), moves: Vec::new() };
        while !matches!(session.next().await, Event::Subscribed { .. }) {}
        session
    }

    async fn next(&mut self) -> Event {
        let next = tokio::time::timeout(Duration::from_secs(20), self.events.next());
        let event = next.await.expect("nothing came").expect("the session goes on");
        match &event {
            Event::Connected { node, .. } => self.node.clone_from(node),
            Event::Moved { from, to, .. } => self.moves.push((from.clone(), to.clone())),
            Event::Message { payload, .. } => self.seen.push(payload.get().parse().unwrap()),
            _ => {}
        }
        event
    }

    fn owner(node: &str) -> &str {
        node.split(' ').next().unwrap()
    }

    /// Until it has got everything and has moved as often as it must.
    async fn finish(mut self, moves: usize) -> Self {
        while self.seen.last() != Some(&(MESSAGES - 1)) || self.moves.len() < moves {
            self.next().await;
        }
        self
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_drains_moves_those_who_run_through_it_once_and_nothing_is_lost() {
    let redis = RedisServer::start(&[]).await;
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys");
    std::fs::write(&keys, "k1 BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc").unwrap();
    let (a, b, c) = (
        Gateway::start("a", &keys, &redis.url()).await,
        Gateway::start("b", &keys, &redis.url()).await,
        Gateway::start("c", &keys, &redis.url()).await,
    );
    tell_peers(&[&a, &b, &c], &["a", "b", "c"], &[&a, &b, &c]).await;
    // All get a cookie of b or c, and come through a.
    let (address, targets) = balancer(vec![b.public, c.public]).await;
    let mut first = Vec::new();
    for _ in 0..SESSIONS {
        first.push(Session::start(address, CookieJar::default()).await);
    }
    *targets.lock().unwrap() = vec![a.public];
    let mut sessions = Vec::new();
    for former in first {
        let jar = former.jar.clone();
        let home = former.node.clone();
        former.client.close();
        let session = Session::start(address, jar).await;
        assert_eq!(session.node, format!("{home} via a"));
        sessions.push(session);
    }
    // a drains: it leaves the load balancer and the lists.
    *targets.lock().unwrap() = vec![b.public, c.public];
    tell_peers(&[&a, &b, &c], &["b", "c"], &[&b, &c]).await;
    let finishing: Vec<_> = sessions.into_iter().map(|session| tokio::spawn(session.finish(1))).collect();
    let publisher = Session::start(b.public, CookieJar::default()).await;
    a.call("POST", "/v1/drain", r#"{"connectionsPerSecond": 40}"#).await;
    for n in 0..MESSAGES {
        publisher.client.publish("lobby", &n).unwrap().await.unwrap();
    }
    for session in finishing {
        let session = session.await.unwrap();
        assert_eq!(session.seen, (0..MESSAGES).collect::<Vec<_>>(), "each message once, in order");
        let [(from, to)] = &session.moves[..] else { panic!("one move: {:?}", session.moves) };
        assert_eq!(Session::owner(from), Session::owner(to), "its gateway is the same");
        assert!(from.ends_with(" via a") && !to.contains("via a"), "{from} to {to}: another way");
    }
    let drained = async {
        while !a.call("GET", "/v1/drain", "").await.contains(r#""state":"drained""#) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), drained).await.expect("nobody is left");
    let status = a.call("GET", "/v1/drain", "").await;
    assert!(status.contains(r#""forced":0"#) && status.contains(&format!("\"moved\":{SESSIONS}")), "{status}");
}
