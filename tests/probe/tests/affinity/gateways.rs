//! Gateways as they are, behind a load balancer that chooses at random.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex},
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;
use wscluster_gateway::{
    config::{self, Config},
    metrics::Metrics,
    server::{self, Shutdown, World},
    shared::Parts,
};
use wscluster_probe::{Verdict, affinity};

use crate::{free_address, gateways, options, report, send};

const TOKEN: &str = "cluster-t0ken";

struct Gateway {
    name: &'static str,
    public: SocketAddr,
    admin: SocketAddr,
    peer: SocketAddr,
    _shutdown: mpsc::Sender<Shutdown>,
}

impl Gateway {
    async fn start(name: &'static str, revision: &str, keys: &Path) -> Self {
        let listen = async || TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (public, admin, peer) = (listen().await, listen().await, listen().await);
        let addresses = [&public, &admin, &peer].map(|listener| listener.local_addr().unwrap());
        let parts = Parts {
            settings: config::share(Config::parse(&format!("affinity: {{keysFile: {}}}", keys.display())).unwrap()),
            redis: None,
            node: name.into(),
            revision: revision.into(),
            admin_token: Some(TOKEN.into()),
            api_key_file: None,
            shards: 1,
            demo: false,
            metrics: Arc::new(Metrics::new()),
        };
        let (shutdown, receiver) = mpsc::channel(4);
        tokio::spawn(server::run(World { public, admin, peer: Some(peer), socket: None, parts }, receiver));
        let [public, admin, peer] = addresses;
        Self { name, public, admin, peer, _shutdown: shutdown }
    }
}

/// Three gateways of a revision that know each other.
async fn fleet(names: [&'static str; 3], revision: &str, keys: &Path) -> Vec<Gateway> {
    let mut gateways = Vec::new();
    for name in names {
        gateways.push(Gateway::start(name, revision, keys).await);
    }
    tell(&gateways, &gateways).await;
    gateways
}

/// As the operator does.
async fn tell(gateways: &[Gateway], peers: &[Gateway]) {
    let peers: Vec<_> = peers.iter().map(|each| format!("\"{}\":\"{}\"", each.name, each.peer)).collect();
    let body = format!("{{\"peers\":{{{}}}}}", peers.join(","));
    let request = format!(
        "PUT /v1/peers HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\nauthorization: Bearer {TOKEN}\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    for gateway in gateways {
        let answer = send(&gateway.admin.to_string(), &request).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

type Targets = Arc<Mutex<Vec<SocketAddr>>>;

async fn balancer(targets: Targets) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            let to = {
                let targets = targets.lock().unwrap();
                targets[rand::random_range(0..targets.len())]
            };
            tokio::spawn(async move {
                let Ok(mut to) = TcpStream::connect(to).await else { return };
                tokio::io::copy_bidirectional(&mut from, &mut to).await.ok();
            });
        }
    });
    address
}

fn publics(gateways: &[Gateway]) -> Vec<SocketAddr> {
    gateways.iter().map(|gateway| gateway.public).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_come_back_to_their_gateway_before_and_after_a_rollout() {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys");
    std::fs::write(&keys, "k1 BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc").unwrap();
    let old = fleet(["a", "b", "c"], "r1", &keys).await;
    let targets: Targets = Arc::new(publics(&old).into());
    let address = balancer(targets.clone()).await;
    let (control, finish) = (free_address(), CancellationToken::new());
    let more = ["--control", &control, "--sessions", "40", "--reconnects", "10"];
    let (options, ending) = (options(address, &more), finish.clone());
    let running = tokio::spawn(async move { affinity::run(&options, finish, |_| Ok(())).await });

    let before = report(&control).await;
    assert_eq!((before.verdict, before.reached_owner), (Verdict::Ok, 400), "{before}");
    assert!(before.through_another > 0, "{before}");
    assert_eq!(gateways(&before.with_cookie), ["a", "b", "c"], "{before}");
    assert_eq!(gateways(&before.without_cookie), ["a", "b", "c"], "{before}");

    // The new ones serve; the old ones are there still, and in nobody's list.
    let new = fleet(["d", "e", "f"], "r2", &keys).await;
    tell(&old, &new).await;
    *targets.lock().unwrap() = publics(&new);
    let after = report(&control).await;
    assert_eq!((after.verdict, after.reached_owner), (Verdict::Ok, 400), "{after}");
    assert_eq!(gateways(&after.with_cookie), ["d", "e", "f"], "no old cookie leads to an old gateway: {after}");
    ending.cancel();
    assert_eq!(running.await.unwrap().unwrap(), after);
}
